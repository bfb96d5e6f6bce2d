"""Where a study stands, from its ledger alone, while somebody may be writing to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis import events
from analysis.events import LedgerError
from study import standing
from study.follow import Follower
from study.ledger import LOCK_FILE, StudyLock
from study.standing import Standing
from study.tally import Tally
from trainables.core.errors import SettingError

from .in_process import Runner, begin, tiny
from .written import Written, asked, at


def text(found: dict[str, Any]) -> str:
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(standing.view(found))
    console.file.close()
    return console.export_text()


def test_counts_states_and_what_each_arm_has_used(tmp_path: Path) -> None:
    one = Written(tmp_path / "s")
    one.add(10, "segment", segment=0, command="run", storage=None)
    one.trained(10, one.planned(10), accuracy=0.8)
    stopped = one.planned(20, arm=1)
    one.report(22, stopped, 1, 0.3, "stop", rung=1)
    one.add(22, "stopped", trial=stopped, epoch=1, rung=1, cutoff=0.4, rank=2, of=2)
    one.ended(22, stopped, "PRUNED", "rung")
    running = one.planned(22, arm=1)
    one.report(24, running, 1, 0.6, rung=1)
    found = standing.read(one.folder)
    assert found["states"] == {"RUNNING": 1, "COMPLETE": 1, "PRUNED": 1}
    assert (found["trials"], found["ended"], found["epochs"]) == (3, 2, 6)
    # Two arms of two trials and one confirmation each.
    assert found["expected"] == 6
    plain, kl = found["arms"]
    # 4 epochs of 2 seconds on 2 processors; 2 epochs.
    assert plain["search"] == {"trials": 1, "epochs": 4, "device_s": 16.0, "share": 16 / 24}
    assert kl["search"] == {"trials": 2, "epochs": 2, "device_s": 8.0, "share": 8 / 24}
    assert (plain["best"], kl["best"]) == (0.8, 0.6)
    assert found["rungs"] == [
        {
            "arm": "kl",
            "weighter": "CoV",
            "rung": 1,
            "reached": 2,
            "stopped": 1,
            "paused": 0,
            "went_on": 1,
            "promoted": 0,
            "cutoff": 0.4,
        }
    ]
    shown = text(found)
    assert "40.00 %" in shown
    assert "67 %" in shown


def test_budgets_are_shown_as_each_arms_part_and_end_the_search(tmp_path: Path) -> None:
    one = Written(tmp_path / "s", budget={"trials": 3, "epochs": 8, "device_s": 100.0})
    one.add(0, "segment", segment=0, command="run", storage=None)
    found = standing.read(one.folder)
    # Three trials over two arms leave one for each.
    assert found["arms"][0]["limits"] == {"trials": 1, "epochs": 4.0, "device_s": 50.0}
    assert found["expected"] == 4
    one.trained(0, one.planned(0))
    tally = Tally(one.resolved)
    tally.extend(events.read(one.folder))
    assert [tally.unplanned(name) for name in tally.arms] == [0, 1]
    assert "4/4" in text(standing.read(one.folder))


def test_an_arm_that_has_used_up_its_epochs_gets_no_more_trials() -> None:
    tally = Tally(asked(search={"trials_per_arm": 9}, budget={"epochs": 8}))
    arm = tally.arms[0]
    assert tally.unplanned(arm) == 9
    planned = {"event": "planned", "time": at(0).isoformat(), "trial": 0, "phase": "search"}
    tally.add(planned | {"arm": "plain", "weighter": "Fixed", "seed": 0, "place": 0})
    assert tally.unplanned(arm) == 8
    for epoch in range(1, 5):
        assert tally.unplanned(arm) == 8
        report = {"event": "report", "time": at(epoch).isoformat(), "trial": 0, "epoch": epoch}
        tally.add(report | {"metrics": {}, "decision": "continue", "train_s": 1, "eval_s": 0})
    assert tally.unplanned(arm) == 0
    assert tally.unplanned(tally.arms[1]) == 9


def test_paused_and_promoted_trials_retries_and_failures_by_class(tmp_path: Path) -> None:
    one = Written(tmp_path / "s")
    one.add(0, "segment", segment=0, command="run", storage=None)
    first, second = one.planned(0), one.planned(0, arm=1)
    one.report(2, first, 1, 0.5, "pause", rung=1)
    one.report(2, second, 1, 0.5, "pause", rung=1)
    found = standing.read(one.folder)
    assert found["states"] == {"PAUSED": 2}
    one.add(3, "promoted", trial=first, rung=1)
    one.add(3, "started", trial=first)
    one.add(3, "retried", trial=first, reason="the process was lost")
    one.add(4, "failed", trial=first, **{"class": "oom", "type": "OutOfMemoryError", "text": ""})
    one.ended(4, first, "FAIL", "oom")
    diverged = one.planned(4)
    one.report(5, diverged, 1, float("nan"), "diverged")
    one.ended(5, diverged, "FAIL", "diverged")
    found = standing.read(one.folder)
    assert found["states"] == {"PAUSED": 1, "FAIL": 2}
    assert (found["failed"], found["diverged"], found["retries"]) == ({"oom": 1}, 1, 1)
    rung = found["rungs"][0]
    assert (rung["reached"], rung["promoted"], rung["went_on"], rung["paused"]) == (1, 1, 1, 0)
    assert found["rungs"][1]["paused"] == 1
    assert "failed: 1 oom  diverged: 1  retries: 1" in text(found)
    # A diverged trial has no best value.
    assert found["arms"][0]["best"] == 0.5


def test_finalists_are_the_latest_winners_and_earlier_ones_do_not_count(tmp_path: Path) -> None:
    one = Written(tmp_path / "s", confirm={"seeds": 2})
    one.add(0, "segment", segment=0, command="run", storage=None)
    numbers = [one.planned(0, arm=k % 2) for k in range(4)]
    for number in numbers:
        one.trained(0, number)
    assert standing.read(one.folder)["expected"] == 8
    one.add(9, "confirming", winners={"plain × Fixed": [0], "kl × CoV": [1]})
    for place in (0, 1):
        number = one.planned(9, arm=place, phase="confirm", seed=1000, place=place)
        one.trained(9, number)
    one.add(30, "confirming", winners={"plain × Fixed": [2], "kl × CoV": [1]})
    found = standing.read(one.folder)
    # Four of the search, one of the past, and two seeds for each of two winners.
    assert found["expected"] == 9
    assert [row["confirm"]["ended"] for row in found["arms"]] == [0, 1]
    assert [row["confirm"]["trials"] for row in found["arms"]] == [2, 2]


def test_the_time_left_counts_the_tests_of_finalists_by_what_the_first_took() -> None:
    tally = Tally(asked(arms=[{"arm": "plain", "weighter": "Fixed"}], confirm={"seeds": 3}))
    folder = {"trial": 0, "arm": "plain", "weighter": "Fixed", "seed": 0, "place": 0}

    def report(second: float, trial: int, epoch: int, eval_s: float = 1.0) -> None:
        decision = "complete" if epoch == 4 else "continue"
        event = {"event": "report", "time": at(second).isoformat(), "trial": trial}
        event |= {"epoch": epoch, "metrics": {}, "decision": decision}
        tally.add(event | {"train_s": 1.0, "eval_s": eval_s})
        if decision == "complete":
            ended = {"event": "ended", "time": at(second).isoformat(), "trial": trial}
            tally.add(ended | {"state": "COMPLETE", "reason": "budget"})

    tally.add({"event": "segment", "time": at(0).isoformat(), "segment": 0, "command": "run"})
    for k in range(2):
        number = {"trial": k, "phase": "search", "place": k}
        tally.add({"event": "planned", "time": at(0).isoformat()} | folder | number)
    assert tally.eta(at(0)) is None
    for epoch in range(1, 5):
        report(2 * epoch, 0, epoch)
    # 8 seconds of work in 8 seconds; 4 epochs of the search and 3 x 4 of finalists are left.
    assert tally.eta(at(8)) == (pytest.approx(32.0), False)
    for epoch in range(1, 5):
        report(8 + 2 * epoch, 1, epoch)
    tally.add({"event": "confirming", "time": at(16).isoformat(), "winners": {"plain": [0]}})
    for k in range(3):
        number = {"trial": 2 + k, "phase": "confirm", "place": 0, "seed": 1000 + k}
        tally.add({"event": "planned", "time": at(16).isoformat()} | folder | number)
    for epoch in range(1, 5):
        report(16 + 2 * epoch + 10 * (epoch == 4), 2, epoch, 1.0 + 10 * (epoch == 4))
    assert tally.trials[2].test_s == pytest.approx(10.0)
    assert tally.trials[2].seconds == pytest.approx(8.0)
    # Two finalists of 8 seconds and a test of 10 each, at one second of work a second.
    assert tally.eta(at(34)) == (pytest.approx(36.0), True)


def test_time_between_drivers_is_no_work(tmp_path: Path) -> None:
    one = Written(tmp_path / "s")
    one.add(0, "segment", segment=0, command="run", storage=None)
    trial = one.planned(0)
    one.report(10, trial, 1)
    one.add(1000, "extended", changes=[], study=one.resolved | {"schedule": {"max_epochs": 8}})
    found = standing.read(one.folder)
    assert (found["status"], found["wall_s"]) == ("interrupted", 10.0)
    one.add(2000, "segment", segment=1, command="resume", storage=None)
    one.report(2005, trial, 2)
    one.add(2007, "interrupted", reason="")
    found = standing.read(one.folder)
    assert [segment["wall_s"] for segment in found["segments"]] == [10.0, 7.0]
    assert found["wall_s"] == 17.0


def test_a_reader_who_stays_reads_every_line_once_and_no_torn_one(tmp_path: Path) -> None:
    one = Written(tmp_path / "s")
    follower = Follower(one.folder)
    assert [event["event"] for event in follower.new()] == ["study"]
    assert follower.new() == []
    one.add(1, "segment", segment=0, command="run")
    whole = one.ledger.read_bytes()
    line = b'{"event":"interrupted","time":"2026-01-02T03:04:09+00:00"}\n'
    for cut in range(1, len(line)):
        one.ledger.write_bytes(whole + line[:cut])
        found = Follower(one.folder)
        assert [event["event"] for event in found.new()] == ["study", "segment"]
        one.ledger.write_bytes(whole + line)
        assert [event["event"] for event in found.new()] == ["interrupted"]
    one.ledger.write_bytes(whole[:-10])
    with pytest.raises(LedgerError, match="became shorter"):
        found.new()
    one.ledger.write_bytes(whole + b"no event\n" + line)
    with pytest.raises(LedgerError, match="line 3"):
        Follower(one.folder).new()


def test_what_is_read_bit_by_bit_is_what_is_read_at_once(tmp_path: Path, runner: Runner) -> None:
    folder = begin(tmp_path / "tiny", tiny(confirm={"seeds": 1}))
    stays, seen = Standing(folder), []
    runner.run(folder, lambda: seen.append(stays.read()["epochs"]))
    assert seen == sorted(seen)
    assert len(set(seen)) > 10
    now = at(10**9)
    found = stays.read(now)
    assert found == Standing(folder).read(now)
    assert found["status"] == "finished"
    assert found["trials"] == found["expected"] == found["ended"]
    assert sum(found["states"].values()) == found["trials"]
    assert sum(row["share"] for row in (one["search"] for one in found["arms"])) == pytest.approx(1)


def test_whether_a_driver_is_there(tmp_path: Path) -> None:
    one = Written(tmp_path / "s")
    assert standing.read(one.folder)["status"] == "created"
    with StudyLock(one.folder):
        assert standing.read(one.folder)["status"] == "starting"
        one.add(1, "segment", segment=0, command="run")
        # Another process, as a lock of one's own does not keep one out.
        words = [sys.executable, "-m", "study", "status", str(one.folder), "--json"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["status"] == "running"
        one.add(2, "paused", reason="disk: only 5 bytes are free", free_bytes=5)
        found = standing.read(one.folder)
        assert (found["status"], found["why"]) == ("paused", "disk: only 5 bytes are free")
        one.add(3, "segment", segment=1, command="run")
    found = standing.read(one.folder)
    assert (found["status"], found["why"]) == ("stopped", "its driver is gone; resume it")
    assert "eta_s" in found
    # A lock of another machine need not be seen here; its name in the file is.
    (one.folder / LOCK_FILE).write_text('{"pid": 1, "machine": "elsewhere", "since": ""}')
    assert Standing(one.folder).read(at(10))["status"] == "running"
    assert Standing(one.folder).read(at(10_000))["status"] == "stopped"
    one.add(4, "aborted", reason="3 trials failed")
    found = standing.read(one.folder)
    assert (found["status"], found["why"]) == ("aborted", "3 trials failed")
    assert standing.headline(found).startswith("written: aborted (3 trials failed), 0 of 6 trials")


def test_reading_needs_no_right_to_write(tmp_path: Path) -> None:
    one = Written(tmp_path / "s")
    with StudyLock(one.folder):
        one.add(1, "segment", segment=0, command="run")
    before = {path.name: path.read_bytes() for path in one.folder.iterdir()}
    for path in one.folder.iterdir():
        path.chmod(0o444)
    one.folder.chmod(0o555)
    try:
        assert standing.read(one.folder)["status"] == "stopped"
    finally:
        one.folder.chmod(0o755)
    assert {path.name: path.read_bytes() for path in one.folder.iterdir()} == before


def test_ten_thousand_events_are_read_in_little_time_and_only_once(tmp_path: Path) -> None:
    one = Written(tmp_path / "s", search={"trials_per_arm": 500}, schedule={"max_epochs": 9})
    one.add(0, "segment", segment=0, command="run")
    lines = []
    for trial in range(900):
        one_line = {"event": "planned", "time": at(1).isoformat(), "trial": trial}
        one_line |= {"phase": "search", "arm": "plain", "weighter": "Fixed", "seed": 0}
        lines.append(events.encode(one_line | {"place": trial, "params": {}, "recipe": {}}))
        for epoch in range(1, 11):
            report = {"event": "report", "time": at(2).isoformat(), "trial": trial}
            report |= {"metrics": {"validation/accuracy": 0.5}, "decision": "continue"}
            lines.append(events.encode(report | {"epoch": epoch, "train_s": 1, "eval_s": 1}))
    with one.ledger.open("a") as file:
        file.write("\n".join(lines) + "\n")
    stays = Standing(one.folder)
    began = time.process_time()
    assert stays.read()["epochs"] == 9000
    first = time.process_time() - began
    assert first < 3.0
    began = time.process_time()
    assert stays.read()["epochs"] == 9000
    assert time.process_time() - began < first / 2


def test_a_list_of_studies_says_what_is_wrong_with_a_broken_one(tmp_path: Path) -> None:
    one = Written(tmp_path / "good")
    one.add(0, "segment", segment=0, command="run")
    one.trained(0, one.planned(0), accuracy=0.75)
    one.add(9, "finished", failed=0)
    Written(tmp_path / "shelf" / "deeper")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "resolved.json").write_text("{")
    (tmp_path / "no-ledger").mkdir()
    (tmp_path / "no-ledger" / "resolved.json").write_text(json.dumps(asked()))
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("")
    rows = {Path(row["folder"]).name: row for row in standing.studies(tmp_path)}
    assert sorted(rows) == ["broken", "good", "no-ledger"]
    assert "damaged" in rows["broken"]["problem"]
    assert "no ledger here" in rows["no-ledger"]["problem"]
    good = rows["good"]
    assert (good["status"], good["ended"], good["best_arm"]) == ("finished", 1, "plain × Fixed")
    assert (good["best"], good["question"]) == (0.75, "Is it so?")
    deep = [Path(row["folder"]).name for row in standing.studies(tmp_path, deep=True)]
    assert deep == ["broken", "good", "no-ledger", "deeper"]
    assert [row["folder"] for row in standing.studies(one.folder)] == [str(one.folder)]
    with pytest.raises(SettingError, match="no folder"):
        standing.studies(tmp_path / "nowhere")


def test_watching_ends_with_the_study_and_says_only_what_is_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = Written(tmp_path / "s")
    with StudyLock(one.folder):
        one.add(0, "segment", segment=0, command="run")
        trial = one.planned(0)
    steps = [
        lambda: None,
        lambda: one.report(1, trial, 1),
        lambda: one.add(2, "finished", failed=0),
    ]

    def sleep(_: float) -> None:
        steps.pop(0)()

    with pytest.MonkeyPatch.context() as patch, StudyLock(one.folder):
        patch.setattr(standing.time, "sleep", sleep)
        standing.watch(one.folder, as_json=True)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] for row in found] == ["running", "running", "finished"]
    assert [row["epochs"] for row in found] == [0, 1, 1]
    assert steps == []
