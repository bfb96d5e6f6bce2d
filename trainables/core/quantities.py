"""Numbers as researchers write them: 0.031, "8/255", "1e-3"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from .errors import SettingError, nearest


def number(
    setting: str, value: Any, *, low: float = -math.inf, high: float = math.inf, above: bool = False
) -> float:
    """`value` as a float, where text such as "8/255" is a quotient.

    Raises `SettingError` naming the setting, the rule and the value unless it is a finite number in
    [low, high] (in (low, high] with `above`).
    """
    try:
        found = float(Fraction(value)) if isinstance(value, str) and "/" in value else float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        raise SettingError(f"{setting} must be a number or a quotient, found {value!r}") from None
    if isinstance(value, bool) or not math.isfinite(found):
        raise SettingError(f"{setting} must be a finite number, found {value!r}")
    if found < low or (above and found == low):
        rule = "above" if above else "at least"
        raise SettingError(f"{setting} must be {rule} {low:g}, found {value!r}")
    if found > high:
        raise SettingError(f"{setting} must be at most {high:g}, found {value!r}")
    return found


def whole(setting: str, value: Any, *, low: int = 0) -> int:
    """`value` as a whole number that is at least `low`."""
    found = number(setting, value, low=low)
    if found != int(found):
        raise SettingError(f"{setting} must be a whole number, found {value!r}")
    return int(found)


def several(setting: str, value: Any, count: int = 0) -> list[Any]:
    """`value` as a list, of `count` entries unless that is 0."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise SettingError(f"{setting} must be a list, found {value!r}")
    if count and len(value) != count:
        raise SettingError(f"{setting} must have {count} entries, found {list(value)!r}")
    return list(value)


def flag(setting: str, value: Any) -> bool:
    """`value` if it is true or false; the text "false" is neither, and would count as true."""
    if not isinstance(value, bool):
        raise SettingError(f"{setting} must be true or false, found {value!r}")
    return value


def one_of(setting: str, value: Any, allowed: Iterable[str]) -> str:
    """`value` if it is one of the allowed words."""
    allowed = list(allowed)
    if value not in allowed:
        raise SettingError(f"{setting} cannot be {value!r}.{nearest(str(value), allowed)}")
    return str(value)


def text(value: float) -> str:
    """A short text of a number, as k/255 where that is what it is: 0.1, 8/255, 0.5."""
    pixels = value * 255
    if 0 < value < 1 and abs(pixels - round(pixels)) < 1e-4 and f"{value:g}" != f"{value:.2g}":
        return f"{round(pixels)}/255"
    return f"{value:g}"
