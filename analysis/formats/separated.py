"""A table as comma-separated values: figures in full precision, fractions as fractions."""

from __future__ import annotations

import csv
import io

from ..grid import Column, Grid


def to_csv(grid: Grid) -> str:
    """One line per row under the columns' keys; a figure with an interval has a second column.

    That column's name ends with `_half_width`. Cells of numbers that hold none are empty.
    """
    spread = [any(row[at].half is not None for row in grid.body) for at in range(len(grid.columns))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [name for one, wide in zip(grid.columns, spread, strict=True) for name in _names(one, wide)]
    )
    for row in grid.body:
        line: list[object] = []
        for entry, column, wide in zip(row, grid.columns, spread, strict=True):
            if not column.number:
                line.append(entry.text)
                continue
            line.append("" if entry.value is None else entry.value)
            if wide:
                line.append("" if entry.half is None else entry.half)
        writer.writerow(line)
    return text.getvalue()


def _names(column: Column, wide: bool) -> list[str]:
    return [column.key, f"{column.key}_half_width"] if wide else [column.key]
