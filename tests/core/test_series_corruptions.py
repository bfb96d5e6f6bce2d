"""Corruptions of time series: closed forms, statistics, order of severities, units, streams."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from trainables.core import catalog
from trainables.core.augmentations.corruption import labels
from trainables.core.errors import SettingError
from trainables.core.randomness import ExampleStreams, Stream

from ..contracts.toys import seeded

SERIES = sorted(label for label, one in labels().items() if one.group == "series")
each = pytest.mark.parametrize("label", SERIES)
T = 60


def waves(n: int = 8, channels: int = 2, t: int = T) -> Tensor:
    """Two waves and some noise, on levels and scales that differ between channels."""
    time = torch.linspace(0, 1, t, dtype=torch.float64)
    phase = torch.rand(n, channels, 1, generator=seeded(1), dtype=torch.float64)
    found = (7 * time + 6 * phase).sin() + (23 * time + 9 * phase).sin() / 2
    found = found + 0.05 * torch.randn(n, channels, t, generator=seeded(2), dtype=torch.float64)
    scale = torch.tensor([3.0, 0.2], dtype=torch.float64)[:channels].view(1, -1, 1)
    return scale * found + 5 * scale


def corrupted(label: str, x: Tensor, severity: int, seed: int = 0) -> Tensor:
    found: Tensor = labels()[label]()(x, severity, Stream(seed))
    return found


def test_there_are_seven() -> None:
    assert SERIES == [
        "amplitude_scaling",
        "baseline_drift",
        "low_pass",
        "segment_dropout",
        "series_gaussian_noise",
        "series_impulse_noise",
        "time_warp",
    ]


@each
def test_severities_are_in_order(label: str) -> None:
    x = waves(200)
    spread = x.std(2, correction=0, keepdim=True)
    changes = []
    for severity in (1, 2, 3, 4, 5):
        found = corrupted(label, x, severity)
        assert found.shape == x.shape
        changes.append(float(((found - x) / spread).square().mean().sqrt()))
    assert changes == sorted(changes)
    assert 0.01 < changes[0] < 0.4
    assert 0.3 < changes[4] < 2


@each
def test_units_do_not_matter(label: str) -> None:
    x = waves()
    scale = torch.tensor([100.0, 0.01], dtype=torch.float64).view(1, 2, 1)
    level = torch.tensor([-3.0, 40.0], dtype=torch.float64).view(1, 2, 1)
    found = corrupted(label, scale * x + level, 4)
    torch.testing.assert_close(found, scale * corrupted(label, x, 4) + level)


@each
@pytest.mark.parametrize("sizes", [[8], [3, 5], [1] * 8])
def test_split_of_a_batch_is_irrelevant(label: str, sizes: list[int]) -> None:
    x, index = waves(), torch.arange(8)
    corrupt = labels()[label]()
    whole = corrupt(x, 3, ExampleStreams(4, index))
    parts = [
        corrupt(part, 3, ExampleStreams(4, numbers))
        for part, numbers in zip(x.split(sizes), index.split(sizes), strict=True)
    ]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert torch.equal(corrupt(x, 3, ExampleStreams(4, index)), whole)


@each
def test_draws_differ_between_examples_and_seeds(label: str) -> None:
    x = waves(1).expand(4, 2, T)
    found = corrupted(label, x, 4)
    # With two outcomes per channel four examples may agree pair by pair, but not all.
    random = label != "low_pass"
    assert (not torch.allclose(found[1:], found[:1].expand(3, 2, T))) == random
    assert (not torch.equal(corrupted(label, x, 4, seed=5), found)) == random


@each
@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 2, 2), (3, 1, 5)])
def test_short_and_constant_series_stay_finite(label: str, shape: tuple[int, ...]) -> None:
    short = corrupted(label, torch.randn(shape, generator=seeded()), 5)
    assert short.dtype == torch.float32
    assert torch.isfinite(short).all()
    constant = torch.full(shape, 2.5)
    torch.testing.assert_close(corrupted(label, constant, 5), constant)


@each
def test_input_is_left_alone(label: str) -> None:
    x = waves()
    given = x.clone()
    corrupted(label, x, 5)
    assert torch.equal(x, given)


@each
def test_what_is_no_series_is_refused(label: str) -> None:
    with pytest.raises(SettingError, match=r"needs series \(c, t\), found inputs of shape \(3, 8,"):
        corrupted(label, torch.rand(2, 3, 8, 8), 1)
    for severity in (0, 6, 2.5, True):
        with pytest.raises(SettingError, match="severity must be a whole number from 1 to 5"):
            corrupted(label, waves(), severity)  # type: ignore[arg-type]


@each
def test_is_a_view(label: str) -> None:
    view = catalog.build("augmentations", catalog.expand("views", f"{label}_2"))
    assert (view.family, view.short) == ("corruption", (f"{label}_2",))
    x, y = waves(), torch.arange(8)
    found, same = view(x, y, Stream(0))
    torch.testing.assert_close(found, corrupted(label, x, 2))
    assert same is y


# --- each by its definition -------------------------------------------------------------------


def test_gaussian_noise_has_its_deviation() -> None:
    x = waves(500)
    noise = (corrupted("series_gaussian_noise", x, 3) - x) / x.std(2, correction=0, keepdim=True)
    n = noise.numel()
    assert abs(float(noise.mean())) < 4 * 0.4 / n**0.5
    assert abs(float(noise.square().mean()) - 0.16) < 4 * 0.16 * (2 / n) ** 0.5


def test_impulses_are_as_many_as_said() -> None:
    x = waves(500)
    found = corrupted("series_impulse_noise", x, 4)
    level, spread = x.mean(2, keepdim=True), x.std(2, correction=0, keepdim=True)
    high, low = ((found - level - far * spread).abs() < 1e-9 for far in (3, -3))
    kept = found == x
    assert (high | low | kept).all()
    n = x.numel()
    for spikes in (high, low):
        assert abs(int(spikes.sum()) - 0.05 * n) < 4 * (0.05 * 0.95 * n) ** 0.5


def test_a_segment_of_its_length_is_the_mean() -> None:
    x = waves(300)
    starts = []
    for before, after in zip(x, corrupted("segment_dropout", x, 3), strict=True):
        lost = (before != after).all(0).nonzero().flatten()
        assert len(lost) == 12
        assert int(lost[-1] - lost[0]) == 11
        expected = before.mean(1, keepdim=True).expand(2, 12)
        torch.testing.assert_close(after[:, lost], expected)
        assert int((before != after).sum()) == 24
        starts.append(int(lost[0]))
    assert (min(starts), max(starts)) == (0, T - 12)


def test_drift_is_slow_and_of_its_size() -> None:
    x = waves(50)
    drift = corrupted("baseline_drift", x, 3) - x
    torch.testing.assert_close(drift.mean(2), torch.zeros(50, 2, dtype=torch.float64))
    torch.testing.assert_close(drift.std(2, correction=0), 0.6 * x.std(2, correction=0))
    # Three half waves at most: no more than 3 changes of sign, and steps of 3 pi / t at most.
    flips = (drift[:, :, 1:].sign() != drift[:, :, :-1].sign()).sum(2)
    assert int(flips.max()) <= 3
    time = torch.linspace(0, math.pi, T, dtype=torch.float64)
    basis = torch.stack([(k * time).cos() for k in (0, 1, 2, 3)], 1)
    rest = drift - drift @ basis @ torch.linalg.pinv(basis.T @ basis) @ basis.T
    assert float(rest.abs().max()) < 1e-9


def test_time_is_warped_between_fixed_ends() -> None:
    time = torch.arange(T, dtype=torch.float64)
    # A ramp shows the time that is read; the same ramp in two channels shows that they agree.
    x = torch.stack([time, 10 + 2 * time]).expand(100, 2, T)
    for severity, most in enumerate((0.1, 0.25, 0.4, 0.6, 0.8), start=1):
        found = corrupted("time_warp", x, severity)
        torch.testing.assert_close(found[:, 1], 10 + 2 * found[:, 0])
        torch.testing.assert_close(found[:, 0, 0], x[:, 0, 0])
        torch.testing.assert_close(found[:, 0, -1], x[:, 0, -1])
        speed = found[:, 0].diff()
        assert float(speed.min()) > 1 - most - 1e-9
        assert float(speed.max()) < 1 + most + 1e-9
        assert float((speed - 1).abs().max()) > most / 3


def test_gain_is_the_ratio_or_its_inverse() -> None:
    x = waves(400)
    found = corrupted("amplitude_scaling", x, 4)
    torch.testing.assert_close(found.mean(2), x.mean(2))
    gain = found.std(2) / x.std(2)
    larger = gain > 1
    torch.testing.assert_close(gain, torch.where(larger, 2.0, 0.5).double())
    assert abs(int(larger.sum()) - 400) < 4 * 200**0.5


@pytest.mark.parametrize("t", [24, 61, 500])
def test_low_pass_is_a_gaussian_filter(t: int) -> None:
    x = waves(3, t=t)
    for severity, share in enumerate((0.01, 0.02, 0.03, 0.05, 0.08), start=1):
        found = corrupted("low_pass", x, severity)
        if share * t > 1:
            # The filter of scipy is a sampled Gaussian, which below one step is another one.
            expected = gaussian_filter1d(x.numpy(), share * t, mode="reflect", truncate=9)
            torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-4)
        torch.testing.assert_close(found.mean(2), x.mean(2))


def test_low_pass_of_a_cosine_is_known() -> None:
    # cos(pi k (j + 1/2) / t) is mirrored at both ends by itself.
    t, k = 50, 6
    j = torch.arange(t, dtype=torch.float64)
    x = (math.pi * k * (j + 0.5) / t).cos().view(1, 1, t)
    share = math.exp(-2 * (math.pi * 0.03 * t * k / (2 * t)) ** 2)
    torch.testing.assert_close(corrupted("low_pass", x, 3), share * x)
