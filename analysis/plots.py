"""Two figures of a study: learning curves with the stops, and clean against robust accuracy.

Made with matplotlib's objects, without pyplot, so that nothing global changes and no display is
needed. Colours are those of Okabe and Ito, safe for the colour-blind; every colour comes with a
marker or a line style, so that the figures survive a black-and-white print.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .tables import RobustnessTable, robustness_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, BLUE, ORANGE, VERMILLION, GREY = "#000000", "#0072B2", "#E69F00", "#D55E00", "#8C8C8C"
COLOURS = (BLACK, ORANGE, "#56B4E9", "#009E73", BLUE, VERMILLION, "#CC79A7", "#A08A00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "d")

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "svg.fonttype": "none",
    # Without a fixed salt every SVG has other ids.
    "svg.hashsalt": "analysis",
    # Labels are the user's: a $ in one is a dollar, not mathematics.
    "text.parse_math": False,
}


_HEADINGS = ("Arm", "Weighter", "Figures")


class NothingToPlotError(ValueError):
    """The study has no figures of the kind that the plot shows; the message says which."""


def write_figures(tables: Mapping[str, Any], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Write every figure that the study has data for as SVG and PNG into `folder`.

    Returns name -> path of the SVG (the PNG lies beside it), and a note for each figure left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, notes = {}, []
    for name, draw in (("learning_curves", learning_curves), ("clean_robust", clean_robust)):
        try:
            figure = draw(tables)
        except NothingToPlotError as reason:
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
    with rc_context(_STYLE):
        figure.savefig(
            temporary, format=path.suffix[1:], metadata=date, dpi=160, bbox_inches="tight"
        )
    temporary.replace(path)


def learning_curves(tables: Mapping[str, Any]) -> Figure:
    """The search's metric against the epoch, one panel per arm and weighter, a line per trial.

    Lines of trials that ran to the end of their budget are strong, others faint; where a trial
    ended early a marker says why. Dotted vertical lines are the scheduler's rungs.
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
    labels = _labels(study)
    columns = min(len(labels), 4 if len(labels) > 6 else 3)
    lines = math.ceil(len(labels) / columns)
    percent = metric.endswith("accuracy")
    with rc_context(_STYLE):
        figure = Figure(figsize=(max(5.0, 2.5 * columns), 1.0 + 1.9 * lines), layout="constrained")
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for place, label in enumerate(labels):
            axes = grid[place // columns][place % columns]
            axes.set_title(_wrapped(label), loc="left", pad=4)
            for rung in rungs:
                axes.axvline(rung, color=GREY, linewidth=0.7, linestyle=":", zorder=0)
            for trial in searched:
                if (trial["arm"], trial["weighter"]) == label:
                    _draw_curve(axes, curves[trial["trial_id"]], trial, percent=percent)
        for empty in grid.flat[len(labels) :]:
            empty.set_visible(False)
        for place in range(len(labels)):
            # The panels above an empty place are the last of their column.
            if place + columns >= len(labels):
                grid[place // columns][place % columns].tick_params(labelbottom=True)
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel(_readable(metric, percent=percent), fontsize=9)
        _whole_epochs(grid[0][0])
        # Only what occurs is explained, in a row above the panels.
        kinds = {_ending(one) for one in searched}
        handles = [_example(kind) for kind in _ENDINGS if kind in kinds]
        if rungs:
            handles.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="rung"))
        figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False)
    return figure


