"""What each type of corruption does at each severity: the baseline, and how the arms differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .corrupted import reported
from .metrics import Metric
from .style import PAGE, STYLE, NothingToPlotError, labels_of, letters_on, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALTERNATIVE = "Figures by type of corruption and severity: the baseline's, and differences to it."
CAPTION = (
    "By type of corruption and severity (1 to 5). First panel: the baseline, a mean over seeds. "
    "The others: the mean paired difference to it, seed by seed on the same corrupted examples; "
    "blue is better than the baseline, red is worse. Cells are left empty where the two share no "
    "seed."
)

_COLUMNS = 4
# Type and severity -> seed -> value.
_Cells = dict[tuple[str, int], dict[int, float]]


def severities(tables: Mapping[str, Any]) -> Figure:
    """Types x severities: the baseline's figures, and one panel of differences for each other row.

    Raises `NothingToPlotError` where fewer than two severities were evaluated, or no row of the
    baseline's arm has figures.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    study = tables["studies"].to_pylist()[0]
    found = reported(tables)
    levels = sorted({level for of in found.values.values() for _, level in of})
    if len(levels) < 2:
        raise NothingToPlotError("fewer than two severities of corruptions were evaluated")
    labels = [label for label in labels_of(study) if label in found.values]
    if not labels or labels[0][0] != study["baseline"]:
        raise NothingToPlotError("the baseline has no figures under corruptions")
    types = list(dict.fromkeys(kind for label in labels for kind, _ in found.values[label]))
    base = found.values[labels[0]]
    grids = [_means(base, types, levels)]
    grids += [_differences(found.values[one], base, types, levels) for one in labels[1:]]
    columns = min(len(labels), _COLUMNS)
    rows = math.ceil(len(labels) / columns)
    with rc_context(STYLE):
        size = (PAGE, 0.8 + rows * (0.45 + 0.155 * len(types)))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for place, axes in enumerate(grid.flat):
            if place >= len(labels):
                axes.set_visible(False)
                continue
            title = titled(labels[place], 22)
            axes.set_title(title, loc="left", pad=3, fontsize=7)
            if place + columns >= len(labels):
                axes.tick_params(labelbottom=True)
        _paint(figure, [grid.flat[0]], grids[:1], found.metric, differences=False)
        if len(labels) > 1:
            others = list(grid.flat)[1 : len(labels)]
            _paint(figure, others, grids[1:], found.metric, differences=True)
        first = grid[0][0]
        first.set_xticks(range(len(levels)), [str(one) for one in levels])
        first.set_yticks(range(len(types)), types)
        figure.supxlabel("severity", fontsize=8)
        figure.suptitle(
            f"{found.split} {found.metric.heading}: {' × '.join(labels[0])}"
            + (", and differences to it" if len(labels) > 1 else ""),
            fontsize=8, x=0.01, ha="left",
        )  # fmt: skip
    return figure


def _means(of: _Cells, types: Sequence[str], levels: Sequence[int]) -> list[list[float]]:
    return [
        [fmean(of[kind, level].values()) if (kind, level) in of else math.nan for level in levels]
        for kind in types
    ]


def _differences(
    mine: _Cells, base: _Cells, types: Sequence[str], levels: Sequence[int]
) -> list[list[float]]:
    def one(cell: tuple[str, int]) -> float:
        here, there = mine.get(cell, {}), base.get(cell, {})
        shared = here.keys() & there.keys()
        return fmean(here[seed] - there[seed] for seed in shared) if shared else math.nan

    return [[one((kind, level)) for level in levels] for kind in types]


def _paint(
    figure: Figure,
    panels: Sequence[Axes],
    grids: Sequence[Sequence[Sequence[float]]],
    metric: Metric,
    *,
    differences: bool,
) -> None:
    """Colours and numbers; panels that are painted together share a scale and its bar."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scaled = [[[metric.scale * one for one in row] for row in grid] for grid in grids]
    flat = [one for grid in scaled for row in grid for one in row if math.isfinite(one)]
    if differences:
        # The largest difference sets both ends, so that no difference is the colour in the middle.
        most = max(map(abs, flat), default=0.0) or 1.0
        norm = Normalize(-most, most)
        colours = colormaps["RdBu_r" if metric.lower else "RdBu"]
    else:
        low, high = min(flat, default=0.0), max(flat, default=1.0)
        norm = Normalize(low, high if high > low else low + 1.0)
        colours = colormaps["cividis_r" if metric.lower else "cividis"]
    decimals = 0 if metric.scale != 1 else max(0, metric.decimals(flat) - 2)
    if differences and metric.scale != 1 and max(map(abs, flat), default=0.0) < 9.95:
        decimals = 1
    for axes, grid in zip(panels, scaled, strict=True):
        axes.imshow(grid, aspect="auto", cmap=colours, norm=norm)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, pad=2)
        for place, row in enumerate(grid):
            for column, value in enumerate(row):
                if math.isfinite(value):
                    shown = round(value, decimals) + 0.0
                    sign = "+" if differences and shown else ""
                    text = f"{shown:{sign}.{decimals}f}"
                    axes.text(
                        column, place, text, ha="center", va="center", fontsize=5.5,
                        color=letters_on(colours(norm(value))),
                    )  # fmt: skip
    if not differences:
        return  # the numbers say it all, and a bar would come between the panels
    bar = figure.colorbar(
        ScalarMappable(norm, colours), ax=list(panels), location="right", shrink=0.9,
        aspect=35, pad=0.01,
    )  # fmt: skip
    bar.outline.set_visible(False)
    bar.ax.set_title(metric.step, fontsize=7)
