"""Every searched setting of an arm side by side: which combinations did well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .metrics import Metric, readable
from .metrics import metric as metric_of
from .searched import Row, Run, Setting, picked, ranges, runs, short
from .style import (
    BLACK,
    GREY,
    MANY,
    PAGE,
    STYLE,
    NothingToPlotError,
    labels_of,
    near,
    shortened,
    thinned,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

ALTERNATIVE = "Searched settings and the search's metric of every trial as lines, by arm."
CAPTION = (
    "The search's trials as lines across their settings, by arm: each axis is the range that was "
    "searched, logarithmic where the search saw it so; the last one is the search's metric at the "
    "last report, good values above. Colour is the metric; strong lines ran their full budget, "
    "faint ones were stopped before or have not ended; dashed grey: diverged or failed. Black: the "
    f"trial that was chosen. Of more than {MANY} trials evenly many of each arm are drawn."
)


LEAST = 3


def parallel(tables: Mapping[str, Any]) -> Figure:
    """One panel of parallel coordinates for each arm and weighter with searched settings.

    Raises `NothingToPlotError` where nothing was searched, no search trial has figures, or no arm
    has `LEAST` trials.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    study = tables["studies"].to_pylist()[0]
    metric = metric_of(str(study["primary_metric"]), str(study["goal"]))
    found = [one for one in runs(tables) if one.settings]
    known = ranges(tables)
    values = [one.value for one in found if one.sound]
    if not known or not found:
        raise NothingToPlotError("no setting was searched")
    if not values:
        raise NothingToPlotError(f"no search trial has reported {study['primary_metric']}")
    labels = [
        label for label in labels_of(study) if sum(one.label == label for one in found) >= LEAST
    ]
    if not labels:
        raise NothingToPlotError(f"no arm has {LEAST} search trials to compare")
    best = picked(tables, found)
    whole = [one.value for one in found if one.whole and one.sound]
    low, high = near(whole or values, values, lower=metric.lower) or (min(values), max(values))
    low, high = max(low, min(values)), min(high, max(values))
    norm = Normalize(metric.scale * low, metric.scale * high if high > low else None, clip=True)
    # Light, the hardest to see on white, is left out at the good end.
    colours = _dark(colormaps["cividis"], reverse=metric.lower)
    share = max(MANY // len(labels), 30)
    columns = min(2, len(labels))
    rows = math.ceil(len(labels) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 0.3 + 1.75 * rows), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in grid[len(labels) :]:
            axes.set_visible(False)
        names = sorted({name for one in found for name in one.settings})
        named = short(names)
        for axes, label in zip(grid, labels, strict=False):
            mine = [one for one in found if one.label == label]
            _panel(axes, mine, best.get(label), known, named, metric, (norm, colours, share))
            axes.set_title(titled(label, 44), loc="left", pad=10, fontsize=8)
        bar = figure.colorbar(
            ScalarMappable(norm, colours), ax=grid[: len(labels)], location="right", pad=0.01,
            fraction=0.03, aspect=24 * rows, extend=_beyond(low, high, values), extendfrac=0.02,
        )  # fmt: skip
        unit = f" [{metric.unit}]" if metric.unit else ""
        better = "lower" if metric.lower else "higher"
        bar.set_label(f"{readable(study['primary_metric'])}{unit}\n({better} is better)")
    return figure


def _beyond(low: float, high: float, values: Sequence[float]) -> str:
    """Which ends of the colour bar stand for what lies beyond them."""
    ends = (min(values) < low, max(values) > high)
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get(ends, "neither")


def place_on(value: Setting, known: Row, seen: Sequence[Setting]) -> float:
    """Where a value stands on its axis, from 0 at the foot to 1 at the top.

    `known` is the setting's range; where the ledger has none it is that of the values `seen`.
    """
    if "values" in known or isinstance(value, str) or any(isinstance(one, str) for one in seen):
        options = categories(known, seen)
        text = spelled(value)
        at = options.index(text) if text in options else 0
        return at / (len(options) - 1) if len(options) > 1 else 0.5
    numbers = [float(one) for one in seen]
    low, high = float(known.get("low", min(numbers))), float(known.get("high", max(numbers)))
    if known.get("log") and low > 0 and value > 0:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (float(value) - low) / (high - low) if high > low else 0.5


def categories(known: Row, seen: Sequence[Setting]) -> list[str]:
    """The options of a choice in the order of the study file, else those seen in order."""
    options = [spelled(_option(one)) for one in known.get("values", [])]
    return options + sorted({spelled(one) for one in seen} - set(options))


def spelled(value: Any) -> str:
    """A value as an axis shows it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.3g}"
    return "none" if value is None else str(value)


def _option(one: Any) -> Any:
    # An option with settings of its own is known by its name.
    return one.get("name") if isinstance(one, Mapping) else one


def _dark(colours: Colormap, *, reverse: bool) -> Colormap:
    from matplotlib.colors import ListedColormap

    shades = [colours(0.92 * place / 255) for place in range(256)]
    return ListedColormap(shades[::-1] if reverse else shades)


def _panel(
    axes: Axes,
    mine: Sequence[Run],
    chosen: Run | None,
    known: Mapping[str, Row],
    named: Mapping[str, str],
    metric: Metric,
    look: tuple[Normalize, Colormap, int],
) -> None:
    norm, colours, share = look
    names = sorted({name for one in mine for name in one.settings})
    seen = {name: [one.settings[name] for one in mine if name in one.settings] for name in names}
    kept = [mine[place] for place in thinned(len(mine), share)]
    if chosen is not None and chosen not in kept:
        kept.append(chosen)
    # Worst first, so that the good lines lie above.
    sign = -1.0 if metric.lower else 1.0
    kept.sort(key=lambda one: (one.sound, one.whole, sign * one.value if one.sound else 0.0))
    for one in kept:
        x, y = _line(one, names, known, seen, norm, metric)
        if one is chosen:
            look_: dict[str, Any] = {"color": BLACK, "linewidth": 1.8, "zorder": 5, "marker": "o"}
        elif one.sound:
            colour = colours(norm(metric.scale * one.value))
            wide, clear = (1.1, 0.9) if one.whole else (0.7, 0.45)
            look_ = {"color": colour, "linewidth": wide, "alpha": clear, "zorder": 2 + one.whole}
        else:
            look_ = {"color": GREY, "linewidth": 0.7, "linestyle": "--", "alpha": 0.8, "zorder": 2}
        axes.plot(x, y, markersize=3, clip_on=False, **look_)
    for place in range(len(names) + 1):
        axes.axvline(place, color="#444444", linewidth=0.7, zorder=1)
    for place, name in enumerate(names):
        _ticks(axes, place, known.get(name, {}), seen[name])
    scaled = [metric.scale * one.value for one in mine if one.sound]
    low, high = norm.vmin or 0.0, norm.vmax or 0.0
    ends = [
        ("≤ " if min(scaled, default=low) < low else "") + f"{low:.3g}",
        ("≥ " if max(scaled, default=high) > high else "") + f"{high:.3g}",
    ]
    _ends(axes, len(names), ends[::-1] if metric.lower else ends)
    texts = [_two_lines(named[name]) for name in names]
    axes.set_xticks(range(len(names) + 1), [*texts, metric.title])
    axes.tick_params(axis="x", length=0, pad=9)
    axes.set_xlim(-0.12, len(names) + 0.12)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _line(
    one: Run,
    names: Sequence[str],
    known: Mapping[str, Row],
    seen: Mapping[str, Sequence[Setting]],
    norm: Normalize,
    metric: Metric,
) -> tuple[list[float], list[float]]:
    """The points of a trial's line; a setting that it does not have is a gap."""
    y = [
        place_on(one.settings[name], known.get(name, {}), seen[name])
        if name in one.settings
        else math.nan
        for name in names
    ]
    if one.sound:
        high = float(norm(metric.scale * one.value))
        y.append(1 - high if metric.lower else high)
    else:
        y.append(0.0)
    return [float(place) for place in range(len(y))], y


def _ticks(axes: Axes, place: int, known: Row, seen: Sequence[Setting]) -> None:
    if "values" in known or any(isinstance(one, str) for one in seen):
        options = categories(known, seen)
        for at, text in enumerate(options):
            height = at / (len(options) - 1) if len(options) > 1 else 0.5
            axes.text(
                place + 0.03, height, shortened(text, 12), fontsize=5.5, va="center", zorder=6,
                bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
            )  # fmt: skip
        return
    numbers = [float(one) for one in seen]
    ends = known.get("low", min(numbers)), known.get("high", max(numbers))
    _ends(axes, place, [f"{float(one):.3g}" for one in ends])


def _ends(axes: Axes, place: int, ends: Sequence[str]) -> None:
    """The values at the foot and the top of an axis, where no line passes."""
    for height, text, side in ((-0.02, ends[0], "top"), (1.02, ends[1], "bottom")):
        axes.text(place, height, text, fontsize=6, ha="center", va=side)


def _two_lines(text: str) -> str:
    """A setting's name broken before its last word."""
    head, _, last = text.rpartition(" ")
    return "\n".join(shortened(one, 16) for one in (head, last) if one)
