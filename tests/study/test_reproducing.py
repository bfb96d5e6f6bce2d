"""Training a trial again: equal to the last digit, and where not, the first difference is named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from analysis import events
from study.cli import app
from study.reproducing import differences, other_versions, verdict

from .in_process import begin, tiny
from .written import Written

if TYPE_CHECKING:
    from .in_process import Runner


def now(*values: float) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "metrics": {"train/loss": value, "own": 1.0}}
        for epoch, value in enumerate(values, start=1)
    ]


def test_equal_figures_have_no_difference() -> None:
    then = {1: {"train/loss": 0.5, "probe": 2.0}, 2: {"train/loss": math.nan}}
    assert differences(now(0.5, math.nan, 0.25), then) == []


def test_the_smallest_difference_is_seen_with_its_epoch() -> None:
    then = {1: {"train/loss": 0.5}, 2: {"train/loss": 0.25}}
    after = math.nextafter(0.25, 1.0)
    (found,) = differences(now(0.5, after), then)
    assert (found["epoch"], found["metric"]) == (2, "train/loss")
    assert found["difference"] == after - 0.25 > 0


def test_the_verdict_names_the_first_and_the_largest() -> None:
    then = {1: {"train/loss": 0.5}, 2: {"train/loss": 0.5}, 3: {"train/loss": 0.5}}
    text = verdict(differences(now(0.5, 0.625, 0.75), then), {"torch": ["2.13", "2.14"]})
    assert "2 figures differ, first train/loss in epoch 2 by 0.125" in text
    assert "largest difference is 0.25, of train/loss in epoch 3" in text
    assert "torch 2.13 then, 2.14 now" in text
    assert "The versions are the same" in verdict([], {})


def test_versions_are_those_of_the_beginning_and_of_now(tmp_path: Path) -> None:
    folder = Written(tmp_path / "s").folder
    found = other_versions(folder)
    assert found["torch"][0] is None and found["torch"][1]


def test_the_command_checks(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = tiny(weighters=["Fixed"], search={"trials_per_arm": 1}, confirm={"seeds": 1})
    folder = begin(tmp_path / "tiny", asked)
    runner.run(folder)

    def call(*words: str) -> Any:
        return CliRunner().invoke(app, ["reproduce", str(folder), "0", "--device", "cpu", *words])

    done = call("--check")
    assert done.exit_code == 0, done.output
    assert "Equal to the last digit." in done.output
    ledger = folder / events.FILE
    lines = ledger.read_text(encoding="utf-8").splitlines()
    place, event = next(
        (i, one)
        for i, one in enumerate(map(json.loads, lines))
        if one["event"] == "report" and one["epoch"] == 2 and one["trial"] == 0
    )
    event["metrics"]["train/loss"] += 0.5
    lines[place] = json.dumps(event)
    ledger.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = call("--check", "--out", "second")
    assert done.exit_code == 1, done.output
    assert "1 figures differ, first train/loss in epoch 2 by 0.5" in done.output
    assert call("--out", "third").exit_code == 0
    done = call("--check", "--out", "fourth", "--json")
    (found,) = json.loads(done.stdout)["differences"]
    assert (found["epoch"], found["difference"]) == (2, pytest.approx(0.5))


def test_a_diverged_trial_is_compared_too(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = tiny(
        arms={"baseline": {}},
        training={"optimizer": {"name": "SGD", "lr": 1e30}},
        weighters=["Fixed"],
        search={"trials_per_arm": 1},
        confirm={"seeds": 0},
    )
    folder = begin(tmp_path / "tiny", asked)
    runner.run(folder)
    ends = [one for one in events.read(folder) if one["event"] == "ended"]
    assert [one["reason"] for one in ends] == ["diverged"]
    words = ["reproduce", str(folder), "0", "--device", "cpu", "--check"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "Equal to the last digit." in done.output
