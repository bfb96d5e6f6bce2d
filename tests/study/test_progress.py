"""What a running study shows in a terminal and without one."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from study.conductor import Conductor
from study.ledger import Ledger
from study.progress import Progress, clock
from study.spec import parse

STUDY = {
    "study": "shown",
    "training": {"epochs": 4},
    "arms": {"baseline": {}, "kl": "gaussian_kl"},
    "search": {"sampler": "random", "trials_per_arm": 1},
    "schedule": {"name": "none"},
    "confirm": {"seeds": 1},
}


def report(epoch: int, accuracy: float) -> dict[str, object]:
    return {
        "epoch": epoch,
        "metrics": {"validation/accuracy": accuracy, "validation/loss": 1.0},
        "weights": {},
        "evaluations": [],
        "train_s": 0.1,
        "eval_s": 0.1,
    }


def test_plain_lines_name_the_trial_its_end_and_the_time_left(tmp_path: Path) -> None:
    study = parse(STUDY)
    written = io.StringIO()
    first = {"schema_version": 1, "study": study.study, "study_id": study.study_id}
    with Ledger.create(tmp_path, first) as ledger:
        conductor = Conductor(study, ledger)
        with Progress(conductor, Console(file=written, width=30)) as progress:
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
    assert "ETA 0:00" in line


def test_the_live_view_shows_counts_arms_and_what_runs(tmp_path: Path) -> None:
    study = parse(STUDY)
    first = {"schema_version": 1, "study": study.study, "study_id": study.study_id}
    with Ledger.create(tmp_path, first) as ledger:
        conductor = Conductor(study, ledger)
        progress = Progress(conductor, Console(file=io.StringIO()))
        trial = conductor.next()
        assert trial is not None
        conductor.started(trial.number)
        conductor.report(trial.number, report(1, 0.75))
        console = Console(file=io.StringIO(), width=120, record=True)
        console.print(progress.view())
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines[0].startswith("shown  0/4 trials  running 1  epochs 1")
    assert lines[2].split() == [
        "arm",
        "weighter",
        "trials",
        "epochs",
        "best",
        "validation/accuracy",
        "now",
    ]
    shown = ["baseline", "Fixed", "0", "1", "75.00", "%", "0000", "(1/4)"]
    assert lines[3].split() == shown
    assert lines[4].split() == ["kl", "Fixed", "0", "0", "–"]


def test_less_is_better_where_the_metric_is_an_error(tmp_path: Path) -> None:
    study = parse(STUDY | {"search": {"metric": "validation/loss", "trials_per_arm": 2}})
    assert study.search.mode == "min"
    first = {"schema_version": 1, "study": study.study, "study_id": study.study_id}
    with Ledger.create(tmp_path, first) as ledger:
        conductor = Conductor(study, ledger)
        for loss in (2.5, 0.25, 1.25):
            trial = conductor.next()
            assert trial is not None
            conductor.started(trial.number)
            conductor.report(trial.number, report(1, 0.5) | {"metrics": {"validation/loss": loss}})
        console = Console(file=io.StringIO(), width=120, record=True)
        console.print(Progress(conductor, Console(file=io.StringIO())).view())
    lines = [line.split() for line in console.export_text().splitlines()]
    # Trials 0 and 2 are the baseline's.
    assert lines[3][4] == "1.250"
    assert lines[4][4] == "0.2500"


def test_clock() -> None:
    assert [clock(0.4), clock(75), clock(3 * 3600 + 62)] == ["0:00", "1:15", "3:01:02"]
