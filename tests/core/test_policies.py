"""Fixed augmentation policies against torchvision's operations and loops over single images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import autoaugment
from torchvision.transforms.functional import InterpolationMode, pil_to_tensor, to_pil_image

from trainables.core import catalog
from trainables.core.augmentations import auto_augment
from trainables.core.augmentations._bins import FOURTEEN, bins
from trainables.core.augmentations._operations import apply_to_bytes, numbers_of
from trainables.core.batch import Batch
from trainables.core.errors import SettingError
from trainables.core.facts import Facts
from trainables.core.randomness import ExampleStreams, Stream
from trainables.core.tasks import Classification
from trainables.core.views import Augmented, View, describe, fits_boxes, judgeable, make

from ..contracts.toys import toy
from .test_objective import NoSync
from .test_operations import BILINEAR, by_pillow, patches

POLICIES = ["AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix"]
# (bin, sign) -> magnitude, as torchvision's loop over one image finds it.
Magnitude = Callable[[str, int, int], float]


def made(name: str, **settings: Any) -> Any:
    return catalog.build("augmentations", {"name": name} | settings)


def images(n: int = 40, kind: str = "photograph") -> tuple[Tensor, Tensor]:
    pixels = patches(kind)
    return pixels.repeat(-(-n // len(pixels)), 1, 1, 1)[:n].float() / 255, torch.arange(n)


def drawn(*shape: int, seed: int = 3) -> Tensor:
    """The first numbers of the stream that the tests hand to a policy."""
    return Stream(seed).uniform(torch.empty(shape))


def bytes_of(x: Tensor) -> Tensor:
    return (x * 255).round().to(torch.uint8)


def space(count: int, h: int, w: int, wide: bool) -> dict[str, tuple[Tensor, bool]]:
    """torchvision's ranges; RandAugment's, AutoAugment's and Invert, or the wide ones."""
    found: dict[str, tuple[Tensor, bool]]
    if wide:
        found = autoaugment.TrivialAugmentWide()._augmentation_space(count)
    else:
        found = autoaugment.AutoAugment()._augmentation_space(count, (h, w))
    return found | {"Identity": (torch.tensor(0.0), False)}


def by_torchvision(
    image: Tensor, name: str, bin_: int, sign: int, count: int, wide: bool
) -> Tensor:
    """One operation of torchvision on one image of uint8, through Pillow."""
    sizes, signed = space(count, *image.shape[1:], wide)[name]
    magnitude = float(sizes[bin_]) if sizes.dim() else 0.0
    if signed and sign:
        magnitude = -magnitude
    found = autoaugment._apply_op(
        to_pil_image(image), name, magnitude, InterpolationMode.NEAREST, None
    )
    return pil_to_tensor(found)


# --- against torchvision ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["photograph", "grey"])
@pytest.mark.parametrize(("count", "wide"), [(10, False), (31, False), (31, True)])
@pytest.mark.parametrize("name", [*FOURTEEN, "Invert"])
def test_every_bin_is_that_of_torchvision(name: str, count: int, wide: bool, kind: str) -> None:
    if wide and name == "Invert":
        return
    pixels = patches(kind)[: 2 * count][:40]
    turn = torch.arange(len(pixels))
    # The bins of both signs, evenly spaced where there are more than images.
    signs, places = turn % 2, (turn // 2 * 19 // 2) % count
    places[-2:] = count - 1
    op = numbers_of((name,)).expand(len(pixels))
    value = bins(count, *pixels.shape[2:], wide=wide)[signs, op, places]
    found = apply_to_bytes(pixels, op, value, Stream(0))
    for one, sign, bin_, moved in zip(pixels, signs.tolist(), places.tolist(), found, strict=True):
        assert torch.equal(moved, by_torchvision(one, name, bin_, sign, count, wide))


@pytest.mark.parametrize("policy", ["cifar10", "imagenet", "svhn"])
def test_the_found_policies_are_those_of_torchvision(policy: str) -> None:
    theirs = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy(policy)).policies
    ours = [
        tuple((name, float(p), int(m)) for name, p, m in (one.split() for one in row.split(" + ")))
        for row in auto_augment._POLICIES[policy]
    ]
    assert ours == [tuple((name, p, m or 0) for name, p, m in row) for row in theirs]
    assert len(ours) == 25


