"""Batched augmentations of images against loops over single images with the same draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import functional as T

from trainables.core import catalog
from trainables.core.augmentations import _mixing
from trainables.core.batch import Batch
from trainables.core.errors import SettingError
from trainables.core.randomness import ExampleStreams, Stream
from trainables.core.tasks import Classification
from trainables.core.views import Augmented, describe

from ..contracts.toys import seeded, toy
from .test_objective import NoSync

IMAGES = ["RandomCrop", "RandomFlip", "Cutout", "CutMix"]
ALL = [*IMAGES, "Mixup", "Compose"]


def made(name: str, **settings: Any) -> Any:
    return catalog.build("augmentations", {"name": name} | settings, outputs=4)


def batch(n: int = 12, shape: tuple[int, ...] = (3, 9, 7)) -> tuple[Tensor, Tensor]:
    """Images without a zero or two equal pixels, and classes."""
    return 0.1 + torch.rand(n, *shape, generator=seeded(5)), torch.arange(n) % 4


def drawn(*shape: int, seed: int = 3) -> Tensor:
    """The first numbers of the stream that the tests hand to an augmentation."""
    return Stream(seed).uniform(torch.empty(shape))


# --- against loops ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("padding", "fill"),
    [(0, "zero"), (1, "zero"), (4, "zero"), (10, "zero"), (0, "reflect"), (6, "reflect")],
)
def test_crops_are_those_of_torchvision(padding: int, fill: str) -> None:
    x, y = batch(40)
    found, same = made("RandomCrop", padding=padding, fill=fill)(x, y, Stream(3))
    start = (drawn(40, 2) * (2 * padding + 1)).long()
    mode = "constant" if fill == "zero" else "reflect"
    for image, (top, left), cropped in zip(x, start.tolist(), found, strict=True):
        padded = T.pad(image, [padding], padding_mode=mode)
        assert torch.equal(T.crop(padded, top, left, 9, 7), cropped)
    assert same is y
    assert found.is_contiguous()


def test_every_shift_is_equally_likely_and_rows_and_columns_are_independent() -> None:
    x = torch.arange(1.0, 26.0).view(1, 1, 5, 5).expand(9000, 1, 5, 5)
    found, _ = made("RandomCrop", padding=1)(x, torch.zeros(9000), Stream(0))
    # The middle pixel says which of the nine crops it is.
    counts = found[:, 0, 2, 2].long().bincount(minlength=26)
    counts = counts[counts > 0]
    assert len(counts) == 9
    assert stats.chisquare(counts.numpy()).pvalue > 0.001


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flips_are_those_of_torchvision(p: float) -> None:
    x, y = batch(40)
    found, same = made("RandomFlip", p=p)(x, y, Stream(3))
    for image, chance, flipped in zip(x, drawn(40), found, strict=True):
        assert torch.equal(T.hflip(image) if chance < p else image, flipped)
    assert same is y


@pytest.mark.parametrize("size", [0, 1, 2, 3, 6, 40])
@pytest.mark.parametrize("fill", [0.0, [0.5, -1.0, "3/255"]])
def test_cutout_is_that_of_a_loop(size: int, fill: Any) -> None:
    x, y = batch(40)
    found, same = made("Cutout", size=size, fill=fill)(x, y, Stream(3))
    middle = (drawn(40, 2) * torch.tensor([9, 7])).long()
    colour = torch.tensor([0.5, -1.0, 3 / 255] if fill else [0.0] * 3)
    for image, (row, column), left in zip(x, middle.tolist(), found, strict=True):
        top, first = row - size // 2, column - size // 2
        expected = image.clone()
        expected[:, max(0, top) : max(0, top + size), max(0, first) : max(0, first + size)] = (
            colour.view(3, 1, 1)
        )
        assert torch.equal(expected, left)
    assert same is y


def test_cutout_removes_less_at_the_border() -> None:
    x = torch.ones(2000, 1, 8, 8)
    found, _ = made("Cutout", size=4)(x, torch.zeros(2000), Stream(0))
    missing = (found == 0).sum((1, 2, 3))
    # Rows 0 to 7 lose 2, 3, 4, 4, 4, 4, 4, 3 of 4.
    assert set(missing.tolist()) == {4, 6, 8, 9, 12, 16}
    assert missing.double().mean() == pytest.approx((28 / 8) ** 2, rel=0.02)


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_mixup_is_that_of_a_loop(per: str) -> None:
    x, y = batch()
    found, labels = made("Mixup", alpha=0.7, per=per)(x, y, Stream(3))
    stream = Stream(3)
    partner = _mixing.partners(x, stream)
    share = _mixing.shares(torch.tensor(0.7), x, stream, per).expand(12)
    one_hot = F.one_hot(y, 4).float()
    for i in range(12):
        j, lam = int(partner[i]), float(share[i])
        torch.testing.assert_close(found[i], lam * x[i] + (1 - lam) * x[j])
        torch.testing.assert_close(labels[i], lam * one_hot[i] + (1 - lam) * one_hot[j])
    assert len(set(share.tolist())) == (1 if per == "batch" else 12)
    assert sorted(partner.tolist()) == list(range(12))
    torch.testing.assert_close(labels.sum(1), torch.ones(12))


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_cutmix_counts_the_pixels_that_it_pasted(per: str) -> None:
    x, y = batch(16)
    found, labels = made("CutMix", per=per)(x, y, Stream(3))
    stream = Stream(3)
    partner = _mixing.partners(x, stream)
    share = _mixing.shares(torch.tensor(1.0), x, stream, per).expand(16)
    places = stream.uniform(torch.empty(1 if per == "batch" else 16, 3)).expand(16, 3)
    one_hot = F.one_hot(y, 4).float()
    for i, j in enumerate(partner.tolist()):
        height = int(9 * (1 - share[i]).sqrt())
        width = int(7 * (1 - share[i]).sqrt())
        row, column = int(places[i, 0] * 9), int(places[i, 1] * 7)
        expected, own = x[i].clone(), torch.ones(9, 7)
        for r in range(max(0, row - height // 2), min(9, row - height // 2 + height)):
            for c in range(max(0, column - width // 2), min(7, column - width // 2 + width)):
                expected[:, r, c] = x[j, :, r, c]
                own[r, c] = 0
        assert torch.equal(found[i], expected)
        area = float(own.mean())
        torch.testing.assert_close(labels[i], area * one_hot[i] + (1 - area) * one_hot[j])


def test_cutmix_mixes_with_probability_p() -> None:
    x, y = batch(400, (1, 6, 6))
    never, labels = made("CutMix", p=0)(x, y, Stream(0))
    assert torch.equal(never, x)
    assert torch.equal(labels, F.one_hot(y, 4).float())
    sometimes, _ = made("CutMix", p=0.25, alpha=1000, per="sample")(x, y, Stream(0))
    changed = (sometimes != x).flatten(1).any(1).double().mean()
    # alpha 1000: always about half the area. An image changes unless it is its own partner.
    assert changed == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 400) ** 0.5)


# --- shares and targets -----------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2, 0.5, 1.0, 3.0, 40.0])
def test_shares_follow_a_beta_law(alpha: float) -> None:
    x = torch.empty(20000, 1)
    found = _mixing.shares(torch.tensor(alpha), x, Stream(11), "sample").double().numpy()
    assert ((found >= 0) & (found <= 1)).all()
    # float32 has no numbers next to 1, so each half is looked at from its own end, 0 or 1.
    lower = found[found < 0.5]
    assert stats.binomtest(len(lower), 20000).pvalue > 0.001
    if alpha < 0.01:
        # P(share < e^-95 | share < 1/2) is about e^-0.095; the smallest float is e^-87 to e^-103.
        assert (lower == 0).mean() == pytest.approx(0.91, abs=0.02)
        return
    law = stats.beta(alpha, alpha)
    assert stats.kstest(lower, lambda value: law.cdf(value) / 0.5).pvalue > 0.001


def test_mixup_with_the_least_alpha_is_nearly_no_mixup() -> None:
    x, y = batch(200)
    found, labels = made("Mixup", alpha=0.001, per="sample")(x, y, Stream(2))
    pure = labels.max(1).values
    assert (pure > 0.999).double().mean() > 0.97
    assert torch.isfinite(found).all()


def test_targets_of_every_kind_are_mixed() -> None:
    x, y = batch(6)
    mixed = made("Mixup", alpha=5.0)
    probabilities = torch.softmax(torch.randn(6, 4, generator=seeded()), 1)
    values = torch.randn(6, generator=seeded(1))
    partner = _mixing.partners(x, stream := Stream(3))
    lam = _mixing.shares(torch.tensor(5.0), x, stream, "batch")
    for given in (probabilities, values):
        _, found = mixed(x, given, Stream(3))
        torch.testing.assert_close(found, lam * given + (1 - lam) * given[partner])
    one_hot = F.one_hot(y, 4).float()
    from_numbers = mixed(x, y, Stream(3))[1]
    assert torch.equal(from_numbers, mixed(x, one_hot, Stream(3))[1])
    with pytest.raises(SettingError, match=r"targets of shape \(3, 5\)"):
        mixed(x, torch.zeros(6, 3, 5), Stream(3))


def test_series_can_be_mixed_up() -> None:
    x = torch.randn(5, 2, 30, generator=seeded())
    found, labels = made("Mixup")(x, torch.arange(5) % 4, Stream(0))
    assert found.shape == x.shape
    assert labels.shape == (5, 4)


# --- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_type_shape_and_input_are_kept_without_a_sync(name: str, dtype: torch.dtype) -> None:
    x, y = (one.to(dtype) if one.is_floating_point() else one for one in batch())
    before, augmentation, stream = x.clone(), made(name), Stream(0)
    with NoSync() as watch:
        found, _ = augmentation(x, y, stream)
    assert watch.count > 0
    assert (found.shape, found.dtype) == (x.shape, dtype)
    assert torch.equal(x, before)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", ["RandomCrop", "RandomFlip", "Cutout", "Compose"])
def test_examples_are_drawn_one_by_one(name: str) -> None:
    # With streams of their own, rows do not depend on what else is in the batch.
    x, y = batch(6)
    augmentation = made(name)
    whole, _ = augmentation(x, y, ExampleStreams(1, torch.arange(6)))
    rest, _ = augmentation(x[2:], y[2:], ExampleStreams(1, torch.arange(2, 6)))
    assert torch.equal(whole[2:], rest)


@pytest.mark.parametrize("name", ["Mixup", "CutMix"])
@pytest.mark.parametrize("per", ["batch", "sample"])
def test_mixing_runs_with_streams_of_examples_and_alone(name: str, per: str) -> None:
    x, y = batch(6)
    augmentation = made(name, per=per)
    found, labels = augmentation(x, y, ExampleStreams(1, torch.arange(6)))
    assert (found.shape, labels.shape) == (x.shape, (6, 4))
    # The only partner of a batch of one is itself.
    alone, label = augmentation(x[:1], y[:1], Stream(0))
    torch.testing.assert_close(alone, x[:1])
    torch.testing.assert_close(label, F.one_hot(y[:1], 4).float())
    assert augmentation.mixes


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_needed(name: str) -> None:
    with pytest.raises(SettingError, match=rf"{name} needs images .* found .* \(2, 30\)"):
        made(name)(torch.zeros(4, 2, 30), torch.zeros(4), Stream(0))


def test_a_view_of_them_is_outside_any_graph() -> None:
    x, y = batch()
    x.requires_grad_()
    model = toy((3, 9, 7), 4)
    for name in ALL:
        view = Augmented(made(name))
        assert not view(model, Batch(x, y), Classification(), Stream(0)).x.requires_grad


# --- chains -----------------------------------------------------------------------------------


def test_a_chain_applies_its_parts_in_order() -> None:
    x, y = batch()
    configs = [
        {"name": "crop_2"},
        "flip",
        {"name": "Cutout", "size": 3},
        {"name": "Mixup", "alpha": 2},
    ]
    chain = made("Compose", chain=configs)
    found, labels = chain(x, y, Stream(3))
    expected, targets, stream = x, y, Stream(3)
    parts: list[nn.Module] = [
        made("RandomCrop", padding=2),
        made("RandomFlip"),
        made("Cutout", size=3),
        made("Mixup", alpha=2),
    ]
    for part in parts:
        expected, targets = part(expected, targets, stream)
    assert torch.equal(found, expected)
    assert torch.equal(labels, targets)
    assert chain.mixes
    assert not made("Compose").mixes
    assert describe(Augmented(chain))["name"] == "crop_2+flip_0.5+cutout_3+mixup_2"


def test_a_chain_of_two_mixtures_keeps_probabilities() -> None:
    x, y = batch()
    _, labels = made("Compose", chain=["Mixup", "CutMix"])(x, y, Stream(3))
    torch.testing.assert_close(labels.sum(1), torch.ones(12))
    assert (labels >= 0).all()


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("RandomCrop", {"padding": -1}, ["padding must be at least 0", "-1"]),
        ("RandomCrop", {"padding": 1.5}, ["padding must be a whole number", "1.5"]),
        ("RandomCrop", {"fill": "reflct"}, ["fill cannot be 'reflct'", "'reflect'"]),
        ("RandomFlip", {"p": 1.1}, ["p must be at most 1", "1.1"]),
        ("Cutout", {"size": -2}, ["size must be at least 0", "-2"]),
        ("Cutout", {"fill": []}, ["fill must be a number or a list", "[]"]),
        ("Cutout", {"fill": [0, "x"]}, ["fill must be a number", "'x'"]),
        ("Mixup", {"alpha": 0}, ["alpha must be at least 0.001", "0"]),
        ("Mixup", {"per": "samples"}, ["per cannot be 'samples'", "'sample'"]),
        ("CutMix", {"p": -0.1}, ["p must be at least 0", "-0.1"]),
        ("CutMix", {"alpha": "much"}, ["alpha must be a number", "'much'"]),
        ("Compose", {"chain": []}, ["chain must list at least one", "[]"]),
        ("Compose", {"chain": "RandomCrop"}, ["chain must be a list", "'RandomCrop'"]),
        ("Compose", {"chain": ["RandomFlip", "PGD"]}, ["chain/1", "Unknown augmentation 'PGD'"]),
        (
            "Compose",
            {"chain": [{"name": "flip", "q": 1}]},
            ["chain/0", "no setting 'q'", "Known: p"],
        ),
    ],
)
def test_wrong_settings_are_named(name: str, settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        made(name, **settings)
    for word in words:
        assert word in str(caught.value)


def test_what_does_not_fit_the_images_is_named() -> None:
    x, y = batch()
    with pytest.raises(SettingError, match="one for each of the 3 channels, found 2"):
        made("Cutout", fill=[0, 1])(x, y, Stream(0))
    with pytest.raises(SettingError, match="found padding 7 and images of 9 x 7"):
        made("RandomCrop", padding=7, fill="reflect")(x, y, Stream(0))
