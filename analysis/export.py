"""A study's ledger -> its six Parquet tables, at any time: running, killed or finished.

Only `resolved.json` and `ledger.jsonl` are read, and what trials recorded beside them (`examples`,
`policies`). The same files give the same bytes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from . import recorded
from .history import History, TrialHistory, fold, when
from .schema import TABLES, schema
from .statistics import wilson_interval

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

_SPLITS = ("train", "validation", "test")


class NotAStudyError(ValueError):
    """The folder holds no study that can be read; the message names the folder and what lacks."""


@dataclass(frozen=True)
class StudyFrames:
    """The six tables of a study as pandas frames.

    `trials` is wide: beside the table's columns it has `param.<path>` for every parameter that any
    trial sampled and `metric.<split>/<metric>` with the value at the trial's last report.
    """

    studies: pd.DataFrame
    trials: pd.DataFrame
    params: pd.DataFrame
    reports: pd.DataFrame
    evaluations: pd.DataFrame
    weights: pd.DataFrame


def tables(folder: Path | str) -> dict[str, Any]:
    """The six tables of the study in `folder`, name -> `pyarrow.Table`.

    Raises `NotAStudyError` where `resolved.json` or `ledger.jsonl` is missing or unreadable.
    """
    return tables_with_history(folder)[0]


def tables_with_history(folder: Path | str) -> tuple[dict[str, Any], History]:
    """`tables(folder)`, and what else the ledger tells: why trials stopped, the study's course."""
    resolved, history, storage = _read(Path(folder))
    study_id = str(resolved["study_id"])
    trials = history.in_order()
    ranges = _ranges(trials)
    rows: dict[str, list[Row]] = {
        "studies": [_study_row(resolved, history)],
        "trials": [_trial_row(resolved, one, storage) for one in trials],
        "params": [row for one in trials for row in _param_rows(one, ranges)],
        "reports": [row for one in trials for row in _report_rows(one)],
        "evaluations": [row for one in trials for row in _evaluation_rows(one)],
        "weights": [row for one in trials for row in _weight_rows(one)],
    }
    for name in TABLES:
        for row in rows[name]:
            row["study_id"] = study_id
            if "trial" in row:
                row["trial_id"] = f"{study_id}-{row['trial']:04d}"
    made = {name: pa.Table.from_pylist(rows[name], schema(name, study_id)) for name in TABLES}
    return made, history


def export(folder: Path | str, made: Mapping[str, Any] | None = None) -> list[Path]:
    """Write `tables/*.parquet` of the study in `folder` and return their paths.

    Beside the six tables there are `examples` and `policies` where trials recorded them.

    A reader never sees half a file: each is written beside its place and renamed. `made` are the
    study's tables where the caller has them already.
    """
    made = tables(folder) if made is None else made
    study_id, known = made["studies"]["study_id"][0].as_py(), made["trials"]["number"].to_pylist()
    made = dict(made) | recorded.tables(Path(folder), study_id, known)
    target = Path(folder) / "tables"
    target.mkdir(exist_ok=True)
    paths = []
    for name, table in made.items():
        path = target / f"{name}.parquet"
        temporary = target / f".{name}.{os.getpid()}.tmp"
        try:
            pq.write_table(table, temporary, compression="zstd")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        paths.append(path)
    return paths


def load_study(folder: Path | str) -> StudyFrames:
    """The study in `folder` as pandas frames, from its ledger as it stands now."""
    frames = {name: table.to_pandas() for name, table in tables(folder).items()}
    frames["trials"] = _widen(frames["trials"], frames["params"], frames["reports"])
    return StudyFrames(**frames)


def _read(folder: Path) -> tuple[Row, History, str]:
    """The resolved study, its history and the storage of its checkpoints ("": the folder)."""
    from . import events

    for name in ("resolved.json", "ledger.jsonl"):
        if not (folder / name).is_file():
            raise NotAStudyError(f"{folder} is not a study folder: it has no {name}")
    try:
        resolved = json.loads((folder / "resolved.json").read_text(encoding="utf-8"))
        ledger = events.read(folder / "ledger.jsonl")
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotAStudyError(f"{folder}/resolved.json is not JSON: {error}") from None
    except events.LedgerError as error:
        raise NotAStudyError(str(error)) from None
    for key in ("study", "study_id", "arms"):
        if not isinstance(resolved, dict) or key not in resolved:
            raise NotAStudyError(f"{folder}/resolved.json is not a resolved study: it has no {key}")
    found = fold(ledger)
    if found.extensions:
        # The ledger has an extension before `resolved.json` has it.
        resolved = found.extensions[-1].get("study") or resolved
    begun = [one.get("storage") or "" for one in ledger if one["event"] == "segment"]
    return resolved, found, next(iter(begun), "")


