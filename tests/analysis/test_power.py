from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.power import detectable, expected_best, power, seeds_needed


@pytest.mark.parametrize("n", [2, 3, 5, 10, 50])
@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize("effect", [0.2, 0.8])
def test_power_agrees_with_the_noncentral_t_of_scipy(n: int, level: float, effect: float) -> None:
    critical, shift = stats.t.ppf(1 - level / 2, n - 1), effect * math.sqrt(n)
    expected = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    assert power(effect, 1.0, n, level=level) == pytest.approx(expected, abs=3e-4)
    assert power(-3 * effect, 3.0, n, level=level) == pytest.approx(
        power(effect, 1.0, n, level=level)
    )


def test_power_without_an_effect_is_the_level() -> None:
    for n in (2, 3, 8, 300, 20_000):
        assert power(0.0, 1.0, n, level=0.02) == pytest.approx(0.02, abs=1e-4)


def test_power_at_levels_corrected_for_many_comparisons_is_finite() -> None:
    # Critical value 89 at 2 degrees of freedom, where scipy's noncentral t is NaN.
    assert power(70.0, 1.0, 3, level=0.05 / 400) == pytest.approx(
        float(np.mean(_simulated(70.0, 3) > stats.t.ppf(1 - 0.05 / 800, 2))), abs=0.01
    )


def _simulated(effect: float, n: int) -> np.ndarray:
    d = np.random.default_rng(0).normal(effect, 1, (40_000, n))
    return np.asarray(d.mean(axis=1) / (d.std(axis=1, ddof=1) / math.sqrt(n)))


def test_a_textbook_number() -> None:
    # d = 0.5, level 5 %, power 80 %: 34 pairs (Cohen 1988, and every power table since).
    assert seeds_needed(0.5, 1.0) == 34
    assert power(0.5, 1.0, 34) >= 0.8 > power(0.5, 1.0, 33)


@pytest.mark.parametrize(("n", "level"), [(3, 0.05), (3, 0.05 / 54), (5, 0.05 / 12), (30, 0.01)])
def test_detectable_is_found_with_the_power_asked_for(n: int, level: float) -> None:
    sd = 0.013
    least = detectable(sd / math.sqrt(n), n - 1, level=level)
    assert power(least, sd, n, level=level) == pytest.approx(0.8, abs=1e-5)
    assert detectable(2.0, n - 1, level=level) == pytest.approx(
        2 * detectable(1.0, n - 1, level=level)
    )
    more = detectable(sd / math.sqrt(n), n - 1, level=level, wanted=0.95)
    assert more > least


def test_seeds_needed_at_the_ends() -> None:
    assert seeds_needed(100.0, 1.0) == 2
    assert seeds_needed(-0.5, 1.0) == 34
    with pytest.raises(ValueError, match="other than 0"):
        seeds_needed(0.0, 1.0)
    with pytest.raises(ValueError, match=r"needs more than 100,000 seeds"):
        seeds_needed(1e-4, 1.0)


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="2 seeds or more, found 1"):
        power(1.0, 1.0, 1)
    with pytest.raises(ValueError, match="above 0, found 0"):
        power(1.0, 0.0, 3)
    with pytest.raises(ValueError, match=r"found 5; usual is 0\.05"):
        power(1.0, 1.0, 3, level=5)
    with pytest.raises(ValueError, match="0 or more, found -1"):
        detectable(-1.0, 2)
    with pytest.raises(ValueError, match=r"between the level, 0\.05, and 1, found 80"):
        detectable(1.0, 2, wanted=80)


def test_expected_best_by_hand() -> None:
    # Of 1, 2, 4: one draw 7/3; of two draws 1 is best in 1/9, 2 in 3/9, 4 in 5/9.
    found = expected_best([2.0, 4.0, 1.0])
    assert found[:2] == pytest.approx([7 / 3, (1 + 6 + 20) / 9])
    assert len(found) == 3
    # Errors, where less is better: 4 in 1/9, 2 in 3/9, 1 in 5/9.
    assert expected_best([2.0, 4.0, 1.0], lower=True)[1] == pytest.approx((4 + 6 + 5) / 9)


def test_expected_best_agrees_with_drawing() -> None:
    values = np.random.default_rng(3).beta(8, 2, 12)
    drawn = np.random.default_rng(4).choice(values, (40_000, 5)).max(axis=1).mean()
    assert expected_best(values.tolist())[4] == pytest.approx(drawn, abs=0.002)


def test_a_diverged_trial_is_the_worst_and_still_a_trial() -> None:
    assert expected_best([0.5, math.nan, 0.9]) == expected_best([0.5, 0.5, 0.9])
    assert expected_best([3.0, math.inf], lower=True) == [3.0, 3.0]
    with pytest.raises(ValueError, match="found none"):
        expected_best([math.nan])
