"""A table as a fragment of HTML, for a page that brings its own style.

Classes: `grid`, `scroll`, `caption`, `label` (in the first column), `number`, `best`, `helps`,
`hurts`, `mark`, `unseen` (text for screen readers alone). `data-value` is what a column sorts by.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..grid import Column, Entry, Grid

_MARKS = ("▲", "▼")


def to_html(grids: Sequence[Grid], notes: Sequence[str] = (), warnings: Sequence[str] = ()) -> str:
    """The grids, each with its caption in a box that scrolls, then warnings and notes as a list."""
    parts = [fragment(one) for one in grids]
    lines = [f"<li><strong>Warning:</strong> {_text(one)}</li>" for one in warnings]
    lines += [f"<li>{_text(one)}</li>" for one in notes]
    if lines:
        parts.append("\n".join(['<ul class="notes">', *lines, "</ul>"]))
    return "\n".join(parts) + "\n"


def fragment(grid: Grid, id: str = "") -> str:
    """One grid; `id` is its caption's, the grid's name by default."""
    id = escape(id or grid.name)
    lines = [f'<p class="caption" id="{id}">{_text(grid.caption)}</p>']
    if grid.body:
        lines += [
            f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{id}">',
            f'<table class="grid" aria-labelledby="{id}">',
            f"<thead><tr>{''.join(_head(one) for one in grid.columns)}</tr></thead>",
            "<tbody>",
            *(f"<tr>{_row(grid, row)}</tr>" for row in grid.body),
            "</tbody>",
            "</table>",
            "</div>",
        ]
    if grid.notes:
        notes = "".join(f"<li>{_text(one)}</li>" for one in grid.notes)
        lines.append(f'<ul class="notes">{notes}</ul>')
    return "\n".join(lines)


def _text(text: str) -> str:
    # A percent sign stays with its number.
    return escape(text).replace(" %", "\u00a0%")


def _head(column: Column) -> str:
    kind = ' class="number"' if column.number else ""
    # Long names of benchmarks may break where their words end, on paper.
    head = _text(column.head).replace("_", "_<wbr>")
    return f'<th scope="col"{kind}>{head}</th>'


def _row(grid: Grid, row: Sequence[Entry]) -> str:
    cells = []
    for at, (column, entry) in enumerate(zip(grid.columns, row, strict=True)):
        if at == 0:
            label = f'<span class="label">{_content(entry)}</span>'
            cells.append(f'<th scope="row">{label}</th>')
            continue
        classes = [
            *(["number"] if column.number else []),
            *(["best"] if entry.strong else []),
            *([entry.word] if entry.word in ("helps", "hurts") else []),
        ]
        kind = f' class="{" ".join(classes)}"' if classes else ""
        value = "" if entry.value is None else f' data-value="{entry.value!r}"'
        cells.append(f"<td{kind}{value}>{_content(entry)}</td>")
    return "".join(cells)


def _content(entry: Entry) -> str:
    text = escape(entry.text)
    for mark in _MARKS:
        # A triangle says nothing when it is read out.
        spoken = f'<span class="mark" aria-hidden="true">{mark}</span>'
        text = text.replace(mark, f'{spoken}<span class="unseen">{escape(entry.word)}</span>')
    return f"<strong>{text}</strong>" if entry.strong else text
