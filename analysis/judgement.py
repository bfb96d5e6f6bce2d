"""The verdicts of a study's robustness table, with what is known of every test example."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .tables import Label, RobustnessTable

if TYPE_CHECKING:
    from .verdicts import Verdict


def judge(
    table: RobustnessTable, tables: Mapping[str, Any], folder: Path | str
) -> dict[tuple[Label, str], Verdict]:
    """(row, benchmark) -> verdict; `tables` are those of `export.tables`, accuracies as they are.

    Reads `trials/*/examples.npz` in `folder` of the trials behind the table's rows, where there
    are any. Before the confirmation there is nothing to judge, and nothing is read.
    """
    from . import recorded
    from .verdicts import masks, verdicts

    if table.split != "test":
        return {}
    study_id = str(tables["studies"]["study_id"][0].as_py())
    numbers = sorted({number for row in table.rows for number in row.members})
    examples = recorded.tables(Path(folder), study_id, numbers).get("examples")
    known = None if examples is None else masks({**tables, "examples": examples})
    return verdicts(table, known)
