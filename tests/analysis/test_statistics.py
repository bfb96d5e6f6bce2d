from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import mean_interval, paired_difference, wilson_interval


def test_two_values_by_hand() -> None:
    # mean .91, s = .02/√2, s/√2 = .01, t(.975, 1) = tan(.475 π) = 12.7062
    found = mean_interval([0.90, 0.92])
    assert found.mean == pytest.approx(0.91)
    assert found.half_width == pytest.approx(0.01 * math.tan(0.475 * math.pi))
    assert found.n == 2


@pytest.mark.parametrize("n", [2, 3, 5, 40])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_mean_interval_agrees_with_scipy(n: int, confidence: float) -> None:
    values = np.random.default_rng(n).normal(0.8, 0.05, n)
    low, high = stats.t.interval(confidence, n - 1, values.mean(), stats.sem(values))
    found = mean_interval(values.tolist(), confidence=confidence)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_one_value_has_no_interval() -> None:
    found = mean_interval([0.5])
    assert (found.mean, found.low, found.high, found.half_width, found.n) == (
        *(0.5, None, None, None),
        1,
    )


def test_equal_values_have_an_empty_interval() -> None:
    assert mean_interval([0.25, 0.25, 0.25]).half_width == 0


def test_pairing_removes_what_the_seed_does() -> None:
    reference = {1: 0.50, 2: 0.70, 3: 0.90}
    treated = {1: 0.52, 2: 0.72, 3: 0.92, 4: 0.10}
    found = paired_difference(treated, reference)
    assert found is not None
    assert (found.mean, found.n) == (pytest.approx(0.02), 3)
    assert found.half_width == pytest.approx(0, abs=1e-12)


def test_paired_difference_agrees_with_scipy() -> None:
    a, b = [0.91, 0.88, 0.95, 0.90], [0.90, 0.89, 0.91, 0.85]
    expected = stats.ttest_rel(a, b).confidence_interval()
    found = paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_no_common_seed_no_difference() -> None:
    assert paired_difference({1: 0.5}, {2: 0.5}) is None


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (1, 3), (81, 263), (5000, 10000)])
def test_wilson_agrees_with_scipy(correct: int, n: int) -> None:
    expected = stats.binomtest(correct, n).proportion_ci(method="wilson")
    assert wilson_interval(correct, n) == pytest.approx((expected.low, expected.high))


def test_wilson_stays_inside_at_the_ends() -> None:
    # At 0 of n the upper end is z²/(n + z²).
    low, high = wilson_interval(0, 10)
    assert low == 0
    assert high == pytest.approx(1.959964**2 / (10 + 1.959964**2), rel=1e-6)
    assert wilson_interval(10, 10) == (pytest.approx(1 - high), 1.0)


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([])
    with pytest.raises(ValueError, match="found 95"):
        mean_interval([1.0, 2.0], confidence=95)
    with pytest.raises(ValueError, match="found 4 of 3"):
        wilson_interval(4, 3)
    with pytest.raises(ValueError, match="found 0 of 0"):
        wilson_interval(0, 0)


def test_a_diverged_seed_leaves_no_interval() -> None:
    for values in ([0.5, math.nan], [1.0, math.inf], [math.inf, -math.inf]):
        found = mean_interval(values)
        assert not math.isfinite(found.mean)
        assert (found.low, found.high, found.n) == (None, None, 2)
