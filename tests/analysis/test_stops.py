from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from analysis.export import tables_with_history
from analysis.metrics import metric
from analysis.report import write_report
from analysis.stops import Stop, by_rung, one_by_one, stops, to_csv

from .fake_study import BASELINE, KL, Ledger, several, tiny

ACCURACY = metric("validation/accuracy")


def of(folder: Path) -> list[Stop]:
    return stops(tables_with_history(folder)[1], "validation/accuracy")


def test_every_stop_with_its_reason(tmp_path: Path) -> None:
    several(tmp_path / "s")
    found = of(tmp_path / "s")
    assert found == [
        Stop(2, *BASELINE, epoch=2, rung=2, value=0.8, cutoff=0.875, rank=2, of=2),
        Stop(3, *KL, epoch=2, rung=2, value=0.6, cutoff=0.65, rank=2, of=2),
    ]
    assert found[0].why(ACCURACY) == "below the cutoff 87.50 %, place 2 of 2"
    assert replace(found[0], value=0.9).why(metric("validation/rmse")) == (
        "above the cutoff 0.8750, place 2 of 2"
    )
    # Two with the same value, of which one went on.
    assert replace(found[0], value=0.875).why(ACCURACY) == "at the cutoff 87.50 %, place 2 of 2"
    assert replace(found[0], value=None).why(ACCURACY) == "the cutoff 87.50 %, place 2 of 2"
    assert one_by_one(found, ACCURACY)[1][1] == [
        "3", "gaussian-kl × CoV", "2", "60.00 %", "below the cutoff 65.00 %, place 2 of 2",
    ]  # fmt: skip


def test_a_trial_that_was_never_promoted_has_a_place_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE], version=2)
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    ledger.report(trial, 2, 0.5, decision="pause", rung=2)
    assert of(tmp_path / "s") == []
    ledger.stop(trial, 2, None, rank=3, of=5)
    (found,) = of(tmp_path / "s")
    assert found.why(ACCURACY) == "place 3 of 5"


def test_a_stop_without_its_end_is_not_one_yet(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE], version=2)
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    ledger.report(trial, 2, 0.5, decision="stop", rung=2)
    ledger.event("stopped", trial=trial, epoch=2, rung=2, cutoff=0.6, rank=2, of=2)
    assert of(tmp_path / "s") == []


def test_rungs_count_who_came_and_who_was_stopped(tmp_path: Path) -> None:
    several(tmp_path / "s")
    history = tables_with_history(tmp_path / "s")[1]
    found = stops(history, "validation/accuracy")
    heads, body = by_rung(history, found, ACCURACY, [BASELINE, KL])
    assert heads == ("arm", "weighter", "rung [epochs]", "came", "stopped", "cutoff, accuracy")
    # The one that diverged at the rung was compared with nobody.
    assert body == [
        ["plain", "Fixed", "2", "2", "1", "87.50 %"],
        ["gaussian-kl", "CoV", "2", "2", "1", "65.00 %"],
    ]


def test_cutoffs_move_from_the_lowest_to_the_highest(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE], version=2)
    for cutoff in (0.7, 0.9, 0.8):
        trial = ledger.plan(BASELINE)
        ledger.start(trial)
        ledger.report(trial, 1, 0.5, decision="stop", rung=1)
        ledger.stop(trial, 1, cutoff)
    history = tables_with_history(tmp_path / "s")[1]
    found = stops(history, "validation/accuracy")
    assert by_rung(history, found, ACCURACY, [BASELINE])[1] == [
        ["plain", "Fixed", "1", "3", "3", "70.00 % to 90.00 %"]
    ]


def test_version_1_says_when_and_not_why(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    found = of(tmp_path / "s")
    assert [(one.trial, one.epoch, one.value) for one in found] == [(0, 2, 0.8), (3, 2, 0.86)]
    assert {one.why(ACCURACY) for one in found} == {"not recorded"}


def test_csv_has_full_precision(tmp_path: Path) -> None:
    several(tmp_path / "s")
    rows = list(csv.DictReader(to_csv(of(tmp_path / "s")).splitlines()))
    assert rows[0] == {
        "trial": "2", "arm": "plain", "weighter": "Fixed", "epoch": "2", "rung": "2",
        "value": "0.8", "cutoff": "0.875", "rank": "2", "of": "2",
    }  # fmt: skip


def test_the_report_holds_the_decisions(tmp_path: Path) -> None:
    several(tmp_path / "s")
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    assert "What was stopped" in html
    assert "below the cutoff 87.50 %, place 2 of 2" in html
    lines = (tmp_path / "s" / "report" / "stops.csv").read_text().splitlines()
    assert len(lines) == 3
