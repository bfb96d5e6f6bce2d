"""What trials record beside the ledger becomes the tables `examples` and `policies`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from analysis.export import export, load_study
from analysis.schema import RECORDED, schema
from trainables.core import records

from .fake_study import BASELINE, CLEAN, Ledger, row


def study(folder: Path) -> Path:
    ledger = Ledger(folder, [BASELINE])
    for _ in range(2):
        trial = ledger.plan(BASELINE)
        ledger.start(trial)
        ledger.report(trial, 1, 0.9, [row("clean", 0.9, **CLEAN)])
    return folder


def read(folder: Path, name: str) -> list[Any]:
    table = pq.read_table(folder / "tables" / f"{name}.parquet")
    assert table.schema.equals(schema(name, table["study_id"][0].as_py()))
    return list(table.to_pylist())


def policy(**changes: Any) -> dict[str, Any]:
    known = {
        "view": "policy",
        "update": 0,
        "steps": 4,
        "policy": 0,
        "operations": ["ShearX", "Invert"],
        "magnitudes": [3, 9],
        "loss": 1.5,
        "log_probability": -40.0,
    }
    return known | changes


def test_a_study_without_records_has_no_such_tables(tmp_path: Path) -> None:
    paths = export(study(tmp_path / "s"))
    assert not {path.stem for path in paths} & set(RECORDED)


def test_examples_of_all_benchmarks(tmp_path: Path) -> None:
    folder = study(tmp_path / "s")
    judged = {
        "clean": {
            "number": torch.arange(3),
            "correct": torch.tensor([True, False, True]),
            "loss": torch.tensor([0.1, 2.0, 0.2]),
        },
        "pgd_linf_8/255_20": {
            "number": torch.arange(3),
            "correct": torch.tensor([True, False, False]),
            "l2": torch.tensor([0.5, 0.25, 0.125]),
            "detections": torch.zeros(3, 5, 6),  # no number per example
        },
    }
    records.write_examples(folder / "trials" / "0001" / "examples.npz", judged)
    rows = [
        one
        for path in export(folder)
        if path.stem == "examples"
        for one in read(folder, "examples")
    ]
    assert [one["name"] for one in rows] == ["clean"] * 3 + ["pgd_linf_8/255_20"] * 3
    assert [one["correct"] for one in rows] == [True, False, True, True, False, False]
    assert [one["l2"] for one in rows] == [None, None, None, 0.5, 0.25, 0.125]
    assert {one["trial_id"][-4:] for one in rows} == {"0001"}
    assert all(one["linf"] is None and one["prediction"] is None for one in rows)


def test_frames_have_what_was_recorded(tmp_path: Path) -> None:
    folder = study(tmp_path / "s")
    judged = {"clean": {"number": torch.arange(3), "correct": torch.tensor([True, False, True])}}
    records.write_examples(folder / "trials" / "0000" / "examples.npz", judged)
    records.add_policies(folder / "trials" / "0000" / "policies.jsonl", 1, [policy()])
    found = load_study(folder)
    assert found.examples["correct"].tolist() == [True, False, True]
    assert set(found.examples["trial_id"]) == {found.trials["trial_id"][0]}
    assert list(found.policies["operations"][0]) == ["ShearX", "Invert"]


def test_policies_of_repeated_epochs_count_once(tmp_path: Path) -> None:
    folder = study(tmp_path / "s")
    path = folder / "trials" / "0000" / "policies.jsonl"
    records.add_policies(path, 1, [policy(loss=1.0), policy(policy=1)])
    records.add_policies(path, 2, [policy(update=1, loss=None)])
    # The trial was killed and began again after epoch 0.
    records.add_policies(path, 1, [policy(loss=3.0), policy(policy=1)])
    with path.open("a") as file:
        file.write('{"epoch": 3, "view": "pol')
    # The next one must not be glued to what a kill cut off.
    records.add_policies(path, 3, [policy(update=2)])
    export(folder)
    rows = read(folder, "policies")
    assert [(one["epoch"], one["policy"], one["loss"]) for one in rows] == [
        (1, 0, 3.0),
        (1, 1, 1.5),
        (2, 0, None),
        (3, 0, 1.5),
    ]
    assert rows[0]["operations"] == ["ShearX", "Invert"]
    assert rows[0]["magnitudes"] == [3, 9]
    assert rows[0]["steps"] == 4


def test_nothing_is_written_for_views_without_policies(tmp_path: Path) -> None:
    records.add_policies(tmp_path / "t" / "policies.jsonl", 1, [])
    assert not (tmp_path / "t").exists()


def test_records_are_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "policies.jsonl"
    records.add_policies(path, 7, [policy()])
    assert json.loads(path.read_text()) == {"epoch": 7} | policy()
