"""What all figures share: size, colours, markers, type, and the order of the arms.

Figures are drawn at the width that they have in print, a column or a page of a paper, so that
letters have the size that is written here.

Colours are those of Okabe and Ito, safe for the colour-blind; every colour comes with a marker, a
number or a line style, so that the figures survive a black-and-white print.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Label = tuple[str, str]

# Widths of a column and of a page in print, 85 and 170 mm, in inches.
COLUMN, PAGE = 85 / 25.4, 170 / 25.4

# More lines than these are a grey area to the eye and megabytes to a browser.
MANY = 300

BLACK, BLUE, ORANGE, VERMILLION, GREY = "#000000", "#0072B2", "#E69F00", "#D55E00", "#8C8C8C"
COLOURS = (BLACK, ORANGE, "#56B4E9", "#009E73", BLUE, VERMILLION, "#CC79A7", "#A08A00")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "d")

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "svg.fonttype": "none",
    # Without a fixed salt every SVG has other ids.
    "svg.hashsalt": "analysis",
    # Labels are the user's: a $ in one is a dollar, not mathematics.
    "text.parse_math": False,
}


class NothingToPlotError(ValueError):
    """The study has no figures of the kind that the plot shows; the message says which."""


def wide(values: Sequence[float]) -> bool:
    """Whether values, errors as a rule, need a logarithmic scale: all positive and far apart."""
    return bool(values) and min(values) > 0 and max(values) > 4 * min(values)


def near(
    values: Sequence[float], rest: Sequence[float] = (), *, lower: bool
) -> tuple[float, float] | None:
    """The part of an axis where most values are, if a few poor ones would press them together.

    What is worse than the median of `values` is cut off where it is so by more than 3 interquartile
    ranges, by more than twice what the best is better, and by more than a tenth of the median; None
    where neither `values` nor `rest` have such a value. `lower`: less is better.
    """
    import numpy as np

    if not values:
        return None
    sign = -1.0 if lower else 1.0
    turned = sign * np.asarray(values, dtype=float)
    first, middle, third = np.quantile(turned, [0.25, 0.5, 0.75])
    best = max([float(turned.max()), *(sign * one for one in rest)])
    depth = max(3 * (third - first), 2 * (best - middle), 0.1 * abs(middle))
    edge = float(middle - depth)
    if min([float(turned.min()), *(sign * one for one in rest)]) >= edge:
        return None
    room = 0.06 * (best - edge)
    ends = sign * (edge - room), sign * (best + room)
    return min(ends), max(ends)


def logarithmic(axes: Axes, letters: str) -> None:
    """Logarithmic scales along x, y or both ("xy"), with plain numbers at the ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for letter in letters:
        axes.set(**{f"{letter}scale": "log"})
        axis = axes.xaxis if letter == "x" else axes.yaxis
        low, high = axis.get_view_interval()
        # Over many decades only the powers of ten have room for a number.
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def labels_of(study: dict[str, Any]) -> list[Label]:
    """Arm and weighter of every row, in the order of the tables."""
    resolved = json.loads(study["config_json"])
    labels = [(one["arm"], one["weighter"]) for one in resolved["arms"]]
    return sorted(labels, key=lambda label: label[0] != study["baseline"])


def panels(
    count: int, *, height: float, most: int = 3, room: float = 0.5, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of `height` inches, at most `most` in a row, and these panels.

    One panel makes a column of print, several a page; `room` is left for a legend, in inches.
    `shared` goes to `Figure.subplots`. To be called, and drawn on, within `rc_context(STYLE)`.
    """
    from matplotlib.figure import Figure

    columns = min(count, most)
    rows = math.ceil(count / columns)
    size = (COLUMN if columns == 1 else PAGE, room + height * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for place, axes in enumerate(grid):
        if place >= count:
            axes.set_visible(False)
        elif place + columns >= count:
            # The panels above an empty place are the last of their column.
            axes.tick_params(labelbottom=True)
    return figure, grid[:count]


def titled(label: Label, width: int = 31) -> str:
    """Arm and weighter on one line where they fit `width` letters, else on two, each cut to it."""
    one = " × ".join(label)
    if len(one) <= width:
        return one
    return "\n".join(shortened(part, width) for part in (label[0], f"× {label[1]}"))


def legend_columns(labels: Sequence[Label]) -> int:
    """How many columns a legend of arms and weighters has below a figure as wide as a page."""
    longest = max((len(" × ".join(label)) for label in labels), default=0)
    return 3 if longest <= 30 else 2


def shortened(text: str, width: int) -> str:
    """The text, or its beginning and an ellipsis where it has more than `width` letters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def thinned(count: int, most: int = MANY) -> list[int]:
    """Places of at most `most` of `count` things, evenly apart, the first and the last among them.

    Raises `ValueError` for fewer than two that are to be left of more.
    """
    if count <= most:
        return list(range(count))
    if most < 2:
        raise ValueError(f"most must be at least 2, found {most}")
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def letters_on(colour: Sequence[float]) -> str:
    """Black or white, whichever is easier to read on a colour (red, green, blue in [0, 1])."""
    # Relative luminance of linear light (WCAG 2.1); at 0.18 both have the same contrast.
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    bright = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if bright > 0.18 else "white"
