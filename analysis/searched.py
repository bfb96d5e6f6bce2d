"""The trials of a study as figures need them: the search's with their settings, and finalists.

A search trial that ran its full budget can be compared with others of its kind; one that was
stopped has a figure of fewer epochs. So every reader here is told which is which.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .style import Label
from .tables import finalists

Row = dict[str, Any]
Setting = float | str


@dataclass(frozen=True)
class Run:
    """A search trial at its last report.

    `value` is the search's metric there, unscaled, NaN where it diverged or has none. `ending` is
    complete, rung, diverged, error, paused or open; `whole`: it ran as many epochs as the longest
    of the study's completed trials; `group` is its configuration's. `settings` are what the search
    drew: numbers, and texts for categories.
    """

    id: str
    number: int
    label: Label
    ending: str
    epochs: int
    value: float
    whole: bool
    group: str = ""
    settings: dict[str, Setting] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        return math.isfinite(self.value)


def runs(tables: Mapping[str, Any]) -> list[Run]:
    """The search trials that have started, by number."""
    rows = [
        one for one in _trials(tables) if one["phase"] == "search" and one["state"] != "WAITING"
    ]
    longest = max((one["epochs_done"] for one in rows if one["state"] == "COMPLETE"), default=0)
    drawn = _drawn(tables["params"])
    return [
        Run(
            id=one["trial_id"],
            number=one["number"],
            label=(one["arm"], one["weighter"]),
            ending=ending(one),
            epochs=one["epochs_done"],
            # A failure of the user's code says nothing of the settings, whatever was reported.
            value=math.nan
            if one["score"] is None or one["state"] == "FAIL"
            else float(one["score"]),
            whole=one["state"] == "COMPLETE" and one["epochs_done"] == longest,
            group=one["group_id"],
            settings=drawn.get(one["trial_id"], {}),
        )
        for one in sorted(rows, key=lambda one: one["number"])
    ]


def ranges(tables: Mapping[str, Any]) -> dict[str, Row]:
    """Setting -> its range as the ledger has it: low, high and log, or values; {} where unknown.

    Where arms search one setting in different ranges it is the range that holds them all.
    """
    found: dict[str, Row] = {}
    # The same few texts stand in every trial.
    pairs = {
        (row["name"], row["distribution_json"])
        for row in _sampled(tables["params"], ["name", "distribution_json"])
    }
    for name, text in sorted(pairs, key=lambda pair: (pair[0], pair[1] or "")):
        one = json.loads(text) if text else {}
        known = found.setdefault(name, one)
        if not known:
            found[name] = one
        elif {"low", "high"} <= known.keys() & one.keys():
            ends = {"low": min(known["low"], one["low"]), "high": max(known["high"], one["high"])}
            found[name] = {**known, **ends}
        elif "values" in known and "values" in one:
            more = [value for value in one["values"] if value not in known["values"]]
            found[name] = {**known, "values": [*known["values"], *more]}
    return found


def confirmed(tables: Mapping[str, Any]) -> dict[Label, list[Row]]:
    """Arm and weighter -> the trials that confirm the configuration that tables show."""
    mine: dict[Label, list[Row]] = {}
    for one in _trials(tables):
        if one["phase"] == "confirm":
            mine.setdefault((one["arm"], one["weighter"]), []).append(one)
    goal = str(tables["studies"]["goal"][0].as_py())
    return {label: finalists(rows, goal) for label, rows in mine.items()}


def picked(tables: Mapping[str, Any], found: Sequence[Run]) -> dict[Label, Run]:
    """Arm and weighter -> the search trial that was confirmed, else the best of full budget."""
    best: dict[Label, Run] = {}
    sign = -1.0 if tables["studies"]["goal"][0].as_py() == "min" else 1.0
    for one in found:
        if not (one.whole and one.sound):
            continue
        if one.label not in best or sign * one.value > sign * best[one.label].value:
            best[one.label] = one
    groups = {label: rows[0]["group_id"] for label, rows in confirmed(tables).items()}
    for one in found:
        if groups.get(one.label) == one.group:
            best[one.label] = one
    return best


def controls(tables: Mapping[str, Any], name: str) -> dict[Label, list[Row]]:
    """Arm and weighter -> the control trials of that name; empty for studies without any."""
    found: dict[Label, list[Row]] = {}
    for one in _trials(tables):
        if one["phase"] == "control" and one.get("control") == name:
            found.setdefault((one["arm"], one["weighter"]), []).append(one)
    return found


def chosen(tables: Mapping[str, Any]) -> dict[Label, list[Row]]:
    """The confirmed trials of each arm and weighter, else those of its search of full budget.

    Where none of these has ended either, all that its search has started.
    """
    finalists = confirmed(tables)
    whole = {one.id for one in runs(tables) if one.whole}
    searched: dict[Label, list[Row]] = {}
    for one in _trials(tables):
        label = one["arm"], one["weighter"]
        if one["phase"] == "search" and one["state"] != "WAITING" and label not in finalists:
            searched.setdefault(label, []).append(one)
    for label, rows in searched.items():
        searched[label] = [one for one in rows if one["trial_id"] in whole] or rows
    return finalists | searched


def ending(trial: Mapping[str, Any]) -> str:
    """How a row of `trials` ended: complete, rung, diverged, error, paused; open if it has not."""
    if trial["stop_reason"] in ("diverged", "rung"):
        return str(trial["stop_reason"])
    kinds = {"COMPLETE": "complete", "PRUNED": "rung", "FAIL": "error", "PAUSED": "paused"}
    return kinds.get(trial["state"], "open")


def short(names: Sequence[str]) -> dict[str, str]:
    """Paths of settings -> what axes call them: without what all paths begin with, if they differ.

    `losses/kl/coefficient` is `kl coefficient`, `training/optimizer/lr` is `optimizer lr`.
    """
    found = {name: " ".join(name.split("/")[1:]) or name for name in names}
    several = [one for one in found.values() if list(found.values()).count(one) > 1]
    return {name: name.replace("/", " ") if one in several else one for name, one in found.items()}


def _trials(tables: Mapping[str, Any]) -> list[Row]:
    # The recipes are most of the table's bytes.
    return list(tables["trials"].drop_columns(["config_json"]).to_pylist())


def _sampled(params: Any, columns: list[str]) -> list[Row]:
    return list(params.filter(params["sampled"]).select(columns).to_pylist())


def _drawn(params: Any) -> dict[str, dict[str, Setting]]:
    found: dict[str, dict[str, Setting]] = {}
    for row in _sampled(params, ["trial_id", "name", "value_num", "value_str", "kind"]):
        value = row["value_str"] if row["value_num"] is None else row["value_num"]
        if row["kind"] == "bool":
            value = str(bool(value)).lower()
        found.setdefault(row["trial_id"], {})[row["name"]] = "none" if value is None else value
    return found
