"""A search with several objectives: where its trials stand, the Pareto front, the hypervolume.

Everything here is about the search and reads validation figures, as the sampler and the selection
do. The volume of an arm is shown as a share of that of all arms together, because a product of an
accuracy and an error has no unit that a reader could judge.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import TYPE_CHECKING, Any

from . import pareto
from .metrics import Metric, readable
from .metrics import metric as metric_of
from .plane import looks_of
from .style import (
    BLACK,
    GREY,
    MANY,
    PAGE,
    STYLE,
    Label,
    NothingToPlotError,
    labels_of,
    legend_columns,
    logarithmic,
    near,
    shortened,
    wide,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALTERNATIVE = "The search's trials by their objectives, with the Pareto front."
CAPTION = (
    "The search's objectives, each trial at its last validation figures. Ringed: dominated by no "
    "other in all objectives together; stairs: the edge of what is dominated. The dashed frame, "
    "where there is one, is enlarged beside it: a few trials lie far off."
)
VOLUME_ALTERNATIVE = "Hypervolume of each arm against its trials and its device seconds."
VOLUME_CAPTION = (
    "Hypervolume of the search: what the ended trials of an arm dominate, in percent of what those "
    "of all arms dominate together."
)

_SMALL, _RING = 4.0, 8.0


@dataclass(frozen=True)
class Point:
    """A search trial: its objectives at the last report that has all of them, unscaled.

    `values` are NaN for a trial that failed, diverged or has no such report. `whole`: it ran its
    full budget; `ended`: nothing more comes; `device_s`: its seconds of training and validation
    times its GPUs, or its processors where it has none.
    """

    trial: int
    label: Label
    values: tuple[float, ...]
    whole: bool
    ended: bool
    device_s: float

    @property
    def sound(self) -> bool:
        return all(map(math.isfinite, self.values))


def objectives_of(study: Mapping[str, Any]) -> dict[str, str]:
    """Metric -> "max" or "min" of every objective, the first one first; from a row of `studies`."""
    search = json.loads(study["config_json"])["search"]
    return dict(search.get("objectives") or {search["metric"]: search["mode"]})


def points(tables: Mapping[str, Any]) -> list[Point]:
    """The search trials in the order in which they ended; those that have not come last."""
    study = tables["studies"].to_pylist()[0]
    wanted = objectives_of(study)
    resources = json.loads(study["config_json"]).get("resources") or {}
    devices = float(resources.get("gpu") or resources.get("cpu") or 1)
    last: dict[str, dict[int, dict[str, float]]] = {}
    for row in (
        tables["reports"].select(["trial_id", "step", "split", "metric", "value"]).to_pylist()
    ):
        name = row["metric"] if row["split"] is None else f"{row['split']}/{row['metric']}"
        if name in wanted and row["value"] is not None:
            last.setdefault(row["trial_id"], {}).setdefault(row["step"], {})[name] = row["value"]
    found = []
    searched = [
        one
        for one in tables["trials"].drop_columns(["config_json"]).to_pylist()
        if one["phase"] == "search"
    ]
    for one in sorted(searched, key=lambda one: (_end(one), one["number"])):
        # Figures of two epochs are of two models.
        steps = {k: v for k, v in last.get(one["trial_id"], {}).items() if len(v) == len(wanted)}
        values = steps[max(steps)] if steps and one["state"] != "FAIL" else {}
        found.append(
            Point(
                trial=one["number"],
                label=(one["arm"], one["weighter"]),
                values=tuple(values.get(name, math.nan) for name in wanted),
                whole=one["state"] == "COMPLETE",
                ended=one["ended_at"] is not None,
                device_s=devices * ((one["train_s"] or 0.0) + (one["eval_s"] or 0.0)),
            )
        )
    return found


def reference(found: Sequence[Point], wanted: Mapping[str, str]) -> tuple[float, ...]:
    """Where the volume is seen from: what an objective is at worst, 0 for an accuracy.

    For an objective without such a bound, as an error or a loss, it is the worst value of the
    search's trials, so that it moves as long as the search runs. NaN where there is no value.
    """
    seen = pareto.worst([one.values for one in found], tuple(wanted.values()))
    bounds = []
    for (name, mode), worst in zip(wanted.items(), seen.tolist(), strict=True):
        bound = metric_of(name, mode).high if mode == "min" else metric_of(name, mode).low
        bounds.append(bound if math.isfinite(bound) else worst)
    return tuple(bounds)


def shares(tables: Mapping[str, Any]) -> dict[Label, float]:
    """Arm and weighter -> hypervolume of its ended search trials over that of all arms together.

    They need not add up to 1: most of what is dominated is dominated by several arms. Empty for a
    study with one objective and where no trial has ended with a volume.
    """
    study = tables["studies"].to_pylist()[0]
    wanted = objectives_of(study)
    if len(wanted) < 2:
        return {}
    found = [one for one in points(tables) if one.ended]
    origin, modes = reference(found, wanted), tuple(wanted.values())
    whole = _volume(found, origin, modes)
    return {
        label: _volume([one for one in found if one.label == label], origin, modes) / whole
        for label in (labels_of(study) if whole > 0 else ())
    }


def reading(tables: Mapping[str, Any]) -> str:
    """The shares in a sentence, the largest first; "" where there are none."""
    found = shares(tables)
    if not found:
        return ""
    wanted = objectives_of(tables["studies"].to_pylist()[0])
    origin = reference([one for one in points(tables) if one.ended], wanted)
    seen = " and ".join(
        f"{readable(name)} {metric_of(name, mode).shown(value)}"
        for (name, mode), value in zip(wanted.items(), origin, strict=True)
    )
    listed = ", ".join(
        f"{arm} × {weighter} {100 * share:.1f} %"
        for (arm, weighter), share in sorted(found.items(), key=lambda one: -one[1])
    )
    return f"Share of the hypervolume of all arms together, seen from {seen}: {listed}."


def front(tables: Mapping[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Heads and rows of a table: the search trials on the Pareto front over all arms.

    The best by the first objective comes first. No rows for a study with one objective.
    """
    wanted = objectives_of(tables["studies"].to_pylist()[0])
    named = [metric_of(name, mode) for name, mode in wanted.items()]
    heads = [_heading(name, one) for name, one in zip(wanted, named, strict=True)]
    found = [one for one in points(tables) if one.sound] if len(wanted) > 1 else []
    modes = tuple(wanted.values())
    rank = pareto.ranks([one.values for one in found], modes)
    best = [one for one, place in zip(found, rank, strict=True) if place == 0]
    sign = -1 if modes[0] == "max" else 1
    best.sort(key=lambda one: (sign * one.values[0], one.trial))
    digits = [
        one.decimals(point.values[place] for point in best) for place, one in enumerate(named)
    ]
    body = [
        [
            " × ".join(one.label),
            str(one.trial),
            *(
                metric.text(value, decimals)
                for metric, value, decimals in zip(named, one.values, digits, strict=True)
            ),
            "full budget" if one.whole else "stopped" if one.ended else "not ended",
        ]
        for one in best
    ]
    return ("arm × weighter", "search trial", *heads, "ended by"), body


