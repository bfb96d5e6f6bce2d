"""The operations of augmentation policies against Pillow's, image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_image
from torch import Tensor

from trainables.core.augmentations._operations import (
    _CACHED,
    IDENTITY,
    NAMES,
    OPERATIONS,
    apply,
    apply_to_bytes,
    fits,
    numbers_of,
    value_of,
)
from trainables.core.errors import SettingError
from trainables.core.randomness import ExampleStreams, Stream

from ..contracts.toys import digits, seeded
from .test_objective import NoSync

GEOMETRIC = NAMES[:5]
ALONE = NAMES[:14]
NEAREST, BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR


def picture(pixels: Tensor) -> Image.Image:
    array = pixels.movedim(0, 2).numpy()
    return Image.fromarray(array if len(pixels) == 3 else array[..., 0])


def pixels_of(image: Image.Image) -> Tensor:
    array = torch.from_numpy(np.array(image))
    return array.movedim(2, 0) if array.dim() == 3 else array.unsqueeze(0)


def pillow(name: str, image: Image.Image, value: float, how: Image.Resampling) -> Image.Image:
    """One operation as scripts on Pillow do it."""
    w, h = image.size
    matrices = {
        "ShearX": (1, value, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, value, 1, 0),
        "TranslateX": (1, 0, value * w, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, value * h),
    }
    if name in matrices:
        return image.transform(image.size, Image.Transform.AFFINE, matrices[name], resample=how)
    if name == "Rotate":
        return image.rotate(value, resample=how)
    if name == "Solarize":
        return ImageOps.solarize(image, value)  # type: ignore[arg-type]
    if name == "Posterize":
        return ImageOps.posterize(image, int(value))
    if name in ("AutoContrast", "Invert", "Equalize"):
        return getattr(ImageOps, name.lower())(image)  # type: ignore[no-any-return]
    enhancer: Any = getattr(ImageEnhance, name)
    return enhancer(image).enhance(value)  # type: ignore[no-any-return]


def by_pillow(name: str, pixels: Tensor, value: Tensor, how: Image.Resampling = NEAREST) -> Tensor:
    found = [
        pixels_of(pillow(name, picture(one), size, how))
        for one, size in zip(pixels, value.tolist(), strict=True)
    ]
    return torch.stack(found)


def patches(kind: str) -> Tensor:
    """40 images, uint8: photographs, digits, noise of full and of narrow range, few values, one."""
    if kind == "photograph":
        photo = torch.from_numpy(load_sample_image("china.jpg").copy()).movedim(2, 0)
        return torch.stack([photo[:, 7 * i : 7 * i + 32, 11 * i : 11 * i + 32] for i in range(40)])
    if kind == "digits":
        return (digits().x[:40] * 255).round().to(torch.uint8)
    shape = {"colour": (3, 13, 18), "grey": (1, 9, 7), "tiny": (3, 2, 2)}[kind]
    noise = torch.randint(0, 256, (40, *shape), generator=seeded(2), dtype=torch.uint8)
    noise[10:20] = noise[10:20] // 9 + 90
    noise[20:24] = noise[20:24] // 100 * 90
    noise[24] = 201
    noise[25, 0], noise[25, -1] = 0, 255
    return noise


def spread(name: str, n: int = 40) -> Tensor:
    """Values at all ten magnitudes with both signs."""
    turn = torch.arange(n)
    op = torch.full((n,), NAMES.index(name))
    return value_of(op, turn % 10, torch.where(turn % 20 < 10, 1, -1))


def run(name: str, pixels: Tensor, value: Tensor, *, bilinear: bool = False) -> Tensor:
    op = torch.full((len(pixels),), NAMES.index(name))
    return apply_to_bytes(pixels, op, value, Stream(0), bilinear=bilinear)


@pytest.mark.parametrize("kind", ["photograph", "digits", "colour", "grey", "tiny"])
@pytest.mark.parametrize("name", ALONE)
def test_operations_are_those_of_pillow(name: str, kind: str) -> None:
    pixels, value = patches(kind), spread(name)
    found = run(name, pixels, value)
    assert torch.equal(found, by_pillow(name, pixels, value))
    assert found.dtype == torch.uint8


@pytest.mark.parametrize("kind", ["photograph", "digits", "colour"])
@pytest.mark.parametrize("name", ["ShearX", "ShearY", "Rotate"])
def test_between_pixels_they_are_those_of_pillow(name: str, kind: str) -> None:
    pixels = patches(kind)
    drawn = torch.rand(40, generator=seeded(1), dtype=torch.float64) * 2 - 1
    value = drawn * 30 if name == "Rotate" else drawn * 0.3
    found = run(name, pixels, value, bilinear=True).int()
    wanted = by_pillow(name, pixels, value, BILINEAR).int()
    assert (found - wanted).abs().max() <= 1
    # Only where the exact result is a whole number to the last bits of float32.
    assert (found != wanted).double().mean() < 2e-4


@pytest.mark.parametrize("shift", [-3, 0, 1, 40])
def test_whole_shifts_are_the_same_in_both_modes(shift: int) -> None:
    pixels = patches("colour")
    value = torch.full((40,), shift / 18)
    found = run("TranslateX", pixels, value, bilinear=True)
    assert torch.equal(found, run("TranslateX", pixels, value))
    matrix = (1, 0, shift, 0, 1, 0)
    for one, moved in zip(pixels, found, strict=True):
        image = picture(one)
        image = image.transform(image.size, Image.Transform.AFFINE, matrix, resample=BILINEAR)
        assert torch.equal(moved, pixels_of(image))


@pytest.mark.parametrize("degrees", [90, 180, 270, -90, 360, 45, 135])
def test_large_turns(degrees: int) -> None:
    pixels, value = patches("photograph"), torch.full((40,), float(degrees))
    found = run("Rotate", pixels, value)
    assert torch.equal(found, by_pillow("Rotate", pixels, value))
    if degrees == 90:
        assert torch.equal(found, pixels.rot90(1, (2, 3)))


@pytest.mark.parametrize("name", ["Contrast", "Color", "Brightness", "Sharpness"])
def test_factors_far_from_1_are_cut_off(name: str) -> None:
    pixels = patches("photograph")
    value = torch.linspace(0, 8, 40, dtype=torch.float64)
    assert torch.equal(run(name, pixels, value), by_pillow(name, pixels, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0.0) for name in GEOMETRIC),
        ("Solarize", 256.0),
        ("Posterize", 8.0),
        *((name, 1.0) for name in ("Contrast", "Color", "Brightness", "Sharpness")),
        ("Cutout", 0.0),
        ("SamplePairing", 0.0),
    ],
)
def test_where_an_operation_changes_nothing(name: str, value: float) -> None:
    pixels = patches("colour")
    size = torch.full((40,), value)
    assert torch.equal(run(name, pixels, size), pixels)
    if name in ("ShearX", "ShearY", "Rotate"):
        assert torch.equal(run(name, pixels, size, bilinear=True), pixels)


def test_two_inversions_and_a_flat_histogram() -> None:
    pixels = patches("colour")
    once = run("Invert", pixels, torch.zeros(40))
    assert torch.equal(run("Invert", once, torch.zeros(40)), pixels)
    assert torch.equal(run("Solarize", pixels, torch.zeros(40)), once)
    # Two of every value: equalized already.
    ramp = torch.arange(512).div(2, rounding_mode="floor").to(torch.uint8).view(1, 1, 16, 32)
    assert torch.equal(run("Equalize", ramp, torch.zeros(1)), ramp)
    assert torch.equal(run("AutoContrast", ramp, torch.zeros(1)), ramp)


def test_values_by_hand() -> None:
    def value(name: str, magnitude: int, sign: int = 1) -> float:
        op = torch.tensor([NAMES.index(name)])
        return float(value_of(op, torch.tensor([magnitude]), torch.tensor([sign])))

    assert value("ShearX", 9, -1) == pytest.approx(-0.3)
    assert value("TranslateY", 6) == pytest.approx(0.3)
    assert value("Rotate", 3, -1) == pytest.approx(-10)
    assert [value("Solarize", m, -1) for m in (0, 9)] == [0, 256]
    assert [int(value("Posterize", m)) for m in range(10)] == [4, 4, 4, 5, 5, 6, 6, 7, 7, 8]
    assert value("Color", 0, -1) == pytest.approx(0.1)
    assert value("Contrast", 9) == pytest.approx(1.9)
    assert value("Cutout", 9) == pytest.approx(0.2)
    assert value("SamplePairing", 9, -1) == pytest.approx(0.4)
    assert len(NAMES) == 16
    assert NAMES[-1] == "SamplePairing"
    assert [name for name in NAMES if OPERATIONS[name][2]] == list(GEOMETRIC)
    assert numbers_of(("Identity", "ShearX", "Cutout")).tolist() == [IDENTITY, 0, 14]


# --- operations that draw ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["photograph", "grey"])
def test_cutout_is_the_rectangle_that_pillow_draws(kind: str) -> None:
    pixels, value = patches(kind), spread("Cutout")
    h, w = pixels.shape[2:]
    found = run("Cutout", pixels, value)
    middle = Stream(0).uniform(torch.empty(40, 2)).double()
    for one, size, (down, right), cut in zip(
        pixels, value.tolist(), middle.tolist(), found, strict=True
    ):
        image = picture(one)
        side = size * w
        left, top = (
            int(max(0, right * w - side / 2)),
            int(max(0, down * h - side / 2)),
        )
        if size > 0:
            corners = (left, top, min(w, left + side), min(h, top + side))
            colour = (125, 123, 114) if len(one) == 3 else 123
            ImageDraw.Draw(image).rectangle(corners, fill=colour)
        assert torch.equal(cut, pixels_of(image))


def test_sample_pairing_blends_with_another_image() -> None:
    pixels, value = patches("photograph"), spread("SamplePairing")
    found = run("SamplePairing", pixels, value)
    partner = (Stream(0).uniform(torch.empty(40)) * 40).long().tolist()
    assert len(set(partner)) > 15
    for one, other, size, mixed in zip(pixels, partner, value.tolist(), found, strict=True):
        wanted = Image.blend(picture(one), picture(pixels[other]), size)
        assert torch.equal(mixed, pixels_of(wanted))


def test_what_an_image_draws_does_not_depend_on_the_others() -> None:
    x = patches("photograph").float() / 255
    op = torch.randint(0, 15, (40,), generator=seeded(4))
    value = value_of(op, torch.full((40,), 9), torch.ones(40))

    def found(op: Tensor) -> Tensor:
        draws = ExampleStreams(5, torch.arange(40))
        first = apply(x, op, value, draws)
        return apply(first, torch.full((40,), 14), torch.full((40,), 0.3), draws)

    whole, rows = found(op), torch.arange(40) % 3 == 0
    other = found(torch.where(rows, op, IDENTITY))
    assert torch.equal(whole[rows], other[rows])


# --- many operations at once ------------------------------------------------------------------


def test_every_image_has_its_own_operation() -> None:
    pixels = patches("photograph")
    op = torch.randint(0, 14, (40,), generator=seeded(7))
    op[::9] = IDENTITY
    value = value_of(op, torch.arange(40) % 10, torch.where(torch.arange(40) % 2 == 0, 1, -1))
    found = apply_to_bytes(pixels, op, value, Stream(0))
    for i, number in enumerate(op.tolist()):
        alone = pixels[i : i + 1]
        if number != IDENTITY:
            alone = by_pillow(NAMES[number], alone, value[i : i + 1])
        assert torch.equal(found[i : i + 1], alone)


@pytest.mark.parametrize("name", ["Rotate", "Equalize"])
def test_many_images_of_one_operation(name: str) -> None:
    pixels = patches("photograph").repeat(4, 1, 1, 1)
    assert pixels.numel() > 2 * _CACHED
    value = spread(name, len(pixels))
    assert torch.equal(run(name, pixels, value), by_pillow(name, pixels, value))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_are_rounded_and_cut_off_first(dtype: torch.dtype) -> None:
    pixels = patches("colour")
    op = torch.arange(40) % 17
    value = value_of(op, torch.full((40,), 4), torch.ones(40))
    # Pixels of 0 and 255 go beyond the box.
    x = pixels.to(dtype) / 255 + (torch.rand(pixels.shape, generator=seeded()) - 0.5) * 0.003
    given = x.clone()
    found = apply(x, op, value, Stream(1))
    wanted = apply_to_bytes(pixels, op, value, Stream(1)).to(dtype) / 255
    assert torch.equal(found, wanted)
    assert torch.equal(x, given)
    assert x.min() < 0
    assert x.max() > 1


def test_nothing_waits_but_for_the_numbers_of_the_operations() -> None:
    pixels = patches("colour")
    op = torch.arange(40) % 17
    value = value_of(op, torch.full((40,), 4), torch.ones(40))
    with NoSync() as watch:
        apply_to_bytes(pixels, op, value, Stream(0))
    assert watch.count > 100


@pytest.mark.parametrize("shape", [(2, 9, 9), (4, 9, 9), (3, 30)])
def test_other_inputs_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError) as caught:
        fits("AugMix", torch.zeros(1, *shape))
    assert "AugMix needs images" in str(caught.value)
    assert f"found inputs of shape {shape}" in str(caught.value)
