"""The figures of a study, and learning curves with the stops.

Made with matplotlib's objects, without pyplot, so that nothing global changes and no display is
needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corrupted import corruptions
from .metrics import Metric, readable
from .metrics import metric as metric_of
from .objectives import objectives, volume_over_time
from .plane import clean_robust
from .style import (
    BLACK,
    BLUE,
    GREY,
    STYLE,
    VERMILLION,
    NothingToPlotError,
    labels_of,
    logarithmic,
    wide,
)
from .trajectories import policies

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["NothingToPlotError", "clean_robust", "learning_curves", "save", "write_figures"]


def write_figures(tables: Mapping[str, Any], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Write every figure that the study has data for as SVG and PNG into `folder`.

    Returns name -> path of the SVG (the PNG lies beside it), and a note for each figure left out
    that every study should have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, notes = {}, []
    for name, (draw, expected) in FIGURES.items():
        try:
            figure = draw(tables)
        except NothingToPlotError as reason:
            if expected:
                notes.append(f"No figure {name}: {reason}.")
            continue
        paths[name] = folder / f"{name}.svg"
        save(figure, paths[name])
        save(figure, paths[name].with_suffix(".png"))
    return paths, notes


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format of the path's suffix; the same figure gives the same SVG."""
    from matplotlib import rc_context

    date = {"Date": None} if path.suffix == ".svg" else None
    temporary = path.with_name(f".{path.name}.tmp")
    with rc_context(STYLE):
        figure.savefig(
            temporary, format=path.suffix[1:], metadata=date, dpi=160, bbox_inches="tight"
        )
    temporary.replace(path)


def learning_curves(tables: Mapping[str, Any]) -> Figure:
    """The search's metric against the epoch, one panel per arm and weighter, a line per trial.

    Lines of trials that ran to the end of their budget are strong, others faint; where a trial
    ended early a marker says why. Dotted vertical lines are the scheduler's rungs. Errors that
    lie far apart are on a logarithmic scale.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
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
    columns = min(len(labels), 4 if len(labels) > 6 else 3)
    lines = math.ceil(len(labels) / columns)
    found = metric_of(metric, str(study["goal"]))
    values = [
        value for one in searched for _, value in curves[one["trial_id"]] if math.isfinite(value)
    ]
    with rc_context(STYLE):
        figure = Figure(figsize=(max(5.0, 2.5 * columns), 1.0 + 1.9 * lines), layout="constrained")
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for place, label in enumerate(labels):
            axes = grid[place // columns][place % columns]
            axes.set_title(_wrapped(label), loc="left", pad=4)
            for rung in rungs:
                axes.axvline(rung, color=GREY, linewidth=0.7, linestyle=":", zorder=0)
            for trial in searched:
                if (trial["arm"], trial["weighter"]) == label:
                    _draw_curve(axes, curves[trial["trial_id"]], trial, scale=found.scale)
        if found.scale == 1 and wide(values):
            # One bad epoch would press the curves of all others flat.
            logarithmic(grid[0][0], "y")
        for empty in grid.flat[len(labels) :]:
            empty.set_visible(False)
        for place in range(len(labels)):
            # The panels above an empty place are the last of their column.
            if place + columns >= len(labels):
                grid[place // columns][place % columns].tick_params(labelbottom=True)
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel(_label(metric, found), fontsize=9)
        _whole_epochs(grid[0][0])
        # Only what occurs is explained, in a row above the panels.
        kinds = {_ending(one) for one in searched}
        handles = [_example(kind) for kind in _ENDINGS if kind in kinds]
        if rungs:
            handles.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="rung"))
        figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False)
    return figure


def _curves(reports: Any, metric: str) -> tuple[dict[str, list[tuple[int, float]]], list[int]]:
    """Trial -> (epoch, value) of one metric, and the epochs at which the scheduler had a rung."""
    curves: dict[str, list[tuple[int, float]]] = {}
    rungs = set()
    for row in reports.select(["trial_id", "step", "split", "metric", "value", "rung"]).to_pylist():
        if row["rung"] is not None:
            rungs.add(row["step"])
        name = row["metric"] if row["split"] is None else f"{row['split']}/{row['metric']}"
        if name == metric and row["value"] is not None:
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


def _ending(trial: dict[str, Any]) -> str:
    if trial["stop_reason"] in ("diverged", "rung"):
        return str(trial["stop_reason"])
    kinds = {"COMPLETE": "complete", "PRUNED": "rung", "FAIL": "error", "PAUSED": "paused"}
    return kinds.get(trial["state"], "open")


def _draw_curve(
    axes: Axes, curve: list[tuple[int, float]], trial: dict[str, Any], *, scale: float
) -> None:
    kind = _ending(trial)
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
    axes.plot(steps, values, color=colour, linewidth=width, alpha=opacity, zorder=front)
    if marker or len(finite) == 1:
        axes.plot(
            steps[-1], values[-1], color=colour, marker=marker or "o", markersize=5, linestyle="",
            zorder=4,
        )  # fmt: skip


def _example(kind: str) -> Any:
    from matplotlib.lines import Line2D

    text, colour, marker, width, opacity = _ENDINGS[kind]
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


def _wrapped(label: tuple[str, str]) -> str:
    """The label on one line where it fits a panel, else on two, each cut to the panel's width."""
    arm, weighter = label
    if len(arm) + len(weighter) <= 23:
        return f"{arm} × {weighter}"
    return "\n".join(one if len(one) <= 31 else f"{one[:30]}…" for one in (arm, f"× {weighter}"))


def _label(name: str, found: Metric) -> str:
    unit = f" [{found.unit}]" if found.unit else ""
    return readable(name) + unit + (" (lower is better)" if found.lower else "")


def _whole_epochs(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


# Name -> how it is drawn, and whether a reader would miss it.
FIGURES = {
    "learning_curves": (learning_curves, True),
    "clean_robust": (clean_robust, True),
    "objectives": (objectives, False),
    "hypervolume": (volume_over_time, False),
    "corruptions": (corruptions, False),
    "policies": (policies, False),
}
