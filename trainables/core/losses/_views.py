"""Lists of view labels as settings."""

from __future__ import annotations

from typing import Any

from ..errors import SettingError
from ..quantities import several


def labels(setting: str, value: Any, *, least: int, count: int = 0) -> tuple[str, ...]:
    """`value` as labels of different views, at least `least` of them, or exactly `count`."""
    found = several(setting, value, count)
    if len(found) < least or len({str(one) for one in found}) < len(found):
        raise SettingError(
            f"{setting} must name at least {least} views, each once, found {list(found)!r}"
        )
    return tuple(found)
