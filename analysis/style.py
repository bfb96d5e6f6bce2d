"""What all figures share: colours, markers, type, and the order of the arms.

Colours are those of Okabe and Ito, safe for the colour-blind; every colour comes with a marker, a
number or a line style, so that the figures survive a black-and-white print.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLACK, BLUE, ORANGE, VERMILLION, GREY = "#000000", "#0072B2", "#E69F00", "#D55E00", "#8C8C8C"
COLOURS = (BLACK, ORANGE, "#56B4E9", "#009E73", BLUE, VERMILLION, "#CC79A7", "#A08A00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "d")

STYLE: dict[Any, Any] = {
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


class NothingToPlotError(ValueError):
    """The study has no figures of the kind that the plot shows; the message says which."""


def wide(values: Sequence[float]) -> bool:
    """Whether values, errors as a rule, need a logarithmic scale: all positive and far apart."""
    return bool(values) and min(values) > 0 and max(values) > 4 * min(values)


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


def labels_of(study: dict[str, Any]) -> list[tuple[str, str]]:
    """Arm and weighter of every row, in the order of the tables."""
    resolved = json.loads(study["config_json"])
    labels = [(one["arm"], one["weighter"]) for one in resolved["arms"]]
    return sorted(labels, key=lambda label: label[0] != study["baseline"])
