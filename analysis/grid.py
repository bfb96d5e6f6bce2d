"""A table as people read it: the one shape that every format and the report take.

Tables of figures are many and formats are many; with one shape between them neither knows of the
other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .metrics import Metric
from .statistics import Interval

NOTHING = "–"


@dataclass(frozen=True)
class Entry:
    """One cell: `text` for people, `value` for programs and for sorting, in the metric's own unit.

    `half` is the half width of the value's interval. `strong` is shown in bold. `word` says in a
    word what a mark in the text means ("helps", "hurts").
    """

    text: str
    value: float | None = None
    half: float | None = None
    strong: bool = False
    word: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its head for people, its key for programs, and whether it holds numbers."""

    head: str
    key: str
    number: bool = True


@dataclass(frozen=True)
class Grid:
    """A table with what stands above and below it.

    `name` is a word for ids and labels. The first columns that hold no numbers are labels: they
    are repeated where a wide table is cut. `notes` stand below. A grid may have no row: then its
    caption says why.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    body: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def head(self) -> tuple[str, ...]:
        """The heads of the columns."""
        return tuple(one.head for one in self.columns)

    @property
    def texts(self) -> list[list[str]]:
        """The body as texts."""
        return [[one.text for one in row] for row in self.body]

    @property
    def labels(self) -> int:
        """How many of the first columns are labels: at least one."""
        count = next((at for at, one in enumerate(self.columns) if one.number), len(self.columns))
        return max(1, min(count, 2))


def words(*columns: str) -> tuple[Column, ...]:
    """Columns of text with these heads."""
    return tuple(Column(one, _key(one), number=False) for one in columns)


def numbers(*columns: str) -> tuple[Column, ...]:
    """Columns of numbers with these heads."""
    return tuple(Column(one, _key(one)) for one in columns)


def plain(*texts: str) -> tuple[Entry, ...]:
    """Cells of text."""
    return tuple(Entry(one) for one in texts)


def counted(number: int) -> Entry:
    """A cell with a whole number."""
    return Entry(str(number), number)


def ratio(value: float | None) -> Entry:
    """A cell with a quotient: `1.50×`."""
    return Entry(NOTHING) if value is None else Entry(f"{value:.2f}×", value)


def share(value: float | None) -> Entry:
    """A cell with a fraction in percent, to one decimal."""
    if value is None:
        return Entry(NOTHING)
    return Entry(f"{100 * value:.1f}" if math.isfinite(value) else "nan", value)


def figure(
    found: Interval | float | None,
    metric: Metric,
    decimals: int | None = None,
    *,
    sign: bool = False,
) -> Entry:
    """A cell with a figure of a metric and, where it has one, the half width of its interval."""
    if found is None:
        return Entry(NOTHING)
    mean = found.mean if isinstance(found, Interval) else found
    half = found.half_width if isinstance(found, Interval) else None
    digits = metric.decimals([mean]) if decimals is None else decimals
    text = metric.text(mean, digits, sign=sign)
    if half is not None:
        text += f" ± {metric.text(half, digits)}"
    return Entry(text, mean, half)


def joined(parts: Sequence[str], *, most: int = 5) -> str:
    """`a, b, c`; what is beyond `most` is counted: `a, b and 7 more`."""
    shown = ", ".join(parts[:most])
    return shown if len(parts) <= most else f"{shown} and {len(parts) - most} more"


def _key(head: str) -> str:
    """`time/epoch` as `time_epoch`; a unit in brackets is no part of it."""
    name = head.partition(" [")[0]
    return "_".join("".join(one if one.isalnum() else " " for one in name).split()).lower()
