"""Augmentation policies that another training wrote, replayed in this study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ..grid import NOTHING, Column, Entry, Grid, counted, figure, numbers, words
from ..history import History
from .confirmed import Shown, confirmed


def transfer(
    tables: Mapping[str, Any], history: History | None = None, shown: Shown | None = None
) -> Grid:
    """Rows by the source of their policies against benchmarks; arms without a source come first.

    A view that reads a recording names its file and trial. Of the file only the study's name is
    shown: where it lay is nobody's business.
    """
    shown = shown or confirmed(tables, history)
    table = shown.table
    sources = {row.key: _source(shown.recipes.get(row.key) or {}) for row in shown.arms()}
    rows = sorted(shown.arms(), key=lambda row: bool(sources[row.key]))
    body = [
        (
            Entry(f"{row.arm} (ref.)" if row.reference else row.arm),
            Entry(row.weighter),
            Entry(sources[row.key] or "none"),
            counted(row.n_seeds),
            *(
                figure(cell.interval, one.metric, table.decimals(one.name))
                if (cell := row.cells.get(one.name))
                else Entry(NOTHING)
                for one in table.benchmarks
            ),
        )
        for row in rows
    ]
    some = any(sources.values())
    recipe = next(iter(shown.recipes.values()), {})
    onto = " and ".join(
        str(one) for one in (table.data, (recipe.get("architecture") or {}).get("name")) if one
    )
    caption = (
        f"{table.study}: augmentation policies that other trainings wrote, replayed"
        f"{f' on {onto}' if onto else ''}; {table.metric.title} on the {table.split} split, mean "
        "over n seeds ± half width of the 95 % Student-t interval."
        if some
        else f"{table.study}: no arm replays recorded policies."
    )
    return Grid(
        name="transfer",
        title="Transfer of policies",
        caption=caption,
        columns=(
            *words("arm", "weighter", "policies from"),
            *numbers("n"),
            *(
                Column(f"{table.head(one)} [{one.metric.unit or one.metric.title}]", one.name)
                for one in table.benchmarks
            ),
        ),
        body=tuple(body) if some else (),
    )


def _source(recipe: Mapping[str, Any]) -> str:
    """`policy-collapse, trial 9` for each recording that a view reads, "" without one."""
    found = []
    for view in (recipe.get("views") or {}).values():
        if not ("file" in view and "trial" in view):
            continue
        path = PurePosixPath(str(view["file"]))
        parts = path.parts
        trial = str(view["trial"]).rpartition("-")[2]
        name = path.stem
        for folder in ("tables", "trials"):
            if folder in parts[1:]:
                at = len(parts) - 1 - parts[::-1].index(folder)
                name = parts[at - 1]
                if folder == "trials" and not trial:
                    trial = parts[at + 1]
        found.append(f"{name}, trial {trial.lstrip('0') or '0'}" if trial else name)
    return " and ".join(found)
