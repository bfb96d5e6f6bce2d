"""The large tables column by column, from the histories of a study's trials.

A thousand trials report millions of figures. A Python object for each row of them would take
gigabytes and minutes, so what a report says once is kept once and spread over its rows by Arrow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from .history import TrialHistory
from .schema import schema
from .statistics import wilson_interval

Row = dict[str, Any]
Trials = Sequence[TrialHistory]

_SPLITS = ("train", "validation", "test")
# Reports at a time: what is spread over their rows stays within some dozen megabytes.
_PART = 20_000
_NAMES = {bool: "bool", int: "int", float: "float"}


def table(name: str, study_id: str, rows: int, columns: Mapping[str, Any]) -> Any:
    """The table `name` from sequences or Arrow arrays of `rows` values; a column not given is null.

    `study_id` is written into every row.
    """
    known = {"study_id": pa.repeat(study_id, rows), **columns}

    def column(field: Any) -> Any:
        values = known.get(field.name)
        if values is None:
            return pa.nulls(rows, field.type)
        if isinstance(values, pa.Array):
            return values
        if isinstance(values, np.ndarray):
            return pa.array(values).cast(field.type)
        return pa.array(values, field.type)

    fields = schema(name, study_id)
    return pa.table([column(field) for field in fields], schema=fields)


def reports(trials: Trials, study_id: str) -> Any:
    """The table `reports`: one row for each metric of each report, by name."""
    return _in_parts("reports", _reports, trials, study_id)


def evaluations(trials: Trials, study_id: str) -> Any:
    """The table `evaluations`, with Wilson's interval where examples were counted."""
    return _in_parts("evaluations", _evaluations, trials, study_id)


def weights(trials: Trials, study_id: str) -> Any:
    """The table `weights`: one row for each loss of each report, in the order of the recipe."""
    return _in_parts("weights", _weights, trials, study_id)


def params(trials: Trials, study_id: str) -> Any:
    """The table `params`: every leaf of every trial's recipe, by path, and what was sampled."""
    ids: list[str] = []
    names: list[str] = []
    values: list[Any] = []
    ranges: list[str | None] = []
    sampled: list[bool] = []
    of_group = _ranges(trials)
    for trial in trials:
        drawn = trial.planned.get("params") or {}
        # Confirm trials repeat what the search drew, and are planned without the ranges.
        own = trial.planned.get("distributions") or of_group.get(trial.planned["group"], {})
        leaves = dict(_leaves(trial.planned.get("recipe", {}))) | drawn
        order = sorted(leaves)
        ids += [_trial_id(study_id, trial)] * len(order)
        names += order
        values += [leaves[name] for name in order]
        ranges += [_json(own.get(name)) for name in order]
        sampled += [name in drawn for name in order]
    columns = {
        "trial_id": ids,
        "name": names,
        "value_num": [float(one) if isinstance(one, int | float) else None for one in values],
        "value_str": [_text(one) for one in values],
        "kind": [_NAMES.get(type(one), "cat") for one in values],
        "distribution_json": ranges,
        "sampled": sampled,
    }
    return table("params", study_id, len(ids), columns)


def _in_parts(name: str, make: Callable[[Trials, str], Any], trials: Trials, study_id: str) -> Any:
    made = [make(some, study_id) for some in _parts(trials)]
    return pa.concat_tables(made) if made else schema(name, study_id).empty_table()


def _parts(trials: Trials) -> Iterator[Trials]:
    """Runs of trials that have about as many reports each."""
    part: list[TrialHistory] = []
    count = 0
    for one in trials:
        part.append(one)
        count += len(one.reports)
        if count >= _PART:
            yield part
            part, count = [], 0
    if part:
        yield part


class _Reported:
    """What the rows of one report have in common, kept once for each report."""

    def __init__(self, trials: Trials, study_id: str) -> None:
        self._ids = pa.array([_trial_id(study_id, one) for one in trials], pa.string())
        self._trial: list[int] = []
        self._step: list[int] = []
        self._rows: list[int] = []

    def add(self, trial: int, step: int, rows: int) -> None:
        """One report of the trial at a place among the trials, and how many rows it has."""
        self._trial.append(trial)
        self._step.append(step)
        self._rows.append(rows)

    @property
    def rows(self) -> int:
        return sum(self._rows)

    def columns(self) -> Row:
        """`trial_id` and `step` of every row."""
        of_report = pa.array(self._trial, pa.int32())
        return {
            "trial_id": self.each(self._ids.take(of_report)),
            "step": self.each(pa.array(self._step, pa.int32())),
        }

    def each(self, values: Any) -> Any:
        """A value for each report -> one for each row."""
        return values.take(pa.array(np.repeat(np.arange(len(self._rows)), self._rows)))


