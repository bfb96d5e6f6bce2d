"""The plane of clean against robust figures: where the trials and the confirmed arms stand."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from .metrics import Metric
from .style import (
    COLOURS,
    GREY,
    MANY,
    MARKERS,
    PAGE,
    STYLE,
    Label,
    NothingToPlotError,
    labels_of,
    legend_columns,
    logarithmic,
    wide,
)
from .tables import RobustnessTable, robustness_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALTERNATIVE = "Clean figures against robust ones, by trial and confirmed arm."
CAPTION = (
    "Small: search trials, last validation figures. Large: confirmed configurations, mean test "
    "figures with 95 % Student-t intervals over seeds, close up at the right once there are any; "
    "the dashed frame shows which part that is."
)

_SMALL, _LARGE = 4.0, 9.0
_HEADINGS = ("Arm × weighter", "Small: search, validation", "Large: confirmed, test")


@dataclass(frozen=True)
class _Point:
    """A search trial at its last evaluation, scaled; `whole`: it ran its full budget."""

    label: Label
    clean: float
    robust: float
    whole: bool


@dataclass(frozen=True)
class _Mean:
    """A confirmed configuration: scaled means over seeds, half widths 0 with one seed."""

    label: Label
    clean: float
    clean_half: float
    robust: float
    robust_half: float


def clean_robust(tables: Mapping[str, Any]) -> Figure:
    """Clean against robust figures: all search trials, and the confirmed arms close up.

    The figures are those of the robustness table's metric: accuracy, an error, average precision.
    The left panel has every search trial at its last validation figures. The right one, drawn once
    something is confirmed, is the part of it that holds the confirmed configurations: their mean
    test figures with 95 % intervals over seeds in both directions, numbered as in the legend, and
    the trials of full budget that lie there. Robust is the worst figure over the attacks (the
    lowest accuracy, the highest error); without an attack it is the last noise benchmark. Errors
    that lie far apart are on logarithmic scales at the left.

    Raises `NothingToPlotError` for a study without a clean and a noise or attack benchmark.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    table = robustness_table(tables)
    metric = table.metric
    robust = _robust_benchmarks(tables["evaluations"], metric)
    labels = labels_of(tables["studies"].to_pylist()[0])
    looks = looks_of(labels)
    points = _points(tables, robust, metric)
    means = _means(table, set(robust))
    # The legend below the panels needs a line for each arm and weighter.
    below = legend_columns(labels)
    height = 3.0 + 0.16 * math.ceil((len(labels) + 6) / below)
    with rc_context(STYLE):
        figure = Figure(figsize=(PAGE, height), layout="constrained")
        every, *near = figure.subplots(1, 2 if means else 1, squeeze=False)[0]
        _draw_points(every, points, looks)
        legend = _legend(looks, points, numbered=bool(means))
        if means:
            _close_up(near[0], points, means, looks, metric)
            _frame(every, near[0])
            every.set_title("every search trial", loc="left")
            near[0].set_title("the frame enlarged: confirmed arms", loc="left")
        _inside(every, metric, points)
        for axes in (every, *near):
            _scales(axes, robust, metric)
        drawn = figure.legend(
            handles=legend, loc="outside lower center", ncols=below, frameon=False
        )
        for text in drawn.get_texts():
            if text.get_text() in _HEADINGS:
                text.set_fontweight("bold")
        if means:
            _number(near[0], means, labels)
    return figure


def _robust_benchmarks(evaluations: Any, metric: Metric) -> list[str]:
    """The attacks by name; without any the last noise benchmark."""
    found: dict[str, list[str]] = {"clean": [], "noise": [], "adversarial": []}
    names = ["family", "name", "metric", "position"]
    rows = evaluations.select(names).to_pylist()
    for row in sorted(rows, key=lambda one: one["position"]):
        known = found.get(row["family"], [])
        if row["metric"] == metric.name and row["name"] not in known:
            known.append(row["name"])
    robust = found["adversarial"] or found["noise"][-1:]
    if not found["clean"] or not robust:
        raise NothingToPlotError(
            f"the study has no {metric.title} on a clean and a noise or attack benchmark"
        )
    return robust


def _points(tables: Mapping[str, Any], robust: list[str], metric: Metric) -> list[_Point]:
    last: dict[str, tuple[int, dict[str, float]]] = {}
    for row in tables["evaluations"].to_pylist():
        if row["split"] != "validation" or row["metric"] != metric.name:
            continue
        if row["value"] is None or not math.isfinite(row["value"]):
            continue
        step, values = last.get(row["trial_id"], (-1, {}))
        if row["step"] > step:
            values = {}
        values["clean" if row["family"] == "clean" else row["name"]] = metric.scale * row["value"]
        last[row["trial_id"]] = (row["step"], values)
    points = []
    for trial in tables["trials"].drop_columns(["config_json"]).to_pylist():
        values = last.get(trial["trial_id"], (0, {}))[1]
        hard = [values[name] for name in robust if name in values]
        if trial["phase"] == "search" and "clean" in values and hard:
            label, whole = (trial["arm"], trial["weighter"]), trial["state"] == "COMPLETE"
            points.append(_Point(label, values["clean"], _worst(metric)(hard), whole))
    return points


