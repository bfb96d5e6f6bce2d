"""Learning curves: how far every search trial came, and where the scheduler stopped it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .metrics import Metric, readable
from .metrics import metric as metric_of
from .searched import ending
from .style import (
    BLACK,
    BLUE,
    GREY,
    MANY,
    STYLE,
    VERMILLION,
    NothingToPlotError,
    labels_of,
    logarithmic,
    panels,
    thinned,
    titled,
    wide,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALTERNATIVE = "Learning curves: the search's metric against the epoch, by arm."
CAPTION = (
    "Every search trial, one panel per arm and weighter. Crosses: stopped by the scheduler at a "
    f"rung; strong lines: full budget. Of more than {MANY} trials some of the stopped ones are "
    "left out, evenly; the legend says how many."
)


def learning_curves(tables: Mapping[str, Any]) -> Figure:
    """The search's metric against the epoch, one panel per arm and weighter, a line per trial.

    Lines of trials that ran to the end of their budget are strong, others faint; where a trial
    ended early a marker says why. Dotted vertical lines are the scheduler's rungs. Errors that
    lie far apart are on a logarithmic scale.
    """
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    study = tables["studies"].to_pylist()[0]
    metric = str(study["primary_metric"])
    curves, rungs = _curves(tables["reports"], metric)
    searched = [
        one
        for one in tables["trials"].drop_columns(["config_json"]).to_pylist()
        if one["phase"] == "search" and one["trial_id"] in curves
    ]
    if not searched:
        raise NothingToPlotError(f"no search trial has reported {metric}")
    labels = labels_of(study)
    drawn, faint = _some(searched), len(searched) > MANY
    found = metric_of(metric, str(study["goal"]))
    values = [
        value for one in searched for _, value in curves[one["trial_id"]] if math.isfinite(value)
    ]
    with rc_context(STYLE):
        figure, grid = panels(len(labels), height=1.6, room=0.6, sharex=True, sharey=True)
        for axes, label in zip(grid, labels, strict=True):
            axes.set_title(titled(label), loc="left", pad=4)
            for rung in rungs:
                axes.axvline(rung, color=GREY, linewidth=0.7, linestyle=":", zorder=0)
            for trial in drawn:
                if (trial["arm"], trial["weighter"]) == label:
                    _draw_curve(axes, curves[trial["trial_id"]], trial, found.scale, faint=faint)
        if found.scale == 1 and wide(values):
            # One bad epoch would press the curves of all others flat.
            logarithmic(grid[0], "y")
        figure.supxlabel("epoch", fontsize=8)
        figure.supylabel(_label(metric, found), fontsize=8)
        _whole_epochs(grid[0])
        # Only what occurs is explained, in a row above the panels.
        kinds = {kind: sum(ending(one) == kind for one in searched) for kind in _ENDINGS}
        shown = {kind: sum(ending(one) == kind for one in drawn) for kind in _ENDINGS}
        handles = [_example(kind, shown[kind], kinds[kind]) for kind in _ENDINGS if kinds[kind]]
        if rungs:
            handles.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="rung"))
        columns = 5 if len(labels) > 1 else 2
        figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)
    return figure


def _curves(reports: Any, metric: str) -> tuple[dict[str, list[tuple[int, float]]], list[int]]:
    """Trial -> (epoch, value) of one metric, and the epochs at which the scheduler had a rung."""
    import pyarrow.compute as pc

    rungs = pc.unique(reports.filter(pc.is_valid(reports["rung"]))["step"]).to_pylist()
    split, _, name = metric.partition("/")
    of_metric = pc.and_(pc.equal(reports["split"], split), pc.equal(reports["metric"], name))
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in reports.filter(of_metric).select(["trial_id", "step", "value"]).to_pylist():
        if row["value"] is not None:
            curves.setdefault(row["trial_id"], []).append((row["step"], row["value"]))
    return curves, sorted(rungs)


# How a trial ended -> (text of the legend, colour, marker, line width, opacity).
_ENDINGS: dict[str, tuple[str, str, str, float, float]] = {
    "complete": ("full budget", BLUE, "", 1.4, 0.9),
    "rung": ("stopped at a rung", VERMILLION, "x", 0.8, 0.55),
    "diverged": ("diverged", BLACK, "*", 0.8, 0.9),
    "error": ("failed", BLACK, "s", 0.8, 0.6),
    "paused": ("paused at a rung", "#CC79A7", "|", 0.8, 0.7),
    "open": ("still running", "#009E73", ">", 0.9, 0.8),
}


def _some(searched: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All trials, or as many as can be told apart: the stopped ones, of many a kind, give way."""
    whole = [one for one in searched if ending(one) != "rung"]
    rest = [one for one in searched if ending(one) == "rung"]
    kept = [whole[place] for place in thinned(len(whole))]
    left = MANY - len(kept)
    return kept + ([rest[place] for place in thinned(len(rest), left)] if left > 1 else [])


def _draw_curve(
    axes: Axes,
    curve: list[tuple[int, float]],
    trial: dict[str, Any],
    scale: float,
    *,
    faint: bool,
) -> None:
    kind = ending(trial)
    _, colour, marker, width, opacity = _ENDINGS[kind]
    finite = [(step, scale * value) for step, value in curve if math.isfinite(value)]
    if not finite:
        # All that is known of it is when it ended: shown at the foot of the panel.
        axes.plot(
            curve[-1][0], 0.03, color=colour, marker=marker, markersize=6, linestyle="",
            transform=axes.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip
        return
    steps, values = zip(*finite, strict=True)
    front = 3 if kind == "complete" else 2
    # Hundreds of lines are megabytes as curves, and cannot be told apart anyway.
    axes.plot(
        steps, values, color=colour, linewidth=width, alpha=opacity, zorder=front, rasterized=faint
    )
    if marker or len(finite) == 1:
        axes.plot(
            steps[-1], values[-1], color=colour, marker=marker or "o", markersize=5, linestyle="",
            zorder=4,
        )  # fmt: skip


def _example(kind: str, shown: int, there: int) -> Any:
    from matplotlib.lines import Line2D

    text, colour, marker, width, opacity = _ENDINGS[kind]
    if shown < there:
        text = f"{text} ({shown} of {there:,} shown)"
    return Line2D(
        [],
        [],
        color=colour,
        marker=marker,
        markersize=5,
        linewidth=width,
        alpha=opacity,
        label=text,
    )


def _label(name: str, found: Metric) -> str:
    unit = f" [{found.unit}]" if found.unit else ""
    return readable(name) + unit + (" (lower is better)" if found.lower else "")


def _whole_epochs(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
