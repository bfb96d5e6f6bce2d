"""Perturbation sequences against Pillow, scipy and loops, and the distances along them."""

from __future__ import annotations

import colorsys
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as T

from trainables.core import catalog
from trainables.core._flips import flips, ranking, top5_distance
from trainables.core.errors import SettingError
from trainables.core.perturbations.spatter import _lowered
from trainables.core.randomness import ExampleStreams, Stream

from ..contracts.toys import seeded

CLASSES = {
    one.label: one
    for one in (catalog.find("perturbations", name) for name in catalog.names("perturbations"))
}
each = pytest.mark.parametrize("label", CLASSES)
# Frames of the published sets of 32 and of 224 pixels.
FRAMES = dict.fromkeys(CLASSES, (31, 31)) | {"motion_blur": (21, 31), "translate": (16, 41)}


def images(n: int = 2, side: int = 32, channels: int = 3, seed: int = 0) -> Tensor:
    """Smooth random images of whole bytes."""
    coarse = torch.rand(n, channels, 8, 8, generator=seeded(seed))
    found = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return (found.clamp(0, 1) * 255).round() / 255


def frames(label: str, x: Tensor, seed: int = 0) -> Tensor:
    found: Tensor = CLASSES[label]()(x, Stream(seed))
    return found


def picture(x: Tensor) -> Image.Image:
    return Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy())


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def agree(found: Tensor, expected: Tensor) -> None:
    """Equal but for single bytes, where a number lies just below a whole one and counts as it."""
    difference = (found - expected).abs()
    assert float(difference.max()) < 1.01 / 255
    assert float((difference > 1e-6).double().mean()) < 0.012


def test_there_are_those_of_both_published_sets() -> None:
    assert sorted(CLASSES) == [
        "brightness",
        "gaussian_blur",
        "gaussian_noise",
        "motion_blur",
        "rotate",
        "scale",
        "shear",
        "shot_noise",
        "snow",
        "spatter",
        "speckle_noise",
        "tilt",
        "translate",
        "zoom_blur",
    ]
    for label, one in CLASSES.items():
        assert one.against == ("first" if label.endswith("noise") else "previous")


@each
def test_frames_are_bytes_in_the_box(label: str) -> None:
    x = images()
    given = x.clone()
    found = frames(label, x)
    assert found.shape == (2, FRAMES[label][0], 3, 32, 32)
    assert found.dtype == x.dtype
    assert torch.equal(x, given)
    torch.testing.assert_close(found * 255, (found * 255).round(), rtol=0, atol=1e-4)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    large = frames(label, images(1, side=96))
    assert large.shape == (1, FRAMES[label][1], 3, 96, 96)


@each
def test_frames_follow_each_other_in_small_steps(label: str) -> None:
    found = frames(label, images(6))
    steps = (found[:, 1:] - found[:, :-1]).abs().mean((0, 2, 3, 4))
    # The wind may turn by less than the flakes' pixels show.
    assert float(steps.mean() if label == "snow" else steps.min()) > 0
    assert float(steps.max()) < 0.1


@each
def test_grey_images_are_as_colour_with_equal_channels(label: str) -> None:
    x = images(2, channels=1)
    found = frames(label, x)
    assert found.shape == (2, FRAMES[label][0], 1, 32, 32)
    if CLASSES[label].against == "previous":
        coloured = frames(label, x.expand(-1, 3, -1, -1))
        mean = coloured.mean(2, keepdim=True)
        weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
        luma = (coloured * weights).sum(2, keepdim=True)
        # Water is turquoise and snow white: the grey of it, cut off to bytes.
        expected = luma if label in ("spatter", "snow") else mean
        assert float((found - expected).abs().max()) < 1.01 / 255


@each
@pytest.mark.parametrize("sizes", [[1, 2], [1, 1, 1]])
def test_split_of_a_batch_is_irrelevant(label: str, sizes: list[int]) -> None:
    x, index = images(3), torch.arange(3)
    perturb = CLASSES[label]()
    whole = perturb(x, ExampleStreams(4, index))
    parts = [
        perturb(part, ExampleStreams(4, numbers))
        for part, numbers in zip(x.split(sizes), index.split(sizes), strict=True)
    ]
    assert torch.equal(torch.cat(parts), whole)


