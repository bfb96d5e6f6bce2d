"""Searched coefficients: what was tried, what was chosen, and how the figure depends on it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ..grid import NOTHING, Entry, Grid, counted, numbers, words
from ..history import History
from ..metrics import Metric
from ..metrics import metric as metric_of
from ..ranges import edge, position
from ..ranges import text as range_text
from ..tables import TableRow
from .confirmed import Shown, confirmed

_COEFFICIENT = re.compile(r"losses/(.+)/coefficient")
_THIRDS = ("low third", "middle third", "high third")

Row = Mapping[str, Any]


def coefficients(
    tables: Mapping[str, Any], history: History | None = None, shown: Shown | None = None
) -> Grid:
    """One row per arm, weighter and coefficient that was searched.

    Figures are those of the search's metric at the end of the trials of full budget: stopped ones
    were measured earlier and would make a third look worse than it is.
    """
    import pyarrow.compute as pc

    shown = shown or confirmed(tables, history)
    study = tables["studies"].to_pylist()[0]
    primary = str(study["primary_metric"] or "")
    metric = metric_of(primary, study["goal"] or "")
    trials = tables["trials"].drop_columns(["config_json"]).to_pylist()
    by_id = {one["trial_id"]: one for one in trials}
    params = tables["params"]
    rows = params.filter(pc.fill_null(params["sampled"], False)).to_pylist()
    searched: dict[tuple[tuple[str, str], str], list[Row]] = {}
    for one in rows:
        trial = by_id[one["trial_id"]]
        if _COEFFICIENT.fullmatch(one["name"]) and trial["phase"] == "search":
            label = str(trial["arm"]), str(trial["weighter"])
            searched.setdefault((label, one["name"]), []).append({**one, "trial": trial})
    body = []
    for row in shown.arms():
        zero = _at_zero(row, shown, trials, metric)
        mine = [(name, found) for (key, name), found in searched.items() if key == row.key]
        body += [_line(row, name, found, metric, zero) for name, found in mine]
    unit = f" [{metric.unit}]" if metric.unit else ""
    caption = (
        f"{study['name']}: searched coefficients. Figures are means of {primary}{unit}"
        f" ({'lower' if metric.lower else 'higher'} is better) over search trials of full budget "
        "(how many: in brackets) in thirds of the range, even in the logarithm where the range is "
        "logarithmic; other settings vary with them. at 0: control trials, or the baseline's "
        "trials where it is the same without this loss."
        if body
        else f"{study['name']}: no coefficient was searched."
    )
    return Grid(
        name="coefficients",
        title="Coefficients",
        caption=caption,
        columns=(
            *words("arm × weighter", "coefficient of"),
            *words("range"),
            *numbers("trials", "chosen"),
            *words("at an end"),
            *numbers(*_THIRDS, "at 0"),
        ),
        body=tuple(body),
    )


def _line(
    row: TableRow, name: str, found: Sequence[Row], metric: Metric, zero: Entry
) -> tuple[Entry, ...]:
    distribution = json.loads(found[0]["distribution_json"] or "{}")
    chosen = next(
        (one["value_num"] for one in found if one["trial"]["number"] == row.selected_trial), None
    )
    match = _COEFFICIENT.fullmatch(name)
    parts: list[list[float]] = [[], [], []]
    for one in found:
        place = position(one["value_num"], distribution)
        if place is not None and _whole(one["trial"]):
            parts[min(2, max(0, math.floor(3 * place)))].append(one["trial"]["score"])
    return (
        Entry(row.label),
        Entry(match.group(1) if match else name),
        Entry(range_text(distribution) if distribution else NOTHING),
        counted(len(found)),
        Entry(NOTHING) if chosen is None else Entry(f"{chosen:.4g}", chosen),
        Entry(edge(position(chosen, distribution)) or "no"),
        *(_mean(one, metric) for one in parts),
        zero,
    )


def _mean(values: list[float], metric: Metric, suffix: str = "") -> Entry:
    if not values:
        return Entry(NOTHING)
    mean = fmean(values)
    return Entry(f"{metric.text(mean, metric.decimals([mean]))} ({suffix}{len(values)})", mean)


def _at_zero(row: TableRow, shown: Shown, trials: Sequence[Row], metric: Metric) -> Entry:
    """The figure without the auxiliary losses; nothing where no trial is of that kind."""
    control = next(
        (
            one
            for one in shown.table.rows
            if one.control == "coefficient_0"
            and one.key[0] == row.arm
            and one.weighter.startswith(row.weighter)
        ),
        None,
    )
    if control is not None:
        mine = [one["score"] for one in trials if one["number"] in control.members and _whole(one)]
        return _mean(mine, metric, "control, ")
    reference = shown.table.reference
    recipes = (shown.recipes.get(one.key) for one in (row, reference) if one is not None)
    arm, base = (dict((one or {}).get("losses") or {}) for one in recipes)
    if reference is None or len(base) != 1 or len(arm) < 2 or _first(arm) != _first(base):
        return Entry(NOTHING)
    mine = [
        one["score"]
        for one in trials
        if (one["arm"], one["weighter"]) == reference.key
        and one["phase"] == "search"
        and _whole(one)
    ]
    return _mean(mine, metric, "baseline, ")


def _first(losses: Mapping[str, Any]) -> Any:
    return next(iter(losses.values()))


def _whole(trial: Row) -> bool:
    score = trial["score"]
    return trial["state"] == "COMPLETE" and score is not None and math.isfinite(score)
