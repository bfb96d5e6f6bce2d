"""RobustBench's JSON: its fields, and nothing under AutoAttack's name that is not AutoAttack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.export import tables
from analysis.robustbench import entries

from .fake_study import BASELINE, CLEAN, PGD, Ledger, row

FIELDS = {
    *("link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue"),
    *("architecture", "eps", "clean_acc", "reported", "autoattack_acc", "unreliable", "footnote"),
}


def study(folder: Path, *rows: Any) -> Path:
    """A study whose confirmed arm has these rows on the test split, and 90 % clean accuracy."""
    ledger = Ledger(folder, [BASELINE], described={"test": 200})
    first = ledger.plan(BASELINE)
    ledger.start(first)
    ledger.report(first, 1, 0.9, [row("clean", 0.9, **CLEAN)])
    ledger.end(first)
    for seed in (1000, 1001):
        trial = ledger.plan(BASELINE, phase="confirm", seed=seed)
        ledger.start(trial)
        ledger.report(trial, 1, 0.9, [row("clean", 0.9, split="test", **CLEAN), *rows])
        ledger.end(trial)
    return folder


def attack(name: str, value: float, **more: Any) -> Any:
    return row(name, value, split="test", **PGD | more)


def only(folder: Path) -> dict[str, Any]:
    (entry,) = entries(tables(folder)).values()
    return entry


def test_our_pgd_is_no_autoattack(tmp_path: Path) -> None:
    entry = only(study(tmp_path / "s", attack("pgd_linf_8/255_20", 0.5)))
    assert entry.keys() == FIELDS
    assert entry["autoattack_acc"] is None
    assert (entry["clean_acc"], entry["eps"]) == ("90.00", "8/255")
    assert "pgd_linf_8/255_20: 50.00" in entry["footnote"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"protocol": "aa-standard linf"}, "40.00"),
        ({"protocol": "aa-plus linf"}, None),
        ({"protocol": None}, None),
        ({"protocol": "aa-standard linf", "n": 100}, None),
    ],
)
def test_only_the_standard_version_on_all_examples_counts(
    tmp_path: Path, change: Any, expected: str | None
) -> None:
    folder = study(tmp_path / "s", attack("autoattack_linf_8/255", 0.4, **change))
    assert only(folder)["autoattack_acc"] == expected


def test_doubts_make_a_figure_unreliable(tmp_path: Path) -> None:
    flagged = attack("pgd_linf_8/255_20", 0.5, unreliable=True, unreliable_why="zero gradients")
    entry = only(study(tmp_path / "s", flagged))
    assert entry["unreliable"] is True
    assert "zero gradients" in entry["footnote"]


def test_corruptions_say_where_they_are_from(tmp_path: Path) -> None:
    rows = [
        row(f"fog_{level}", value, split="test", family="corruption", severity=level, source=source)
        for source, value in (("generated", 0.5), ("official", 0.25))
        for level in (1, 2)
    ]
    found = entries(tables(study(tmp_path / "s", *rows)))
    shown = {path.split("/")[1]: one["corruptions_acc"] for path, one in found.items()}
    assert shown == {"corruptions": "25.00", "corruptions_generated": "50.00"}


def test_the_command_writes_files(tmp_path: Path) -> None:
    folder = study(tmp_path / "s", attack("pgd_linf_8/255_20", 0.5))
    found = CliRunner().invoke(app, ["robustbench", str(folder), "--json"])
    (path,) = json.loads(found.stdout)
    assert path.endswith("/Linf/s-plain-Fixed.json")
    assert json.loads(Path(path).read_text())["clean_acc"] == "90.00"