@each
def test_what_is_no_image_is_refused(label: str) -> None:
    with pytest.raises(SettingError, match=r"needs images \(c, h, w\)"):
        frames(label, torch.rand(2, 3, 30))
    with pytest.raises(SettingError, match="needs images of 1 or 3 channels"):
        frames(label, torch.rand(2, 2, 16, 16))


# --- noise ------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["gaussian_noise", "shot_noise", "speckle_noise"])
@pytest.mark.parametrize("side", [32, 96])
def test_noise_is_new_in_every_frame_and_of_its_size(label: str, side: int) -> None:
    x = torch.full((3, 3, side, side), 102 / 255)
    found = frames(label, x)
    assert torch.equal(found[:, 0], x)
    # Cutting off takes half a byte on average, and adds the variance of a uniform number.
    noise = found[:, 1:] - x.unsqueeze(1) + 0.5 / 255
    deviation = {
        "gaussian_noise": 0.02 if side == 32 else 0.03,
        "shot_noise": (0.4 / (700 if side == 32 else 300)) ** 0.5,
        "speckle_noise": 0.05 * 0.4,
    }[label]
    n = noise.numel()
    expected = deviation**2 + 1 / 12 / 255**2
    assert abs(float(noise.mean())) < 5 * deviation / n**0.5
    assert float(noise.double().var()) == pytest.approx(expected, rel=8 / n**0.5 + 2e-3)
    other = torch.corrcoef(noise.flatten(2).mean(0)).fill_diagonal_(0)
    assert float(other.abs().max()) < 0.15


# --- geometry against Pillow ----------------------------------------------------------------------

AFFINE: dict[str, Any] = {
    "translate": lambda i: {"translate": (i - 7, 0)},
    "rotate": lambda i: {"angle": i - 15},
    "scale": lambda i: {"scale": (70 + 2 * i) / 100},
    "shear": lambda i: {"shear": i - 15},
}
STILL: dict[str, Any] = {"angle": 0, "translate": (0, 0), "scale": 1, "shear": 0}
LINEAR = InterpolationMode.BILINEAR


@pytest.mark.parametrize("label", AFFINE)
def test_affine_frames_are_those_of_pillow(label: str) -> None:
    x = images(2)
    found = frames(label, x)
    for image, sequence in zip(x, found, strict=True):
        for i, frame in enumerate(sequence):
            settings = STILL | AFFINE[label](i)
            agree(frame, pixels(T.affine(picture(image), interpolation=LINEAR, **settings)))


@pytest.mark.parametrize(
    ("label", "middle"),
    [
        ("translate", 7),
        ("rotate", 15),
        ("scale", 15),
        ("shear", 15),
        ("tilt", 15),
        ("brightness", 15),
        ("zoom_blur", 0),
    ],
)
@pytest.mark.parametrize(("side", "large"), [(8, 0), (32, 0), (33, 0), (96, 1)])
def test_a_frame_is_the_image_itself(label: str, middle: int, side: int, large: int) -> None:
    x = images(2, side=side)
    if large:
        middle = {"translate": 20, "scale": 24}.get(label, middle)
    assert torch.equal(frames(label, x)[:, middle], x)


def test_translation_of_larger_images_is_in_proportion() -> None:
    x = images(1, side=64)
    # The step after the image itself, of two pixels where there are twice as many.
    found = frames("translate", x)[:, 8]
    assert torch.equal(found[..., 2:], x[..., :-2])
    assert float(found[..., :2].max()) == 0
    smaller = x[..., :40, :40]
    assert torch.equal(frames("translate", smaller)[:, 8, :, :, 1:], smaller[..., :-1])


