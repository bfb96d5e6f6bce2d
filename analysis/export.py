"""A study's ledger -> its six Parquet tables, at any time: running, killed or finished.

Only `resolved.json` and `ledger.jsonl` are read, and what trials recorded beside them (`examples`,
`policies`). The same files give the same bytes.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from . import columns, recorded
from .history import History, TrialHistory, fold, when
from .schema import TABLES, schema

if TYPE_CHECKING:
    from .frames import StudyFrames

Row = dict[str, Any]

# What the robustness table reads of the two largest tables.
_COSTS = ("train_s", "extra_forwards", "extra_backwards")
_LARGE = {
    "reports": ["trial_id", "step", "split", "metric", "value", "rung"],
    "weights": ["trial_id", "step", "loss", "weight"],
}


class NotAStudyError(ValueError):
    """The folder holds no study that can be read; the message names the folder and what lacks."""


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
    rows: dict[str, list[Row]] = {
        "studies": [_study_row(resolved, history)],
        "trials": [_trial_row(resolved, one, storage) for one in trials],
    }
    for own in rows.values():
        for row in own:
            row["study_id"] = study_id
            if "trial" in row:
                row["trial_id"] = f"{study_id}-{row['trial']:04d}"
    made = {
        name: pa.Table.from_pylist(own, schema(name, study_id)) for name, own in rows.items()
    } | {
        "params": columns.params(trials, study_id),
        "reports": columns.reports(trials, study_id),
        "evaluations": columns.evaluations(trials, study_id),
        "weights": columns.weights(trials, study_id),
    }
    return made, history


def export(folder: Path | str, made: Mapping[str, Any] | None = None) -> list[Path]:
    """Write `tables/*.parquet` of the study in `folder` and return their paths.

    Beside the six tables there are `examples` and `policies` where trials recorded them.

    A reader never sees half a file: each is written beside its place and renamed. `made` are the
    study's tables where the caller has them already.
    """
    made = with_recorded(folder, tables(folder) if made is None else made)
    target = Path(folder) / "tables"
    target.mkdir(exist_ok=True)
    _sweep(target)
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


def _sweep(target: Path) -> None:
    """Remove what exports that were killed left behind, but nothing that one may be writing now."""
    for stale in target.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - stale.stat().st_mtime > 3600:
                stale.unlink()


def stored(folder: Path | str) -> dict[str, Any]:
    """What `robustness_table` reads of the Parquet files in `folder`, name -> `pyarrow.Table`.

    Quick for large studies: of the reports only costs and the search's metric are read. The files
    are those of the last export, which may be behind the ledger. Raises `NotAStudyError` where
    there are none.
    """
    found = {name: Path(folder) / "tables" / f"{name}.parquet" for name in TABLES}
    for path in found.values():
        if not path.is_file():
            raise NotAStudyError(
                f"{path} is not there; write the tables with: python -m analysis export {folder}"
            )
    made = {name: _file(path) for name, path in found.items() if name not in _LARGE}
    made["weights"] = _file(found["weights"], _LARGE["weights"])
    metric = str(made["studies"]["primary_metric"][0]).partition("/")[2]
    made["reports"] = _of_metrics(found["reports"], (metric, *_COSTS))
    return made


def _file(path: Path, columns: Sequence[str] | None = None) -> Any:
    # Without the machinery for data sets of many files, whose import takes longer than the reading.
    with pq.ParquetFile(path) as file:
        return file.read(columns=columns)


def _of_metrics(path: Path, metrics: Sequence[str]) -> Any:
    """The reports of some metrics; texts stay numbers until the others are gone."""
    import pyarrow.compute as pc

    columns = _LARGE["reports"]
    with pq.ParquetFile(path, read_dictionary=["trial_id", "split", "metric"]) as file:
        read = file.read(columns=columns)
    batches = []
    for batch in read.to_batches():
        names = batch.column("metric")
        wanted = pc.is_in(names.dictionary, value_set=pa.array(metrics, pa.string()))
        batches.append(batch.filter(wanted.take(names.indices)))
    kept = pa.Table.from_batches(batches, read.schema)
    fields = schema("reports")
    return pa.table({name: kept[name].cast(fields.field(name).type) for name in columns})


def load_study(folder: Path | str) -> StudyFrames:
    """The study in `folder` as pandas frames, from its ledger as it stands now.

    Raises `NotAStudyError` as `tables` does.
    """
    from .frames import frames  # pandas takes a while

    return frames(with_recorded(folder, tables(folder)))


def with_recorded(folder: Path | str, made: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of the ledger, and those of what trials recorded beside it."""
    study_id, known = made["studies"]["study_id"][0].as_py(), made["trials"]["number"].to_pylist()
    return dict(made) | recorded.tables(Path(folder), study_id, known)


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
        # A control may have an epoch budget of its own.
        "max_t": recipe["training"]["epochs"]
        if trial.control
        else resolved.get("schedule", {}).get("max_epochs"),
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
        if started and "imported" not in resolved
        else None,
        "config_json": _json(recipe),
        "control": trial.control,
        "place": trial.of,
    }


def _accuracies(trial: TrialHistory) -> Row:
    """Clean, robust and corrupted accuracy: of search trials on validation, else on test."""
    split = "validation" if trial.planned["phase"] == "search" else "test"
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


def _seconds(trial: TrialHistory, key: str) -> float:
    return sum(float(one.get(key) or 0) for one in trial.reports.values())


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
