"""Augmentations of time series against exact small cases, their statistics and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog
from trainables.core.errors import SettingError
from trainables.core.randomness import ExampleStreams, Stream

NAMES = ["MaskValues", "Scaling", "TimeShift", "WindowSlice"]
SERIES_ONLY = ["MaskValues", "TimeShift", "WindowSlice"]


class Given:
    """Uniform numbers from a list, one tensor per draw, spread over the shape that is asked for."""

    def __init__(self, *uniform: Any) -> None:
        self.numbers = list(uniform)

    def uniform(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.numbers.pop(0), dtype=like.dtype).expand(like.shape)

    def normal(self, like: Tensor, *, extra: int = 0) -> Tensor:
        return self.uniform(like)


def augmentation(name: str, **settings: Any) -> nn.Module:
    found: nn.Module = catalog.build("augmentations", {"name": name} | settings)
    return found


def seen(view: nn.Module, x: Tensor, draws: Any = None) -> Tensor:
    y = torch.arange(len(x))
    found, targets = view(x, y, draws or Stream(0))
    assert torch.equal(targets, torch.arange(len(x)))
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    return found


def ramp(n: int = 1, channels: int = 1, t: int = 10) -> Tensor:
    """Channel c of every example is 100 c + 0, 1, ..., t - 1."""
    return (torch.arange(t) + 100.0 * torch.arange(channels)[:, None]).expand(n, -1, -1)


# --- all --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_split_is_irrelevant_and_input_untouched(name: str, dtype: torch.dtype) -> None:
    x = torch.randn(7, 3, 20, generator=torch.Generator().manual_seed(1), dtype=dtype)
    given, index, view = x.clone(), torch.arange(7), augmentation(name)
    whole = seen(view, x, ExampleStreams(3, index))
    parts = [
        seen(view, rows, ExampleStreams(3, numbers))
        for rows, numbers in zip(x.split([2, 5]), index.split([2, 5]), strict=True)
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(x, given)
    assert not torch.equal(whole, x)


@pytest.mark.parametrize("name", SERIES_ONLY)
def test_images_are_refused(name: str) -> None:
    message = rf"{name} needs series \(c, t\), found inputs of shape \(3, 8, 9\)"
    with pytest.raises(SettingError, match=message):
        seen(augmentation(name), torch.zeros(2, 3, 8, 9))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Scaling", {"sigma": 0}),
        ("TimeShift", {"share": 0}),
        ("TimeShift", {"share": 0, "fill": "roll"}),
        ("WindowSlice", {"share": 1}),
        ("MaskValues", {"share": 0}),
    ],
)
def test_identity_in_the_limit(name: str, settings: dict[str, Any]) -> None:
    x = torch.randn(5, 2, 33, generator=torch.Generator().manual_seed(1))
    assert torch.equal(seen(augmentation(name, **settings), x), x)


@pytest.mark.parametrize("name", NAMES)
def test_a_single_step_is_no_error(name: str) -> None:
    assert torch.isfinite(seen(augmentation(name), torch.ones(4, 2, 1))).all()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Scaling", {"sigma": -1}, "sigma must be at least 0, found -1"),
        ("TimeShift", {"share": 1.5}, "share must be at most 1, found 1.5"),
        ("TimeShift", {"fill": "rol"}, "Did you mean 'roll'"),
        ("WindowSlice", {"share": 0}, "share must be above 0, found 0"),
        ("MaskValues", {"share": 2}, "share must be at most 1, found 2"),
        ("MaskValues", {"length": 0.5}, "length must be at least 1, found 0.5"),
        ("MaskValues", {"fill": "zero"}, "fill must be a number"),
        ("MaskValues", {"channels": "all"}, "channels cannot be 'all'"),
    ],
)
def test_refusals(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        augmentation(name, **settings)


# --- scaling ----------------------------------------------------------------------------------


def test_scaling_has_one_factor_per_example_and_channel() -> None:
    x = torch.full((2000, 2, 3), 5.0)
    factors = seen(augmentation("Scaling", sigma=0.2), x) / 5
    assert torch.equal(factors, factors[:, :, :1].expand_as(x))
    factors = factors[:, :, 0]
    # Four standard errors of 4000 draws.
    assert abs(float(factors.mean()) - 1) < 4 * 0.2 / math.sqrt(4000)
    assert abs(float(factors.std()) - 0.2) < 4 * 0.2 / math.sqrt(2 * 4000)
    assert abs(float(torch.corrcoef(factors.T)[0, 1])) < 4 / math.sqrt(2000)


def test_scaling_of_images_is_per_channel_too() -> None:
    x = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(1)) + 1
    factors = seen(augmentation("Scaling"), x) / x
    torch.testing.assert_close(factors, factors[:, :, :1, :1].expand_as(x))
    assert len(factors[:, :, 0, 0].unique()) == 6


def test_scaling_by_hand() -> None:
    found = seen(augmentation("Scaling", sigma=0.5), ramp(t=3), Given(-1.0))
    assert found.tolist() == [[[0.0, 0.5, 1.0]]]


# --- shift in time ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fill", "uniform", "expected"),
    [
        # share 0.4 of 5 steps: 5 shifts from -2 to 2, each for a fifth of [0, 1).
        ("edge", 0.0, [2, 3, 4, 4, 4]),
        ("edge", 0.5, [0, 1, 2, 3, 4]),
        ("edge", 0.999, [0, 0, 0, 1, 2]),
        ("roll", 0.0, [2, 3, 4, 0, 1]),
        ("roll", 0.79, [4, 0, 1, 2, 3]),
        ("roll", 0.81, [3, 4, 0, 1, 2]),
    ],
)
def test_shift_by_hand(fill: str, uniform: float, expected: list[float]) -> None:
    view = augmentation("TimeShift", share=0.4, fill=fill)
    assert seen(view, ramp(t=5), Given(uniform)).tolist() == [[expected]]


def test_shift_is_uniform_and_the_same_for_all_channels() -> None:
    view = augmentation("TimeShift", share=0.2, fill="roll")
    found = seen(view, ramp(5000, 2, 10))
    assert torch.equal(found[:, 1], found[:, 0] + 100)
    starts, counts = found[:, 0, 0].unique(return_counts=True)
    assert starts.tolist() == [0, 1, 2, 8, 9]
    assert (counts - 1000).abs().max() < 4 * math.sqrt(5000 * 0.2 * 0.8)


@pytest.mark.parametrize(("share", "t", "most"), [(0.29, 100, 29), (0.1, 24, 2), (0.01, 24, 0)])
def test_most_steps_of_a_shift(share: float, t: int, most: int) -> None:
    view = augmentation("TimeShift", share=share)
    for uniform, shift in ((0.0, -most), (1 - 2**-24, most)):
        middle = seen(view, ramp(t=t), Given(uniform))[0, 0, t // 2]
        assert float(middle) == t // 2 - shift


# --- window -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("uniform", [0.0, 0.3, 0.999999])
def test_window_equals_interpolation_by_numpy(share: float, uniform: float) -> None:
    x = torch.randn(1, 2, 21, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = seen(augmentation("WindowSlice", share=share), x, Given(uniform))
    share = float(torch.tensor(share))
    places = uniform * (1 - share) * 20 + share * np.arange(21)
    expected = np.stack([np.interp(places, np.arange(21), one) for one in x[0].numpy()])
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_window_of_a_ramp_is_a_flatter_ramp_anywhere_inside() -> None:
    found = seen(augmentation("WindowSlice", share=0.5), ramp(4000, 2, 11))
    torch.testing.assert_close(found[:, 1], found[:, 0] + 100, rtol=0, atol=1e-4)
    slopes = found[:, 0].diff(dim=1)
    torch.testing.assert_close(slopes, torch.full_like(slopes, 0.5), rtol=0, atol=1e-4)
    starts = found[:, 0, 0]
    assert float(starts.min()) >= 0
    assert float(found.amax()) <= 110
    # Uniform on [0, 5]: mean 2.5, deviation 5 / sqrt(12).
    assert abs(float(starts.mean()) - 2.5) < 4 * 5 / math.sqrt(12 * 4000)
    assert abs(float(starts.std()) - 5 / math.sqrt(12)) < 0.05


# --- masks ------------------------------------------------------------------------------------


def runs(mask: Tensor) -> Tensor:
    """The lengths of the masked segments in rows [n, t], those at the borders left out."""
    lengths = []
    for row in mask.numpy():
        edges = np.flatnonzero(np.diff(row.astype(int)))
        whole = np.diff(edges)
        first_is_masked = bool(row[edges[0] + 1]) if len(edges) else False
        lengths.append(whole[0 if first_is_masked else 1 :: 2])
    return torch.from_numpy(np.concatenate(lengths)).double()


@pytest.mark.parametrize(
    ("share", "length", "expected"),
    [(0.15, 3.0, 3.0), (0.4, 8.0, 8.0), (0.15, 1.0, 1 / 0.85), (0.5, 1.0, 2.0), (0.5, 2.0, 2.0)],
)
def test_share_and_mean_length_of_masked_segments(
    share: float, length: float, expected: float
) -> None:
    view = augmentation("MaskValues", share=share, length=length)
    mask = seen(view, torch.ones(40, 1, 5000))[:, 0] == 0
    # Neighbours hang together: the number of independent draws is about 200,000 / (2 length).
    spread = math.sqrt(share * (1 - share) * 2 * expected / 200_000)
    assert abs(float(mask.double().mean()) - share) < 4 * spread
    found = runs(mask)
    deviation = math.sqrt(expected * (expected - 1))
    assert abs(float(found.mean()) - expected) < 4 * deviation / math.sqrt(len(found))
    # A geometric law: P(length 1) = 1 / mean.
    p = 1 / expected
    ones = float((found == 1).double().mean())
    assert abs(ones - p) < 4 * math.sqrt(p * (1 - p) / len(found))


def test_first_steps_are_masked_as_often_as_others() -> None:
    view = augmentation("MaskValues", share=0.3, length=5)
    mask = seen(view, torch.ones(8000, 1, 6)) == 0
    spread = 4 * math.sqrt(0.3 * 0.7 / 8000)
    assert ((mask.double().mean(0) - 0.3).abs() < spread).all()


def test_mask_by_hand() -> None:
    # share 1/2 and length 4: a state is kept with probability 1 - 1 / (4 / 2) = 1/2. Fresh are
    # steps 0 (always), 2, 3 and 5; they are masked where the second draw is below 1/2.
    fresh = [0.1, 0.4, 0.5, 0.9, 0.1, 0.7]
    state = [0.2, 0.9, 0.8, 0.1, 0.9, 0.6]
    view = augmentation("MaskValues", share=0.5, length=4, fill=-1)
    assert seen(view, ramp(t=6), Given(fresh, state)).tolist() == [[[-1, -1, 2, -1, -1, 5]]]


def test_masks_of_channels() -> None:
    x = torch.ones(50, 2, 100)
    apart = seen(augmentation("MaskValues"), x) == 0
    together = seen(augmentation("MaskValues", channels="together"), x) == 0
    assert torch.equal(together[:, 0], together[:, 1])
    assert int(together.sum()) > 0
    assert not torch.equal(apart[:, 0], apart[:, 1])
    assert not torch.equal(apart[0], apart[1])


def test_all_is_masked_with_share_1_and_the_rest_is_kept() -> None:
    x = torch.randn(3, 2, 40, generator=torch.Generator().manual_seed(1))
    assert (seen(augmentation("MaskValues", share=1), x) == 0).all()
    found = seen(augmentation("MaskValues", share=0.5), x)
    assert torch.equal(found[found != 0], x[found != 0])