def test_zoom_blur_is_a_mean_of_enlargements() -> None:
    x = images(1)
    found = frames("zoom_blur", x)[0]
    total = torch.zeros(3, 32, 32, dtype=torch.float64)
    for i, frame in enumerate(found):
        settings = STILL | {"scale": 1 + 0.004 * i}
        total += pixels(T.affine(picture(x[0]), interpolation=LINEAR, **settings)).double()
        agree(frame, ((total / (i + 1) * 255 + 1e-6).floor() / 255).float())


def test_tilt_is_a_projection() -> None:
    x = images(1)
    found = frames("tilt", x)[0]
    for i, frame in enumerate(found):
        angle = math.radians(0.75 * (i - 15))
        # Corners of the plane by hand: turned about y, then about x, seen from the diagonal.
        far = math.hypot(32, 32)

        def seen(column: float, row: float, angle: float = angle, far: float = far) -> list[float]:
            a, b = column - 16, row - 16
            a, depth = a * math.cos(angle), a * math.sin(angle)
            b, depth = (
                b * math.cos(angle) - depth * math.sin(angle),
                b * math.sin(angle) + depth * math.cos(angle),
            )
            return [far * a / (depth + far) + 16, far * b / (depth + far) + 16]

        here = [[0.0, 0.0], [31.0, 0.0], [31.0, 31.0], [0.0, 31.0]]
        there = [seen(*corner) for corner in here]
        # The map from the frame to the image that four points fix.
        rows, values = [], []
        for (u, v), (a, b) in zip(here, there, strict=True):
            rows += [[a, b, 1, 0, 0, 0, -u * a, -u * b], [0, 0, 0, a, b, 1, -v * a, -v * b]]
            values += [u, v]
        solved = np.append(np.linalg.solve(np.array(rows), np.array(values)), 1).reshape(3, 3)
        grid = np.stack([*np.meshgrid(np.arange(32), np.arange(32)), np.ones((32, 32))])
        places = np.tensordot(solved, grid, 1)
        at = places[1] / places[2], places[0] / places[2]
        for channel, plane in zip(frame, x[0], strict=True):
            # Black around the image: within a pixel of it linearly less.
            wide = np.pad(plane.double().numpy(), 2)
            expected = map_coordinates(wide, [at[0] + 2, at[1] + 2], order=1, mode="nearest")
            agree(channel, torch.from_numpy(np.floor(expected * 255 + 0.5) / 255).float())


# --- colours and filters -------------------------------------------------------------------------


def test_brightness_is_added_in_hsv() -> None:
    x = images(1, side=8)
    x[0, :, 0, 0] = 0
    found = frames("brightness", x)[0]
    for i in (0, 9, 22, 30):
        for row, column in ((0, 0), (3, 5), (7, 7)):
            hue, saturation, value = colorsys.rgb_to_hsv(*x[0, :, row, column].tolist())
            value = min(max(value + (i - 15) * 0.015, 0), 1)
            expected = torch.tensor(colorsys.hsv_to_rgb(hue, saturation, value))
            here = found[i, :, row, column]
            torch.testing.assert_close(here, (expected * 255 + 1e-3).floor() / 255)


def test_gaussian_blur_is_a_gaussian_filter() -> None:
    x = images(1)
    found = frames("gaussian_blur", x)[0]
    for i in (0, 15, 30):
        for channel, plane in zip(found[i], x[0].double().numpy(), strict=True):
            wanted = gaussian_filter(plane, 0.3 + 0.015 * i, mode="nearest", truncate=7)
            agree(channel, torch.from_numpy(np.floor(wanted * 255 + 1e-6) / 255).float())


def test_motion_blur_turns_to_the_right() -> None:
    # A single bright pixel is smeared: with angle 0 along its row alone, at -90 along its column.
    x = torch.zeros(1, 1, 32, 32)
    x[0, 0, 16, 16] = 1
    found = frames("motion_blur", x)[0, :, 0]
    weights = torch.exp(-torch.arange(13).double().square() / (2 * 1.8**2))
    bytes_ = (weights / weights.sum() * 255).round().flip(0) / 255
    torch.testing.assert_close(found[20, 16, 4:17].double(), bytes_)
    assert torch.equal(found[20].sum(1) > 0, torch.arange(32) == 16)
    assert torch.equal(found[10].sum(0) > 0, torch.arange(32) == 16)