def objectives(tables: Mapping[str, Any]) -> Figure:
    """The search trials in the plane of each two objectives, with the Pareto front.

    Colour is the arm and shape the weighter, as in the other figures. Ringed trials are dominated
    by none in all objectives together. With two objectives the grey stairs are the front over all
    arms and the coloured ones the front of each arm. Errors that lie far apart are on logarithmic
    scales. Where a few trials lie so far off that they press the others together, a second panel
    shows the rest.

    Raises `NothingToPlotError` for a search with one objective and for one without a trial that
    has all of them.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    study, wanted = _several(tables)
    found = [one for one in points(tables) if one.sound]
    if not found:
        raise NothingToPlotError("no search trial has reported all objectives")
    named = [metric_of(name, mode) for name, mode in wanted.items()]
    rank = pareto.ranks([one.values for one in found], tuple(wanted.values()))
    best = [one for one, place in zip(found, rank, strict=True) if place == 0]
    labels = labels_of(study)
    looks = looks_of(labels)
    pairs = list(combinations(range(len(wanted)), 2))
    close = {
        pair: part
        for pair in pairs
        if (part := close_up(found, best, pair, named)) is not None and len(pairs) <= 3
    }
    shown = [*pairs, *close]
    columns = 2 if len(pairs) == 1 and close else min(len(pairs), 3)
    lines = math.ceil(len(shown) / columns)
    below = legend_columns(labels)
    legend = 0.16 * math.ceil((len(labels) + 5) / below) + 0.1
    with rc_context(STYLE):
        size = (PAGE, (2.9 if columns < 3 else 2.4) * lines + legend)
        figure = Figure(figsize=size, layout="constrained")
        grid = list(figure.subplots(lines, columns, squeeze=False).flat)
        for place, ((x, y), axes) in enumerate(zip(shown, grid, strict=False)):
            if len(wanted) == 2:
                _stairs(axes, found, list(wanted.values()), named, looks)
            for label, look in looks.items():
                for whole, clear in ((False, 0.35), (True, 0.75)):
                    mine = [one for one in found if one.label == label and one.whole is whole]
                    if mine:
                        axes.plot(
                            *zip(*(_at(one, x, y, named) for one in mine), strict=True),
                            markersize=_SMALL, alpha=clear, linestyle="", zorder=3,
                            rasterized=len(found) > MANY, **look,
                        )  # fmt: skip
            if best:
                axes.plot(
                    *zip(*(_at(one, x, y, named) for one in best), strict=True),
                    marker="o", markersize=_RING, markerfacecolor="none", markeredgecolor=BLACK,
                    markeredgewidth=0.9, linestyle="", zorder=4,
                )  # fmt: skip
            _scaled(axes, found, (x, y), list(wanted), named)
            if place >= len(pairs):
                _enlarge(axes, grid[pairs.index((x, y))], close[x, y], (named[x], named[y]))
        for empty in grid[len(shown) :]:
            empty.set_visible(False)
        stairs = any(line.get_drawstyle() != "default" for line in grid[0].lines)
        handles = _legend(looks, found, stairs=stairs)
        figure.legend(handles=handles, loc="outside lower center", ncols=below, frameon=False)
    return figure


def close_up(
    found: Sequence[Point], best: Sequence[Point], pair: tuple[int, int], named: Sequence[Metric]
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The part of the plane of two objectives with the front and most trials, (x, y), unscaled.

    None where no trial lies so far off that it presses the others together, and where errors far
    apart are on a logarithmic scale anyway.
    """
    ends, narrower = [], False
    for place in pair:
        metric, values = named[place], [one.values[place] for one in found]
        if metric.scale == 1 and wide(values):
            return None
        part = near(values, lower=metric.lower)
        low, high = part or (min(values), max(values))
        front = [one.values[place] for one in best]
        low, high = min([low, *front]), max([high, *front])
        inside = [one for one in values if low <= one <= high]
        narrower |= part is not None and len(inside) < len(values)
        room = 0.06 * (high - low) or 0.01 * abs(high) or 1.0
        ends.append((low - room, high + room))
    return (ends[0], ends[1]) if narrower else None


