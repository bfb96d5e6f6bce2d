"""What weighters gave over a training: the weight of each loss and the angle between gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .searched import chosen
from .style import (
    BLACK,
    COLOURS,
    DASHES,
    PAGE,
    STYLE,
    Label,
    NothingToPlotError,
    labels_of,
    shortened,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALTERNATIVE = "Mean weight of each loss and cosine with the main gradient, epoch by epoch, by arm."
CAPTION = (
    "What weighters did, epoch by epoch: the mean weight of each loss, its coefficient left out, "
    "and below it the mean cosine of its gradient with the main loss's, where that was measured. "
    "Lines are means over an arm's confirmed trials (before confirmation: over its search trials "
    "of full budget), bands reach from the least to the greatest of them. Dotted: the share of "
    "steps in which the two gradients conflict, that is in which the cosine is below 0. Arms whose "
    "weights never change and whose gradients were not measured are left out."
)

_COLUMNS = 4
_COSINE, _CONFLICT = "grad_cos", "grad_conflict"


@dataclass
class _Loss:
    """Epoch -> the values of the trials, for what was recorded of one loss."""

    weight: dict[int, list[float]] = field(default_factory=dict)
    grad_cos: dict[int, list[float]] = field(default_factory=dict)
    grad_conflict: dict[int, list[float]] = field(default_factory=dict)


def weighting(tables: Mapping[str, Any]) -> Figure:
    """A panel of weights for each arm and weighter, below it one of cosines where there are any.

    Raises `NothingToPlotError` where all weights are constant and no gradient was measured.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    study = tables["studies"].to_pylist()[0]
    found = _recorded(tables)
    labels = [label for label in labels_of(study) if label in found and _tells(found[label])]
    if not labels:
        raise NothingToPlotError("all weights are constant and no gradient was measured")
    losses = list(dict.fromkeys(name for label in labels for name in found[label]))
    looks = {name: _look(place) for place, name in enumerate(losses)}
    angles = any(one.grad_cos for label in labels for one in found[label].values())
    kinds = ["weight", _COSINE] if angles else ["weight"]
    blocks = math.ceil(len(labels) / _COLUMNS)
    columns = max(2, min(len(labels), _COLUMNS))
    with rc_context(STYLE):
        rows = blocks * len(kinds)
        figure = Figure(figsize=(PAGE, 0.7 + 1.45 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for place, label in enumerate(labels):
            block, column = divmod(place, columns)
            for shift, kind in enumerate(kinds):
                axes = grid[block * len(kinds) + shift][column]
                axes.set_visible(True)
                if shift == 0:
                    axes.set_title(titled(label, 24), loc="left", pad=3)
                _draw(axes, kind, found[label], looks)
                if column == 0:
                    axes.set_ylabel(
                        "mean weight" if kind == "weight" else "cosine with the\nmain gradient"
                    )
                if shift == len(kinds) - 1:
                    axes.tick_params(labelbottom=True)
        figure.supxlabel("epoch", fontsize=8)
        grid[0][0].xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        figure.legend(
            handles=_legend(looks, conflicts=angles),
            loc="outside upper center",
            ncols=4,
            frameon=False,
        )
    return figure


def _recorded(tables: Mapping[str, Any]) -> dict[Label, dict[str, _Loss]]:
    """Arm and weighter -> loss, the main one first -> what was recorded of it."""
    of = {one["trial_id"]: label for label, rows in chosen(tables).items() for one in rows}
    found: dict[Label, dict[str, _Loss]] = {}
    columns = ["trial_id", "step", "loss", "weight", _COSINE, _CONFLICT]
    for row in tables["weights"].select(columns).to_pylist():
        if row["trial_id"] not in of:
            continue
        losses = found.setdefault(of[row["trial_id"]], {})
        one = losses.setdefault(row["loss"], _Loss())
        for kind in ("weight", _COSINE, _CONFLICT):
            if row[kind] is not None and math.isfinite(row[kind]):
                getattr(one, kind).setdefault(row["step"], []).append(row[kind])
    return found


def _tells(losses: Mapping[str, _Loss]) -> bool:
    """Whether a weight changes, or a gradient was measured."""
    for place, one in enumerate(losses.values()):
        values = [value for many in one.weight.values() for value in many]
        if values and max(values) - min(values) > 1e-6 * max(1.0, abs(max(values))):
            return True
        # The main loss's cosine with itself is 1.
        if place and one.grad_cos:
            return True
    return False


def _look(place: int) -> dict[str, Any]:
    """The main loss is solid and black, each further one has a colour and a dash."""
    return {
        "color": COLOURS[place % len(COLOURS)] if place else BLACK,
        "linestyle": DASHES[place % len(DASHES)],
    }


def _draw(
    axes: Axes, kind: str, losses: Mapping[str, _Loss], looks: Mapping[str, dict[str, Any]]
) -> None:
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    if kind == _COSINE:
        axes.axhline(0, color="#555555", linewidth=0.8, zorder=1)
        axes.set_ylim(-1.05, 1.05)
    for place, (name, one) in enumerate(losses.items()):
        if kind == _COSINE and place == 0:
            continue
        _band(axes, getattr(one, kind), looks[name])
        if kind == _COSINE and one.grad_conflict:
            steps, means, _, _ = _over_trials(one.grad_conflict)
            axes.plot(steps, means, color=looks[name]["color"], linestyle=":", linewidth=1.0)
    if kind == "weight":
        # A weight of 0 is a loss that is switched off: seen as such.
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0.0), high)
    if kind == _COSINE and not any(one.grad_cos for one in list(losses.values())[1:]):
        axes.text(
            0.5, 0.75, "not measured", transform=axes.transAxes, ha="center", fontsize=7,
            color="#555555",
        )  # fmt: skip


def _band(axes: Axes, values: Mapping[int, Sequence[float]], look: Mapping[str, Any]) -> None:
    if not values:
        return
    steps, means, least, most = _over_trials(values)
    if len(steps) == 1:
        axes.plot(steps, means, marker="o", markersize=3, **look)
    axes.plot(steps, means, linewidth=1.2, zorder=3, **look)
    axes.fill_between(steps, least, most, color=look["color"], alpha=0.18, linewidth=0)


def _over_trials(
    values: Mapping[int, Sequence[float]],
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Epochs, and mean, least and greatest value of each."""
    steps = sorted(values)
    return (
        steps,
        [fmean(values[step]) for step in steps],
        [min(values[step]) for step in steps],
        [max(values[step]) for step in steps],
    )


def _legend(looks: Mapping[str, dict[str, Any]], *, conflicts: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    handles: list[Any] = [
        Line2D([], [], linewidth=1.2, label=shortened(name, 28), **look)
        for name, look in looks.items()
    ]
    if conflicts:
        text = "share of steps in conflict"
        handles.append(Line2D([], [], color="#555555", linestyle=":", linewidth=1.0, label=text))
    return handles