def _reports(trials: Trials, study_id: str) -> Any:
    reported = _Reported(trials, study_id)
    known: dict[str, int] = {}
    # Reports of an arm have the same metrics, epoch after epoch.
    layouts: dict[tuple[str, ...], tuple[list[str], Any]] = {}
    values: list[float] = []
    codes: list[Any] = [np.empty(0, np.int32)]
    wall: list[float] = []
    rungs: list[int | None] = []
    decisions: list[str | None] = []
    for place, trial in enumerate(trials):
        wall_s = 0.0
        for report in trial.in_order():
            times = {key: float(report.get(key) or 0) for key in ("train_s", "eval_s")}
            wall_s += sum(times.values())
            found = (report.get("metrics") or {}) | times
            key = tuple(found)
            if key not in layouts:
                order = sorted(found)
                own = [known.setdefault(name, len(known)) for name in order]
                layouts[key] = order, np.array(own, np.int32)
            order, code = layouts[key]
            values += map(found.__getitem__, order)
            codes.append(code)
            reported.add(place, report["epoch"], len(order))
            wall.append(wall_s)
            rungs.append(report.get("rung"))
            decisions.append(report.get("decision"))
    which = pa.array(np.concatenate(codes))
    named = [_split_of(name) for name in known]
    common = reported.columns()
    columns = common | {
        "epoch": common["step"].cast(pa.float64()),
        "wall_s": reported.each(pa.array(wall, pa.float64())),
        "split": pa.array([split for split, _ in named], pa.string()).take(which),
        "metric": pa.array([metric for _, metric in named], pa.string()).take(which),
        "value": pa.array(values, pa.float64()),
        "rung": reported.each(pa.array(rungs, pa.int32())),
        "decision": reported.each(pa.array(decisions, pa.string())),
    }
    return table("reports", study_id, len(values), columns)


def _split_of(name: str) -> tuple[str | None, str]:
    split, slash, metric = name.partition("/")
    return (split, metric) if slash and split in _SPLITS else (None, name)


def _evaluations(trials: Trials, study_id: str) -> Any:
    reported = _Reported(trials, study_id)
    rows: list[Row] = []
    positions: list[int] = []
    for place, trial in enumerate(trials):
        for report in trial.in_order():
            own = report.get("evaluations") or []
            if own:
                reported.add(place, report["epoch"], len(own))
                rows += own
                positions += range(len(own))
    intervals = [_interval(row) for row in rows]
    columns: Row = {
        name: [row.get(name) for row in rows]
        for name in schema("evaluations").names
        if name != "study_id"
    }
    columns |= {
        "position": positions,
        "ci_low": [low for low, _ in intervals],
        "ci_high": [high for _, high in intervals],
    }
    return table("evaluations", study_id, len(rows), columns | reported.columns())


def _interval(row: Row) -> tuple[float | None, float | None]:
    correct, n = row.get("n_correct"), row.get("n_examples")
    return wilson_interval(correct, n) if correct is not None and n else (None, None)


def _weights(trials: Trials, study_id: str) -> Any:
    reported = _Reported(trials, study_id)
    rows: list[Row] = []
    labels: list[str] = []
    for place, trial in enumerate(trials):
        losses = list(trial.planned.get("recipe", {}).get("losses", {}))
        # The order of the recipe: main loss first.
        at = {label: i for i, label in enumerate(losses)}
        for report in trial.in_order():
            own = report.get("weights") or {}
            order = sorted(own, key=lambda one: at.get(one, len(at)))
            if order:
                reported.add(place, report["epoch"], len(order))
                labels += order
                rows += map(own.__getitem__, order)
    keys = ("study_id", "trial_id", "step", "loss")
    columns = {
        name: [row.get(name) for row in rows]
        for name in schema("weights").names
        if name not in keys
    }
    return table("weights", study_id, len(rows), columns | {"loss": labels} | reported.columns())


def _ranges(trials: Trials) -> dict[str, Row]:
    """Configuration -> the ranges that the search drew it from."""
    found: dict[str, Row] = {}
    for one in trials:
        if one.planned.get("distributions"):
            found.setdefault(one.planned["group"], one.planned["distributions"])
    return found


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}/")
        else:
            yield f"{path}{key}", value


def _trial_id(study_id: str, trial: TrialHistory) -> str:
    return f"{study_id}-{trial.number:04d}"


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, int | float):
        return None
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
