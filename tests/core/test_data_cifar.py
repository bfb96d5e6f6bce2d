"""The CIFAR sets: batches written as the originals are, damaged ones, and the real subset."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.core.data._source import data_root, subset_title
from trainables.core.data.cifar10 import CIFAR10
from trainables.core.data.cifar100 import CIFAR100
from trainables.core.errors import MissingDataError, SettingError

Keys = Callable[[str], Any]


def images(n: int, start: int = 0) -> np.ndarray:
    """Every value tells its image, and its place in the image modulo 251."""
    return ((np.arange(3072)[None] + np.arange(start, start + n)[:, None]) % 251).astype(np.uint8)


def dump(path: Path, held: Any, protocol: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(held, protocol=protocol))


def cifar10(folder: Path, *, protocol: int = 4, as_bytes: bool = False, n: int = 4) -> Path:
    """Small batches under the original names; Python 2's keys are bytes for us."""

    def key(text: str) -> Any:
        return text.encode() if as_bytes else text

    for number in range(5):
        labels = [(number + row) % 10 for row in range(n)]
        held = {key("data"): images(n, number * n), key("labels"): labels}
        dump(folder / f"data_batch_{number + 1}", held, protocol)
    dump(folder / "test_batch", {key("data"): images(3), key("labels"): [9, 0, 1]}, protocol)
    names = [key(f"name-{number}") for number in range(10)]
    dump(folder / "batches.meta", {key("label_names"): names}, protocol)
    return folder


def cifar100(folder: Path) -> Path:
    for name, n in (("train", 6), ("test", 2)):
        dump(
            folder / name,
            {
                "data": images(n),
                "fine_labels": [99 - row for row in range(n)],
                "coarse_labels": list(range(n)),
            },
        )
    names = {"fine": 100, "coarse": 20}
    meta = {f"{k}_label_names": [f"{k}-{i}" for i in range(n)] for k, n in names.items()}
    dump(folder / "meta", meta)
    return folder


@pytest.mark.parametrize("place", ["cifar10/cifar-10-batches-py", "cifar-10-batches-py"])
@pytest.mark.parametrize(("protocol", "as_bytes"), [(2, True), (4, False), (5, False)])
def test_batches_in_order(tmp_path: Path, place: str, protocol: int, as_bytes: bool) -> None:
    cifar10(tmp_path / place, protocol=protocol, as_bytes=as_bytes)
    source = CIFAR10().load(tmp_path)
    assert source.train.shape == source.test.shape == (3, 32, 32)
    assert source.train.y.tolist() == [(b + row) % 10 for b in range(5) for row in range(4)]
    assert source.train.y.dtype == torch.int64
    # Value 1024 * channel + 32 * row + column of image 7, as bytes / 255.
    place_in_image = 1024 * 2 + 32 * 5 + 9
    expected = ((place_in_image + 7) % 251) / 255
    assert source.train.x[7, 2, 5, 9].item() == pytest.approx(expected, abs=1e-7)  # type: ignore[index]
    assert source.test.y.tolist() == [9, 0, 1]
    assert source.classes == tuple(f"name-{number}" for number in range(10))
    assert source.box == (0.0, 1.0)
    assert str(tmp_path) not in source.provenance


def test_a_subset_is_called_one(tmp_path: Path) -> None:
    cifar10(tmp_path / "cifar-10-batches-py")
    source = CIFAR10().load(tmp_path)
    assert source.title == "CIFAR-10 subset (20 + 3 images)"
    assert "CIFAR-10 subset" in source.provenance
    assert "20 + 3 of 50,000 + 10,000 images" in source.provenance


def test_only_the_full_set_is_not() -> None:
    assert subset_title("CIFAR-10", (50_000, 10_000), (50_000, 10_000)) == "CIFAR-10"
    expected = "CIFAR-10 subset (49,999 + 10,000 images)"
    assert subset_title("CIFAR-10", (49_999, 10_000), (50_000, 10_000)) == expected
    assert subset_title("Birds", (5, 2), None) == "Birds subset (5 + 2 images)"


@pytest.mark.parametrize("place", ["cifar100/cifar-100-python", "cifar-100-python"])
def test_cifar100_fine_and_coarse(tmp_path: Path, place: str) -> None:
    cifar100(tmp_path / place)
    fine, coarse = CIFAR100().load(tmp_path), CIFAR100(level="coarse").load(tmp_path)
    assert fine.train.y.tolist() == [99, 98, 97, 96, 95, 94]
    assert (len(fine.classes), fine.classes[99]) == (100, "fine-99")
    assert fine.title == "CIFAR-100 subset (6 + 2 images)"
    assert coarse.train.y.tolist() == [0, 1, 2, 3, 4, 5]
    assert (len(coarse.classes), coarse.classes[19]) == (20, "coarse-19")
    assert coarse.title == "CIFAR-100 coarse subset (6 + 2 images)"
    with pytest.raises(SettingError, match="level cannot be 'medium'"):
        CIFAR100(level="medium")