def _study_row(resolved: Row, history: History) -> Row:
    first = history.study
    data = first.get("data") or {}
    search = resolved.get("search", {})
    work_s = sum(_seconds(one, "train_s") + _seconds(one, "eval_s") for one in history.in_order())
    return {
        "name": resolved["study"],
        "question": resolved.get("question"),
        "baseline": resolved.get("baseline"),
        "created_at": when(first) if first else None,
        "finished_at": history.finished_at,
        "status": history.status,
        "task": resolved.get("task"),
        "dataset": resolved.get("data", {}).get("name"),
        # Ledgers of the first releases do not describe their data.
        "data_title": data.get("title"),
        "data_provenance": data.get("provenance"),
        "data_units": data.get("units"),
        "num_train": data.get("train"),
        "num_validation": data.get("validation"),
        "num_test": data.get("test"),
        "primary_metric": search.get("metric"),
        "goal": search.get("mode"),
        "num_trials": len(history.trials),
        "num_seeds": resolved.get("confirm", {}).get("seeds"),
        "git_sha": (first.get("git") or {}).get("sha"),
        "git_dirty": (first.get("git") or {}).get("dirty"),
        "versions_json": _json(first.get("versions")),
        "config_json": _json(resolved),
        "search_json": _json({key: resolved.get(key) for key in ("search", "schedule", "confirm")}),
        "hardware_json": _json(first.get("hardware")),
        "gpu_hours": work_s * float(resolved.get("resources", {}).get("gpu", 0)) / 3600,
    }


def _trial_row(resolved: Row, trial: TrialHistory, storage: str) -> Row:
    planned, ended = trial.planned, trial.ended or {}
    checkpoints = f"trials/{trial.number:04d}"
    recipe = planned.get("recipe", {})
    summary, error = ended.get("summary") or {}, ended.get("error") or {}
    views = recipe.get("views", {}).values()
    # A threat model is a norm and an eps; a recipe names both, given or not.
    attacks = [one["name"] for one in views if "eps" in one and "norm" in one]
    started = trial.started_at is not None
    return {
        "trial": trial.number,
        "number": trial.number,
        "phase": trial.phase,
        "arm": planned["arm"],
        "weighter": planned["weighter"],
        "group_id": planned["group"],
        "seed": planned["seed"],
        "state": trial.state,
        "stop_reason": ended.get("reason"),
        "started_at": trial.started_at,
        "ended_at": when(ended) if ended else None,
        "duration_s": trial.work_s if started else None,
        "train_s": _seconds(trial, "train_s") if started else None,
        "eval_s": _seconds(trial, "eval_s") if started else None,
        "epochs_done": len(trial.reports),
        "max_t": resolved.get("schedule", {}).get("max_epochs"),
        "retries": trial.retries,
        "fallbacks": trial.fallbacks,
        "model": recipe.get("architecture", {}).get("name"),
        "dataset": recipe.get("data", {}).get("name"),
        "loss_set": "+".join(one["name"] for one in recipe.get("losses", {}).values()) or None,
        "attack_train": "+".join(attacks) or None,
        **_accuracies(trial),
        "score": _score(trial, resolved.get("search", {}).get("metric")),
        "peak_mem_bytes": summary.get("peak_mem_bytes"),
        "num_params": summary.get("num_params"),
        "error_type": error.get("type"),
        "error_text": error.get("text"),
        "checkpoint_path": "/".join(filter(None, (storage.rstrip("/"), checkpoints)))
        if started
        else None,
        "config_json": _json(recipe),
    }


def _accuracies(trial: TrialHistory) -> Row:
    """Clean, robust and corrupted accuracy: of a confirm trial on test, else on validation."""
    split = "test" if trial.planned["phase"] == "confirm" else "validation"
    found: dict[str, list[float]] = {}
    for report in trial.in_order():
        rows = [
            row
            for row in report.get("evaluations") or []
            if row["split"] == split and row["metric"] == "accuracy" and row["value"] is not None
        ]
        if rows:  # a later report's figures replace an earlier one's
            found = {}
        for row in rows:
            family = row["family"]
            if family == "corruption":
                # Means over severities are none of their own; official and generated never mix.
                family += f" {row.get('source')}" if row.get("severity") else " mean"
            found.setdefault(family, []).append(float(row["value"]))
    clean, robust = found.get("clean"), found.get("adversarial")
    corrupt = found.get("corruption official") or found.get("corruption generated")
    corrupt = corrupt or found.get("corruption None")  # ledgers of the first releases
    return {
        "clean_acc": clean[0] if clean else None,
        "robust_acc": min(robust) if robust else None,
        "corrupt_acc": sum(corrupt) / len(corrupt) if corrupt else None,
    }


