"""Warm start: what the trials of earlier studies can tell a sampler, read from their ledgers.

Only text is read, `resolved.json` for the search spaces and `ledger.jsonl` for the trials; nothing
of a study folder is ever unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.events import LedgerError, read
from analysis.history import History, TrialHistory, fold
from search_spaces.ranges import distributions
from study.searcher import Mode, Past, State, fits
from trainables.core.errors import SettingError


def past(
    folders: Iterable[str | Path],
    arm: str,
    weighter: str,
    tree: Any,
    objectives: Mapping[str, Mode],
) -> tuple[list[Past], list[str]]:
    """The ended search trials of earlier studies that an arm can learn from, and what to say of it.

    Of each study the arm of the same name and weighter is taken, else all arms whose ranges have
    the same paths as `tree`. `objectives` are the metrics and their modes; each must be an
    objective of the earlier study. A trial's values are the last ones that it reported; a trial
    counts only if it has all of them, and if its params lie in today's ranges. Trials that failed,
    but for those that diverged, and unfinished ones are passed over.

    The notes are one line per folder: how many trials are taken and how many cannot be used.
    Raises `SettingError` for a folder without a study and for objectives that the study had not.
    """
    found: list[Past] = []
    notes: list[str] = []
    for folder in folders:
        resolved, history = _study(Path(folder))
        _same_objectives(folder, resolved, objectives)
        names = _arms(resolved, arm, weighter, tree)
        if not names:
            notes.append(f"{folder}: no arm {arm} × {weighter}, and none with the same ranges")
            continue
        ended = [
            one
            for one in history.in_order()
            if one.planned["phase"] == "search"
            and (one.planned["arm"], one.planned["weighter"]) in names
            and one.state in ("COMPLETE", "PRUNED", "FAIL")
        ]
        told = [_past(one, list(objectives)) for one in ended]
        known = [one for one in told if one is not None]
        taken = [one for one in known if fits(tree, one.params)]
        found += taken
        labels = ", ".join(f"{one} × {other}" for one, other in names)
        note = f"{folder}: {len(taken)} of {len(ended)} trials of {labels}"
        if len(known) < len(ended):
            note += f"; {len(ended) - len(known)} without values"
        if len(taken) < len(known):
            note += f"; {len(known) - len(taken)} outside of the ranges of this study"
        notes.append(note)
    return found, notes


def _study(folder: Path) -> tuple[dict[str, Any], History]:
    try:
        text = (folder / "resolved.json").read_text(encoding="utf-8")
        resolved = json.loads(text)
        history = fold(read(folder))
    except FileNotFoundError as error:
        raise SettingError(
            f"search.warm_start must list folders of studies, found {str(folder)!r}: there is no "
            f"{Path(error.filename).name} in it."
        ) from None
    except (LedgerError, ValueError) as error:
        raise SettingError(f"search.warm_start: {folder} cannot be read: {error}") from None
    return resolved, history


def _same_objectives(
    folder: str | Path, resolved: Mapping[str, Any], objectives: Mapping[str, Mode]
) -> None:
    search = resolved["search"]
    # Studies of the first releases had one objective, spelled as it is asked for.
    theirs = search.get("objectives") or {search["metric"]: search["mode"]}
    for metric, mode in objectives.items():
        if theirs.get(metric) != mode:
            had = ", ".join(f"{one} ({way})" for one, way in theirs.items())
            raise SettingError(
                f"search.warm_start: this study goes by {metric} ({mode}), and {folder} went by "
                f"{had}; an earlier study must have had the same metric and mode."
            )


def _arms(resolved: Mapping[str, Any], arm: str, weighter: str, tree: Any) -> list[tuple[str, str]]:
    names = [(one["arm"], one["weighter"]) for one in resolved["arms"]]
    if (arm, weighter) in names:
        return [(arm, weighter)]
    paths = distributions(tree).keys()
    return [
        name
        for name, one in zip(names, resolved["arms"], strict=True)
        if paths and distributions(one["recipe"]).keys() == paths
    ]


def _past(trial: TrialHistory, metrics: Sequence[str]) -> Past | None:
    """What is told of an ended trial; None where it teaches nothing."""
    state: State = (trial.ended or {})["state"]
    reports = trial.in_order()
    epochs = int(reports[-1]["epoch"]) if reports else 0
    if trial.diverged:
        return Past(trial.planned["params"], (math.nan,) * len(metrics), epochs, state)
    if state == "FAIL":
        return None
    last: dict[str, float] = {}
    for report in reports:
        last |= {name: value for name, value in report["metrics"].items() if name in metrics}
    if len(last) < len(metrics):
        return None
    return Past(trial.planned["params"], tuple(last[one] for one in metrics), epochs, state)
