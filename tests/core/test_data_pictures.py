"""Pictures and batches of examples: what is read, and that only seed and number decide."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import (
    InterpolationMode,
    center_crop,
    resize,
    resized_crop,
    to_tensor,
)

from trainables.core.data._pictures import Pictures, _drawn, _Reader, fitted
from trainables.core.data._source import Examples
from trainables.core.errors import SettingError
from trainables.core.randomness import derive

SIZES = [(40, 30), (30, 41), (64, 64), (33, 90), (25, 25)]
"""Heights and widths."""


def pixels(height: int, width: int, seed: int) -> np.ndarray:
    """Colours that change slowly, with noise, so that every crop is another picture."""
    rng = np.random.Generator(np.random.PCG64(seed))
    ramp = np.linspace(0, 200, height)[:, None, None] + np.linspace(0, 50, width)[None, :, None]
    return (ramp * [1, 0.5, 0.2] + rng.integers(0, 6, (height, width, 3))).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, (height, width) in enumerate(SIZES):
        Image.fromarray(pixels(height, width, number)).save(tmp_path / f"{number}.png")
    return tmp_path


def pictures(folder: Path, crop: str = "random-resized", workers: int = 0) -> Pictures:
    names = [f"{number}.png" for number in range(len(SIZES))]
    return Pictures(folder, names, crop=crop, size=16, resize=20, workers=workers)


def read(one: Examples, order: list[Tensor], seed: int | None = None) -> Tensor:
    return torch.cat([batch.x for batch in one.batches(order, device="cpu", seed=seed)])


# --- examples in memory ---------------------------------------------------------------------


def test_batches_in_memory_are_the_rows_asked_for() -> None:
    examples = Examples(torch.rand(10, 2, 3), torch.arange(10))
    order = [torch.tensor([3, 1]), torch.tensor([9]), torch.tensor([], dtype=torch.int64)]
    found = list(examples.batches(order, device="cpu", seed=7))
    assert [batch.y.tolist() for batch in found] == [[3, 1], [9], []]
    assert torch.equal(found[0].x, examples.x[[3, 1]])  # type: ignore[index]
    assert examples.shape == (2, 3)
    found[0].x.zero_()
    assert examples.x[3].abs().sum() > 0  # type: ignore[index]


def test_batches_move_to_the_device() -> None:
    examples = Examples(torch.rand(4, 2), torch.arange(4))
    (batch,) = examples.batches([torch.tensor([0, 2])], device="meta")
    assert (batch.x.device.type, batch.y.device.type) == ("meta", "meta")
    moved = examples.to("meta")
    assert (moved.x.device.type, moved.y.device.type) == ("meta", "meta")  # type: ignore[union-attr]


# --- what is read ---------------------------------------------------------------------------


def test_centre_equals_torchvision(folder: Path) -> None:
    found = pictures(folder, "center").read(torch.arange(len(SIZES)))
    for row, (height, width) in enumerate(SIZES):
        image = Image.fromarray(pixels(height, width, row))
        expected = to_tensor(center_crop(resize(image, 20), 16))
        assert torch.equal(found[row], expected)


def test_random_resized_equals_torchvision_given_the_region(folder: Path) -> None:
    found = pictures(folder).read(torch.arange(len(SIZES)), seed=5)
    for row, (height, width) in enumerate(SIZES):
        draws = torch.Generator().manual_seed(derive(5, "picture", row))
        (left, upper, right, lower), mirrored = _drawn(height, width, draws)
        image = Image.fromarray(pixels(height, width, row))
        cut = resized_crop(
            image, upper, left, lower - upper, right - left, [16, 16], InterpolationMode.BILINEAR
        )
        expected = to_tensor(cut)
        assert torch.equal(found[row], expected.flip(2) if mirrored else expected)


def test_regions_lie_inside_and_have_the_said_area_and_aspect() -> None:
    draws = torch.Generator().manual_seed(0)
    shares, aspects, mirrors = [], [], 0
    for _ in range(2000):
        (left, upper, right, lower), mirrored = _drawn(400, 400, draws)
        assert 0 <= left < right <= 400
        assert 0 <= upper < lower <= 400
        shares.append((right - left) * (lower - upper) / 160_000)
        aspects.append((right - left) / (lower - upper))
        mirrors += mirrored
    # To within the rounding to whole pixels.
    assert 0.078 < min(shares) < 0.1
    assert 0.9 < max(shares) <= 1
    assert 0.73 < min(aspects) < 0.78
    assert 1.29 < max(aspects) < 1.36
    assert abs(mirrors - 1000) < 5 * 22.4  # five standard deviations of a binomial
    # The logarithm of the aspect is uniform, so symmetric: deviation .166, of the mean .0037.
    assert abs(np.log(aspects).mean()) < 5 * 0.0037


def test_a_region_that_never_fits_is_the_largest_central_one() -> None:
    draws = torch.Generator().manual_seed(0)
    # 10 x 1000: every drawn region is taller than 10 pixels; 4:3 of 10 is 13 wide.
    assert _drawn(10, 1000, draws)[0] == (493, 0, 506, 10)
    assert _drawn(1000, 10, draws)[0] == (0, 493, 10, 506)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((40, 30), (16, 12)), ((33, 90), (6, 16)), ((10, 12), (10, 12)), ((1000, 1), (16, 1))],
)
def test_fitted_keeps_the_aspect_and_never_enlarges(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert fitted(*size, 16) == expected


def test_canvas_is_the_scaled_image_in_the_upper_left_corner(folder: Path) -> None:
    found = pictures(folder, "canvas").read(torch.arange(len(SIZES)), seed=3)
    for row, (height, width) in enumerate(SIZES):
        h, w = fitted(height, width, 16)
        expected = to_tensor(resize(Image.fromarray(pixels(height, width, row)), [h, w]))
        assert torch.equal(found[row, :, :h, :w], expected)
        assert found[row, :, h:].abs().sum() + found[row, :, :, w:].abs().sum() == 0


def test_grey_palette_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(pixels(20, 20, 0))
    for mode in ("L", "P", "RGBA", "CMYK", "1"):
        image.convert(mode).save(tmp_path / f"{mode}.tiff")
    names = [f"{mode}.tiff" for mode in ("L", "P", "RGBA", "CMYK", "1")]
    found = Pictures(tmp_path, names, crop="canvas", size=20).read(torch.arange(5))
    assert found.shape == (5, 3, 20, 20)
    assert found.dtype == torch.float32
    assert torch.equal(found[0, 0], found[0, 1])
    assert torch.equal(found[2], to_tensor(image))
    assert set(found[4].flatten().tolist()) == {0.0, 1.0}


# --- what decides ---------------------------------------------------------------------------


def test_seed_and_number_alone_decide(folder: Path) -> None:
    examples = Examples(pictures(folder), torch.arange(5))
    order = [torch.tensor([0, 1, 2]), torch.tensor([3, 4])]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    found = read(examples, order, seed=1)
    workers = Examples(pictures(folder, workers=2), torch.arange(5))
    assert torch.equal(read(workers, order, seed=1), found)
    assert torch.equal(torch.get_rng_state(), state)
    # Another order, and a part: each picture is the same as before.
    assert torch.equal(read(examples, [torch.tensor([4, 2, 0])], seed=1), found[[4, 2, 0]])
    part = examples.take(torch.tensor([4, 1]))
    assert torch.equal(read(part, [torch.tensor([0, 1])], seed=1), found[[4, 1]])
    assert part.y.tolist() == [4, 1]
    # Another seed: each picture is another one.
    other = read(examples, order, seed=2)
    assert all(not torch.equal(a, b) for a, b in zip(found, other, strict=True))


def test_without_a_seed_nothing_is_drawn(folder: Path) -> None:
    order = [torch.arange(5)]
    fixed = read(Examples(pictures(folder, "center"), torch.arange(5)), order)
    assert torch.equal(read(Examples(pictures(folder), torch.arange(5)), order), fixed)


def test_a_reader_can_be_sent_to_a_fresh_process(folder: Path) -> None:
    # What a worker gets where processes are spawned instead of forked.
    reader = pickle.loads(pickle.dumps(_Reader(pictures(folder), 3)))
    expected = pictures(folder).read(torch.tensor([2, 1]), 3)
    assert torch.equal(reader[torch.tensor([2, 1])], expected)


def test_pictures_stay_where_they_are(folder: Path) -> None:
    examples = Examples(pictures(folder), torch.arange(5)).to("meta")
    assert isinstance(examples.x, Pictures)
    assert examples.y.device.type == "meta"
    assert examples.shape == (3, 16, 16)
    assert len(examples) == 5


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path: Path, ending: str, workers: int) -> None:
    whole = tmp_path / f"whole.{ending}"
    Image.fromarray(pixels(64, 64, 0)).save(whole)
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = Pictures(tmp_path, [whole.name, cut.name], crop="canvas", size=64, workers=workers)
    assert found.read(torch.tensor([0])).mean() > 0.1
    with pytest.raises(SettingError, match=rf"cut\.{ending} cannot be read as an image") as caught:
        list(found.batches([torch.tensor([0]), torch.tensor([1])]))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_image_is_named(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.png").write_bytes(raw)
    with pytest.raises(SettingError, match=r"a\.png cannot be read as an image"):
        Pictures(tmp_path, ["a.png"], crop="canvas", size=8).read(torch.tensor([0]))


def test_an_absent_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"gone\.png cannot be read"):
        Pictures(tmp_path, ["gone.png"], crop="canvas", size=8).read(torch.tensor([0]))


def test_more_than_8_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 60_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SettingError, match=r"deep\.png must have 8 bits a channel, found mode 'I"):
        Pictures(tmp_path, ["deep.png"], crop="canvas", size=8).read(torch.tensor([0]))


def test_another_size_than_was_said_is_refused(folder: Path) -> None:
    found = Pictures(folder, ["0.png", "1.png"], crop="canvas", size=8, sizes=[(40, 30), (30, 40)])
    assert found.read(torch.tensor([0])).shape == (1, 3, 8, 8)
    with pytest.raises(SettingError, match=r"1\.png must be 40 x 30 pixels .*, found 41 x 30"):
        found.take(torch.tensor([1])).read(torch.tensor([0]))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"crop": "middle"}, "crop cannot be 'middle'"),
        ({"size": 0}, "size must be at least 1, found 0"),
        ({"resize": 15}, "resize must be at least size=16, found 15"),
        ({"workers": -1}, "workers must be at least 0, found -1"),
    ],
)
def test_settings_out_of_range(chosen: dict[str, object], message: str) -> None:
    settings = {"crop": "center", "size": 16, "resize": 20} | chosen
    with pytest.raises(SettingError, match=message):
        Pictures(Path(), [], **settings)  # type: ignore[arg-type]