def clean_robust(tables: Mapping[str, Any]) -> Figure:
    """Clean against robust accuracy: faint for search trials, large with bars for confirmed arms.

    Search trials show their last validation figures, confirmed configurations their mean test
    figures with 95 % intervals over seeds. Robust is the lowest accuracy over the attacks; without
    an attack it is the last noise benchmark.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    study = tables["studies"].to_pylist()[0]
    table = robustness_table(tables)
    robust = _robust_benchmarks(tables["evaluations"])
    points = _points(tables, robust)
    labels = _labels(study)
    arms = list(dict.fromkeys(arm for arm, _ in labels))
    weighters = list(dict.fromkeys(one for _, one in labels))
    with rc_context(_STYLE):
        figure = Figure(figsize=(6.6, 4.2), layout="constrained")
        axes = figure.subplots()
        for (arm, weighter), clean, hard, whole in points:
            style = _style(arms.index(arm), weighters.index(weighter))
            opacity = 0.65 if whole else 0.25
            axes.plot(clean, hard, markersize=4, alpha=opacity, linestyle="", zorder=2, **style)
        confirmed = _draw_means(axes, table, arms, weighters, set(robust))
        axes.set_xlabel("clean accuracy [%]")
        axes.set_ylabel(
            f"accuracy on {' / '.join(robust)} [%]"
            if len(robust) < 3
            else "lowest accuracy over the attacks [%]"
        )
        axes.grid(color="#DDDDDD", linewidth=0.5)
        axes.set_axisbelow(True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        _inside(axes)
        handles = _legend(arms, weighters, whole={one[3] for one in points}, confirmed=confirmed)
        legend = figure.legend(handles=handles, loc="outside right upper", frameon=False)
        for text in legend.get_texts():
            if text.get_text() in _HEADINGS:
                text.set_fontweight("bold")
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
    "open": ("still running", "#009E73", ">", 0.9, 0.8),
}


def _ending(trial: dict[str, Any]) -> str:
    if trial["stop_reason"] in ("diverged", "rung"):
        return str(trial["stop_reason"])
    return {"COMPLETE": "complete", "PRUNED": "rung", "FAIL": "error"}.get(trial["state"], "open")


def _draw_curve(
    axes: Axes, curve: list[tuple[int, float]], trial: dict[str, Any], *, percent: bool
) -> None:
    scale = 100 if percent else 1
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


def _robust_benchmarks(evaluations: Any) -> list[str]:
    """The attacks by name; without any the last noise benchmark."""
    found: dict[str, list[str]] = {"clean": [], "noise": [], "adversarial": []}
    names = ["family", "name", "metric", "position"]
    rows = evaluations.select(names).to_pylist()
    for row in sorted(rows, key=lambda one: one["position"]):
        known = found.get(row["family"], [])
        if row["metric"] == "accuracy" and row["name"] not in known:
            known.append(row["name"])
    robust = found["adversarial"] or found["noise"][-1:]
    if not found["clean"] or not robust:
        raise NothingToPlotError(
            "the study has no accuracy on a clean and a noise or attack benchmark"
        )
    return robust


def _points(
    tables: Mapping[str, Any], robust: list[str]
) -> list[tuple[tuple[str, str], float, float, bool]]:
    """(arm, weighter), clean and robust percent at the last evaluation, ran its full budget?"""
    last: dict[str, tuple[int, dict[str, float]]] = {}
    for row in tables["evaluations"].to_pylist():
        if row["split"] != "validation" or row["metric"] != "accuracy" or row["value"] is None:
            continue
        step, values = last.get(row["trial_id"], (-1, {}))
        if row["step"] > step:
            values = {}
        values["clean" if row["family"] == "clean" else row["name"]] = 100 * row["value"]
        last[row["trial_id"]] = (row["step"], values)
    points = []
    for trial in tables["trials"].drop_columns(["config_json"]).to_pylist():
        values = last.get(trial["trial_id"], (0, {}))[1]
        hard = [values[name] for name in robust if name in values]
        if trial["phase"] == "search" and "clean" in values and hard:
            label, whole = (trial["arm"], trial["weighter"]), trial["state"] == "COMPLETE"
            points.append((label, values["clean"], min(hard), whole))
    return points


def _draw_means(
    axes: Axes, table: RobustnessTable, arms: list[str], weighters: list[str], robust: set[str]
) -> bool:
    """The confirmed configurations; whether there is any."""
    clean = next((one.name for one in table.benchmarks if one.family == "clean"), "")
    drawn = False
    for row in table.rows if table.split == "test" and table.percent else ():
        hard = [row.cells[name].interval for name in robust if name in row.cells]
        if clean not in row.cells or not hard:
            continue
        x, y = row.cells[clean].interval, min(hard, key=lambda one: one.mean)
        style = _style(arms.index(row.arm), weighters.index(row.weighter))
        edge = "white" if style["fillstyle"] == "full" else style["color"]
        at = (100 * x.mean, 100 * y.mean)
        spread: dict[str, Any] = {
            "xerr": 100 * (x.half_width or 0),
            "yerr": 100 * (y.half_width or 0),
        }
        axes.errorbar(
            *at, **spread, color=style["color"], elinewidth=1.1, capsize=2.5, linestyle="", zorder=4
        )
        axes.plot(*at, markersize=7.5, linestyle="", zorder=5, **style | {"markeredgecolor": edge})
        drawn = True
    return drawn


def _style(arm: int, weighter: int) -> dict[str, Any]:
    """Colour by arm, marker by weighter; the ninth arm and later are hollow."""
    colour = COLOURS[arm % len(COLOURS)]
    return {
        "color": colour,
        "marker": MARKERS[weighter % len(MARKERS)],
        "markeredgecolor": colour,
        "fillstyle": "full" if arm < len(COLOURS) else "none",
    }


def _legend(
    arms: list[str], weighters: list[str], *, whole: set[bool], confirmed: bool
) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], linestyle="", label=_HEADINGS[0])]
    for place, arm in enumerate(arms):
        colour = COLOURS[place % len(COLOURS)]
        face = colour if place < len(COLOURS) else "none"
        handles.append(Patch(facecolor=face, edgecolor=colour, label=arm))
    handles.append(Line2D([], [], linestyle="", label=_HEADINGS[1]))
    for place, weighter in enumerate(weighters):
        style = _style(0, place) | {"color": GREY, "markeredgecolor": GREY}
        handles.append(Line2D([], [], linestyle="", markersize=6, label=weighter, **style))
    handles.append(Line2D([], [], linestyle="", label=_HEADINGS[2]))
    faint: dict[str, Any] = {"marker": "o", "color": GREY, "linestyle": ""}
    kinds = ((True, "full search trial", 0.8), (False, "stopped search trial", 0.35))
    for kind, text, opacity in kinds:
        if kind in whole:
            label = f"{text}, validation"
            handles.append(Line2D([], [], markersize=4, alpha=opacity, label=label, **faint))
    if confirmed:
        text = "confirmed, test, 95 %"
        handles.append(Line2D([], [], markersize=7.5, label=text, **faint))
    return handles


def _labels(study: dict[str, Any]) -> list[tuple[str, str]]:
    """Arm and weighter of every row, in the order of the tables."""
    resolved = json.loads(study["config_json"])
    labels = [(one["arm"], one["weighter"]) for one in resolved["arms"]]
    return sorted(labels, key=lambda label: label[0] != study["baseline"])


def _wrapped(label: tuple[str, str]) -> str:
    """The label on one line where it fits a panel, else on two, each cut to the panel's width."""
    arm, weighter = label
    if len(arm) + len(weighter) <= 23:
        return f"{arm} × {weighter}"
    return "\n".join(one if len(one) <= 31 else f"{one[:30]}…" for one in (arm, f"× {weighter}"))


def _readable(metric: str, *, percent: bool) -> str:
    return metric.replace("/", " ") + (" [%]" if percent else "")


def _whole_epochs(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def _inside(axes: Axes) -> None:
    """Percent axes do not go beyond what an accuracy can be, unless an error bar does."""
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -4), min(high, 104))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -4), min(high, 104))
