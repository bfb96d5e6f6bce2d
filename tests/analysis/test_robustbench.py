"""RobustBench's JSON: its fields, and nothing under AutoAttack's name that is not AutoAttack."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.export import tables
from analysis.robustbench import STANDARD_TYPES, entries

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


def corrupted(types: Iterable[str], source: str, value: float, n: int = 200) -> list[Any]:
    suffix = "_official" if source == "official" else ""
    return [
        row(
            f"{kind}_{level}{suffix}",
            value,
            n=n,
            split="test",
            family="corruption",
            severity=level,
            source=source,
        )
        for kind in types
        for level in (1, 2, 3, 4, 5)
    ]


def shown(folder: Path) -> dict[str, Any]:
    found = entries(tables(folder))
    return {path.split("/")[1]: one["corruptions_acc"] for path, one in found.items()}


def test_corruptions_say_where_they_are_from(tmp_path: Path) -> None:
    rows = [
        *corrupted(STANDARD_TYPES, "generated", 0.5),
        *corrupted(STANDARD_TYPES, "official", 0.25),
        # For validation: no part of the mean.
        *corrupted(["spatter", "speckle_noise"], "official", 0.9),
    ]
    folder = study(tmp_path / "s", *rows)
    assert shown(folder) == {"corruptions": "25.00", "corruptions_generated": "50.00"}


def test_a_part_of_the_corruptions_or_of_the_examples_is_no_accuracy(tmp_path: Path) -> None:
    few = corrupted(["fog"], "official", 0.25)
    some = corrupted(STANDARD_TYPES, "official", 0.25, n=100)
    for place, rows in enumerate((few, some)):
        assert shown(study(tmp_path / f"s{place}", *rows)) == {"corruptions": None}


def test_doubts_about_another_attack_do_not_touch_autoattack(tmp_path: Path) -> None:
    rows = [
        attack("autoattack_linf_8/255", 0.4, protocol="aa-standard"),
        attack("fgsm_linf_8/255", 0.6, unreliable=True, unreliable_why="zero gradients"),
    ]
    entry = only(study(tmp_path / "s", *rows))
    assert (entry["autoattack_acc"], entry["unreliable"]) == ("40.00", False)
    assert "fgsm_linf_8/255: zero gradients" in entry["footnote"]


def test_the_command_writes_files(tmp_path: Path) -> None:
    folder = study(tmp_path / "s", attack("pgd_linf_8/255_20", 0.5))
    found = CliRunner().invoke(app, ["robustbench", str(folder), "--json"])
    (path,) = json.loads(found.stdout)
    assert path.endswith("/Linf/s-plain-Fixed.json")
    assert json.loads(Path(path).read_text())["clean_acc"] == "90.00"
