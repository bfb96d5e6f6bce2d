"""Tests of paired differences: over seeds, over test examples, and over both at once.

A difference is treated minus reference at one seed, so what a seed does to both is gone before
anything is computed. docs/statistics.md says which test decides what, and why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Any, Literal

import numpy as np

from .statistics import Interval, check_confidence, mean_interval

MOST_ENUMERATED = 20
DRAWS = 9_999


@dataclass(frozen=True)
class Comparison:
    """A mean difference with its interval, and the test of "the true difference is 0".

    `error` is the standard error of the mean and `df` its degrees of freedom; `p` is two-sided.
    They are None for a single pair and where the differences do not show how much seeds vary.
    """

    interval: Interval
    p: float | None
    error: float | None
    df: float | None


def differences(treated: Mapping[int, float], reference: Mapping[int, float]) -> list[float]:
    """`treated - reference` for the seeds that both have, in the order of the seeds."""
    return [treated[seed] - reference[seed] for seed in sorted(treated.keys() & reference.keys())]


def paired_t(
    values: Sequence[float], *, resolution: float = 0.0, confidence: float = 0.95
) -> Comparison:
    """Student's t-test of paired differences (Student, Biometrika 6, 1908).

    t = mean / (s / √n) with n - 1 degrees of freedom. `resolution` is the step in which each of
    the two figures was counted, 1/E for an accuracy over E examples, 0 for one that is not
    counted. Rounding to that step gives a figure a standard deviation of step/√12 and a difference
    of two √2 times that, so s is taken as at least step/√6: differences that happen to be equal
    are no evidence that seeds never vary. Differences that are all 0 have p = 1. Equal ones other
    than 0 without a resolution have no p and no ends, since nothing shows what a seed does; one
    that is not finite makes the mean NaN and leaves no p. Raises `ValueError` for no differences.
    """
    n = len(values)
    found = mean_interval(values, confidence=confidence)
    if n == 1 or not math.isfinite(found.mean):
        return Comparison(found, None, None, None)
    floor = resolution / math.sqrt(6)
    spread = max(sample_deviation(values), floor)
    if not any(values):
        zero = found if floor == 0 else _around(0.0, floor / math.sqrt(n), n - 1, n, confidence)
        return Comparison(zero, 1.0, spread / math.sqrt(n), n - 1)
    if spread == 0:
        return Comparison(Interval(found.mean, None, None, n), None, None, None)
    return _student(found.mean, spread / math.sqrt(n), n - 1, n, confidence)


def mixed(values: Any, *, confidence: float = 0.95) -> Comparison:
    """The mean difference for new seeds and new test examples, from values [seeds, examples].

    An entry is what one seed's pair of models gained on one example: -1, 0 or 1, or a mean of
    such. Seeds and examples are crossed, both drawn from populations: a two-way analysis of
    variance without replication splits the mean squares into seeds, examples and the rest
    (Cornfield & Tukey, Annals of Mathematical Statistics 27, 1956), and
    Var(mean) = s²_seed/S + s²_example/E + s²_rest/(S·E), components below 0 taken as 0. Degrees of
    freedom after Satterthwaite (Biometrics Bulletin 2, 1946). Raises `ValueError` for fewer than 2
    seeds or 2 examples.
    """
    d = np.asarray(values, dtype=np.float64)
    if d.ndim != 2 or min(d.shape) < 2:
        raise ValueError(f"mixed needs [seeds, examples], at least 2 of each, found {d.shape}")
    s, e = d.shape
    mean = float(d.mean())
    of_seeds, of_examples = d.mean(axis=1), d.mean(axis=0)
    squares_seed = e * float(((of_seeds - mean) ** 2).sum())
    squares_example = s * float(((of_examples - mean) ** 2).sum())
    squares_all = float(((d - mean) ** 2).sum())
    squares_rest = max(0.0, squares_all - squares_seed - squares_example)
    # Mean square and degrees of freedom of each; Var(mean) in terms of mean squares is
    # (seed + example - rest) / (S E), and a component taken as 0 drops out with the rest's share.
    seed = squares_seed / (s - 1), s - 1
    example = squares_example / (e - 1), e - 1
    rest = squares_rest / ((s - 1) * (e - 1)), (s - 1) * (e - 1)
    used = [one for one in (seed, example) if one[0] > rest[0]]
    signs = [1.0] * len(used)
    if len(used) == 2:
        used, signs = [*used, rest], [*signs, -1.0]
    used, signs = (used, signs) if used else ([rest], [1.0])
    total = sum(sign * square for sign, (square, _) in zip(signs, used, strict=True))
    if total <= 0:
        # No entry differs from another: nothing was gained anywhere, or the same everywhere.
        p = 1.0 if mean == 0 else None
        return Comparison(Interval(mean, None, None, s), p, None, None)
    df = total**2 / sum(square**2 / own for square, own in used)
    return _student(mean, math.sqrt(total / (s * e)), df, s, confidence)


def sign_flip(values: Sequence[float], *, seed: int = 0) -> float:
    """Two-sided p of the sign-flip permutation test of paired differences.

    If the treatment does nothing, each difference might as well have had the other sign (Fisher,
    "The Design of Experiments", 1935): p is the share of the 2ⁿ sign patterns whose mean is at
    least as far from 0 as the one found. All are enumerated up to n = 20, so p is never below
    2/2ⁿ; beyond, 9,999 are drawn from `seed` and p = (b + 1)/(m + 1) (Phipson & Smyth,
    Statistical Applications in Genetics and Molecular Biology 9, 2010). Raises `ValueError` for no
    differences and for one that is not finite.
    """
    x = _finite(values)
    total = float(x.sum())
    # Sums that are equal in mathematics differ in the last bits.
    close = 1e-12 * float(np.abs(x).sum())
    if abs(total) <= close:
        return 1.0
    x = x if total > 0 else -x
    if len(x) <= MOST_ENUMERATED:
        # Flipping the members of T leaves a mean as far from 0 where their sum is not above 0; the
        # complements of such T are as far on the other side.
        sums, _ = _subsets(x)
        return 2 * int((sums <= close).sum()) / len(sums)
    flips = np.random.default_rng(seed).integers(0, 2, (DRAWS, len(x))) * 2 - 1
    beyond = int((np.abs(flips @ x) >= abs(total) - close).sum())
    return (beyond + 1) / (DRAWS + 1)


def sign_flip_interval(
    values: Sequence[float], *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """All shifts that the sign-flip test at 1 - `confidence` does not reject.

    Their ends are order statistics of the means of all subsets of the differences (Hartigan,
    Journal of the American Statistical Association 64, 1969), or beyond n = 20 of 9,999 random
    ones drawn from `seed`. The ends are None where the test can reject nothing: below 6 differences
    at 95 %. Raises as `sign_flip` does.
    """
    check_confidence(confidence)
    x = _finite(values)
    n = len(x)
    if n <= MOST_ENUMERATED:
        sums, sizes = _subsets(x)
        means = np.sort(sums[1:] / sizes[1:])
    else:
        chosen = np.random.default_rng(seed).integers(0, 2, (DRAWS, n))
        chosen = chosen[chosen.any(axis=1)]
        means = np.sort((chosen @ x) / chosen.sum(axis=1))
    # Rounding of 1 - confidence must not cost an order statistic.
    outside = math.floor((1 - confidence) * (len(means) + 1) / 2 + 1e-9)
    if outside == 0:
        return Interval(float(x.mean()), None, None, n)
    return Interval(float(x.mean()), float(means[outside - 1]), float(means[-outside]), n)


def bootstrap_interval(
    values: Sequence[float],
    *,
    confidence: float = 0.95,
    method: Literal["BCa", "percentile"] = "BCa",
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of the mean of paired differences, from 9,999 draws of `seed`.

    "percentile" takes the quantiles of the resampled means, "BCa" corrects them for bias and
    skewness (Efron, Journal of the American Statistical Association 82, 1987). With few seeds both
    are too short: a sample of n has its variance underestimated by (n - 1)/n, and no tail beyond
    its extremes. One value, and equal ones, have no ends. Raises `ValueError` for no differences,
    one that is not finite, or another method.
    """
    check_confidence(confidence)
    if method not in ("BCa", "percentile"):
        raise ValueError(f"method must be 'BCa' or 'percentile', found {method!r}")
    x = _finite(values)
    n, mean = len(x), float(x.mean())
    if n == 1 or float(np.ptp(x)) == 0:
        return Interval(mean, None, None, n)
    means = x[np.random.default_rng(seed).integers(0, n, (DRAWS, n))].mean(axis=1)
    shares = [(1 - confidence) / 2, (1 + confidence) / 2]
    if method == "BCa":
        normal = NormalDist()
        below = (float((means < mean).sum()) + float((means <= mean).sum())) / (2 * DRAWS)
        bias = normal.inv_cdf(below)
        left_out = (x.sum() - x) / (n - 1)
        skew = left_out.mean() - left_out
        pull = float((skew**3).sum() / (6 * (skew**2).sum() ** 1.5))

        def moved(share: float) -> float:
            z = bias + normal.inv_cdf(share)
            return normal.cdf(bias + z / (1 - pull * z))

        shares = [moved(one) for one in shares]
    low, high = np.quantile(means, shares)
    return Interval(mean, float(low), float(high), n)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p that two single models err equally often on the same examples.

    `only_first` examples were right with the first model alone, `only_second` with the second
    alone: under the hypothesis a fair coin decides each of them (McNemar, Psychometrika 12, 1947).
    The exact form never exceeds its level, at the cost of some power. It says nothing about other
    seeds. Raises `ValueError` for counts below 0.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"McNemar needs counts of 0 or more, found {only_first}, {only_second}")
    from scipy.special import bdtr

    n = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), n, 0.5)))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected so that the chance of any false claim in the family keeps to the level.

    Step-down: the i-th smallest of m is multiplied by m - i + 1, and none may fall below one
    before it (Holm, Scandinavian Journal of Statistics 6, 1979). It holds for any dependence
    between the comparisons, and ours share a reference. Raises `ValueError` outside [0, 1].
    """
    if any(not 0 <= one <= 1 for one in p):
        raise ValueError(f"Holm's correction needs values from 0 to 1, found {list(p)}")
    found, least = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        found[place] = least
    return found


def effect_size(values: Sequence[float], *, resolution: float = 0.0) -> float | None:
    """Standardised mean of paired differences: mean / s, corrected for few pairs.

    d_z times Γ(df/2) / (√(df/2) Γ((df - 1)/2)), df = n - 1 (Hedges, Journal of Educational
    Statistics 6, 1981). s is taken as at least resolution/√6, as in `paired_t`. None below 3
    pairs, where s is 0 and the mean is not, and where a difference is not finite.
    """
    n = len(values)
    if n < 3 or not all(math.isfinite(one) for one in values):
        return None
    mean, spread = fmean(values), max(sample_deviation(values), resolution / math.sqrt(6))
    if spread == 0:
        return 0.0 if mean == 0 else None
    half = (n - 1) / 2
    shrink = math.exp(math.lgamma(half) - math.lgamma(half - 0.5)) / math.sqrt(half)
    return shrink * mean / spread


def sample_deviation(values: Sequence[float]) -> float:
    """Standard deviation with n - 1 below; exactly 0 for values that differ by rounding alone."""
    x = np.asarray(values, dtype=np.float64)
    found = float(x.std(ddof=1))
    return 0.0 if found <= 1e-12 * float(np.abs(x).max()) else found


def _student(mean: float, error: float, df: float, n: int, confidence: float) -> Comparison:
    from scipy.special import stdtr

    p = 2 * float(stdtr(df, -abs(mean) / error))
    return Comparison(_around(mean, error, df, n, confidence), p, error, df)


def _around(mean: float, error: float, df: float, n: int, confidence: float) -> Interval:
    from scipy.special import stdtrit

    half = float(stdtrit(df, 0.5 + confidence / 2)) * error
    return Interval(mean, mean - half, mean + half, n)


def _finite(values: Sequence[float]) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"a test needs one or more finite differences, found {list(values)}")
    return x


def _subsets(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums and sizes of all 2ⁿ subsets, the empty one first."""
    sums, sizes = np.zeros(1), np.zeros(1)
    for one in x:
        sums, sizes = np.concatenate([sums, sums + one]), np.concatenate([sizes, sizes + 1])
    return sums, sizes
