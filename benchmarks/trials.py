"""What a study costs per trial and per report, against training the same recipes in a bare loop.

    python benchmarks/trials.py [--trials 100] [--epochs 1 5] [--at-once 2] [--json]

Tiny trials (an MLP on 200 of the digits) are run twice: by the engine on a local Ray, and by
`Training` in this process, without processes, ledger or checkpoints. Figures of the engine are
slopes between one of the first trials to end and the last one, so that starting Ray and the trials'
processes, which is reported apart, cancels. Two numbers of epochs tell what a trial costs from what
a report costs: an epoch of this size takes less time than recording it. Then the parts are timed
one by one in this process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

# Before anything that imports Ray: it sets what Ray reads from the environment.
from study import cluster  # isort: skip

import torch

from study import engine
from study.conductor import Conductor, plan
from study.ledger import Ledger
from study.spec import Study, parse
from trainables.core.recipe import resolve
from trainables.core.training import Training

FIRST_EVENT = {
    "schema_version": 1,
    "versions": {},
    "git": {"sha": None, "dirty": None},
    "hardware": {"cpus": 2, "gpus": 0},
}


@dataclass(frozen=True)
class Run:
    """One study: seconds until it is going and, per trial, of the wall clock and of processors.

    `driver_cpu_s` is the driver's processor time, `all_cpu_s` that of Ray and the trials, too.
    """

    epochs: int
    trials: int
    first_report_s: float
    wall_s: float
    driver_cpu_s: float
    all_cpu_s: float
    bare_wall_s: float
    bare_cpu_s: float


@dataclass(frozen=True)
class Report:
    """All figures, in seconds; `parts` are medians of single calls."""

    connect_s: float
    runs: list[Run]
    parts: dict[str, float]

    def per_report(self, name: str) -> float:
        """What one epoch more adds to the field `name` of a trial."""
        first, last = self.runs[0], self.runs[-1]
        return float(getattr(last, name) - getattr(first, name)) / (last.epochs - first.epochs)

    def per_trial(self, name: str) -> float:
        """What is left of the field `name` of a trial without its epochs."""
        return float(getattr(self.runs[0], name)) - self.runs[0].epochs * self.per_report(name)


def study(trials: int, epochs: int, at_once: int) -> Study:
    """A study of tiny trials, each of which runs to its end."""
    lr = {"low": 0.01, "high": 0.1, "log": True}
    return parse(
        {
            "study": f"tiny-{epochs}",
            "data": {"name": "Digits", "limit": 200},
            "training": {"epochs": epochs, "optimizer": {"name": "SGD", "lr": lr}},
            "arms": {"baseline": {}},
            "search": {"sampler": "random", "trials_per_arm": trials},
            "schedule": {"name": "none"},
            "confirm": {"seeds": 0},
            "benchmarks": ["Clean"],
            "resources": {"cpu": 1, "max_concurrent": at_once},
        }
    )


def by_engine(
    asked: Study, folder: Path, connected: cluster.Cluster
) -> tuple[tuple[float, float, float, float], list[dict[str, Any]]]:
    """First report and, per trial, wall, driver's and all processors' seconds; the recipes."""
    samples: list[tuple[int, float, float, float]] = []
    total = asked.search.trials_per_arm
    # By then all processes are up, and the first trial of each has paid for its imports.
    settled = max(2, total // 5)
    names = {"study": asked.study, "study_id": asked.study_id}
    with Ledger.create(folder, FIRST_EVENT | names) as ledger:
        ledger.append("segment", segment=0, command="run")
        conductor = Conductor(asked, ledger)
        began = perf_counter()
        first = 0.0

        def tick() -> None:
            nonlocal first
            if not first and any(one.epoch for one in conductor.trials):
                first = perf_counter() - began
            ended = sum(bool(one.reason) for one in conductor.trials)
            if (not samples and ended >= settled) or (len(samples) == 1 and ended == total):
                samples.append((ended, perf_counter(), process_time(), processors()))

        done = engine.run(conductor, folder, cluster=connected, tick=tick)
        failed = [one.number for one in conductor.trials if one.state != "COMPLETE"]
        if not done or failed:
            raise RuntimeError(f"trials {failed} did not complete")
        recipes = [one.recipe for one in conductor.trials]
    ended, wall, driver, everything = (b - a for a, b in zip(*samples, strict=True))
    return (first, wall / ended, driver / ended, everything / ended), recipes


def processors() -> float:
    """Processor seconds of this process and of all that descend from it; Linux only, else NaN."""
    proc = Path("/proc")
    if not (proc / "self" / "stat").exists():
        return math.nan
    parents, seconds = {}, {}
    for path in proc.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            number = int(path.parent.name)
            parents[number] = int(fields[1])
            seconds[number] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ours(number: int) -> bool:
        while number and number != os.getpid():
            number = parents.get(number, 0)
        return bool(number)

    return sum(spent for number, spent in seconds.items() if ours(number))


def by_hand(recipes: Sequence[dict[str, Any]], epochs: int) -> tuple[float, float]:
    """Wall and processor seconds per trial of the same trainings in a plain loop."""
    Training(recipes[0])  # reads the data
    began, worked = perf_counter(), process_time()
    for recipe in recipes:
        training = Training(recipe)
        for _ in range(epochs):
            training.epoch()
    n = len(recipes)
    return (perf_counter() - began) / n, (process_time() - worked) / n


def parts(folder: Path, rounds: int) -> dict[str, float]:
    """Median seconds of the single things that a driver and a trial do."""
    asked = study(rounds + 1, 1, 1)
    names = {"study": asked.study, "study_id": asked.study_id}
    with Ledger.create(folder, FIRST_EVENT | names) as ledger:
        conductor = Conductor(asked, ledger)
        trial = conductor.next()
        if trial is None:
            raise RuntimeError("the study has no trial")
        # A budget that lasts for all rounds and the one epoch before them.
        longer = trial.recipe["training"] | {"epochs": rounds + 1}
        training = Training(trial.recipe | {"training": longer})
        report = training.epoch()
        event = {
            "trial": 0,
            "metrics": report.metrics,
            "weights": report.weights,
            "evaluations": training.evaluate(["Clean"], part="validation").rows,
        }
        return {
            "driver: validate a recipe": _median(lambda: resolve(trial.recipe), rounds),
            "driver: plan a trial (drawn, validated, recorded)": _median(conductor.next, rounds),
            "driver: the plan as text": _median(lambda: plan(conductor, trial, "", ""), rounds),
            "driver: record an event (fsync)": _median(
                lambda: ledger.append("toy", **event), rounds
            ),
            "trial: begin a training": _median(lambda: Training(trial.recipe), rounds),
            "trial: an epoch (3 steps, validation)": _median(training.epoch, rounds),
            "trial: the benchmark Clean": _median(
                lambda: training.evaluate(["Clean"], part="validation"), rounds
            ),
            "trial: save a checkpoint (fsync)": _median(
                lambda: training.save(folder / "last.pt"), rounds
            ),
        }


def _median(call: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = perf_counter()
        call()
        times.append(perf_counter() - began)
    return statistics.median(times)


def measure(trials: int, epochs: Sequence[int], at_once: int, rounds: int) -> Report:
    """Everything, on a Ray of its own in a temporary folder."""
    with tempfile.TemporaryDirectory() as place:
        began = perf_counter()
        connected = cluster.connect("local", cpus=at_once, gpus=0, dashboard=False)
        connect_s = perf_counter() - began
        found = []
        try:
            for budget in epochs:
                print(f"{trials} trials of {budget} epochs by the engine ...", file=sys.stderr)
                asked = study(trials, budget, at_once)
                found.append(by_engine(asked, Path(place) / str(budget), connected))
        finally:
            cluster.disconnect()
        runs = []
        for budget, (engines, recipes) in zip(epochs, found, strict=True):
            print(f"{trials} trials of {budget} epochs by hand ...", file=sys.stderr)
            runs.append(Run(budget, trials, *engines, *by_hand(recipes, budget)))
        return Report(connect_s, runs, parts(Path(place) / "parts", rounds))


def text(found: Report) -> str:
    """The report for people, in milliseconds where not said otherwise."""
    lines = [f"connect to a new local Ray      {found.connect_s:8.2f} s"]
    lines += [
        f"first report, {run.epochs} epoch(s)        {run.first_report_s:8.2f} s"
        f"  after the study began ({run.trials} trials)"
        for run in found.runs
    ]
    lines += ["", _row("ms", ["engine", "driver CPU", "all CPU", "bare loop", "bare CPU"])]
    names = ("wall_s", "driver_cpu_s", "all_cpu_s", "bare_wall_s", "bare_cpu_s")
    rows = [
        (f"a trial of {run.epochs} epoch(s)", [getattr(run, name) for name in names])
        for run in found.runs
    ]
    if len(found.runs) > 1:
        rows.append(("  of it: each report", [found.per_report(name) for name in names]))
        rows.append(("  of it: the trial itself", [found.per_trial(name) for name in names]))
    lines += [_row(name, [f"{1e3 * value:.1f}" for value in values]) for name, values in rows]
    lines.append("")
    lines += [f"{name:52} {1e3 * value:8.2f} ms" for name, value in found.parts.items()]
    return "\n".join(lines)


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:28}" + "".join(f"{cell:>12}" for cell in cells)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100, help="trials per study")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 5], help="rising numbers")
    parser.add_argument("--at-once", type=int, default=2, help="trials at once, a CPU each")
    parser.add_argument("--rounds", type=int, default=50, help="calls of each single part")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    asked = parser.parse_args(arguments)
    if asked.trials < 5 or asked.epochs != sorted(set(asked.epochs)):
        parser.error("--trials must be at least 5 and --epochs must rise")
    torch.set_num_threads(1)
    found = measure(asked.trials, asked.epochs, asked.at_once, asked.rounds)
    print(json.dumps(asdict(found)) if asked.json else text(found))


if __name__ == "__main__":
    main()