def _enlarge(
    axes: Axes,
    every: Axes,
    part: tuple[tuple[float, float], tuple[float, float]],
    named: tuple[Metric, Metric],
) -> None:
    """Show only `part`, and frame it on the panel with every trial."""
    from matplotlib.patches import Rectangle

    (left, right), (low, high) = (
        (one.scale * ends[0], one.scale * ends[1]) for one, ends in zip(named, part, strict=True)
    )
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    axes.set_title("the frame enlarged", loc="left")
    every.set_title("every search trial", loc="left")
    every.add_patch(
        Rectangle(
            (left, low), right - left, high - low,
            fill=False, edgecolor=GREY, linewidth=0.8, linestyle="--", zorder=1,
        )
    )  # fmt: skip
    every.autoscale_view()


def volume_over_time(tables: Mapping[str, Any]) -> Figure:
    """The hypervolume of each arm against its ended trials and against its device seconds.

    In percent of the volume that all arms have together now, seen from the worst there is; an arm's
    line is flat while its trials are dominated by earlier ones of its own.

    Raises `NothingToPlotError` for a search with one objective and where no trial has ended with a
    volume.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    study, wanted = _several(tables)
    found = [one for one in points(tables) if one.ended]
    origin, modes = reference(found, wanted), tuple(wanted.values())
    whole = _volume(found, origin, modes)
    if not whole > 0:
        raise NothingToPlotError("no trial has ended with a hypervolume above 0")
    labels = labels_of(study)
    looks = looks_of(labels)
    with rc_context(STYLE):
        below = legend_columns(labels)
        size = (PAGE, 2.7 + 0.16 * math.ceil(len(labels) / below))
        figure = Figure(figsize=size, layout="constrained")
        by_trials, by_seconds = figure.subplots(1, 2, sharey=True)
        for label in labels:
            mine = [one for one in found if one.label == label]
            values = [one.values for one in mine]
            grown = [0.0, *(100 / whole * pareto.over_time(values, origin, modes)).tolist()]
            seconds = [0.0, *accumulate(one.device_s for one in mine)]
            look = {
                **looks[label], "linewidth": 1.3, "markersize": 3, "drawstyle": "steps-post",
                "alpha": 0.85,
            }  # fmt: skip
            by_trials.plot(range(len(grown)), grown, **look)
            by_seconds.plot(seconds, grown, **look)
        by_trials.set_xlabel("ended search trials of the arm")
        by_seconds.set_xlabel("device seconds of the arm's search [s]")
        by_trials.set_ylabel("hypervolume [% of all arms' together]")
        by_trials.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        for axes in (by_trials, by_seconds):
            axes.grid(color="#DDDDDD", linewidth=0.5)
            axes.set_axisbelow(True)
            axes.set_ylim(-3, 103)
        handles = _legend(looks, (), stairs=False)
        figure.legend(handles=handles, loc="outside lower center", ncols=below, frameon=False)
    return figure


def _several(tables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    study = tables["studies"].to_pylist()[0]
    wanted = objectives_of(study)
    if len(wanted) < 2:
        raise NothingToPlotError("the search has one objective")
    return study, wanted


def _end(trial: Mapping[str, Any]) -> float:
    return math.inf if trial["ended_at"] is None else float(trial["ended_at"].timestamp())


def _volume(found: Sequence[Point], origin: Sequence[float], modes: Sequence[str]) -> float:
    rows = [one.values for one in found if one.sound]
    return pareto.hypervolume(rows, origin, modes) if rows else 0.0


def _at(one: Point, x: int, y: int, named: Sequence[Metric]) -> tuple[float, float]:
    return named[x].scale * one.values[x], named[y].scale * one.values[y]


def _stairs(
    axes: Axes,
    found: Sequence[Point],
    modes: Sequence[str],
    named: Sequence[Metric],
    looks: Mapping[Label, dict[str, Any]],
) -> None:
    """The edge of what is dominated: by any trial in grey, by each arm's in its colour."""
    # Up to the next front point to the right the better end of the two counts.
    style: Any = "steps-pre" if modes[0] == "max" else "steps-post"
    for label in (None, *looks):
        mine = [one for one in found if label in (None, one.label)]
        rank = pareto.ranks([one.values for one in mine], modes)
        edge = sorted(_at(one, 0, 1, named) for one, at in zip(mine, rank, strict=True) if at == 0)
        if len(edge) < 2:
            continue
        x, y = zip(*edge, strict=True)
        if label is None:
            axes.plot(x, y, color=GREY, linewidth=3.0, alpha=0.45, drawstyle=style, zorder=1)
        else:
            colour = looks[label]["color"]
            axes.plot(x, y, color=colour, linewidth=0.9, alpha=0.8, drawstyle=style, zorder=2)


