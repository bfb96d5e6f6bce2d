"""The program itself, killed at random moments of a study's life and resumed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.events import read
from study.spec import parse

from .in_process import (
    TINY,
    Runner,
    assert_equal_as_far_as_both_went,
    begin,
    comparable,
    curves,
    search,
)

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
FILE = TINY | {
    "weighters": ["CoV"],
    "search": {"sampler": "random", "trials_per_arm": 3},
    "schedule": {"grace_epochs": 1, "reduction_factor": 2},
    "confirm": {"top": 1, "seeds": 1},
}


class Driver:
    """Starts `python -m study` in sessions of their own, and ends all that is left of them."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self._environment = inherited | {"HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
        self._log = home / "log"
        self._sessions: list[int] = []

    def start(self, *words: object) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "study", *map(str, words), "--no-dashboard"],
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        self._sessions.append(process.pid)
        return process

    def said(self) -> str:
        """What all of them wrote, for the message of a failed test."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def end(self) -> None:
        """Kill what the drivers started; Ray's own processes go soon after theirs."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                session = int(path.read_text().rpartition(")")[2].split()[3])
                if session in self._sessions:
                    os.kill(int(path.parent.name), signal.SIGKILL)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    found = Driver(tmp_path / "home")
    try:
        yield found
    finally:
        found.end()


def kill_after(process: subprocess.Popen[bytes], ledger: Path, lines: int, delay: float) -> bool:
    """SIGKILL it `delay` seconds after the ledger has so many lines; whether it was still alive."""
    while process.poll() is None:
        if ledger.exists() and ledger.read_bytes().count(b"\n") >= lines:
            time.sleep(delay)
            process.kill()
            break
        time.sleep(0.002)
    return process.wait() == -signal.SIGKILL


def killed_and_resumed(driver: Driver, tmp_path: Path, cpus: int, total: int, kills: int) -> Path:
    """The study's folder after some kills, each followed by a resume, and a run to the end."""
    draws = random.Random(kills)
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(FILE), encoding="utf-8")
    folder = tmp_path / "studies" / "tiny"
    command: tuple[Any, ...] = ("run", path, "--root", tmp_path / "studies", "--cpus", cpus)
    killed = 0
    # The first lies before Ray is up.
    for lines in sorted([1, *draws.sample(range(3, total - 5), kills - 1)]):
        process = driver.start(*command)
        killed += kill_after(process, folder / "ledger.jsonl", lines, draws.uniform(0, 0.05))
        command = ("resume", folder, "--cpus", cpus)
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
