"""What a number of seeds can find: power of the paired t-test, and the best of so many trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

POWER = 0.8
LARGE = 5_000
MOST_SEEDS = 100_000


def power(difference: float, sd: float, n: int, *, level: float = 0.05) -> float:
    """Chance that the two-sided paired t-test over `n` seeds finds a true difference.

    `sd` is the true standard deviation of the differences. With t the test's critical value and
    T' a noncentral t of n - 1 degrees of freedom and noncentrality difference·√n/sd it is
    P(|T'| > t) (Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988). Raises
    `ValueError` for fewer than 2 seeds, sd <= 0 and a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, found {level}; usual is 0.05")
    if n < 2:
        raise ValueError(f"power needs 2 seeds or more, found {n}")
    if sd <= 0:
        raise ValueError(f"power needs a standard deviation above 0, found {sd}")
    return _power(abs(difference) * math.sqrt(n) / sd, n - 1, level)


def detectable(error: float, df: float, *, level: float = 0.05, wanted: float = POWER) -> float:
    """The smallest true difference that the test finds with the power `wanted`.

    `error` is the standard error of the mean difference (sd/√n over n seeds) and `df` its degrees
    of freedom (n - 1); fractional ones are rounded down to a tenth, beyond 20 to whole ones.
    Raises `ValueError` for an error below 0 and unless level < wanted < 1.
    """
    if error < 0:
        raise ValueError(f"detectable needs a standard error of 0 or more, found {error}")
    if not 0 < level < wanted < 1:
        raise ValueError(f"the power must lie between the level, {level}, and 1, found {wanted}")
    # Rounded, many comparisons share a result that takes a millisecond.
    whole = math.floor(df) if df > 20 else math.floor(10 * df + 1e-9) / 10
    return error * _shift(whole, level, wanted)


def seeds_needed(
    difference: float, sd: float, *, level: float = 0.05, wanted: float = POWER
) -> int:
    """The fewest seeds with which the paired t-test finds a true difference with power `wanted`.

    Raises `ValueError` for a difference of 0, which no number finds, and where 100,000 are too few.
    """
    if difference == 0:
        raise ValueError("seeds_needed needs a difference other than 0")
    low, high = 1, 2
    while power(difference, sd, high, level=level) < wanted:
        if high >= MOST_SEEDS:
            raise ValueError(
                f"a difference of {difference:g} at a standard deviation of {sd:g} needs more than "
                f"{MOST_SEEDS:,} seeds"
            )
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(difference, sd, middle, level=level) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def expected_best(values: Sequence[float], *, lower: bool = False) -> list[float]:
    """Expected best of k values drawn with replacement from those found, for k = 1 … n.

    V(k) = Σ v₍ᵢ₎ ((i/n)ᵏ - ((i - 1)/n)ᵏ) over the values in order, worst first (Dodge et al. 2019,
    arXiv 1909.03004). `values` are the validation figures of an arm's n search trials, `lower`
    says that less is better. It compares arms at equal numbers of trials; for k near n it leans on
    the few best. A value that is not finite counts as the worst found. Raises `ValueError` without
    a finite value.
    """
    finite = [one for one in values if math.isfinite(one)]
    if not finite:
        raise ValueError("expected_best needs one finite value or more, found none")
    worst = max(finite) if lower else min(finite)
    n = len(values)
    ordered = sorted((one if math.isfinite(one) else worst for one in values), reverse=lower)
    return [
        sum(value * ((i / n) ** k - ((i - 1) / n) ** k) for i, value in enumerate(ordered, start=1))
        for k in range(1, n + 1)
    ]


def _power(shift: float, df: float, level: float) -> float:
    """P(|T'| > critical) for a noncentral t with noncentrality `shift`.

    With u = s/σ, which is chi over √df, it is P(u < |Z + shift| / critical), averaged over the
    normal Z of the mean. scipy's noncentral t gives NaN at the corrected levels of few seeds, where
    critical values run to hundreds.
    """
    import numpy as np
    from scipy.special import gammainc, ndtr, stdtrit

    critical = float(stdtrit(df, 1 - level / 2))
    if df > LARGE:
        return float(ndtr(shift - critical) + ndtr(-shift - critical))
    # The integrand is as narrow as the normal or as the step of chi, which is near 1/√(2 df) wide.
    points = round(18 * max(20.0, 4 * math.sqrt(df)))
    z, step = np.linspace(-9, 9, points, retstep=True)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    below = gammainc(df / 2, df / 2 * ((z + shift) / critical) ** 2)
    # The ends hold nothing, so the trapezoidal rule is a plain sum.
    return float(step * (density * below).sum())


@lru_cache(maxsize=1024)
def _shift(df: float, level: float, wanted: float) -> float:
    """The least noncentrality with the power `wanted`."""
    low, high = 0.0, 4.0
    below, above = level - wanted, _power(high, df, level) - wanted
    while above < 0:
        low, high, below = high, 2 * high, above
        above = _power(high, df, level) - wanted
    while high - low > 1e-7 * high:
        # Regula falsi in the form of Illinois: an end that stays has its value halved.
        middle = low - below * (high - low) / (above - below)
        value = _power(middle, df, level) - wanted
        if abs(value) < 1e-10:
            return middle
        if value < 0:
            low, below, above = middle, value, above / 2
        else:
            high, above, below = middle, value, below / 2
    return high
