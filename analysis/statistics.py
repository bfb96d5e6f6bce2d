"""Means and intervals: over seeds (Student t) and over examples of one model (Wilson)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev


@dataclass(frozen=True)
class Interval:
    """A mean over `n` values and the interval around it.

    A single value has no ends, and neither has a mean that is not finite.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        """What stands behind the ± sign, in the unit of the mean; None without ends."""
        return None if self.high is None else self.high - self.mean


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Mean of independent values (seeds) with its Student-t interval.

    mean ± t(1 - (1 - confidence)/2, n - 1) · s / √n, s the sample standard deviation (Student,
    "The probable error of a mean", Biometrika 6, 1908). It assumes roughly normal values, which
    accuracies over seeds are unless they sit at 0 or 1. One value has no interval: the ends are
    None. With a value that is not finite (a diverged seed) the mean is not finite either, and the
    ends are None. Raises `ValueError` for no values and for a confidence outside (0, 1).
    """
    check_confidence(confidence)
    n = len(values)
    if n == 0:
        raise ValueError("mean_interval needs at least one value, found none")
    if not all(math.isfinite(one) for one in values):
        # fmean raises on infinities of both signs, stdev on any value that is not finite.
        return Interval(sum(values) / n, None, None, n)
    mean = fmean(values)
    if n == 1:
        return Interval(mean, None, None, 1)
    from scipy.special import stdtrit  # scipy.stats would cost a second of start-up

    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(
    treated: Mapping[int, float], reference: Mapping[int, float], *, confidence: float = 0.95
) -> Interval | None:
    """Mean of `treated - reference` over the seeds that both have, with its Student-t interval.

    Both map seed -> value. Pairing removes what a seed does to both (initial weights, order of the
    data), so the interval is that of the differences, not of the two means. None without a common
    seed.
    """
    seeds = sorted(treated.keys() & reference.keys())
    if not seeds:
        return None
    return mean_interval([treated[one] - reference[one] for one in seeds], confidence=confidence)


def wilson_interval(correct: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the accuracy of one model that was right on `correct` of `n` examples.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), p = correct / n (Wilson, JASA 22, 1927). It
    stays in [0, 1] and is not empty at 0 or n. It says nothing about other seeds. Raises
    `ValueError` unless 0 <= correct <= n and n >= 1.
    """
    check_confidence(confidence)
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"Wilson needs 0 <= correct <= n and n >= 1, found {correct} of {n}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = correct / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Rounding may leave 1e-17 where the algebra says exactly 0 or 1.
    low = 0.0 if correct == 0 else (centre - spread) / scale
    high = 1.0 if correct == n else (centre + spread) / scale
    return low, high


def check_confidence(confidence: float) -> None:
    """Raise `ValueError` unless it lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, found {confidence}; usual is 0.95")
