"""How augmentation policies went over the epochs of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .searched import chosen
from .style import (
    COLOURS,
    COLUMN,
    DASHES,
    PAGE,
    STYLE,
    NothingToPlotError,
    labels_of,
    legend_columns,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALTERNATIVE = "What augmentation policies did over the epochs, by arm."
CAPTION = (
    "Augmentation policies epoch by epoch: strong lines are means over an arm's confirmed trials "
    "(before confirmation: over its search trials of full budget), thin ones the trials."
)

# What views report of their policies -> the panel's title.
PANELS = {
    "entropy": "relative entropy\n(0: collapsed, 1: uniform)",
    "top_operation": "share of the most\nfrequent operation",
    "magnitude": "mean magnitude\n(0 to 9)",
    "spread": "deviation of the\npolicies' losses",
}


def policies(tables: Mapping[str, Any]) -> Figure:
    """What views with policies reported each epoch, a line per arm: the mean over its trials.

    Confirmed trials count where an arm has any, else those of the search of full budget; thin lines
    are the trials. Raises `NothingToPlotError` where no view has policies.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    study = tables["studies"].to_pylist()[0]
    curves = _curves(tables)
    if not curves:
        raise NothingToPlotError("no view has policies that it reports on")
    panels = [name for name in PANELS if any(name in one for one in curves.values())]
    with rc_context(STYLE):
        size = (PAGE if len(panels) > 1 else COLUMN, 2.2 + 0.08 * len(curves))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        known = [label for label in labels_of(study) if label in curves]
        for axes, name in zip(grid, panels, strict=True):
            axes.set_title(PANELS[name], loc="left", fontsize=7)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
            for place, label in enumerate(known):
                trials = list(curves[label].get(name, {}).values())
                colour = COLOURS[place % len(COLOURS)]
                line = DASHES[place % len(DASHES)]
                for trial in trials:
                    axes.plot(*zip(*trial, strict=True), color=colour, linewidth=0.5, alpha=0.4)
                mean = _mean(trials)
                # A legend entry in the first panel also for an arm that has no entropy.
                shown = zip(*mean, strict=True) if mean else ([], [])
                arm = shortened(" × ".join(label), 40)
                axes.plot(*shown, linestyle=line, color=colour, linewidth=1.4, label=arm)
        handles, names = grid[0].get_legend_handles_labels()
        below = legend_columns(known) if len(panels) > 1 else 1
        figure.legend(handles, names, loc="outside lower center", ncols=below, frameon=False)
    return figure


def _curves(tables: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Arm and weighter -> figure -> trial -> [(epoch, value)]."""
    import pyarrow.compute as pc

    of = {one["trial_id"]: label for label, rows in chosen(tables).items() for one in rows}
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    reports = tables["reports"]
    of_views = pc.match_substring(reports["metric"], "/")
    of_views = pc.and_(pc.equal(reports["split"], "train"), of_views)
    for row in reports.filter(of_views).to_pylist():
        name = str(row["metric"]).rpartition("/")[2]
        if name not in PANELS:
            continue
        if row["trial_id"] in of and row["value"] is not None and math.isfinite(row["value"]):
            curves = found.setdefault(of[row["trial_id"]], {}).setdefault(name, {})
            curves.setdefault(row["trial_id"], []).append((row["step"], row["value"]))
    return found


def _mean(trials: list[list[tuple[int, float]]]) -> list[tuple[int, float]]:
    by_step: dict[int, list[float]] = {}
    for trial in trials:
        for step, value in trial:
            by_step.setdefault(step, []).append(value)
    return [(step, fmean(values)) for step, values in sorted(by_step.items())]