@pytest.mark.parametrize("data", [CIFAR10(), CIFAR100()])
def test_an_absent_set_names_both_places(tmp_path: Path, data: CIFAR10 | CIFAR100) -> None:
    with pytest.raises(MissingDataError) as caught:
        data.load(tmp_path)
    digits = type(data).__name__.removeprefix("CIFAR")
    for folder in (f"cifar{digits}/cifar-{digits}", f"{tmp_path.name}/cifar-{digits}"):
        assert folder in str(caught.value)
    assert "Nothing is downloaded" in str(caught.value)


def test_an_absent_batch_is_named(tmp_path: Path) -> None:
    folder = cifar10(tmp_path / "cifar-10-batches-py")
    (folder / "data_batch_3").unlink()
    with pytest.raises(MissingDataError, match=re.escape(str(folder / "data_batch_3"))):
        CIFAR10().load(tmp_path)


GOOD = {"data": images(2), "labels": [0, 1]}


@pytest.mark.parametrize(
    ("held", "rule"),
    [
        ([1, 2], "it must hold a mapping, found list"),
        (
            GOOD | {"data": images(2).astype(np.float32)},
            r"must be bytes \[n, 3072\], found float32",
        ),
        (GOOD | {"data": images(2)[:, :784]}, r"must be bytes \[n, 3072\], found uint8 \[2, 784\]"),
        (GOOD | {"data": images(0), "labels": []}, r"found uint8 \[0, 3072\]"),
        ({"labels": [0, 1]}, r"'data' must be bytes \[n, 3072\], found nothing"),
        (GOOD | {"labels": [0]}, "'labels' must be a list of 2 numbers, found 1 of them"),
        ({"data": images(2)}, "'labels' must be a list of 2 numbers, found nothing"),
        (GOOD | {"labels": [0, 10]}, "'labels' must be 0 to 9, found 10"),
        (GOOD | {"labels": [0, -1]}, "'labels' must be 0 to 9, found -1"),
        (GOOD | {"labels": [0, "1"]}, "'labels' must be 0 to 9, found '1'"),
    ],
)
def test_other_contents_are_named(tmp_path: Path, held: Any, rule: str) -> None:
    folder = cifar10(tmp_path / "cifar-10-batches-py")
    dump(folder / "data_batch_2", held)
    with pytest.raises(SettingError, match=f"data_batch_2 is damaged or another file: .*{rule}"):
        CIFAR10().load(tmp_path)


@pytest.mark.parametrize("cut", [0, 1, 20, 5000])
def test_a_truncated_batch_is_named(tmp_path: Path, cut: int) -> None:
    folder = cifar10(tmp_path / "cifar-10-batches-py")
    path = folder / "test_batch"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SettingError, match="test_batch is damaged or another file: it cannot be"):
        CIFAR10().load(tmp_path)


def test_names_must_be_as_many_as_classes(tmp_path: Path) -> None:
    folder = cifar10(tmp_path / "cifar-10-batches-py")
    dump(folder / "batches.meta", {"label_names": ["a", "b"]})
    with pytest.raises(SettingError, match=r"batches\.meta .*list of 10 names"):
        CIFAR10().load(tmp_path)


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_in_a_file_is_run(tmp_path: Path, protocol: int) -> None:
    folder = cifar10(tmp_path / "cifar-10-batches-py")
    dump(folder / "data_batch_1", GOOD | {"more": Evil(tmp_path / "ran")}, protocol)
    with pytest.raises(SettingError, match=r"data_batch_1 .* is not admitted"):
        CIFAR10().load(tmp_path)
    assert not (tmp_path / "ran").exists()
    # Loaded by pickle itself it would have run.
    pickle.loads((folder / "data_batch_1").read_bytes())
    assert (tmp_path / "ran").exists()


def test_real_subset() -> None:
    root = data_root()
    if not (root / "cifar10" / "cifar-10-batches-py").is_dir():
        pytest.skip(f"needs cifar10/cifar-10-batches-py below {root}; set STUDY_DATA")
    source = CIFAR10().load(root)
    n, m = len(source.train), len(source.test)
    full = (n, m) == (50_000, 10_000)
    assert source.title == ("CIFAR-10" if full else f"CIFAR-10 subset ({n:,} + {m:,} images)")
    assert source.classes[0] == "airplane"
    # Known of the first training images: frog, truck, truck, deer, automobile.
    assert source.train.y[:5].tolist() == [6, 9, 9, 4, 1]
    # Published channel means: .4914, .4822, .4465; a subset is near.
    mean = source.train.x.mean((0, 2, 3))  # type: ignore[union-attr]
    torch.testing.assert_close(mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=0.005, rtol=0)
    assert len(set(torch.bincount(source.train.y).tolist())) == 1
