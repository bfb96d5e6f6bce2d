"""A table as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..grid import Entry, Grid


def to_markdown(
    grids: Sequence[Grid], notes: Sequence[str] = (), warnings: Sequence[str] = ()
) -> str:
    """The grids with their captions, then warnings and notes as a list."""
    parts = []
    for grid in grids:
        parts.append(_escaped(grid.caption))
        if grid.body:
            parts.append(_table(grid))
        if grid.notes:
            parts.append("\n".join(f"- {_escaped(one)}" for one in grid.notes))
    lines = [f"- **Warning:** {_escaped(one)}" for one in warnings]
    lines += [f"- {_escaped(one)}" for one in notes]
    if lines:
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([\\|*<])", r"\\\1", " ".join(text.split()))


def _cell(entry: Entry) -> str:
    text = _escaped(entry.text)
    return f"**{text}**" if entry.strong else text


def _table(grid: Grid) -> str:
    rule = ["---:" if one.number else "---" for one in grid.columns]
    lines = [[_escaped(one) for one in grid.head], rule]
    lines += [[_cell(one) for one in row] for row in grid.body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
