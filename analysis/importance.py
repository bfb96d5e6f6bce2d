"""Which of the searched settings the result of a trial hangs on, arm by arm.

A model of the whole response (a forest, fANOVA) needs hundreds of trials; a search has ten or
twenty. So each setting is looked at alone, by ranks, with a curve of two parameters, and beside it
stands what the same measure gives for settings that were dealt out anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .searched import Run, Setting, runs, short
from .style import (
    BLACK,
    BLUE,
    STYLE,
    NothingToPlotError,
    labels_of,
    panels,
    shortened,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST = 8
ALTERNATIVE = "How much of the order of an arm's trials each searched setting explains."
CAPTION = (
    "What each searched setting explains of the order of an arm's trials: the share of the "
    "variance of the trials' ranks that a parabola through the setting's ranks has (of a category: "
    "the means of its values). Grey: what the same setting reaches in 95 of 100 random orders (of "
    "400, seeded); only a dot beyond it, drawn full, says anything. Trials are ranked as the study "
    "ranks them: longest trained first, then by the metric, diverged ones last; trials that failed "
    "or have not ended are left out. ρ is Spearman's rank correlation, above 0 if more is better. "
    "One setting at a time: settings that a sampler draws together share what they explain. Arms "
    f"with fewer than {LEAST} trials are not drawn: with so few nothing can be told."
)


@dataclass(frozen=True)
class Importance:
    """Of one setting: the share that it explains in [0, 1], chance's 95 % point, Spearman's rho.

    `rho` is None for a category. `share` is NaN where all trials have one value.
    """

    share: float
    chance: float
    rho: float | None


def importance(tables: Mapping[str, Any]) -> Figure:
    """One panel for each arm and weighter, a line for each setting, the greatest share above.

    Raises `NothingToPlotError` where nothing was searched or no arm has enough trials.
    """
    from matplotlib import rc_context

    study = tables["studies"].to_pylist()[0]
    lower = study["goal"] == "min"
    ranked = [one for one in runs(tables) if one.ending in ("complete", "rung", "diverged")]
    of = {label: [one for one in ranked if one.label == label] for label in labels_of(study)}
    searched = {
        label: sorted({name for one in mine for name in one.settings}) for label, mine in of.items()
    }
    if not any(searched.values()):
        raise NothingToPlotError("no setting was searched")
    enough = [label for label, mine in of.items() if searched[label] and len(mine) >= LEAST]
    if not enough:
        most = max(len(mine) for mine in of.values())
        raise NothingToPlotError(
            f"no arm has {LEAST} ended search trials to tell settings from chance, "
            f"the most is {most}"
        )
    found = {label: of_arm(of[label], searched[label], lower=lower) for label in enough}
    named = short(sorted({name for label in enough for name in searched[label]}))
    lines = max(map(len, found.values()))
    with rc_context(STYLE):
        columns = 2 if len(enough) > 1 else 1
        height = 0.55 + 0.2 * lines
        figure, grid = panels(len(enough), height=height, most=columns, room=0.75, sharex=True)
        for axes, label in zip(grid, enough, strict=True):
            axes.set_title(
                f"{titled(label, 40)} (n = {len(of[label])})", loc="left", pad=3, fontsize=7
            )
            _draw(axes, found[label], named)
        figure.supxlabel("share of the variance of ranks explained", fontsize=8)
        figure.legend(
            handles=_legend(), loc="outside upper center", ncols=columns + 1, frameon=False
        )
    return figure


def of_arm(
    mine: Sequence[Run],
    names: Sequence[str],
    *,
    lower: bool,
    shuffles: int = 400,
    seed: int = 0,
) -> dict[str, Importance]:
    """Setting -> its importance over the trials of one arm, the greatest share first.

    A setting that only some trials have, because it depends on another, is looked at among those;
    with fewer than `LEAST` of them it is left out.
    """
    found = {}
    for name in names:
        have = [one for one in mine if name in one.settings]
        if len(have) >= LEAST:
            values = [one.settings[name] for one in have]
            order = ranks([_key(one, lower=lower) for one in have])
            found[name] = measured(values, order, shuffles=shuffles, seed=seed)
    return dict(sorted(found.items(), key=lambda pair: -np.nan_to_num(pair[1].share, nan=-1.0)))


def measured(
    values: Sequence[Setting], order: NDArray[np.float64], *, shuffles: int = 400, seed: int = 0
) -> Importance:
    """The importance of a setting with these values for trials in this order (ranks, float64 [n]).

    A category's share is eta squared of the ranks; a number's is R² of a parabola on its ranks, of
    a line where it has two values. Chance is the 95 % point over `shuffles` random orders.
    """
    category = any(isinstance(one, str) for one in values)
    columns = _indicators(values) if category else _parabola(values)
    if columns is None:
        return Importance(math.nan, math.nan, None if category else math.nan)
    # Columns of an orthonormal basis: the share is a sum of squared projections.
    basis = np.linalg.svd(columns, full_matrices=False)[0][:, : np.linalg.matrix_rank(columns)]
    centred = order - order.mean()
    total = float(centred @ centred)
    if total == 0:
        return Importance(math.nan, math.nan, None if category else math.nan)
    draws = np.random.default_rng(seed)
    shuffled = draws.permuted(np.tile(centred, (shuffles, 1)), axis=1)
    chance = float(np.quantile(((shuffled @ basis) ** 2).sum(axis=1) / total, 0.95))
    share = float(((centred @ basis) ** 2).sum() / total)
    rho = None
    if not category:
        own = ranks([float(one) for one in values])
        rho = float(np.corrcoef(own, order)[0, 1])
    return Importance(min(share, 1.0), min(chance, 1.0), rho)


def ranks(values: Sequence[Any]) -> NDArray[np.float64]:
    """Ranks from 1 upwards, the mean rank for equal values: float64 [n]."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered)))}
    last = {value: place for place, value in enumerate(ordered)}
    return np.array([(first[one] + last[one]) / 2 + 1 for one in values], dtype=np.float64)


