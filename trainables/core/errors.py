"""The two errors that a user can cause: a wrong setting and missing data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SettingError(ValueError):
    """A setting is unknown or out of its range; the message names setting, rule and value."""


class MissingDataError(FileNotFoundError):
    """A data set is not where it should be; the message names the path and how to get it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known spelling and all others, for the end of a message."""
    known = sorted(known)
    by_case = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), by_case, n=1, cutoff=0.4)
    hint = f" Did you mean {by_case[close[0]]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known) if known else 'none'}."
