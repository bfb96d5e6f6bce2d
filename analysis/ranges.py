"""Where in its range a searched value lies, from the text that the ledger keeps of the range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

EDGE = 0.05


def position(value: float | str | None, distribution: Mapping[str, Any]) -> float | None:
    """Place of a value in its range: 0 at the lower end, 1 at the upper one.

    On a logarithmic range places are even in the logarithm. Of a choice between three and more
    numbers it is the place among them in order; other choices have no order: None.
    """
    if "values" in distribution:
        values = distribution["values"]
        if len(values) < 3 or not all(_number(one) for one in values) or value not in values:
            return None
        return sorted(values).index(value) / (len(values) - 1)
    ends = distribution.get("low"), distribution.get("high")
    if isinstance(value, str) or not all(map(_number, (value, *ends))):
        return None
    here, low, high = (float(one) for one in (value, *ends) if one is not None)
    if not low < high:
        return None
    if distribution.get("log"):
        return math.log(here / low) / math.log(high / low) if here > 0 and low > 0 else None
    return (here - low) / (high - low)


def text(distribution: Mapping[str, Any]) -> str:
    """`0.01 to 10, log`; the labels of a choice."""
    if "values" in distribution:
        return ", ".join(map(str, distribution["values"]))
    scale = ", log" if distribution.get("log") else ""
    return f"{distribution.get('low'):g} to {distribution.get('high'):g}{scale}"


def edge(place: float | None) -> str:
    """ "lower" or "upper" end where a place is within 5 % of the range's ends, else ""."""
    if place is None:
        return ""
    return "lower" if place <= EDGE else "upper" if place >= 1 - EDGE else ""


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
