from __future__ import annotations

import math
from itertools import product
from statistics import stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.comparisons import (
    bootstrap_interval,
    differences,
    effect_size,
    holm,
    mcnemar,
    mixed,
    paired_t,
    sample_deviation,
    sign_flip,
    sign_flip_interval,
)

FIVE = [0.031, 0.012, -0.004, 0.022, 0.018]


def ends(found: object) -> tuple[float, float]:
    low, high = getattr(found, "low", None), getattr(found, "high", None)
    assert low is not None
    assert high is not None
    return low, high


def test_differences_are_those_of_common_seeds_in_their_order() -> None:
    assert differences({3: 5.0, 1: 2.0, 9: 1.0}, {1: 0.5, 3: 1.0}) == [1.5, 4.0]


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_paired_t_agrees_with_scipy(n: int) -> None:
    a, b = np.random.default_rng(n).normal(0.8, 0.1, (2, n))
    expected = stats.ttest_rel(a, b)
    found = paired_t((a - b).tolist())
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert ends(found.interval) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.df == n - 1
    assert found.error == pytest.approx(float(stats.sem(a - b)))


def test_two_pairs_by_hand() -> None:
    # t = .02 / .01 = 2 with one degree of freedom, a Cauchy: p = 1 - 2 atan(2) / π.
    found = paired_t([0.01, 0.03])
    assert found.p == pytest.approx(1 - 2 * math.atan(2) / math.pi)


def test_equal_differences_have_the_spread_of_rounding() -> None:
    # 1/100 in every seed, each figure rounded to 1/100: s = .01/√6, t = .01 √3 / s = √18.
    found = paired_t([0.92 - 0.91, 0.83 - 0.82, 0.71 - 0.70], resolution=0.01)
    assert found.p == pytest.approx(2 * stats.t.sf(math.sqrt(18), 2))
    assert found.interval.half_width == pytest.approx(
        stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(6) / math.sqrt(3)
    )


def test_the_spread_of_rounding_is_a_floor_and_nothing_more() -> None:
    coarse, fine = paired_t(FIVE, resolution=0.001), paired_t(FIVE)
    assert stdev(FIVE) > 0.001 / math.sqrt(6)
    assert coarse == fine
    floored = paired_t(FIVE, resolution=1.0)
    assert floored.error == pytest.approx(1 / math.sqrt(6) / math.sqrt(5))


def test_no_difference_anywhere_is_p_1() -> None:
    assert paired_t([0.0, 0.0, 0.0]).p == 1
    counted = paired_t([0.0, 0.0, 0.0], resolution=0.01)
    assert counted.p == 1
    assert counted.interval.half_width == pytest.approx(
        stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(18)
    )


def test_equal_differences_of_unknown_resolution_tell_nothing() -> None:
    # 0.92 - 0.90 and 0.72 - 0.70 differ in the last bits, which is no spread.
    found = paired_t([0.92 - 0.90, 0.72 - 0.70, 0.52 - 0.50])
    assert sample_deviation([0.92 - 0.90, 0.72 - 0.70]) == 0
    assert (found.p, found.error, found.interval.low) == (None, None, None)
    assert found.interval.mean == pytest.approx(0.02)


def test_one_pair_and_a_diverged_pair_have_no_p() -> None:
    assert paired_t([0.5]).p is None
    found = paired_t([0.1, math.nan, 0.3])
    assert (found.p, found.interval.low, found.interval.n) == (None, None, 3)
    assert math.isnan(found.interval.mean)
    assert paired_t([math.inf, -math.inf]).p is None


def test_mixed_by_hand() -> None:
    # Two seeds, three examples: [[1, 0, 0], [1, 1, -1]]. Grand mean 1/3, both seed means 1/3,
    # example means 1, 1/2, -1/2. SS_seed 0, SS_example 2 (4/9 + 1/36 + 25/36) = 7/3,
    # SS_all 4 - 6/9 = 10/3, SS_rest 1. MS: 0, 7/6, 1/2. Seeds drop out: Var = (7/6)/6, df = 2.
    found = mixed([[1, 0, 0], [1, 1, -1]])
    assert found.interval.mean == pytest.approx(1 / 3)
    assert found.error == pytest.approx(math.sqrt(7 / 36))
    assert found.df == pytest.approx(2)
    assert found.interval.half_width == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(7 / 36))