def _scaled(
    axes: Axes,
    found: Sequence[Point],
    places: tuple[int, int],
    names: Sequence[str],
    named: Sequence[Metric],
) -> None:
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    for letter, place in zip("xy", places, strict=True):
        one = named[place]
        note = " (lower is better)" if one.lower else ""
        axes.set(**{f"{letter}label": _heading(names[place], one) + note})
        if one.scale == 1 and wide([point.values[place] for point in found]):
            logarithmic(axes, letter)


def _heading(name: str, found: Metric) -> str:
    return readable(name) + (f" [{found.unit}]" if found.unit else "")


def _legend(
    looks: Mapping[Label, dict[str, Any]], found: Sequence[Point], *, stairs: bool
) -> list[Any]:
    from matplotlib.lines import Line2D

    handles: list[Any] = [
        Line2D([], [], linestyle="", markersize=6, label=shortened(" × ".join(label), 48), **look)
        for label, look in looks.items()
    ]
    for whole, text, opacity in ((True, "full budget", 0.8), (False, "stopped or not ended", 0.35)):
        if whole in {one.whole for one in found}:
            handles.append(
                Line2D(
                    [], [], marker="o", color=GREY, linestyle="", markersize=_SMALL, alpha=opacity,
                    label=text,
                )
            )  # fmt: skip
    if found:
        handles.append(
            Line2D(
                [], [], marker="o", markerfacecolor="none", markeredgecolor=BLACK, linestyle="",
                markersize=_RING, label="on the Pareto front",
            )
        )  # fmt: skip
    if stairs:
        handles.append(Line2D([], [], color=GREY, linewidth=3, alpha=0.45, label="front, all arms"))
        handles.append(Line2D([], [], color=BLACK, linewidth=0.9, label="front of an arm"))
    return handles
