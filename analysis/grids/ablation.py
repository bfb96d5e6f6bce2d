"""What each part of an arm of several losses adds: the arm against the arms with fewer of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..grid import NOTHING, Column, Entry, Grid, counted, figure, numbers, words
from ..history import History
from ..statistics import paired_difference
from ..tables import TableRow
from .confirmed import Shown, confirmed

# A loss is what it is called and which views it reads, by the names of their components: labels
# and coefficients are free.
Part = tuple[str, tuple[str, ...]]


def ablation(
    tables: Mapping[str, Any], history: History | None = None, shown: Shown | None = None
) -> Grid:
    """Every arm with two and more auxiliary losses against the arms that lack some of them.

    Arms belong together when their main losses are alike and all of the smaller one's losses are
    losses of the larger one; the weighter must be the same, unless the smaller has one loss alone.
    Differences are paired by seed, larger minus smaller.
    """
    shown = shown or confirmed(tables, history)
    table = shown.table
    parts = {row.key: _parts(shown.recipes.get(row.key) or {}) for row in shown.arms()}
    body = []
    for row in shown.arms():
        main, mine = parts[row.key]
        if sum(mine.values()) < 2:
            continue
        for other in shown.arms():
            theirs = parts[other.key][1]
            alone = not theirs or other.weighter == row.weighter
            if parts[other.key][0] != main or other is row or not theirs < mine or not alone:
                continue
            body.append(_line(row, other, mine - theirs, shown))
    some = table.split == "test" and any(row.n_seeds for row in table.rows)
    caption = (
        f"{table.study}: what the losses of an arm add, {table.split} split. Difference of the arm "
        "with all of them to the arm without those named: mean over the n seeds that both have, "
        "paired by seed, ± half width of the 95 % Student-t interval"
        f"{'' if table.metric.step != 'pp' else ', in percentage points'}, not corrected."
        if body
        else f"{table.study}: nothing to take apart"
        f"{'' if some else ' yet'}: no arm with two auxiliary losses or more stands beside an arm "
        "with some of them alone."
    )
    return Grid(
        name="ablation",
        title="Ablation",
        caption=caption,
        columns=(
            *words("arm", "against"),
            *words("without"),
            *numbers("n"),
            *(
                Column(f"{table.head(one)} [{one.metric.step or one.metric.title}]", one.name)
                for one in table.benchmarks
            ),
        ),
        body=tuple(body),
    )


def _line(row: TableRow, other: TableRow, left: Counter[Part], shown: Any) -> tuple[Entry, ...]:
    table = shown.table
    cells, most = [], 0
    for one in table.benchmarks:
        mine, theirs = row.cells.get(one.name), other.cells.get(one.name)
        found = paired_difference(mine.by_seed, theirs.by_seed) if mine and theirs else None
        most = max(most, found.n if found else 0)
        cells.append(
            figure(found, one.metric, table.decimals(one.name), sign=True)
            if found
            else Entry(NOTHING)
        )
    lost = ", ".join(f"{name} ({' + '.join(views)})" for name, views in left.elements())
    return Entry(row.label), Entry(other.label), Entry(lost), counted(most), *cells


def _parts(recipe: Mapping[str, Any]) -> tuple[Part | None, Counter[Part]]:
    """The main loss and the auxiliary ones, each as often as it is there."""
    views = recipe.get("views") or {}
    found = []
    for loss in (recipe.get("losses") or {}).values():
        labels = loss.get("views") or [loss.get("view") or "clean"]
        read = (str((views.get(one) or {}).get("name", one)) for one in labels)
        found.append((str(loss.get("name", "?")), tuple(read)))
    return (found[0] if found else None), Counter(found[1:])
