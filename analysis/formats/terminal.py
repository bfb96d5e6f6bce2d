"""A table for the terminal, whole at any width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..grid import Entry, Grid

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group
    from rich.table import Table

PIPE_WIDTH = 160

# Labels are folded to no less than this many letters before columns of numbers go below.
_LEAST = 12
# Between two columns, and outside the first and the last.
_GAP, _EDGES = 2, 2


def console() -> Console:
    """Where results are shown: stdout with the terminal's width, or 160 where there is no terminal.

    A pipe has no width; rich would take 80 for it.
    """
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def to_rich(
    grids: Sequence[Grid], notes: Sequence[str] = (), warnings: Sequence[str] = ()
) -> Group:
    """The grids with their captions, then warnings and notes, for a console."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = []
    for grid in grids:
        parts.append(Text(("\n" if parts else "") + grid.caption))
        if grid.body:
            parts.append(_Shown(grid))
        if grid.notes:
            parts.append(Text("\n".join(f"- {one}" for one in grid.notes)))
    lines = [*(f"- Warning: {one}" for one in warnings), *(f"- {one}" for one in notes)]
    if lines:
        parts.append(Text("\n" + "\n".join(lines)))
    return Group(*parts)


class _Shown:
    """A grid that a console of any width shows whole.

    The first columns are labels and fold where room lacks; numbers do not: columns for which there
    is no room go below, each part with the labels again. Where not even one column fits beside the
    labels its numbers are folded, too, but never cut.
    """

    def __init__(self, grid: Grid) -> None:
        from rich.cells import cell_len

        self._labels_of = grid.labels
        self._places = tuple(range(grid.labels))
        numbers = [
            one.head.replace(" ", "\n") if one.number else one.head
            for one in grid.columns[grid.labels :]
        ]
        self._head = [*grid.head[: grid.labels], *numbers]
        self._left = [not one.number for one in grid.columns]
        self._body = grid.body
        self._widths = [
            max(
                cell_len(line)
                for text in [self._head[place], *(row[place].text for row in grid.body)]
                for line in text.split("\n")
            )
            for place in range(len(self._head))
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        part: list[int] = []
        for place in range(self._labels_of, len(self._head)):
            if part and not self._labels([*part, place], options.max_width):
                yield self._part(part, self._labels(part, options.max_width))
                part = []
            part.append(place)
        yield self._part(part, self._labels(part, options.max_width))

    def _labels(self, places: list[int], width: int) -> list[int]:
        """The widths of the labels beside these columns; none where they do not fit."""
        labels = self._widths[: self._labels_of]
        numbers = sum(self._widths[place] + _GAP for place in places)
        excess = sum(labels) + _GAP * (len(labels) - 1) + numbers + _EDGES - width
        for at in sorted(self._places, key=lambda at: -labels[at]):
            saved = min(max(excess, 0), max(labels[at] - _LEAST, 0))
            labels[at] -= saved
            excess -= saved
        return labels if excess <= 0 else []

    def _part(self, places: list[int], labels: list[int]) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
        widths = [*labels, *(self._widths[place] for place in places)] if labels else []
        shown = (*self._places, *places)
        for at, place in enumerate(shown):
            # Text, not str: a label such as [red] must be shown, not obeyed.
            grid.add_column(
                Text(self._head[place]),
                justify="left" if self._left[place] else "right",
                overflow="fold",
                width=widths[at] if widths else None,
            )
        for row in self._body:
            grid.add_row(*(_text(row[place]) for place in shown))
        return grid


def _text(entry: Entry) -> Any:
    from rich.text import Text

    return Text(entry.text, style="bold" if entry.strong else "")
