"""The figures of a study: what they are, and writing them.

Made with matplotlib's objects, without pyplot, so that nothing global changes and no display is
needed. Each figure has its file, with the text that is read out in its place and its caption.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import (
    best_of_k,
    corrupted,
    curves,
    importance,
    objectives,
    operations,
    parallel,
    plane,
    response,
    severities,
    spending,
    trajectories,
    weighting,
)
from .curves import learning_curves
from .plane import clean_robust
from .style import STYLE, NothingToPlotError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NothingToPlotError", "clean_robust", "learning_curves", "save", "write_figures"]


MARGIN = 0.1  # around all that is drawn, in inches


@dataclass(frozen=True)
class Plot:
    """A figure of the report: how it is drawn, and what stands beside it.

    `alternative` is read out instead of the figure, `caption` stands below it; `expected`: a reader
    would miss it, so that its absence is noted.
    """

    draw: Callable[[Mapping[str, Any]], Figure]
    alternative: str
    caption: str
    expected: bool = False


def write_figures(tables: Mapping[str, Any], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Write every figure that the study has data for as SVG and PNG into `folder`.

    Returns name -> path of the SVG (the PNG lies beside it), and a note for each figure left out
    that every study should have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, notes = {}, []
    for name, plot in FIGURES.items():
        try:
            figure = plot.draw(tables)
        except NothingToPlotError as reason:
            if plot.expected:
                notes.append(f"No figure {name}: {reason}.")
            continue
        paths[name] = folder / f"{name}.svg"
        save(figure, paths[name], paths[name].with_suffix(".png"))
    return paths, notes


def save(figure: Figure, *paths: Path) -> None:
    """Write the figure in the format of each path; the same figure gives the same SVG."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        # Placed and measured once: every writing would do all of it again.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        box = figure.get_tightbbox().padded(MARGIN)
        for path in paths:
            date = {"Date": None} if path.suffix == ".svg" else None
            temporary = path.with_name(f".{path.name}.tmp")
            figure.savefig(
                temporary, format=path.suffix[1:], metadata=date, dpi=160, bbox_inches=box
            )
            temporary.replace(path)


# In the order of the report: the answer, how it came about, what stands behind it.
FIGURES: dict[str, Plot] = {
    "clean_robust": Plot(plane.clean_robust, plane.ALTERNATIVE, plane.CAPTION, expected=True),
    "corruptions": Plot(corrupted.corruptions, corrupted.ALTERNATIVE, corrupted.CAPTION),
    "severities": Plot(severities.severities, severities.ALTERNATIVE, severities.CAPTION),
    "learning_curves": Plot(
        curves.learning_curves, curves.ALTERNATIVE, curves.CAPTION, expected=True
    ),
    "response": Plot(response.response, response.ALTERNATIVE, response.CAPTION),
    "importance": Plot(importance.importance, importance.ALTERNATIVE, importance.CAPTION),
    "parallel": Plot(parallel.parallel, parallel.ALTERNATIVE, parallel.CAPTION),
    "best_of_k": Plot(best_of_k.best_of_k, best_of_k.ALTERNATIVE, best_of_k.CAPTION),
    "objectives": Plot(objectives.objectives, objectives.ALTERNATIVE, objectives.CAPTION),
    "hypervolume": Plot(
        objectives.volume_over_time, objectives.VOLUME_ALTERNATIVE, objectives.VOLUME_CAPTION
    ),
    "weights": Plot(weighting.weighting, weighting.ALTERNATIVE, weighting.CAPTION),
    "policies": Plot(trajectories.policies, trajectories.ALTERNATIVE, trajectories.CAPTION),
    "operations": Plot(operations.operations, operations.ALTERNATIVE, operations.CAPTION),
    "spending": Plot(spending.spending, spending.ALTERNATIVE, spending.CAPTION),
}