def test_mixed_with_both_components_by_hand() -> None:
    # [[2, 1], [1, -1]]: grand 3/4, seeds 3/2, 0, examples 3/2, 0; MS 2.25, 2.25, rest .25.
    # Var = (2.25 + 2.25 - .25)/4, df = 4.25² / (2.25² + 2.25² + .25²).
    found = mixed([[2, 1], [1, -1]])
    assert found.error == pytest.approx(math.sqrt(4.25 / 4))
    assert found.df == pytest.approx(4.25**2 / (2 * 2.25**2 + 0.25**2))


def test_mixed_is_the_paired_t_over_seeds_where_examples_do_not_matter() -> None:
    # Every example is gained by as much: nothing is left but seeds.
    rows = [[one] * 4 for one in (0.25, 0.5, -0.125)]
    found, expected = mixed(rows), paired_t([0.25, 0.5, -0.125])
    assert found.p == pytest.approx(expected.p)
    assert ends(found.interval) == pytest.approx(ends(expected.interval))


def test_mixed_is_the_paired_t_over_examples_where_seeds_do_not_matter() -> None:
    gained = [1, 0, 0, -1, 0, 1, 1, 0]
    found, expected = mixed([gained] * 3), paired_t(gained)
    assert found.p == pytest.approx(expected.p)
    assert ends(found.interval) == pytest.approx(ends(expected.interval))


def test_mixed_does_not_care_about_the_order() -> None:
    random = np.random.default_rng(0)
    d = random.integers(-1, 2, (4, 30))
    shuffled = random.permutation(random.permutation(d, axis=0), axis=1)
    assert mixed(shuffled).p == pytest.approx(mixed(d).p)
    assert mixed(-d).interval.mean == -mixed(d).interval.mean


def test_mixed_without_any_spread() -> None:
    assert mixed(np.zeros((3, 5))).p == 1
    assert mixed(np.ones((3, 5))).p is None
    with pytest.raises(ValueError, match=r"at least 2 of each, found \(1, 5\)"):
        mixed(np.zeros((1, 5)))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("examples", [200, 1000])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_intervals_over_seeds_and_examples_cover(seeds: int, examples: int, share: float) -> None:
    """The wider of mixed and paired t holds the truth in 93 % of the cases or more."""
    random = np.random.default_rng(int(seeds + examples + 100 * share))
    of_seed = math.sqrt(share * 0.02 * seeds)
    of_example = math.sqrt((1 - share) * 0.02 * examples)
    rounds, held = 1500, 0
    for _ in range(rounds):
        d = (
            of_seed * random.normal(size=(seeds, 1))
            + of_example * random.normal(size=(1, examples))
            + random.normal(size=(seeds, examples))
        )
        both = mixed(d), paired_t(d.mean(axis=1).tolist())
        held += any(abs(one.interval.mean) <= (one.interval.half_width or 0.0) for one in both)
    assert held / rounds >= 0.93


