"""The program itself, killed at random moments of a study's life and resumed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from analysis.events import read
from study.spec import parse

from .drivers import Driver, kill_after
from .in_process import (
    TINY,
    Runner,
    assert_equal_as_far_as_both_went,
    begin,
    comparable,
    curves,
    search,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FILE = TINY | {
    "weighters": ["CoV"],
    "search": {"sampler": "random", "trials_per_arm": 3},
    "schedule": {"grace_epochs": 1, "reduction_factor": 2},
    "confirm": {"top": 1, "seeds": 1},
}


def killed_and_resumed(driver: Driver, tmp_path: Path, cpus: int, total: int, kills: int) -> Path:
    """The study's folder after some kills, each followed by a resume, and a run to the end."""
    draws = random.Random(kills)
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(FILE), encoding="utf-8")
    folder = tmp_path / "studies" / "tiny"
    small = ("--cpus", cpus, "--no-dashboard")
    command: tuple[Any, ...] = ("run", path, "--root", tmp_path / "studies", *small)
    killed = 0
    # The first lies before Ray is up.
    for lines in sorted([1, *draws.sample(range(3, total - 5), kills - 1)]):
        process = driver.start(*command)
        killed += kill_after(process, folder / "ledger.jsonl", lines, draws.uniform(0, 0.05))
        command = ("resume", folder, *small)
    assert killed == kills, driver.said()
    assert driver.start(*command).wait() == 0, driver.said()
    segments = [one["segment"] for one in read(folder) if one["event"] == "segment"]
    assert segments == list(range(len(segments)))
    assert len(segments) >= kills
    return folder


@pytest.fixture
def reference(runner: Runner, tmp_path: Path) -> Path:
    """The same study in this process, never interrupted."""
    folder = begin(tmp_path / "reference", parse(FILE))
    runner.run(folder)
    return folder


def test_one_trial_at_a_time_ends_in_the_same_tables(
    driver: Driver, reference: Path, tmp_path: Path
) -> None:
    folder = killed_and_resumed(driver, tmp_path, 1, len(read(reference)), kills=5)
    # `curves` sees to it that no epoch is lost, twice or out of order.
    assert curves(folder) == curves(reference)
    found, expected = comparable(folder), comparable(reference)
    assert found.pop("studies")[0]["status"] == expected.pop("studies")[0]["status"] == "finished"
    assert found == expected


def test_two_trials_at_a_time_report_the_same_as_far_as_they_go(
    driver: Driver, reference: Path, tmp_path: Path
) -> None:
    folder = killed_and_resumed(driver, tmp_path, 2, len(read(reference)), kills=2)
    assert search(folder) == search(reference)
    assert_equal_as_far_as_both_went(folder, reference)
    trials = comparable(folder)["trials"]
    assert len(trials) == 2 * 3 + 2
    assert {one["state"] for one in trials} <= {"COMPLETE", "PRUNED"}
    assert [one["epochs_done"] for one in trials if one["phase"] == "confirm"] == [4, 4]
