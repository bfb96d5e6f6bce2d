"""Where a value lies in its range, for samplers that move in it: the inverse of a range's `at`."""

from __future__ import annotations

import math

from search_spaces.ranges import Float, Integer


def position(found: Float | Integer, value: float) -> float:
    """The share of the range below `value`, in [0, 1]; of a whole number, the middle of its own.

    `found.at(position(found, value))` is `value`, but for rounding of real numbers.
    """
    low, high = float(found.low), float(found.high)
    if isinstance(found, Integer):
        # A whole number has the share of the line between half a step below and above it.
        low, high = low - 0.5, high + 0.5
    if found.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    # Halves: high - low may be no number any more.
    return (value / 2 - low / 2) / (high / 2 - low / 2)