def _worst(metric: Metric) -> Callable[[list[float]], float]:
    return max if metric.lower else min


def _means(table: RobustnessTable, robust: set[str]) -> list[_Mean]:
    clean = next((one.name for one in table.benchmarks if one.family == "clean"), "")
    found, scale = [], table.metric.scale
    for row in table.rows if table.split == "test" else ():
        hard = [row.cells[name].interval for name in robust if name in row.cells]
        if clean not in row.cells or not hard or row.control:
            continue
        x = row.cells[clean].interval
        worst = _worst(table.metric)([one.mean for one in hard])
        y = next(one for one in hard if one.mean == worst)
        if not (math.isfinite(x.mean) and math.isfinite(y.mean)):
            continue
        found.append(
            _Mean(
                label=(row.arm, row.weighter),
                clean=scale * x.mean,
                clean_half=scale * (x.half_width or 0),
                robust=scale * y.mean,
                robust_half=scale * (y.half_width or 0),
            )
        )
    return found


def looks_of(labels: Sequence[Label]) -> dict[Label, dict[str, Any]]:
    """Colour by arm, marker by weighter; the ninth arm and later are hollow."""
    arms = list(dict.fromkeys(arm for arm, _ in labels))
    weighters = list(dict.fromkeys(one for _, one in labels))
    found = {}
    for arm, weighter in labels:
        place = arms.index(arm)
        colour = COLOURS[place % len(COLOURS)]
        found[arm, weighter] = {
            "color": colour,
            "marker": MARKERS[weighters.index(weighter) % len(MARKERS)],
            "markeredgecolor": colour,
            "fillstyle": "full" if place < len(COLOURS) else "none",
        }
    return found


def _draw_points(
    axes: Axes, points: Sequence[_Point], looks: Mapping[Label, dict[str, Any]]
) -> None:
    for label, look in looks.items():
        for whole, clear in ((False, 0.3), (True, 0.65)):
            mine = [one for one in points if one.label == label and one.whole is whole]
            if mine:
                axes.plot(
                    [one.clean for one in mine], [one.robust for one in mine], markersize=_SMALL,
                    alpha=clear, linestyle="", zorder=2, rasterized=len(points) > MANY, **look,
                )  # fmt: skip


def _close_up(
    axes: Axes,
    points: Sequence[_Point],
    means: Sequence[_Mean],
    looks: Mapping[Label, dict[str, Any]],
    metric: Metric,
) -> None:
    across = _limits([(one.clean, one.clean_half) for one in means], metric)
    upward = _limits([(one.robust, one.robust_half) for one in means], metric)
    inside = [
        one
        for one in points
        if one.whole
        and across[0] <= one.clean <= across[1]
        and upward[0] <= one.robust <= upward[1]
    ]
    _draw_points(axes, inside, looks)
    for one in means:
        look = looks[one.label]
        axes.errorbar(
            one.clean, one.robust, xerr=one.clean_half, yerr=one.robust_half,
            color=look["color"], elinewidth=1.1, capsize=2.5, alpha=0.8, linestyle="", zorder=4,
        )  # fmt: skip
        axes.plot(
            one.clean, one.robust, markersize=_LARGE, linestyle="", zorder=5, **look | _large(look)
        )
    axes.set_xlim(*across)
    axes.set_ylim(*upward)


def _large(look: Mapping[str, Any]) -> dict[str, Any]:
    """Translucent with a firm outline: of two markers in one place both are seen."""
    from matplotlib.colors import to_rgba

    if look["fillstyle"] == "none":
        return {"markeredgewidth": 1.6}
    edge = "white" if look["color"] == COLOURS[0] else "black"
    return {
        "markerfacecolor": to_rgba(look["color"], 0.75),
        "markeredgecolor": edge,
        "markeredgewidth": 0.8,
    }


def _limits(spans: Sequence[tuple[float, float]], metric: Metric) -> tuple[float, float]:
    """Limits of an axis that hold every mean with its bar, as far as they can be."""
    low = min(mean - half for mean, half in spans)
    high = max(mean + half for mean, half in spans)
    # Half a point on a scale of a hundred; elsewhere the same share of what is shown.
    least = 0.5 if metric.scale == 100 else 0.005 * max(abs(low), abs(high)) or 0.5
    room = max(0.1 * (high - low), least)
    floor, ceiling = _bounds(metric)
    return max(low - room, floor), min(high + room, ceiling)


def _bounds(metric: Metric) -> tuple[float, float]:
    """What the metric can be, with a margin where a marker must be seen at the very end."""
    if metric.scale == 100:
        return -4, 104
    return metric.low, metric.high + 0.04


def _frame(every: Axes, near: Axes) -> None:
    """Show on the left panel what the right one enlarges."""
    from matplotlib.patches import Rectangle

    (left, right), (low, high) = near.get_xlim(), near.get_ylim()
    every.add_patch(
        Rectangle(
            (left, low), right - left, high - low,
            fill=False, edgecolor=GREY, linewidth=0.8, linestyle="--", zorder=1,
        )
    )  # fmt: skip
    every.autoscale_view()


