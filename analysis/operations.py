"""Which operations augmentation policies consist of, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .searched import chosen
from .style import PAGE, STYLE, Label, NothingToPlotError, labels_of, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALTERNATIVE = "Share of each operation in an arm's augmentation policies, epoch by epoch."
CAPTION = (
    "The share that each operation has in the policies of an epoch, weighted by the steps in which "
    "a policy was in force; a mean over an arm's confirmed trials (before confirmation: over its "
    "search trials of full budget). All alike: the policies are as if drawn at random; one bright "
    "line: they have collapsed to one operation."
)

_COLUMNS = 3


def operations(tables: Mapping[str, Any]) -> Figure:
    """A heat map of operations x epochs for each arm, weighter and view that recorded policies.

    Raises `NothingToPlotError` where no policy was recorded.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    found = shares(tables)
    if not found:
        raise NothingToPlotError("no policy was recorded")
    study = tables["studies"].to_pylist()[0]
    order = labels_of(study)
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1]))
    views = {label: [view for one, view in keys if one == label] for label, _ in keys}
    names = sorted({name for of in found.values() for epoch in of.values() for name in epoch})
    most = max(share for of in found.values() for epoch in of.values() for share in epoch.values())
    columns = min(len(keys), _COLUMNS)
    rows = math.ceil(len(keys) / columns)
    with rc_context(STYLE):
        size = (PAGE, 0.5 + rows * (0.4 + 0.125 * len(names)))
        figure = Figure(figsize=size, layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
        image = None
        for axes, (label, view) in zip(grid, keys, strict=False):
            of = found[label, view]
            epochs = list(range(min(of), max(of) + 1))
            values = [
                [100 * of[epoch].get(name, 0.0) if epoch in of else math.nan for epoch in epochs]
                for name in names
            ]
            image = axes.imshow(
                values, aspect="auto", interpolation="nearest", cmap="cividis", vmin=0,
                vmax=100 * most, extent=(epochs[0] - 0.5, epochs[-1] + 0.5, len(names) - 0.5, -0.5),
            )  # fmt: skip
            several = f": {view}" if len(views[label]) > 1 else ""
            axes.set_title(titled(label, 30) + several, loc="left", pad=3, fontsize=7)
            axes.set_yticks(range(len(names)), names, fontsize=6)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
            axes.tick_params(axis="y", length=0)
            axes.spines[:].set_visible(False)
        for axes in grid[len(keys) :]:
            axes.set_visible(False)
        figure.supxlabel("epoch", fontsize=8)
        if image is not None:
            bar = figure.colorbar(
                image, ax=grid[: len(keys)], location="right", pad=0.01, aspect=30
            )
            bar.set_label("share of the operations [%]")
            bar.outline.set_visible(False)
    return figure


def shares(
    tables: Mapping[str, Any],
) -> dict[tuple[Label, str], dict[int, dict[str, float]]]:
    """Arm and weighter with view -> epoch -> operation -> its share in [0, 1], summing to 1.

    `tables` needs `policies`, which only studies with policies have. Every trial counts alike.
    """
    if "policies" not in tables:
        return {}
    of = {one["trial_id"]: label for label, rows in chosen(tables).items() for one in rows}
    # One count for each trial, so that a trial with more policies does not count for more.
    counts: dict[tuple[Label, str], dict[int, dict[str, dict[str, float]]]] = {}
    columns = ["trial_id", "view", "epoch", "steps", "operations"]
    for row in tables["policies"].select(columns).to_pylist():
        if row["trial_id"] not in of or not row["operations"] or row["epoch"] is None:
            continue
        epochs = counts.setdefault((of[row["trial_id"]], row["view"]), {})
        mine = epochs.setdefault(row["epoch"], {}).setdefault(row["trial_id"], {})
        for name in row["operations"]:
            mine[name] = mine.get(name, 0.0) + float(row["steps"] or 1)
    return {
        key: {epoch: _mean(trials) for epoch, trials in sorted(epochs.items())}
        for key, epochs in counts.items()
    }


def _mean(trials: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for counts in trials.values():
        whole = sum(counts.values())
        for name, count in counts.items():
            found[name] = found.get(name, 0.0) + count / whole / len(trials)
    return found
