"""What trials recorded beside the ledger -> the tables `examples` and `policies`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from . import columns
from .schema import schema


def tables(folder: Path, study_id: str, trials: Iterable[int]) -> dict[str, Any]:
    """The recorded tables of a study, name -> `pyarrow.Table`, without those that nobody wrote."""
    numbers = list(trials)
    found = {
        "examples": [part for one in numbers for part in _examples(folder, study_id, one)],
        "policies": [part for one in numbers for part in _policies(folder, study_id, one)],
    }
    return {name: pa.concat_tables(parts) for name, parts in found.items() if parts}


def _examples(folder: Path, study_id: str, trial: int) -> Iterator[Any]:
    path = folder / "trials" / f"{trial:04d}" / "examples.npz"
    if not path.is_file():
        return
    with np.load(path, allow_pickle=False) as file:
        for place, name in enumerate(file["names"].tolist()):
            own = {
                key.partition("/")[2]: file[key]
                for key in file.files
                if key.partition("/")[0] == str(place)
            }
            n = len(next(iter(own.values())))
            yield _table("examples", study_id, trial, n, {"name": pa.repeat(name, n)} | own)


def _policies(folder: Path, study_id: str, trial: int) -> Iterator[Any]:
    path = folder / "trials" / f"{trial:04d}" / "policies.jsonl"
    if not path.is_file():
        return
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut off by a kill; its epoch is repeated
        # A trial that was started again may have repeated epochs.
        last[row["view"], row["epoch"], row["update"], row["policy"]] = row
    found = {name: [row.get(name) for row in last.values()] for name in schema("policies").names}
    yield _table("policies", study_id, trial, len(last), found)


def _table(name: str, study_id: str, trial: int, n: int, found: dict[str, Any]) -> Any:
    own = {"study_id": pa.repeat(study_id, n), "trial_id": pa.repeat(f"{study_id}-{trial:04d}", n)}
    return columns.table(name, study_id, n, found | own)