def _key(one: Run, *, lower: bool) -> tuple[float, float]:
    """What the study ranks a trial by, upwards: epochs, then the metric; diverged ones last."""
    if not one.sound:
        return -1.0, 0.0
    return float(one.epochs), -one.value if lower else one.value


def _indicators(values: Sequence[Setting]) -> NDArray[np.float64] | None:
    """Columns that span the means of the categories, centred; None for one category."""
    known = sorted(set(map(str, values)))
    if len(known) < 2:
        return None
    found = np.array([[str(one) == name for name in known] for one in values], dtype=np.float64)
    centred: NDArray[np.float64] = found - found.mean(axis=0)
    return centred


def _parabola(values: Sequence[Setting]) -> NDArray[np.float64] | None:
    """The ranks and their squares, centred; None for one value."""
    own = ranks([float(one) for one in values])
    own = own - own.mean()
    if not own.any():
        return None
    found: NDArray[np.float64] = np.stack([own, own**2 - (own**2).mean()], axis=1)
    scaled: NDArray[np.float64] = found / np.maximum(np.linalg.norm(found, axis=0), 1e-12)
    return scaled


def _draw(axes: Axes, found: Mapping[str, Importance], named: Mapping[str, str]) -> None:
    axes.set_xlim(-0.02, 1.2)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    for place, one in enumerate(found.values()):
        if not math.isfinite(one.share):
            axes.text(0.02, place, "one value only", va="center", fontsize=6.5, color="#555555")
            continue
        axes.barh(place, one.chance, height=0.62, color="#D0D0D0", linewidth=0, zorder=1)
        full = one.share > one.chance
        axes.plot([0, one.share], [place, place], color=BLUE, linewidth=1.2, zorder=2)
        axes.plot(
            one.share, place, marker="o", markersize=5, color=BLUE, linestyle="", zorder=3,
            markerfacecolor=BLUE if full else "white",
        )  # fmt: skip
        if one.rho is not None:
            axes.text(
                1.19, place, f"ρ {one.rho:+.2f}".replace("-", "−"), ha="right", va="center",
                fontsize=6.5, color=BLACK,
            )  # fmt: skip
    axes.set_yticks(range(len(found)), [shortened(named[name], 26) for name in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dot: dict[str, Any] = {"marker": "o", "color": BLUE, "linestyle": "", "markersize": 5}
    return [
        Line2D([], [], label="more than chance", **dot),
        Line2D([], [], label="no more than chance", markerfacecolor="white", **dot),
        Patch(color="#D0D0D0", label="chance, 95 %"),
    ]
