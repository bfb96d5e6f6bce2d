"""Published files of corrupted and perturbed test sets, read from small ones of the same form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.core.data import _official
from trainables.core.errors import MissingDataError, SettingError

N = 10


def corrupted_set(root: Path, title: str = "CIFAR-10-C", *, n: int = N) -> np.ndarray[Any, Any]:
    """A set of n test images whose every value says severity and row: 50 rows for 10 images."""
    (root / title).mkdir()
    rows = np.arange(5 * n, dtype=np.uint8)
    images = np.broadcast_to(rows[:, None, None, None], (5 * n, 32, 32, 3)).copy()
    images[:, 0, 1, 2] = 255
    np.save(root / title / "fog.npy", images)
    np.save(root / title / "labels.npy", np.tile(np.arange(n) % 7, 5).astype(np.uint8))
    return images


def test_severities_follow_each_other(tmp_path: Path) -> None:
    images = corrupted_set(tmp_path)
    for severity in (1, 2, 3, 4, 5):
        found, classes = _official.corrupted(tmp_path, "CIFAR-10-C", "fog", severity, N)
        assert isinstance(found, np.memmap)
        np.testing.assert_array_equal(found, images[(severity - 1) * N : severity * N])
        assert classes.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]
    x = _official.taken(found, torch.tensor([3, 0]))
    assert x.shape == (2, 3, 32, 32)
    assert x.dtype == torch.float32
    assert x[0, 0, 5, 5] == 43 / 255
    assert x[1, 2, 0, 1] == 1
    assert x[1, 0, 0, 1] == x[1, 2, 1, 0] == 40 / 255


def test_labels_of_one_severity_serve_all(tmp_path: Path) -> None:
    corrupted_set(tmp_path)
    np.save(tmp_path / "CIFAR-10-C" / "labels.npy", np.arange(N))
    _, classes = _official.corrupted(tmp_path, "CIFAR-10-C", "fog", 4, N)
    assert classes.tolist() == list(range(N))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((49, 32, 32, 3), np.uint8), r"bytes \[50, 32, 32, 3\] .* found uint8 \[49, 32"),
        (np.zeros((50, 3, 32, 32), np.uint8), r"found uint8 \[50, 3, 32, 32\]"),
        (np.zeros((50, 32, 32, 3), np.float32), r"found float32 \[50, 32, 32, 3\]"),
        (np.zeros((50, 32, 32, 3), np.int16), "must hold bytes, found int16"),
        (np.array([{}], dtype=object), "is damaged or no array"),
    ],
)
def test_another_size_or_type_is_refused(tmp_path: Path, array: Any, message: str) -> None:
    corrupted_set(tmp_path)
    np.save(tmp_path / "CIFAR-10-C" / "fog.npy", array, allow_pickle=True)
    with pytest.raises(SettingError, match=message) as error:
        _official.corrupted(tmp_path, "CIFAR-10-C", "fog", 1, N)
    assert "fog.npy" in str(error.value)


def test_wrong_labels_and_damaged_files_are_refused(tmp_path: Path) -> None:
    corrupted_set(tmp_path)
    np.save(tmp_path / "CIFAR-10-C" / "labels.npy", np.arange(11))
    with pytest.raises(SettingError, match=r"labels.npy must hold bytes \[50\] or \[10\]"):
        _official.corrupted(tmp_path, "CIFAR-10-C", "fog", 1, N)
    path = tmp_path / "CIFAR-10-C" / "fog.npy"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SettingError, match="is damaged"):
        _official.corrupted(tmp_path, "CIFAR-10-C", "fog", 1, N)
    path.write_bytes(b"no numpy")
    with pytest.raises(SettingError, match="is damaged"):
        _official.corrupted(tmp_path, "CIFAR-10-C", "fog", 1, N)


def test_absent_files_are_named_with_their_origin(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"CIFAR-10-C.*fog.npy.*zenodo.org/records/2535967"):
        _official.corrupted(tmp_path, "CIFAR-10-C", "fog", 1, N)
    with pytest.raises(MissingDataError, match=r"CIFAR-10-P.*tilt.npy"):
        _official.perturbed(tmp_path, "CIFAR-10-P", "tilt", N)
    with pytest.raises(MissingDataError, match=r"ImageNet-C, fog .*ImageNet-C/fog/2"):
        _official.pictures(tmp_path, "fog", 2, size=224, workers=0, total=N)


def test_titles() -> None:
    assert _official.title_of("CIFAR10", "C") == "CIFAR-10-C"
    assert _official.title_of("CIFAR100", "P") == "CIFAR-100-P"
    assert _official.title_of("ImageNet", "C") == "ImageNet-C"
    with pytest.raises(SettingError, match="published as films"):
        _official.title_of("ImageNet", "P")
    with pytest.raises(SettingError, match=r"cannot be 'official' for MNIST: .* CIFAR10, CIFAR100"):
        _official.title_of("MNIST", "C")
    with pytest.raises(SettingError, match="for these data"):
        _official.title_of("", "C")


def test_sequences_stay_in_the_file_until_they_are_taken(tmp_path: Path) -> None:
    (tmp_path / "CIFAR-10-P").mkdir()
    frames = np.arange(N * 4, dtype=np.uint8).reshape(N, 4, 1, 1, 1)
    frames = np.broadcast_to(frames, (N, 4, 32, 32, 3))
    np.save(tmp_path / "CIFAR-10-P" / "tilt.npy", frames)
    found = _official.perturbed(tmp_path, "CIFAR-10-P", "tilt", N)
    x = _official.taken(found, torch.tensor([9, 2]))
    assert x.shape == (2, 4, 3, 32, 32)
    torch.testing.assert_close(
        x[:, :, 0, 0, 0] * 255, torch.tensor([[36.0, 37, 38, 39], [8, 9, 10, 11]])
    )
    for shape in ((N - 1, 4, 32, 32, 3), (N, 32, 32, 3)):
        np.save(tmp_path / "CIFAR-10-P" / "tilt.npy", np.zeros(shape, np.uint8))
        with pytest.raises(SettingError, match=r"bytes \[10, frames, 32, 32, 3\]"):
            _official.perturbed(tmp_path, "CIFAR-10-P", "tilt", N)
    np.save(tmp_path / "CIFAR-10-P" / "tilt.npy", np.zeros((N, 1, 32, 32, 3), np.uint8))
    with pytest.raises(SettingError, match="2 frames or more"):
        _official.perturbed(tmp_path, "CIFAR-10-P", "tilt", N)


def test_pictures_are_in_the_order_of_the_test_part(tmp_path: Path) -> None:
    folder = tmp_path / "ImageNet-C" / "fog" / "3"
    shades = {"n02": {"b.JPEG": 30, "a.JPEG": 20}, "n01": {"z.JPEG": 10}}
    for name, files in shades.items():
        (folder / name).mkdir(parents=True)
        for file, shade in files.items():
            Image.new("RGB", (224, 224), (shade, 0, 255 - shade)).save(folder / name / file)
    found = _official.pictures(tmp_path, "fog", 3, size=224, workers=0, total=3)
    assert found.y.tolist() == [0, 1, 1]
    (batch,) = found.batches([torch.tensor([0, 1, 2])], device="cpu")
    assert batch.x.shape == (3, 3, 224, 224)
    torch.testing.assert_close(
        batch.x[:, 0, 9, 9] * 255, torch.tensor([10.0, 20, 30]), rtol=0, atol=2
    )
    with pytest.raises(SettingError, match=r"each of the 4 test images, found 3"):
        _official.pictures(tmp_path, "fog", 3, size=224, workers=0, total=4)
    with pytest.raises(SettingError, match="224 pixels, found size=160"):
        _official.pictures(tmp_path, "fog", 3, size=160, workers=0, total=3)