def _scales(axes: Axes, robust: Sequence[str], metric: Metric) -> None:
    from matplotlib.ticker import MaxNLocator

    unit = f" [{metric.unit}]" if metric.unit else ""
    worst = "highest" if metric.lower else "lowest"
    axes.set_xlabel(f"clean {metric.heading}" + (" (lower is better)" if metric.lower else ""))
    axes.set_ylabel(
        f"{metric.title} on {' / '.join(robust)}{unit}"
        if len(robust) < 3
        else f"{worst} {metric.title} over the attacks{unit}"
    )
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            continue
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))


def _inside(axes: Axes, metric: Metric, points: Sequence[_Point]) -> None:
    """Axes do not go beyond what the metric can be; widely spread errors are on log scales."""
    if metric.scale != 100 and wide(
        [one for point in points for one in (point.clean, point.robust)]
    ):
        logarithmic(axes, "xy")
        return
    floor, ceiling = _bounds(metric)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, floor), min(high, ceiling))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, floor), min(high, ceiling))


def _number(axes: Axes, means: Sequence[_Mean], labels: Sequence[Label]) -> None:
    """Write beside every large marker its number in the legend, where nothing else is.

    Of places around the marker, the near ones first, the one that hides least is taken: another
    marker or number counts more than a bar.
    """
    figure = axes.get_figure()
    if figure is None:
        return
    figure.draw_without_rendering()  # type: ignore[union-attr]  # places the panels
    points = 72 / figure.dpi
    place = {one.label: axes.transData.transform((one.clean, one.robust)) * points for one in means}
    bars = [bar for one in means for bar in _bars(axes, one, points)]
    corners = axes.get_window_extent().get_points() * points
    taken: list[tuple[float, float]] = []

    def hidden(x: float, y: float) -> float:
        cost = 6.0 * sum(math.dist((x, y), one) < 11 for one in place.values())
        cost += 6.0 * sum(math.dist((x, y), one) < 10 for one in taken)
        cost += sum(
            left - 5 < x < right + 5 and low - 5 < y < high + 5 for left, right, low, high in bars
        )
        within = corners[0][0] + 4 < x < corners[1][0] - 4
        return cost + (0 if within and corners[0][1] + 5 < y < corners[1][1] - 5 else 20)

    turns = [math.radians(angle) for angle in (45, 135, 315, 225, 20, 70, 110, 160, 200, 250, 290)]
    for one in means:
        x, y = place[one.label]
        ways = [
            (radius * math.cos(turn), radius * math.sin(turn))
            for radius, turn in product((12.0, 17.0, 23.0, 30.0), turns)
        ]
        # A place further out costs a little, so that a bar is crossed before a number is sent away.
        right, up = min(
            ways, key=lambda way: hidden(x + way[0], y + way[1]) + math.hypot(*way) / 20
        )
        taken.append((x + right, y + up))
        far = math.hypot(right, up) > 15
        axes.annotate(
            str(labels.index(one.label) + 1), (one.clean, one.robust), (right, up),
            textcoords="offset points", ha="center", va="center", fontsize=8, fontweight="bold",
            zorder=6, bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7},
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": GREY} if far else None,
        )  # fmt: skip


def _bars(axes: Axes, mean: _Mean, points: float) -> list[tuple[float, float, float, float]]:
    """The two error bars as (left, right, low, high) in points of the page."""
    found = []
    for across, upward in ((mean.clean_half, 0.0), (0.0, mean.robust_half)):
        ends = [
            (mean.clean - across, mean.robust - upward),
            (mean.clean + across, mean.robust + upward),
        ]
        (left, low), (right, high) = axes.transData.transform(ends) * points
        found.append((float(left), float(right), float(low), float(high)))
    return found


def _legend(
    looks: Mapping[Label, dict[str, Any]], points: Sequence[_Point], *, numbered: bool
) -> list[Any]:
    from matplotlib.lines import Line2D

    def heading(place: int) -> Any:
        return Line2D([], [], linestyle="", label=_HEADINGS[place])

    handles: list[Any] = [heading(0)]
    for number, ((arm, weighter), look) in enumerate(looks.items(), start=1):
        name = textwrap.fill(f"{arm} × {weighter}", 40)
        handles.append(
            Line2D(
                [], [], linestyle="", markersize=7, label=f"{number}  {name}" if numbered else name,
                **look | _large(look),
            )
        )  # fmt: skip
    faint: dict[str, Any] = {"marker": "o", "color": GREY, "linestyle": ""}
    kinds = ((True, "full budget", 0.8), (False, "stopped or not ended", 0.35))
    handles.append(heading(1))
    for kind, text, opacity in kinds:
        if kind in {one.whole for one in points}:
            handles.append(Line2D([], [], markersize=_SMALL, alpha=opacity, label=text, **faint))
    if numbered:
        handles.append(heading(2))
        text = "mean over seeds, 95 % intervals"
        handles.append(Line2D([], [], markersize=_LARGE, label=text, **faint))
    return handles
