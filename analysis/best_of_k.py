"""How good the best of so many search trials is expected to be, by arm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .metrics import metric as metric_of
from .metrics import readable
from .plane import looks_of
from .power import expected_best
from .searched import runs
from .style import COLUMN, DASHES, PAGE, STYLE, NothingToPlotError, labels_of, near, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALTERNATIVE = "Expected best validation figure against the number of search trials, by arm."
CAPTION = (
    "The validation figure that the best of k search trials is expected to have (Dodge et al., "
    "2019, arXiv 1909.03004), had they been drawn at random from those that there are: lines that "
    "still rise at their end want more trials, and where lines cross the order of the arms depends "
    "on the budget. Trials that were stopped count with their last figure, those that diverged or "
    "failed as the worst of the study. A sampler that learns draws later trials better than at "
    "random; near its end a line leans on few trials."
)


def best_of_k(tables: Mapping[str, Any]) -> Figure:
    """A line for each arm and weighter: expected best figure against the number of trials.

    Raises `NothingToPlotError` where no arm has two ended search trials.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    study = tables["studies"].to_pylist()[0]
    metric = metric_of(str(study["primary_metric"]), str(study["goal"]))
    ended = [one for one in runs(tables) if one.ending not in ("open", "paused")]
    sound = [one.value for one in ended if one.sound]
    labels = labels_of(study)
    of = {label: [one.value for one in ended if one.label == label] for label in labels}
    drawn = [label for label in labels if len(of[label]) > 1]
    if not sound or not drawn:
        raise NothingToPlotError("no arm has two ended search trials with figures")
    worst = max(sound) if metric.lower else min(sound)
    looks = looks_of(labels)
    weighters = list(dict.fromkeys(weighter for _, weighter in labels))
    columns = 1 if len(drawn) < 4 else 2
    with rc_context(STYLE):
        legend = 0.16 * math.ceil(len(drawn) / columns)
        size = (PAGE if len(drawn) > 3 else COLUMN, 2.5 + legend)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        shown: list[float] = []
        for label in drawn:
            values = [one if math.isfinite(one) else worst for one in of[label]]
            line = [metric.scale * one for one in expected_best(values, lower=metric.lower)]
            shown += line
            axes.plot(
                range(1, len(line) + 1), line, linewidth=1.3, markersize=4, alpha=0.9,
                markevery=max(1, len(line) // 6), label=shortened(" × ".join(label), 48),
                linestyle=DASHES[weighters.index(label[1]) % len(DASHES)], **looks[label],
            )  # fmt: skip
        frame = near(shown, lower=metric.lower)
        if frame:
            axes.set_ylim(*frame)
        axes.grid(color="#DDDDDD", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
        axes.set_xlabel("search trials k of the arm")
        unit = f" [{metric.unit}]" if metric.unit else ""
        better = "lower" if metric.lower else "higher"
        name = readable(study["primary_metric"])
        axes.set_ylabel(f"expected best {name}{unit}\n({better} is better)")
        figure.legend(loc="outside lower center", ncols=columns, frameon=False)
    return figure