def test_sign_flip_by_enumeration() -> None:
    found = sign_flip(FIVE)
    means = [abs(np.dot(signs, FIVE)) for signs in product((-1, 1), repeat=5)]
    assert found == pytest.approx(np.mean([one >= abs(sum(FIVE)) - 1e-12 for one in means]))
    # All of one sign: only the two uniform patterns are as far.
    assert sign_flip([0.1, 0.2, 0.3, 0.4, 0.5]) == 2 / 32
    assert sign_flip([0.1, -0.1]) == 1
    assert sign_flip([0.0, 0.0]) == 1


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=9))
@settings(max_examples=60, deadline=None)
def test_sign_flip_agrees_with_scipy(values: list[int]) -> None:
    found = stats.permutation_test(
        (np.asarray(values, dtype=float),),
        lambda x, axis: np.abs(x.sum(axis=axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=10_000,
        vectorized=True,
    )
    assert sign_flip(values) == pytest.approx(found.pvalue)


def test_sign_flip_beyond_enumeration_is_drawn_from_the_seed() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 21).tolist()
    assert sign_flip(values, seed=3) == sign_flip(values, seed=3)
    assert sign_flip(values, seed=3) == pytest.approx(sign_flip(values[:20]), abs=0.1)
    # (b + 1)/(m + 1): never 0.
    assert sign_flip([1.0] * 40) == 1 / 10_000


def test_sign_flip_interval_is_the_test_turned_around() -> None:
    values = [0.9, 1.4, 2.0, 2.2, 3.1, 3.7, 5.0]
    low, high = ends(sign_flip_interval(values, confidence=0.9))
    for end, inside in ((low, 1e-6), (high, -1e-6)):
        assert sign_flip([one - end - inside for one in values]) > 0.1
        assert sign_flip([one - end + inside for one in values]) <= 0.1


def test_sign_flip_interval_needs_six_pairs_at_95() -> None:
    assert sign_flip_interval(FIVE).low is None
    # 2/64 < .05 rejects every shift below the least and above the greatest difference.
    assert ends(sign_flip_interval([*FIVE, 0.02])) == (-0.004, 0.031)


def test_sign_flip_interval_beyond_enumeration() -> None:
    values = np.random.default_rng(1).normal(1, 1, 60).tolist()
    found, student = sign_flip_interval(values), paired_t(values).interval
    assert ends(found) == pytest.approx(ends(student), abs=0.05)
    assert found == sign_flip_interval(values)


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_bootstrap_agrees_with_scipy(method: str) -> None:
    values = np.random.default_rng(2).gamma(2, 1, 25)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(5)
    ).confidence_interval
    found = bootstrap_interval(values.tolist(), method=method)  # type: ignore[arg-type]
    assert ends(found) == pytest.approx(tuple(expected), abs=0.02)
    assert found == bootstrap_interval(values.tolist(), method=method)  # type: ignore[arg-type]


def test_bootstrap_without_spread_or_with_a_wrong_method() -> None:
    assert bootstrap_interval([0.1]).low is None
    assert bootstrap_interval([0.1, 0.1]).high is None
    with pytest.raises(ValueError, match="found 'BCA'"):
        bootstrap_interval([0.1, 0.2], method="BCA")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite differences, found"):
        bootstrap_interval([])


@pytest.mark.parametrize(("one", "two"), [(0, 0), (5, 0), (3, 9), (10, 10), (40, 61)])
def test_mcnemar_agrees_with_scipy(one: int, two: int) -> None:
    expected = stats.binomtest(one, one + two, 0.5).pvalue if one + two else 1.0
    assert mcnemar(one, two) == pytest.approx(expected)
    assert mcnemar(one, two) == mcnemar(two, one)


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="found -1, 2"):
        mcnemar(-1, 2)


def test_holm_by_hand() -> None:
    # In order .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 and .04, lifted to .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm([math.nan])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_raw_and_bonferroni(p: list[float]) -> None:
    found = holm(p)
    for raw, corrected in zip(p, found, strict=True):
        assert raw <= corrected <= min(1, len(p) * raw) + 1e-12
    assert [x for _, x in sorted(zip(p, found, strict=True))] == sorted(found)


def test_effect_size_by_hand() -> None:
    # 1, 2, 3: mean 2, s = 1; df = 2: Γ(1) / (1 Γ(1/2)) = 1/√π.
    assert effect_size([1.0, 2.0, 3.0]) == pytest.approx(2 / math.sqrt(math.pi))
    # Hedges's own approximation, 1 - 3/(4 df - 1).
    assert effect_size(FIVE) == pytest.approx(
        np.mean(FIVE) / np.std(FIVE, ddof=1) * (1 - 3 / 15), rel=0.01
    )
    assert effect_size([0.1, 0.2]) is None
    assert effect_size([0.0, 0.0, 0.0]) == 0
    assert effect_size([0.25, 0.25, 0.25]) is None
    assert effect_size([0.1, 0.2, math.nan]) is None
    floored = effect_size([0.01, 0.01, 0.01], resolution=0.01)
    assert floored == pytest.approx(math.sqrt(6) / math.sqrt(math.pi))