@pytest.mark.parametrize("policy", ["cifar10", "imagenet", "svhn"])
def test_autoaugment_is_a_loop_over_images(policy: str) -> None:
    x, y = images(120)
    found, same = made("AutoAugment", policy=policy)(x, y, Stream(3))
    numbers = drawn(120, 5)
    choices = (numbers[:, 0] * 25).long().tolist()
    applied = 0
    for image, row, chances, signs, got in zip(
        x,
        choices,
        numbers[:, 1:3].tolist(),
        (numbers[:, 3:] * 2).long().tolist(),
        found,
        strict=True,
    ):
        image = bytes_of(image)
        parts = auto_augment._POLICIES[policy][row].split(" + ")
        for part, chance, sign in zip(parts, chances, signs, strict=True):
            name, p, magnitude = part.split()
            if chance < float(p):
                applied += 1
                image = by_torchvision(image, name, int(magnitude), sign, 10, False)
        assert torch.equal(got, image.float() / 255)
    assert 60 < applied < 240
    assert same is y


@pytest.mark.parametrize(("count", "magnitude", "number"), [(2, 9, 31), (3, 10, 11), (1, 0, 2)])
def test_randaugment_is_a_loop_over_images(count: int, magnitude: int, number: int) -> None:
    x, y = images()
    view = made("RandAugment", count=count, magnitude=magnitude, bins=number)
    found, _ = view(x, y, Stream(3))
    numbers = drawn(40, count, 2)
    for image, row, got in zip(x, numbers, found, strict=True):
        image = bytes_of(image)
        for choice, sign in row.tolist():
            name = FOURTEEN[int(choice * 14)]
            image = by_torchvision(image, name, magnitude, int(sign * 2), number, False)
        assert torch.equal(got, image.float() / 255)


@pytest.mark.parametrize("number", [31, 5])
def test_trivialaugment_is_a_loop_over_images(number: int) -> None:
    x, y = images()
    found, _ = made("TrivialAugmentWide", bins=number)(x, y, Stream(3))
    for image, (choice, sign, place), got in zip(x, drawn(40, 3).tolist(), found, strict=True):
        name, bin_ = FOURTEEN[int(choice * 14)], int(place * number)
        wanted = by_torchvision(bytes_of(image), name, bin_, int(sign * 2), number, True)
        assert torch.equal(got, wanted.float() / 255)


# --- what is drawn ----------------------------------------------------------------------------


def outcomes(results: Tensor, found: Tensor) -> list[int]:
    """How many images of `found` equal each of the results, which must differ."""
    known = {bytes(bytes_of(one).numpy()): i for i, one in enumerate(results)}
    assert len(known) == len(results)
    counts = [0] * len(results)
    for one in found:
        counts[known[bytes(bytes_of(one).numpy())]] += 1
    return counts


def test_every_image_draws_its_operation_and_sign() -> None:
    n, (x, _) = 4200, images(1)
    view = made("RandAugment", count=1, magnitude=20)
    found, _ = view(x.expand(n, -1, -1, -1), torch.zeros(n), Stream(0))
    signed = FOURTEEN[1:10]
    choices = [(name, 0) for name in FOURTEEN] + [(name, 1) for name in signed]
    results = [by_torchvision(bytes_of(x[0]), *one, 31, False) for one in _with(choices, 20)]
    counts = outcomes(torch.stack(results).float() / 255, found)
    expected = [n / (28 if name in signed else 14) for name, _ in choices]
    assert stats.chisquare(counts, expected).pvalue > 0.001


def _with(choices: Sequence[tuple[str, int]], bin_: int) -> list[tuple[str, int, int]]:
    return [(name, bin_, sign) for name, sign in choices]


def test_trivialaugment_draws_all_magnitudes() -> None:
    n, (x, _) = 3000, images(1)
    view = made("TrivialAugmentWide", bins=3)
    found, _ = view(x.expand(n, -1, -1, -1), torch.zeros(n), Stream(1))
    rotated = [
        by_torchvision(bytes_of(x[0]), "Rotate", bin_, sign, 3, True)
        for bin_, sign in [(1, 0), (1, 1), (2, 0), (2, 1)]
    ]
    counts = [int((bytes_of(found) == one).flatten(1).all(1).sum()) for one in rotated]
    # One of 14 operations, 3 magnitudes and 2 signs.
    expected = n / 84
    assert (
        stats.chisquare([*counts, n - sum(counts)], [expected] * 4 + [n - 4 * expected])[1] > 1e-3
    )


def test_autoaugment_draws_all_subpolicies_with_their_probabilities() -> None:
    # Of all operations only Invert changes a black image, Solarize from 0 apart, which "cifar10"
    # has not; two of its sub-policies invert, with a probability of 0.1 each.
    n = 20000
    x = torch.zeros(n, 1, 4, 4)
    found, _ = made("AutoAugment")(x, torch.zeros(n), Stream(2))
    white = int((found > 0.5).flatten(1).all(1).sum())
    assert stats.binomtest(white, n, 2 * 0.1 / 25).pvalue > 0.001


