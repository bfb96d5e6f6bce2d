"""What a running study shows in a terminal and without one."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from study import standing
from study.conductor import Conductor
from study.ledger import Ledger
from study.progress import Progress, clock
from study.spec import parse
from study.tally import Tally

from .in_process import Runner, begin, opened, tiny

STUDY = {
    "study": "shown",
    "training": {"epochs": 4},
    "arms": {"baseline": {}, "kl": "gaussian_kl"},
    "search": {"sampler": "random", "trials_per_arm": 1},
    "schedule": {"name": "none"},
    "confirm": {"seeds": 1},
}


def report(epoch: int, accuracy: float) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "metrics": {"validation/accuracy": accuracy, "validation/loss": 1.0},
        "weights": {},
        "evaluations": [],
        "train_s": 0.1,
        "eval_s": 0.1,
    }


@contextmanager
def conducted(folder: Path, **changes: Any) -> Iterator[Conductor]:
    study = parse(STUDY | changes)
    first = {"schema_version": 2, "study": study.study, "study_id": study.study_id}
    with Ledger.create(folder, first) as ledger:
        yield Conductor(study, ledger)


def view(progress: Progress) -> list[str]:
    console = Console(file=io.StringIO(), width=140, record=True)
    console.print(progress.view())
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_plain_lines_name_the_trial_its_end_and_the_time_left(tmp_path: Path) -> None:
    written = io.StringIO()
    with (
        conducted(tmp_path) as conductor,
        Progress(conductor, Console(file=written, width=30)) as progress,
    ):
        trial = conductor.next()
        assert trial is not None
        conductor.started(trial.number)
        assert progress.eta() is None
        for epoch in range(1, 5):
            conductor.report(trial.number, report(epoch, 0.5 + epoch / 10))
            progress.tick()
        # One of four equal trials is done, so three times as long is left.
        assert progress.eta() is not None
        progress.tick()
    (line,) = written.getvalue().splitlines()
    told = (
        "[1/4] 0000 baseline × Fixed seed 0: complete after 4 epochs, validation/accuracy 90.00 %"
    )
    assert line.startswith(told)
    # How long a finalist's test takes is not known yet.
    assert "ETA 0:00 + tests" in line


def test_the_end_is_not_foreseen_again_at_once_where_that_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def slow(tally: Tally, now: datetime) -> tuple[float, bool]:
        asked.append(time.monotonic())
        time.sleep(0.01)
        return 60.0 * len(asked), True

    monkeypatch.setattr(Tally, "eta", slow)
    with conducted(tmp_path) as conductor:
        progress = Progress(conductor, Console(file=io.StringIO()))
        while len(asked) < 2:
            line = view(progress)[0]
            assert f"ETA {len(asked)}:00" in line
        assert asked[1] - asked[0] > 0.5


def test_plain_lines_tell_retries_failures_and_why_nothing_begins_any_more(
    tmp_path: Path,
) -> None:
    written = io.StringIO()
    with (
        conducted(tmp_path) as conductor,
        Progress(conductor, Console(file=written, width=200)) as progress,
    ):
        trial = conductor.next()
        assert trial is not None
        conductor.started(trial.number)
        conductor.retried(trial.number, "the process was lost")
        progress.tick()
        progress.tick()
        conductor.failed(trial.number, "OutOfMemoryError", "out of memory", "oom")
        progress.tick()
        conductor.halted = "disk: only 5 bytes are free"
        progress.tick()
        progress.tick()
        assert "paused: only 5 bytes are free" in view(progress)
        conductor.halted = ""
    assert written.getvalue().splitlines() == [
        "1 so far went on in a new process after one was lost",
        "[1/4] 0000 baseline × Fixed seed 0: failed, out of memory after 0 epochs, "
        "validation/accuracy nan %",
        "paused: only 5 bytes are free",
        "goes on",
    ]


def test_the_live_view_shows_counts_arms_and_what_runs(tmp_path: Path) -> None:
    with conducted(tmp_path) as conductor:
        progress = Progress(conductor, Console(file=io.StringIO()))
        trial = conductor.next()
        assert trial is not None
        conductor.started(trial.number)
        conductor.report(trial.number, report(1, 0.75))
        lines = view(progress)
        conductor.retried(trial.number, "lost")
        assert "retries 1" in view(progress)[0]
    assert lines[0].startswith("shown  0/4 trials  running 1  epochs 1")
    heads = ["arm", "weighter", "trials", "epochs", "share", "best", "validation/accuracy", "now"]
    assert lines[2].split() == heads
    shown = ["baseline", "Fixed", "0", "1", "100", "%", "75.00", "%", "0000", "(1/4)"]
    assert lines[3].split() == shown
    assert lines[4].split() == ["kl", "Fixed", "0", "0", "0", "%", "–"]


def test_less_is_better_where_the_metric_is_an_error(tmp_path: Path) -> None:
    search = {"metric": "validation/loss", "trials_per_arm": 2}
    with conducted(tmp_path, search=search) as conductor:
        for loss in (2.5, 0.25, 1.25):
            trial = conductor.next()
            assert trial is not None
            conductor.started(trial.number)
            conductor.report(trial.number, report(1, 0.5) | {"metrics": {"validation/loss": loss}})
        lines = view(Progress(conductor, Console(file=io.StringIO())))
    # The baseline has nothing to vary, so that trials 1 and 2 are the other arm's.
    assert lines[3].split()[6] == "2.500"
    assert lines[4].split()[6] == "0.2500"


def test_the_driver_and_a_reader_of_its_ledger_see_the_same(tmp_path: Path, runner: Runner) -> None:
    folder = begin(tmp_path / "tiny", tiny(confirm={"seeds": 1}))
    runner.run(folder)
    found = standing.read(folder)
    with opened(folder) as conductor:
        lines = view(Progress(conductor, Console(file=io.StringIO())))
        assert conductor.expected == found["expected"] == found["ended"]
        for arm, row, line in zip(conductor.study.arms, found["arms"], lines[3:], strict=False):
            spent = conductor.spent(arm)
            assert spent["trials"] == row["search"]["trials"]
            assert spent["epochs"] == row["search"]["epochs"]
            assert abs(spent["device_s"] - row["search"]["device_s"]) < 1e-9
            assert line.split()[:4] == [
                arm.arm,
                arm.weighter,
                str(row["ended"]),
                str(row["epochs"]),
            ]
    assert lines[0].startswith(f"tiny  {found['ended']}/{found['expected']} trials")


def test_clock() -> None:
    assert [clock(0.4), clock(75), clock(3 * 3600 + 62)] == ["0:00", "1:15", "3:01:02"]