def _score(trial: TrialHistory, metric: str | None) -> float | None:
    if trial.diverged:
        return math.nan
    reports = trial.in_order()
    value = reports[-1].get("metrics", {}).get(metric) if reports else None
    return None if value is None else float(value)


def _ranges(trials: list[TrialHistory]) -> dict[str, Row]:
    """Configuration -> the ranges that the search drew it from."""
    found: dict[str, Row] = {}
    for one in trials:
        if one.planned.get("distributions"):
            found.setdefault(one.planned["group"], one.planned["distributions"])
    return found


def _param_rows(trial: TrialHistory, of_group: Mapping[str, Row]) -> Iterator[Row]:
    sampled = trial.planned.get("params") or {}
    # Confirm trials repeat what the search drew, and are planned without the ranges.
    ranges = trial.planned.get("distributions") or of_group.get(trial.planned["group"], {})
    leaves = dict(_leaves(trial.planned.get("recipe", {}))) | sampled
    for name in sorted(leaves):
        value = leaves[name]
        yield {
            "trial": trial.number,
            "name": name,
            "value_num": float(value) if isinstance(value, int | float) else None,
            "value_str": _text(value),
            "kind": {bool: "bool", int: "int", float: "float"}.get(type(value), "cat"),
            "distribution_json": _json(ranges.get(name)),
            "sampled": name in sampled,
        }


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}/")
        else:
            yield f"{path}{key}", value


def _report_rows(trial: TrialHistory) -> Iterator[Row]:
    wall_s = 0.0
    for report in trial.in_order():
        times = {key: float(report.get(key) or 0) for key in ("train_s", "eval_s")}
        wall_s += sum(times.values())
        values = (report.get("metrics") or {}) | times
        for name in sorted(values):
            split, slash, metric = name.partition("/")
            known = bool(slash) and split in _SPLITS
            yield {
                "trial": trial.number,
                "step": report["epoch"],
                "epoch": float(report["epoch"]),
                "wall_s": wall_s,
                "split": split if known else None,
                "metric": metric if known else name,
                "value": values[name],
                "rung": report.get("rung"),
                "decision": report.get("decision"),
            }


def _evaluation_rows(trial: TrialHistory) -> Iterator[Row]:
    for report in trial.in_order():
        for position, row in enumerate(report.get("evaluations") or []):
            correct, n = row.get("n_correct"), row.get("n_examples")
            low, high = wilson_interval(correct, n) if correct is not None and n else (None, None)
            place = {"trial": trial.number, "step": report["epoch"], "position": position}
            yield {**row, **place, "ci_low": low, "ci_high": high}


def _weight_rows(trial: TrialHistory) -> Iterator[Row]:
    losses = list(trial.planned.get("recipe", {}).get("losses", {}))
    for report in trial.in_order():
        weights = report.get("weights") or {}
        # The order of the recipe: main loss first.
        for loss in sorted(weights, key=lambda one: losses.index(one) if one in losses else 99):
            yield {"trial": trial.number, "step": report["epoch"], "loss": loss, **weights[loss]}


def _widen(trials: pd.DataFrame, params: pd.DataFrame, reports: pd.DataFrame) -> pd.DataFrame:
    wide = trials.set_index("trial_id", drop=False)
    for name in sorted(set(params.loc[params["sampled"], "name"])):
        rows = params[params["name"] == name].set_index("trial_id")
        numeric = (rows["kind"] != "cat").all()
        values = rows["value_num"] if numeric else rows["value_str"].fillna(rows["value_num"])
        wide[f"param.{name}"] = values.reindex(wide.index)
    last = reports[reports["step"] == reports.groupby("trial_id")["step"].transform("max")]
    names = last["metric"].where(last["split"].isna(), last["split"] + "/" + last["metric"])
    for name in sorted(set(names)):
        values = last[names == name].set_index("trial_id")["value"]
        wide[f"metric.{name}"] = values.reindex(wide.index)
    return wide.reset_index(drop=True)


def _seconds(trial: TrialHistory, key: str) -> float:
    return sum(float(one.get(key) or 0) for one in trial.reports.values())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, int | float):
        return None
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