# --- AugMix -----------------------------------------------------------------------------------


def mixed_by_hand(
    image: Tensor,
    numbers: list[float],
    names: Sequence[str],
    severity: float,
    chains: int,
    depth: int,
) -> Tensor:
    """AugMix of one image [c, h, w] from the numbers that it draws, in float64."""
    h, w = image.shape[1:]
    most = 3 if depth == -1 else depth
    share, rest = numbers[0], torch.tensor(numbers[1:], dtype=torch.float64).view(chains, -1)
    weights = -(1 - rest[:, 0]).log()
    total = torch.zeros_like(image, dtype=torch.float64)
    for weight, row in zip(weights / weights.sum(), rest.tolist(), strict=True):
        steps = int(row[1] * 3) + 1 if depth == -1 else depth
        pixels = bytes_of(image).unsqueeze(0)
        for turn in range(steps):
            choice, size, side = row[2 + 3 * turn : 5 + 3 * turn]
            name = names[int(choice * len(names))]
            level, sign = 0.1 + (severity - 0.1) * size, 2 * int(side * 2) - 1
            value: float = {
                "Rotate": sign * int(level * 30 / 10),
                "Posterize": 4 - int(level * 4 / 10),
                "Solarize": 256 - int(level * 256 / 10),
                "ShearX": sign * level * 0.3 / 10,
                "ShearY": sign * level * 0.3 / 10,
                "TranslateX": sign * int(level * (w / 3) / 10) / w,
                "TranslateY": sign * int(level * (h / 3) / 10) / h,
            }.get(name, level * 1.8 / 10 + 0.1)
            pixels = by_pillow(name, pixels, torch.tensor([value], dtype=torch.float64), BILINEAR)
        total += weight * pixels[0].double() / 255
        assert len(row) == 2 + 3 * most
    return (1 - share) * image.double() + share * total


NINE = (
    "AutoContrast",
    "Equalize",
    "Posterize",
    "Rotate",
    "Solarize",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "photograph"),
        ({"severity": 10, "chains": 2, "depth": 1}, "grey"),
        ({"severity": 1, "chains": 4, "depth": 4}, "digits"),
        ({"severity": 5, "chains": 1, "all_ops": True}, "photograph"),
    ],
)
def test_augmix_is_a_loop_over_images(settings: dict[str, Any], kind: str) -> None:
    x, y = images(40, kind)
    found, same = made("AugMix", **settings)(x, y, Stream(3))
    names = NINE + (("Color", "Contrast", "Brightness", "Sharpness") * settings.get("all_ops", 0))
    chains, depth = settings.get("chains", 3), settings.get("depth", -1)
    severity = settings.get("severity", 3)
    numbers = drawn(40, 1 + chains * (2 + 3 * (3 if depth == -1 else depth)))
    wanted = torch.stack(
        [
            mixed_by_hand(one, row, names, severity, chains, depth)
            for one, row in zip(x, numbers.tolist(), strict=True)
        ]
    )
    # A few pixels of a chain may be off by 1 of 255, which later operations may enlarge.
    apart = (found - wanted).abs() > 1e-6
    assert apart.double().mean() < 1e-3
    assert (found - x).abs().flatten(1).amax(1).gt(0.01).double().mean() > 0.5
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert same is y


def test_weights_of_augmix_are_dirichlet_and_beta() -> None:
    # The middle of a white image: Solarize makes it black, Posterize takes 15 or, from level 2.5
    # on, 31 of 255, all others leave it. Then 1 - x_mix = m sum_i w_i s_i with independent s_i.
    n = 20000
    x = torch.ones(n, 1, 5, 5)
    found, _ = made("AugMix", depth=1)(x, torch.zeros(n), Stream(5))
    lost = 1 - found[:, 0, 2, 2].double()
    few = 0.5 / 2.9
    first = (1 + (1 - few) * 15 / 255 + few * 31 / 255) / 9
    second = (1 + (1 - few) * (15 / 255) ** 2 + few * (31 / 255) ** 2) / 9
    # E m = 1/2, E m^2 = 1/3, and E sum_i w_i^2 = 1/2 for three weights (1/3 if they were equal).
    mean, square = first / 2, (0.5 * (second - first**2) + first**2) / 3
    assert abs(float(lost.mean()) - mean) < 4 * float(lost.std()) / n**0.5
    assert abs(float(lost.square().mean()) - square) < 4 * float(lost.square().std()) / n**0.5
    assert (
        abs(square - (second / 3 + 2 / 3 * first**2) / 3) > 10 * float(lost.square().std()) / n**0.5
    )


