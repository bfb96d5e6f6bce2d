"""Weighters of the same arm beside each other: what they gave, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ..grid import NOTHING, Column, Entry, Grid, counted, figure, numbers, ratio, share, words
from ..history import History
from ..robustness import passes
from .confirmed import Shown, confirmed


@dataclass(frozen=True)
class Weighing:
    """What one trial's weights did: the main loss's share, and its gradient against the others'.

    `main` is the main loss's weight in the last epoch over the sum of all weights, coefficients
    aside, None where a weight is negative or not finite. `cosine` is the mean cosine of the other
    losses' gradients with the main one's over all epochs, `conflict` the share of the steps in
    which it was below 0; None where gradients were not measured.
    """

    main: float | None
    cosine: float | None
    conflict: float | None


def weighters(
    tables: Mapping[str, Any], history: History | None = None, shown: Shown | None = None
) -> Grid:
    """Rows of the robustness table with more than one loss, arm by arm, controls included."""
    shown = shown or confirmed(tables, history)
    table = shown.table
    found = _weighings(tables["weights"])
    rows = [
        row for row in table.rows if len((shown.recipes.get(row.key) or {}).get("losses", {})) > 1
    ]
    body = []
    for row in rows:
        mine = [found[one] for one in shown.trials[row.key] if one in found]
        cosine = _mean([one.cosine for one in mine])
        body.append(
            (
                Entry(row.arm),
                Entry(row.weighter),
                counted(row.n_seeds),
                *(
                    figure(cell.interval, one.metric, table.decimals(one.name))
                    if (cell := row.cells.get(one.name))
                    else Entry(NOTHING)
                    for one in table.benchmarks
                ),
                share(_mean([one.main for one in mine])),
                Entry(NOTHING) if cosine is None else Entry(f"{cosine:+.2f}", cosine),
                share(_mean([one.conflict for one in mine])),
                ratio(row.time_ratio),
                passes(row),
            )
        )
    heads = (
        Column(f"{table.head(one)} [{one.metric.unit or one.metric.title}]", one.name)
        for one in table.benchmarks
    )
    caption = (
        f"{table.study}: weighters, on the {table.split} split. weight of main: the main loss's "
        "share of the sum of weights in the last epoch, coefficients aside; cosine: of the other "
        "losses' gradients with the main one's, mean over epochs; conflicts: steps in which it "
        "was below 0; both only where gradients were measured. time/epoch: relative to the "
        "reference row."
        if body
        else f"{table.study}: no arm with more than one loss has figures."
    )
    return Grid(
        name="weighters",
        title="Weighters",
        caption=caption,
        columns=(
            *words("arm", "weighter"),
            *numbers("n"),
            *heads,
            *numbers("weight of main [%]", "cosine", "conflicts [%]", "time/epoch", "extra passes"),
        ),
        body=tuple(body),
    )


def _weighings(weights: Any) -> dict[str, Weighing]:
    """Trial -> what its weights did. The first loss of a trial's rows is its main loss."""
    columns = ["trial_id", "step", "loss", "weight", "grad_cos", "grad_conflict"]
    by_trial: dict[str, list[dict[str, Any]]] = {}
    for row in weights.select(columns).to_pylist():
        by_trial.setdefault(row["trial_id"], []).append(row)
    found = {}
    for trial, rows in by_trial.items():
        main, last = rows[0]["loss"], max(row["step"] for row in rows)
        others = [row for row in rows if row["loss"] != main]
        found[trial] = Weighing(
            main=_main({row["loss"]: row["weight"] for row in rows if row["step"] == last}, main),
            cosine=_mean([row["grad_cos"] for row in others]),
            conflict=_mean([row["grad_conflict"] for row in others]),
        )
    return found


def _main(weights: dict[str, float | None], main: str) -> float | None:
    values = [one for one in weights.values() if one is not None]
    if len(values) < len(weights) or not all(math.isfinite(one) and one >= 0 for one in values):
        return None
    total = sum(values)
    return (weights.get(main) or 0.0) / total if total else None


def _mean(values: list[float | None]) -> float | None:
    known = [one for one in values if one is not None and math.isfinite(one)]
    return fmean(known) if known else None
