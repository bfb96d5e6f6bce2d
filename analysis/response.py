"""How the search's metric answers to the coefficients of the auxiliary losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .metrics import Metric, readable
from .metrics import metric as metric_of
from .searched import Run, controls, picked, ranges, runs, short
from .smooth import LEAST, smooth
from .style import (
    BLACK,
    BLUE,
    GREY,
    MANY,
    STYLE,
    VERMILLION,
    Label,
    NothingToPlotError,
    labels_of,
    logarithmic,
    near,
    panels,
    shortened,
    titled,
    wide,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALTERNATIVE = "The search's metric against each searched coefficient, by arm and weighter."
CAPTION = (
    "The search's metric against each coefficient that was searched; other settings vary from dot "
    "to dot. Strong dots: trials of full budget, the only ones that the curve goes through; hollow "
    "ones: stopped earlier, at their last epoch; triangles at an edge: beyond it; stars: diverged. "
    "Curve: local mean (Gaussian, 0.15 of the range wide) with a pointwise 95 % bootstrap band, "
    f"from {LEAST} trials on; the scheduler stopped the rest, so it flatters poor coefficients. "
    "Line across: coefficient 0, that is the arm's control without its auxiliary losses or else "
    "the baseline's search trials of full budget, mean and range. Triangle above: chosen."
)

# Standard deviation of the kernel, as a share of the searched range.
_WIDTH = 0.15
_END = "/coefficient"
_EARLY: dict[str, Any] = {"fillstyle": "none", "alpha": 0.6, "zorder": 2}
_WHOLE: dict[str, Any] = {"alpha": 0.85, "zorder": 3}


def response(tables: Mapping[str, Any]) -> Figure:
    """One panel for each arm, weighter and searched coefficient: the metric against it.

    Raises `NothingToPlotError` where no coefficient was searched, no search trial has figures, or
    no arm has more than one trial.
    """
    from matplotlib import rc_context

    study = tables["studies"].to_pylist()[0]
    found = [one for one in runs(tables) if one.sound or one.ending == "diverged"]
    known = ranges(tables)
    wanted = [
        (label, name)
        for label in labels_of(study)
        for name in known
        if name.endswith(_END)
        and any(one.label == label and _at(one, name) is not None for one in found)
    ]
    if not wanted:
        raise NothingToPlotError("no coefficient of a loss was searched")
    metric = metric_of(str(study["primary_metric"]), str(study["goal"]))
    if all(
        sum(one.label == label and _at(one, name) is not None for one in found) < 2
        for label, name in wanted
    ):
        raise NothingToPlotError("no arm has two search trials with different coefficients")
    values = [one.value for one in found if one.sound]
    if not values:
        raise NothingToPlotError(f"no search trial has reported {study['primary_metric']}")
    whole = [one.value for one in found if one.whole and one.sound]
    log = metric.scale == 1 and wide(values)
    best = picked(tables, found)
    named = short([name for _, name in wanted])
    with rc_context(STYLE):
        figure, grid = panels(len(wanted), height=1.9, sharey=True)
        frame = None if log else near(whole or values, values, lower=metric.lower)
        if log:
            logarithmic(grid[0], "y")
        elif frame:
            grid[0].set_ylim(metric.scale * frame[0], metric.scale * frame[1])
        for axes, (label, name) in zip(grid, wanted, strict=True):
            mine = [one for one in found if one.label == label and _at(one, name) is not None]
            _scale(axes, known[name], [_number(one, name) for one in mine])
            _reference(axes, *_without(tables, found, label, study), metric)
            shown = _dots(axes, mine, name, metric, frame)
            drawn = _curve(axes, mine, name, known[name], metric, log=log)
            if label in best and _at(best[label], name) is not None:
                _mark(axes, _number(best[label], name))
            axes.set_title(titled(label), loc="left", pad=5)
            note = "" if drawn else f"\n({shown} of full budget: no curve)"
            axes.set_xlabel(shortened(named[name], 34) + note)
            axes.grid(axis="y", color="#DDDDDD", linewidth=0.5)
            axes.set_axisbelow(True)
        unit = f" [{metric.unit}]" if metric.unit else ""
        better = "lower" if metric.lower else "higher"
        figure.supylabel(
            f"{readable(study['primary_metric'])}{unit}\n({better} is better)", fontsize=8
        )
        handles = {
            one.get_label(): one for axes in grid for one in axes.get_legend_handles_labels()[0]
        }
        figure.legend(
            handles=list(handles.values()),
            loc="outside upper center",
            ncols=2 if len(wanted) == 1 else 3,
            frameon=False,
        )
    return figure


def _at(one: Run, name: str) -> float | None:
    value = one.settings.get(name)
    return value if isinstance(value, float) and math.isfinite(value) else None


def _number(one: Run, name: str) -> float:
    value = _at(one, name)
    assert value is not None
    return value


def _scale(axes: Axes, known: Mapping[str, Any], values: Sequence[float]) -> None:
    """The axis shows the whole range that was searched, logarithmic where the search saw it so."""
    low = min([known.get("low", math.inf), *values])
    high = max([known.get("high", -math.inf), *values])
    if known.get("log", low > 0) and low > 0:
        room = (high / low) ** 0.04 if high > low else 1.5
        axes.set_xlim(low / room, high * room)
        logarithmic(axes, "x")
    else:
        room = 0.04 * (high - low) or 0.5
        axes.set_xlim(low - room, high + room)


def _without(
    tables: Mapping[str, Any], found: Sequence[Run], label: Label, study: Mapping[str, Any]
) -> tuple[str, list[float]]:
    """What coefficient 0 gave, and what says so: the arm's control, else the baseline's search."""
    scores = [one["score"] for one in controls(tables, "coefficient_0").get(label, [])]
    values = [one for one in scores if one is not None and math.isfinite(one)]
    if values:
        return "coefficient 0: the arm's control", values
    base = study["baseline"]
    values = [
        one.value
        for one in found
        if one.label[0] == base and label[0] != base and one.whole and one.sound
    ]
    return "coefficient 0: the baseline's search", values


def _reference(axes: Axes, text: str, values: Sequence[float], metric: Metric) -> None:
    if not values:
        return
    scaled = [metric.scale * one for one in values]
    axes.axhspan(min(scaled), max(scaled), color=GREY, alpha=0.2, linewidth=0, zorder=0)
    axes.axhline(
        fmean(scaled), color="#555555", linewidth=1.0, linestyle="--", label=text, zorder=1
    )


def _dots(
    axes: Axes,
    mine: Sequence[Run],
    name: str,
    metric: Metric,
    frame: tuple[float, float] | None,
) -> int:
    """Draw the trials; how many of them are of full budget."""
    many = len(mine) > MANY
    low, high = frame or (-math.inf, math.inf)
    sound = [one for one in mine if one.sound]
    whole = [one for one in sound if one.whole]
    inside = [one for one in sound if low <= one.value <= high]
    diverged = [_number(one, name) for one in mine if one.ending == "diverged"]
    for kept, text, look in (
        ([one for one in inside if not one.whole], "stopped or not ended", _EARLY),
        ([one for one in inside if one.whole], "full budget", _WHOLE),
    ):
        if kept:
            axes.plot(
                [_number(one, name) for one in kept], [metric.scale * one.value for one in kept],
                color=BLUE, marker="o", markersize=3.5, markeredgewidth=0.7, linestyle="",
                label=text, rasterized=many, **look,
            )  # fmt: skip
    for foot in (True, False):
        for of_whole, look in ((True, _WHOLE), (False, _EARLY)):
            kept = [one for one in sound if (one.value < low if foot else one.value > high)]
            at = [_number(one, name) for one in kept if one.whole is of_whole]
            if not at:
                continue
            axes.plot(
                at, [0.02 if foot else 0.98] * len(at),
                color=BLUE, marker="v" if foot else "^", markersize=4, markeredgewidth=0.7,
                linestyle="", clip_on=False, transform=axes.get_xaxis_transform(), **look,
            )  # fmt: skip
    if diverged:
        axes.plot(
            diverged, [0.02] * len(diverged), color=BLACK, marker="*", markersize=6, linestyle="",
            transform=axes.get_xaxis_transform(), clip_on=False, label="diverged", zorder=4,
        )  # fmt: skip
    return len(whole)


def _curve(
    axes: Axes,
    mine: Sequence[Run],
    name: str,
    known: Mapping[str, Any],
    metric: Metric,
    *,
    log: bool,
) -> bool:
    """Draw the local mean; whether there were enough trials for it."""
    kept = [one for one in mine if one.whole and one.sound]
    across = axes.get_xscale() == "log"
    x = [math.log(_number(one, name)) if across else _number(one, name) for one in kept]
    y = [math.log(one.value) if log else metric.scale * one.value for one in kept]
    low, high = known.get("low", min(x, default=0.0)), known.get("high", max(x, default=1.0))
    width = _WIDTH * (math.log(high / low) if across and low > 0 else high - low)
    drawn = smooth(x, y, width=width) if width > 0 else None
    if drawn is None:
        return False
    import numpy as np

    at, middle, least, most = drawn
    at = np.exp(at) if across else at
    middle, least, most = (np.exp(one) if log else one for one in (middle, least, most))
    axes.fill_between(at, least, most, color=VERMILLION, alpha=0.2, linewidth=0, zorder=1)
    axes.plot(at, middle, color=VERMILLION, linewidth=1.4, label="local mean, 95 % band", zorder=4)
    return True


def _mark(axes: Axes, value: float) -> None:
    axes.axvline(value, color=BLACK, linewidth=0.6, linestyle=":", zorder=1)
    axes.plot(
        value, 1.0, color=BLACK, marker="v", markersize=5, linestyle="", clip_on=False,
        transform=axes.get_xaxis_transform(), label="chosen", zorder=5,
    )  # fmt: skip
