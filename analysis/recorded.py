"""What trials recorded beside the ledger -> the tables `examples` and `policies`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

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
    fields = schema("examples", study_id)
    with np.load(path, allow_pickle=False) as file:
        for place, name in enumerate(file["names"].tolist()):
            own = {
                key.partition("/")[2]: file[key]
                for key in file.files
                if key.partition("/")[0] == str(place)
            }
            n = len(next(iter(own.values())))
            yield _table(fields, n, study_id, trial, {"name": pa.repeat(name, n)} | own)


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
    fields = schema("policies", study_id)
    columns = {one.name: [row.get(one.name) for row in last.values()] for one in fields}
    yield _table(fields, len(last), study_id, trial, columns)


def _table(fields: Any, n: int, study_id: str, trial: int, columns: dict[str, Any]) -> Any:
    known = columns | {
        "study_id": pa.repeat(study_id, n),
        "trial_id": pa.repeat(f"{study_id}-{trial:04d}", n),
    }

    def column(field: Any) -> Any:
        values = known.get(field.name)
        if values is None:
            return pa.nulls(n, field.type)
        return values if isinstance(values, pa.Array) else pa.array(values).cast(field.type)

    return pa.table([column(field) for field in fields], schema=fields)
