"""What a trial writes beside its ledger: every example's part in benchmarks, and policies."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor


def write_examples(path: Path, judged: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write for every benchmark its columns, one number per example, as an .npz file.

    `names` holds the benchmarks' names in order, and <place>/<column> the columns of each. Columns
    that are no numbers per example (boxes) are left out. The file appears whole or not at all.
    """
    columns: dict[str, Any] = {"names": np.array(list(judged), dtype=np.str_)}
    for place, own in enumerate(judged.values()):
        for column, values in own.items():
            if values.dim() == 1:
                columns[f"{place}/{column}"] = values.numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **columns)
    unfinished.replace(path)


def add_policies(path: Path, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append an epoch's policies as lines of JSON; if an epoch is repeated its last ones count."""
    if not rows:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"epoch": epoch} | dict(row)) + "\n" for row in rows]
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                # A kill cut the last line off: what follows must not be glued to it.
                file.write(b"\n")
        file.write("".join(lines).encode())
