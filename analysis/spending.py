"""What each arm of a study has cost, and on what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .searched import Row, ending
from .style import PAGE, STYLE, Label, NothingToPlotError, labels_of, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALTERNATIVE = "Device seconds of each arm by what they were spent on: search, confirmation, test."
CAPTION = (
    "What each arm has cost in device seconds: the time of training and evaluation times the GPUs "
    "of a trial, or its processors where it has none. Evaluation is that of all trials, on the "
    "validation and the test split. Beside the bars: search trials, all trials and all epochs."
)

# What a trial's training counts as -> colour and hatch. Every second one has a hatch, so that
# neighbours differ without colour.
_KINDS = {
    "search: full budget": ("#0072B2", ""),
    "search: stopped": ("#56B4E9", "////"),
    "search: failed or diverged": ("#D55E00", ""),
    "search: not ended": ("#BBBBBB", "...."),
    "confirmation": ("#009E73", ""),
    "controls": ("#CC79A7", "xxxx"),
    "evaluation": ("#F0E442", "\\\\\\\\"),
}


def spending(tables: Mapping[str, Any]) -> Figure:
    """A bar for each arm and weighter, of device seconds by kind, with trials and epochs.

    Raises `NothingToPlotError` before any trial has reported.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    study = tables["studies"].to_pylist()[0]
    trials = tables["trials"].drop_columns(["config_json"]).to_pylist()
    labels = labels_of(study)
    spent = {label: seconds(trials, label, devices(study)) for label in labels}
    most = max((sum(one.values()) for one in spent.values()), default=0.0)
    if not most > 0:
        raise NothingToPlotError("no trial has reported any time")
    unit, size = ("s", 1.0) if most < 7200 else ("h", 3600.0)
    used = [kind for kind in _KINDS if any(spent[label].get(kind) for label in labels)]
    with rc_context(STYLE):
        height = 0.9 + 0.28 * len(labels)
        figure = Figure(figsize=(PAGE, max(1.6, height)), layout="constrained")
        axes = figure.subplots()
        for place, label in enumerate(labels):
            left = 0.0
            for kind in used:
                wide = spent[label].get(kind, 0.0) / size
                colour, hatch = _KINDS[kind]
                axes.barh(
                    place, wide, left=left, height=0.68, color=colour, hatch=hatch,
                    edgecolor="white", linewidth=0.4,
                    label=kind if place == 0 else None,
                )  # fmt: skip
                left += wide
            axes.annotate(
                _counts(trials, label), (left, place), (4, 0), textcoords="offset points",
                va="center", fontsize=6.5,
            )  # fmt: skip
        axes.set_yticks(range(len(labels)), [shortened(" × ".join(label), 42) for label in labels])
        axes.invert_yaxis()
        # Room for the text beside the longest bar.
        axes.set_xlim(0, 1.42 * most / size)
        axes.set_xlabel(f"device time [{unit}]")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


def devices(study: Mapping[str, Any]) -> float:
    """GPUs of a trial, or its processors where it has none."""
    resources = json.loads(study["config_json"]).get("resources") or {}
    return float(resources.get("gpu") or resources.get("cpu") or 1)


def seconds(trials: list[Row], label: Label, each: float) -> dict[str, float]:
    """What was spent on -> device seconds, for the trials of an arm and weighter; `each`: devices.

    Superseded confirmations count as confirmation: they were paid for.
    """
    found: dict[str, float] = {}
    for one in trials:
        if (one["arm"], one["weighter"]) == label:
            kind = _kind(one)
            found[kind] = found.get(kind, 0.0) + each * (one["train_s"] or 0.0)
            found["evaluation"] = found.get("evaluation", 0.0) + each * (one["eval_s"] or 0.0)
    return found


def _kind(trial: Row) -> str:
    if trial["phase"] == "control":
        return "controls"
    if trial["phase"] != "search":
        return "confirmation"
    return {
        "complete": "search: full budget",
        "rung": "search: stopped",
        "diverged": "search: failed or diverged",
        "error": "search: failed or diverged",
    }.get(ending(trial), "search: not ended")


def _counts(trials: list[Row], label: Label) -> str:
    mine = [one for one in trials if (one["arm"], one["weighter"]) == label]
    search = sum(one["phase"] == "search" for one in mine)
    epochs = sum(one["epochs_done"] for one in mine)
    return f"{search} search, {len(mine)} trials, {epochs:,} epochs"