def test_snow_falls_on_a_brighter_image() -> None:
    x = images(4)
    found = frames("snow", x)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    grey = (x * weights).sum(1, keepdim=True)
    ground = (0.85 * x + 0.15 * torch.maximum(x, 1.5 * grey + 0.5)).clamp(max=1)
    layer = found - ground.unsqueeze(1)
    assert float(layer.min()) > -1.01 / 255
    # The layer and itself upside down: where nothing is cut off, it is its own half turn.
    free = (found < 1) & (found.flip(3, 4) < 1)
    assert float((layer - layer.flip(3, 4)).abs()[free].max()) < 1.01 / 255
    assert 0.005 < float(layer.mean()) < 0.3


def test_water_runs_down() -> None:
    layer = torch.rand(2, 9, 4, generator=seeded(1), dtype=torch.float64)
    for weights, below in CLASSES["spatter"].run.values():
        found = _lowered(layer, weights, below)
        for image, lowered in zip(layer.numpy(), found.numpy(), strict=True):
            for column in range(4):
                expected = np.convolve(image[:, column], weights, mode="same")
                np.testing.assert_allclose(lowered[:, column], expected)


def test_spatter_is_some_drops_of_turquoise() -> None:
    x = torch.full((16, 3, 32, 32), 0.2)
    water = frames("spatter", x) - as_cut(0.2)
    assert float(water.min()) > -1e-6
    wet = water[:, :, 1] > 0.02
    assert 0.005 < float(wet[:, 0].double().mean()) < 0.1
    # Green and blue are added alike, red by 175/238 of it but for cutting off.
    red, green, blue = water.unbind(2)
    assert torch.equal(green, blue)
    assert float((red - green * 175 / 238).abs().max()) < 1.01 / 255


def as_cut(value: float) -> float:
    return math.floor(value * 255 + 1e-3) / 255


# --- distances along a sequence ---------------------------------------------------------------


def test_flips_are_those_counted_by_hand() -> None:
    predicted = torch.tensor([[1, 1, 2, 2, 1], [3, 0, 3, 0, 3], [4, 4, 4, 4, 4], [0, 1, 1, 1, 1]])
    assert flips(predicted, "previous").tolist() == [0.5, 1.0, 0.0, 0.25]
    assert flips(predicted, "first").tolist() == [0.5, 0.5, 0.0, 1.0]


def test_top5_distance_by_hand() -> None:
    # Rankings of seven classes. Frame 2 swaps the first two: 1 + 1. Frame 3 moves the first class
    # to the end: its rank 6 counts as 5, and the four behind it move up by one: 5 + 4.
    order = torch.tensor([[[0, 1, 2, 3, 4, 5, 6], [1, 0, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 0]]])
    assert top5_distance(order[:, :2], "previous").item() == 2
    assert top5_distance(order[:, [0, 2]], "previous").item() == 9
    # From frame 2 to frame 3: class 1 stays, 0 falls from rank 1 to 5, 2, 3 and 4 move up.
    assert top5_distance(order[:, 1:], "previous").item() == 7
    assert top5_distance(order, "previous").item() == pytest.approx((2 + 7) / 2)
    assert top5_distance(order, "first").item() == pytest.approx((2 + 9) / 2)


def test_top5_distance_is_that_of_a_loop() -> None:
    logits = torch.randn(3, 6, 9, generator=seeded(2)).round(decimals=1)
    order = ranking(logits)
    for against in ("previous", "first"):
        for sequence, found in zip(logits, top5_distance(order, against), strict=True):
            sums = []
            for j in range(1, 6):
                reference = sequence[0 if against == "first" else j - 1].tolist()
                # Of equal logits the lower class is first.
                best = sorted(range(9), key=lambda k: (-reference[k], k))[:5]
                row = sequence[j].tolist()
                now = sorted(range(9), key=lambda k: (-row[k], k))
                sums.append(sum(abs(i - min(now.index(k), 5)) for i, k in enumerate(best)))
            assert found.item() == pytest.approx(sum(sums) / 5)