def test_one_chain_mixes_uniformly() -> None:
    n = 6000
    x = torch.ones(n, 1, 5, 5)
    found, _ = made("AugMix", chains=1, depth=1)(x, torch.zeros(n), Stream(6))
    # Below what Posterize leaves the operation was Solarize, and the pixel is 1 - m.
    dark = found[:, 0, 2, 2][found[:, 0, 2, 2] < 0.85]
    assert stats.binomtest(len(dark), n, 0.85 / 9).pvalue > 0.001
    assert stats.kstest(dark.double().numpy() / 0.85, "uniform").pvalue > 0.001


# --- as views ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POLICIES)
def test_split_of_a_batch_is_irrelevant_with_example_streams(name: str) -> None:
    x, y = images()
    view, index = made(name), torch.arange(40) + 7
    whole, _ = view(x, y, ExampleStreams(3, index))
    parts = [
        view(*both, ExampleStreams(3, numbers))[0]
        for *both, numbers in zip(x.split(13), y.split(13), index.split(13), strict=True)
    ]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("kind", ["photograph", "grey"])
def test_a_copy_differs_and_stays_in_the_box(name: str, kind: str) -> None:
    x, y = images(40, kind)
    found, _ = made(name)(x, y, Stream(0))
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert (found != x).flatten(1).any(1).double().mean() > 0.4
    again, _ = made(name)(x[:1].expand(40, -1, -1, -1), y, Stream(0))
    assert len(again.flatten(1).unique(dim=0)) > 10


@pytest.mark.parametrize("name", POLICIES)
def test_nothing_waits_but_for_the_numbers_of_the_operations(name: str) -> None:
    x, y = images()
    view, stream = made(name), Stream(0)
    with NoSync() as watch:
        view(x, y, stream)
    assert watch.count > 50


@pytest.mark.parametrize("name", POLICIES)
def test_a_view_of_pixels(name: str) -> None:
    view = Augmented(made(name))
    assert judgeable(view)
    with pytest.raises(SettingError, match="moves what is in an image"):
        fits_boxes(view)
    for shape in ((2, 8, 8), (1, 24)):
        batch = Batch(torch.zeros(3, *shape), torch.zeros(3, dtype=torch.int64))
        with pytest.raises(SettingError) as caught:
            view(toy(), batch, Classification(), Stream(0))
        assert f"{name} needs images" in str(caught.value)
        assert f"found inputs of shape {shape}" in str(caught.value)


@pytest.mark.parametrize(
    ("short", "name", "settings"),
    [
        ("autoaugment_svhn", "AutoAugment", {"policy": "svhn"}),
        ("randaugment_3_15", "RandAugment", {"count": 3, "magnitude": 15}),
        ("trivialaugment", "TrivialAugmentWide", {}),
        ("augmix_1", "AugMix", {"severity": 1.0}),
    ],
)
def test_short_forms(short: str, name: str, settings: dict[str, Any]) -> None:
    view: View = make(short, Facts(box=(0.0, 1.0)))
    assert type(view.component).__name__ == name
    assert {key: getattr(view.component, key) for key in settings} == settings
    assert describe(view)["name"] == short


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("AutoAugment", {"policy": "cifar"}, ["policy cannot be 'cifar'", "'cifar10'"]),
        ("RandAugment", {"count": 0}, ["count must be at least 1", "0"]),
        ("RandAugment", {"magnitude": 31}, ["magnitude must be below bins", "31, found 31"]),
        ("RandAugment", {"bins": 1, "magnitude": 0}, ["bins must be at least 2", "1"]),
        ("TrivialAugmentWide", {"bins": 2.5}, ["bins must be a whole number", "2.5"]),
        ("AugMix", {"severity": 0}, ["severity must be at least 0.1", "0"]),
        ("AugMix", {"severity": 11}, ["severity must be at most 10", "11"]),
        ("AugMix", {"chains": 0}, ["chains must be at least 1", "0"]),
        ("AugMix", {"depth": 0}, ["depth must be at least 1, or -1", "0"]),
        ("AugMix", {"depth": -2}, ["depth must be at least -1", "-2"]),
        ("AugMix", {"all_ops": 1}, ["all_ops must be true or false", "1"]),
    ],
)
def test_wrong_settings_are_named(name: str, settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        made(name, **settings)
    for word in words:
        assert word in str(caught.value)
