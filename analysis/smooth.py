"""A smooth curve through scattered points, with a band that says how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# With fewer points, or at fewer places, a curve would show the noise.
LEAST, PLACES = 8, 4


def smooth(
    x: Sequence[float],
    y: Sequence[float],
    *,
    width: float,
    places: int = 60,
    resamples: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> NDArray[np.float64] | None:
    """Rows of x, curve, lower and upper end of its band: float64 [4, places].

    None for fewer than `LEAST` points or fewer than `PLACES` different x. The curve is a mean with
    Gaussian weights of standard deviation `width`, in units of x (Nadaraya, Theory of Probability
    and its Applications, 1964), between the least and the greatest x. It is flatter at its ends
    than a local line, but never leaves the values that there are: one failed trial bends a line to
    accuracies above 1. The band is pointwise, from percentiles over `resamples` of the points drawn
    with replacement (Efron, Annals of Statistics, 1979); the same seed gives the same band. Raises
    `ValueError` for a width that is not above 0.
    """
    if not width > 0:
        raise ValueError(f"width must be above 0, found {width}")
    at, value = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(at) < LEAST or len(np.unique(at)) < PLACES:
        return None
    grid = np.linspace(at.min(), at.max(), places)
    apart = ((at - grid[:, None]) / width) ** 2
    # The nearest point has weight 1: in a wide gap all weights would be 0 otherwise.
    kernel = np.exp(-0.5 * (apart - apart.min(axis=1, keepdims=True)))
    curve = kernel @ value / kernel.sum(axis=1)
    # How often each point is drawn is all that a resample is.
    even = np.full(len(at), 1 / len(at))
    counts = np.random.default_rng(seed).multinomial(len(at), even, size=resamples)
    near = counts @ kernel.T
    # A resample whose points are all too far off a place says nothing there.
    drawn = np.where(near > 0, counts @ (kernel * value).T, np.nan) / np.where(near > 0, near, 1)
    ends = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.stack([grid, curve, *ends])
