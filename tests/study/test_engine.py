"""Studies on a real local Ray with two trials at once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from analysis.events import read
from analysis.export import export, tables
from analysis.schema import TABLES
from study.spec import Study
from trainables.core import intact

from .in_process import (
    Runner,
    assert_equal_as_far_as_both_went,
    begin,
    curves,
    opened,
    search,
    tiny,
)

if TYPE_CHECKING:
    from study.cluster import Cluster

pytestmark = pytest.mark.slow


def run(folder: Path, cluster: Cluster, tick: Any = lambda _: None) -> bool:
    from study import engine

    with opened(folder) as conductor:
        conductor.ledger.append("segment", segment=0, command="run")
        return engine.run(conductor, folder, cluster=cluster, tick=lambda: tick(conductor))


def trial_processes() -> list[int]:
    """The processes of trials below this one: those of the Ray that it started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            title = (path / "cmdline").read_bytes()
            pid = int(path.name)
            # Trials begin so, at work and between steps; others are Ray's own.
            if not title.startswith(b"ray::Trial"):
                continue
            parent = pid
            while parent not in (0, 1, os.getpid()):
                status = (Path("/proc") / str(parent) / "stat").read_text()
                parent = int(status.rpartition(")")[2].split()[1])
            if parent == os.getpid():
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return found


@pytest.fixture
def reference(runner: Runner, tmp_path: Path) -> Any:
    """The same study in this process, one trial at a time."""

    def made(study: Study) -> Path:
        folder = begin(tmp_path / "reference", study)
        runner.run(folder)
        return folder

    return made


def test_a_study_runs_to_its_end_with_two_trials_at_once(
    cluster: Cluster, reference: Any, study_folder: Path
) -> None:
    study = tiny()
    at_once = []
    begin(study_folder, study)
    assert run(study_folder, cluster, lambda found: at_once.append(len(found.running)))
    assert max(at_once) == 2
    trials = tables(study_folder)["trials"].to_pylist()
    assert len(trials) == 15
    assert {one["state"] for one in trials} <= {"COMPLETE", "PRUNED"}
    ends = Counter(one["trial"] for one in read(study_folder) if one["event"] == "ended")
    assert ends == dict.fromkeys(range(15), 1)
    assert {one.stem for one in export(study_folder)} == {*TABLES, "examples"}
    # Confirmed on the same fresh seeds in all arms.
    seeds: dict[tuple[str, str], list[int]] = {}
    for one in trials:
        if one["phase"] == "confirm":
            seeds.setdefault((one["arm"], one["weighter"]), []).append(one["seed"])
            assert one["epochs_done"] == 4
    assert list(seeds.values()) == [[1000, 1001]] * 3
    alone = reference(study)
    assert search(study_folder) == search(alone)
    assert_equal_as_far_as_both_went(study_folder, alone)


def test_a_trial_whose_process_is_killed_goes_on_from_its_checkpoint(
    cluster: Cluster, reference: Any, study_folder: Path
) -> None:
    study = tiny(
        data={"limit": 600},
        arms={"baseline": {}},
        training={"epochs": 60},  # long enough to be seen on its way: it reports every .2 s
        search={"trials_per_arm": 2},
        schedule={"name": "none"},
        confirm={"seeds": 0},
    )
    killed: list[int] = []

    def kill(conductor: Any) -> None:
        if not killed and any(one.epoch >= 3 for one in conductor.running):
            for pid in trial_processes():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    begin(study_folder, study)
    assert run(study_folder, cluster, kill)
    assert killed
    events = read(study_folder)
    retried = [one for one in events if one["event"] == "retried"]
    assert retried
    assert all(one["reason"] for one in retried)
    assert {one["state"] for one in events if one["event"] == "ended"} == {"COMPLETE"}
    alone = reference(study)
    assert curves(study_folder) == curves(alone)
    assert sum(tables(study_folder)["trials"]["retries"].to_pylist()) == len(retried)


def test_losing_every_process_late_costs_no_trial(
    cluster: Cluster, reference: Any, study_folder: Path
) -> None:
    # Some trials have ended, so Ray holds processes back for reuse; those die with the others.
    study = tiny(
        data={"limit": 600},
        arms={"baseline": {}},
        training={"epochs": 12},
        search={"trials_per_arm": 5},
        schedule={"name": "none"},
        confirm={"seeds": 0},
        resources={"max_retries": 1},
    )
    killed: list[int] = []

    def kill(conductor: Any) -> None:
        ended = sum(one.state == "COMPLETE" for one in conductor.trials)
        # Not after how many epochs: a short trial reports all of them together.
        if not killed and ended >= 2 and conductor.running:
            for pid in trial_processes():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    begin(study_folder, study)
    assert run(study_folder, cluster, kill)
    assert killed
    ends = [one for one in read(study_folder) if one["event"] == "ended"]
    assert sorted(one["trial"] for one in ends) == list(range(5))
    assert {one["state"] for one in ends} == {"COMPLETE"}
    assert curves(study_folder) == curves(reference(study))


def test_an_error_of_a_trial_is_recorded_not_retried_and_stops_no_other(
    cluster: Cluster, study_folder: Path
) -> None:
    begin(study_folder, tiny(arms={"baseline": {}}, confirm={"seeds": 1}))
    damaged = study_folder / "trials" / "0001" / "last.pt"
    damaged.parent.mkdir(parents=True)
    # Of a newer program: that is no damage, and nothing to begin again for.
    torch.save(dict.fromkeys(intact.KEYS, 0) | {"version": 99}, damaged)
    assert run(study_folder, cluster)
    events = read(study_folder)
    assert [one for one in events if one["event"] == "retried"] == []
    assert [one["trial"] for one in events if one["event"] == "started"].count(1) == 1
    ends = {one["trial"]: one for one in events if one["event"] == "ended"}
    assert sorted(ends) == [0, 1, 2, 3]
    assert (ends[1]["state"], ends[1]["reason"]) == ("FAIL", "error")
    assert "last.pt" in ends[1]["error"]["text"] or "Error" in ends[1]["error"]["type"]
    assert "Traceback" in ends[1]["error"]["text"]
    assert {ends[number]["state"] for number in (0, 2, 3)} <= {"COMPLETE", "PRUNED"}


def test_a_trial_that_fits_nowhere_is_an_error_before_anything_runs(
    cluster: Cluster, study_folder: Path
) -> None:
    from trainables.core.errors import SettingError

    begin(study_folder, tiny(resources={"cpu": 3}))
    with pytest.raises(SettingError, match=r"cpu=3.*cpu=2"):
        run(study_folder, cluster)
    assert [one["event"] for one in read(study_folder)] == ["study", "segment"]
