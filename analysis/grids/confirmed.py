"""The trials whose figures a table shows, for tables that are made row by row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..history import History
from ..tables import RobustnessTable, TableRow, robustness_table


@dataclass(frozen=True)
class Shown:
    """The robustness table of a study, and its rows with the ids and recipes of their trials.

    `trials` maps a row's key to the ids of the trials behind it, `recipes` to the recipe of the
    first of them. `recipes` has no entry for a row without a trial.
    """

    table: RobustnessTable
    trials: dict[tuple[str, str], list[str]]
    recipes: dict[tuple[str, str], Mapping[str, Any]]

    def arms(self) -> list[TableRow]:
        """The rows without the controls."""
        return [row for row in self.table.rows if not row.control]


def confirmed(tables: Mapping[str, Any], history: History | None = None) -> Shown:
    """What the robustness table shows, from the same tables."""
    names = dict.fromkeys(tables["evaluations"]["metric"].to_pylist())
    metric = "error" if _turned(names) else None
    return of_table(robustness_table(tables, metric=metric, history=history), tables)


def of_table(table: RobustnessTable, tables: Mapping[str, Any]) -> Shown:
    """The same for a robustness table that is there already, made of these tables."""
    columns = ("trial_id", "number", "config_json")
    known = {one["number"]: one for one in tables["trials"].select(columns).to_pylist()}
    trials = {row.key: [known[one]["trial_id"] for one in row.members] for row in table.rows}
    recipes = {
        row.key: json.loads(known[row.members[0]]["config_json"] or "{}")
        for row in table.rows
        if row.members
    }
    return Shown(table, trials, recipes)


def _turned(names: Mapping[str, Any]) -> bool:
    # Accuracies that were turned into errors leave none behind; a suite's error has one beside it.
    return "error" in names and "accuracy" not in names
