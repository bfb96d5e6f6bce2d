"""What the engine costs per trial and per report, against plain Ray Tune and against a bare loop.

    python -m benchmarks.engine [--part marginal reports calls] [--trial nothing training] [--json]
    python -m benchmarks.engine --part thousand resume --sampler TPE

The same trials are run by the engine, by Ray Tune as a user would write it (a class Trainable with
`reuse_actors` and without, Ray's ASHA, its default loggers), and one by one in this process. A
trial of the kind `nothing` reports twenty figures and does no more; one of the kind `training`
trains a network with one hidden unit on a few digits, the same one on all sides. Costs are slopes
within a run, from the end of one trial or report to that of a later one, so that starting Ray and
processes cancels. Sides take turns; ratios are medians of ratios within a round.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, cast
from unittest.mock import patch

# Before anything that imports Ray: it sets what Ray reads from the environment.
from study import cluster  # isort: skip

import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from rich.console import Console

from analysis import events, export
from study import engine
from study.conductor import Conductor, plan
from study.ledger import Ledger
from study.progress import Progress
from study.spec import Study, parse
from trainables.core.recipe import resolve
from trainables.core.training import Training
from trainables.trial import Trial

ENDED = ("COMPLETE", "PRUNED", "FAIL")
ENGINE, REUSE, FRESH, BARE = "engine", "Ray, reuse_actors", "Ray", "bare loop"
# What the engine sets for itself and a user of plain Ray Tune does not.
OURS = (
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS",
    "TUNE_GLOBAL_CHECKPOINT_S",
    "TUNE_MAX_PENDING_TRIALS_PG",
    "RAY_AIR_NEW_OUTPUT",
)
KINDS = ("nothing", "training")
PARTS = ("marginal", "reports", "thousand", "resume", "calls")
METRIC = "validation/accuracy"
# Other figures that a trial of the kind "nothing" reports: as many as a training with two losses.
NAMES = (
    "train/loss",
    "train/weighted_loss",
    "validation/loss",
    "validation/gaussian_0.1/accuracy",
    "validation/pgd_linf_8/255_20/accuracy",
    *(
        f"{label}/{figure}"
        for label in ("main", "kl")
        for figure in (
            "raw_loss",
            "weight",
            "weighted_loss",
            "loss_ratio",
            "grad_norm",
            "grad_cos",
            "grad_conflict",
        )
    ),
)


def figures(epoch: int) -> dict[str, float]:
    """Twenty figures, the same for every trial, so that no schedule stops any."""
    rest = {name: math.sin(1 + i + epoch) ** 2 for i, name in enumerate(NAMES)}
    return {METRIC: 1 - 1 / (epoch + math.sqrt(2))} | rest


class Nothing(Trial):
    """Our trial that reports and does no more."""

    def begin(self) -> None:
        """Nothing to build."""
        self.training = cast(Training, self)

    def close(self) -> None:
        """Nothing to end."""

    def _report(self) -> dict[str, Any]:
        """Twenty figures, as a training reports them."""
        self.sent += 1
        found = figures(self.sent)
        weights = {
            label: {
                name.partition("/")[2]: value
                for name, value in found.items()
                if name.startswith(f"{label}/")
            }
            for label in ("main", "kl")
        }
        return {
            "epoch": self.sent,
            "metrics": {name: found[name] for name in (METRIC, *NAMES[:5])},
            "weights": weights,
            "evaluations": [],
            "train_s": 0.01,
            "eval_s": 0.01,
            "summary": {"num_params": 1000, "peak_mem_bytes": None},
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep."""

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing was kept."""


class Plain(tune.Trainable):  # type: ignore[misc]
    """The same by a user of Ray Tune; with a recipe in its config it trains that."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin."""
        self.done = 0
        torch.set_num_threads(1)
        recipe = config.get("recipe")
        self.training = None
        if recipe is not None:
            optimizer = recipe["training"]["optimizer"] | {"lr": config["lr"]}
            changed = recipe["training"] | {"optimizer": optimizer}
            self.training = Training(recipe | {"training": changed})

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin again in this process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """An epoch."""
        self.done += 1
        if self.training is None:
            return figures(self.done) | {"epoch": self.done}
        found = self.training.epoch()
        weights = {
            f"{label}/{name}": value
            for label, one in found.weights.items()
            for name, value in one.items()
            if value is not None
        }
        return found.metrics | weights | {"epoch": found.epoch}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """All that the next epoch depends on."""
        if self.training is not None:
            self.training.save(Path(checkpoint_dir) / "last.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on from there."""
        if self.training is not None:
            self.training.load(Path(checkpoint_dir) / "last.pt")


@dataclass
class Stamps:
    """When reports came in and trials ended: pairs of wall and of this process's own seconds.

    `resident` is the memory of this process at each end, in bytes; NaN where it is not known.
    """

    reports: list[tuple[float, float]] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)

    def report(self) -> None:
        """One report was dealt with."""
        self.reports.append((perf_counter(), process_time()))

    def end(self) -> None:
        """One trial has ended."""
        self.ends.append((perf_counter(), process_time()))
        self.resident.append(resident())


@dataclass(frozen=True)
class Cost:
    """Seconds for one more trial or report: of the wall clock, of the driver's processor."""

    wall_s: float
    driver_s: float

    @classmethod
    def between(cls, stamps: Sequence[tuple[float, float]], first: int) -> Cost:
        """From the stamp `first` to the last one, for each of those in between."""
        n = len(stamps) - 1 - first
        wall, driver = (b - a for a, b in zip(stamps[first], stamps[-1], strict=True))
        return cls(wall / n, driver / n)


class Watched(Conductor):
    """A conductor that notes when it has answered."""

    stamps: Stamps

    def report(self, number: int, report: Mapping[str, Any]) -> bool:
        """As the conductor answers."""
        goes_on = super().report(number, report)
        self.stamps.report()
        if not goes_on:
            self.stamps.end()
        return goes_on


class _Watch(tune.Callback):  # type: ignore[misc]
    """Notes when Ray Tune has dealt with reports and ends, after its loggers."""

    def __init__(self, stamps: Stamps) -> None:
        self.stamps = stamps

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.stamps.report()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.stamps.end()


def study(
    trials: int, epochs: int, at_once: int, sampler: str = "random", kind: str = "nothing"
) -> Study:
    """A study of tiny trials, each of which runs to its end."""
    lr = {"low": 0.01, "high": 0.1, "log": True}
    return parse(
        {
            "study": f"tiny-{trials}-{epochs}",
            "data": {"name": "Digits", "limit": 20},
            "architecture": {"name": "MLP", "hidden": [1]},
            "training": {"epochs": epochs, "optimizer": {"name": "SGD", "lr": lr}},
            "arms": {"gaussian-kl": {"preset": "gaussian_kl", "weighters": ["Fixed"]}},
            "search": {"sampler": sampler, "trials_per_arm": trials},
            # Rungs without a benchmark to run there: the other sides run none.
            "schedule": {"name": "ASHA", "grace_epochs": _grace(kind, epochs)},
            "probe": {"limit": 1, "benchmarks": []},
            "confirm": {"seeds": 0},
            "resources": {"cpu": 1, "max_concurrent": at_once},
        }
    )


def _grace(kind: str, epochs: int) -> int:
    """The first rung: trainings differ, and none is to be stopped."""
    return 1 if kind == "nothing" else epochs


def begun(asked: Study, folder: Path) -> Ledger:
    """The ledger of a new study."""
    first = {
        "schema_version": events.SCHEMA_VERSION,
        "study": asked.study,
        "study_id": asked.study_id,
        "versions": {},
        "git": {"sha": None, "dirty": None},
        "hardware": {"cpus": 2, "gpus": 0},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "resolved.json").write_text(json.dumps(asked.resolved()), encoding="utf-8")
    made = Ledger.create(folder, first)
    made.append("segment", segment=0, command="run")
    return made


@dataclass(frozen=True)
class Place:
    """Where the sides run: a connected Ray and a folder."""

    connected: cluster.Cluster
    folder: Path
    at_once: int

    def by_engine(self, kind: str, trials: int, epochs: int, sampler: str = "random") -> Stamps:
        """A study by the engine, in the folder <trials>-<epochs>-<how many there are>."""
        asked = study(trials, epochs, self.at_once, sampler, kind)
        before = sum(1 for one in self.folder.iterdir() if one.is_dir())
        folder = self.folder / f"{trials}-{epochs}-{before}"
        with begun(asked, folder) as ledger, contextlib.ExitStack() as stack:
            if kind == "nothing":
                stack.enter_context(patch.object(engine, "Trial", Nothing))
            conductor = Watched(asked, ledger)
            conductor.stamps = Stamps()
            progress = stack.enter_context(Progress(conductor, Console(file=StringIO())))
            done = engine.run(conductor, folder, cluster=self.connected, tick=progress.tick)
            failed = [one.number for one in conductor.trials if one.state != "COMPLETE"]
            if not done or failed:
                raise RuntimeError(f"trials {failed} of {folder} did not complete")
        return conductor.stamps

    def by_ray(self, kind: str, trials: int, epochs: int, *, reuse: bool) -> Stamps:
        """The same by Ray Tune, with its own ASHA, random search and loggers."""
        recipe = None if kind == "nothing" else _recipe(epochs)
        space = {"lr": tune.loguniform(0.01, 0.1)} | ({} if recipe is None else {"recipe": recipe})
        stamps = Stamps()
        with (
            _as_installed(),
            tempfile.TemporaryDirectory(dir=self.folder) as place,
            # Ray Tune writes to stdout, where our figures go.
            contextlib.redirect_stdout(sys.stderr),
        ):
            found = tune.Tuner(
                Plain,
                param_space=space,
                tune_config=tune.TuneConfig(
                    metric=METRIC,
                    mode="max",
                    num_samples=trials,
                    max_concurrent_trials=self.at_once,
                    scheduler=ASHAScheduler(
                        time_attr="epoch",
                        max_t=epochs,
                        grace_period=_grace(kind, epochs),
                        reduction_factor=3,
                    ),
                    reuse_actors=reuse,
                ),
                run_config=tune.RunConfig(
                    name="plain", storage_path=place, verbose=0, callbacks=[_Watch(stamps)]
                ),
            ).fit()
        if found.num_errors or len(stamps.ends) != trials:
            raise RuntimeError(f"{found.num_errors} of {trials} trials failed")
        return stamps


def by_hand(trials: int, epochs: int) -> Stamps:
    """The trainings one by one in this process, without ledger, schedule or checkpoints."""
    stamps = Stamps()
    for _ in range(trials):
        training = Training(_recipe(epochs))
        for _ in range(epochs):
            training.epoch()
            stamps.report()
        stamps.end()
    return stamps


def _recipe(epochs: int) -> dict[str, Any]:
    """The configuration that all trials of the other sides train."""
    from search_spaces.ranges import defaults

    recipe = defaults(study(1, epochs, 1).arms[0].tree) | {"seed": 0}
    return resolve(recipe)


@contextlib.contextmanager
def _as_installed() -> Iterator[None]:
    """Ray Tune as it is without our settings."""
    kept = {name: os.environ.pop(name) for name in OURS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def resident() -> float:
    """Bytes of memory that this process holds; Linux only, else NaN."""
    path = Path("/proc/self/statm")
    if not path.exists():
        return math.nan
    return float(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Figure:
    """One side: seconds per trial or report, and the engine's share of them within a round.

    `ratio` is the median over rounds of engine / this side, `low` and `high` its extremes.
    """

    part: str
    kind: str
    side: str
    wall_s: float
    driver_s: float
    ratio: float
    low: float
    high: float


def compared(part: str, kind: str, rounds: Sequence[Mapping[str, Cost]]) -> list[Figure]:
    """The sides' medians, and the ratios within rounds."""
    found = []
    for side in rounds[0]:
        ratios = [one[ENGINE].wall_s / one[side].wall_s for one in rounds]
        wall = statistics.median(one[side].wall_s for one in rounds)
        driver = statistics.median(one[side].driver_s for one in rounds)
        middle = statistics.median(ratios)
        found.append(Figure(part, kind, side, wall, driver, middle, min(ratios), max(ratios)))
    return found


def marginal(place: Place, kind: str, trials: int, rounds: int) -> list[Figure]:
    """What one more trial of one report costs."""
    first = max(place.at_once, trials // 5)
    fewer = max(2 * place.at_once + 1, trials // 5)
    sides: dict[str, Callable[[], Cost]] = {
        ENGINE: lambda: Cost.between(place.by_engine(kind, trials, 1).ends, first),
        REUSE: lambda: Cost.between(place.by_ray(kind, trials, 1, reuse=True).ends, first),
        # Each of its trials starts a process, which takes seconds: fewer of them will do.
        FRESH: lambda: Cost.between(
            place.by_ray(kind, fewer, 1, reuse=False).ends, place.at_once - 1
        ),
    } | _bare(kind, lambda: Cost.between(by_hand(trials, 1).ends, first))
    return compared("marginal", kind, _in_turn("marginal", kind, sides, rounds))


def reports(place: Place, kind: str, epochs: int, rounds: int) -> list[Figure]:
    """What one more report of a long trial costs, with as many trials as fit at once."""
    n = place.at_once
    # By then the last process is up.
    first = n * epochs // 5
    sides: dict[str, Callable[[], Cost]] = {
        ENGINE: lambda: Cost.between(place.by_engine(kind, n, epochs).reports, first),
        REUSE: lambda: Cost.between(place.by_ray(kind, n, epochs, reuse=True).reports, first),
    } | _bare(kind, lambda: Cost.between(by_hand(n, epochs).reports, first))
    return compared("reports", kind, _in_turn("reports", kind, sides, rounds))


def _bare(kind: str, cost: Callable[[], Cost]) -> dict[str, Callable[[], Cost]]:
    """The bare loop as a side; doing nothing in a loop costs nothing."""
    return {BARE: cost} if kind == "training" else {}


def _in_turn(
    part: str, kind: str, sides: Mapping[str, Callable[[], Cost]], rounds: int
) -> list[dict[str, Cost]]:
    """Every side once in each round, in the other order in every other one."""
    found = []
    for i in range(rounds):
        order = list(sides) if i % 2 == 0 else list(reversed(list(sides)))
        costs = {}
        for side in order:
            one = costs[side] = sides[side]()
            print(
                f"{part}, {kind}, round {i + 1} of {rounds}: {side} {1e3 * one.wall_s:.2f} ms, "
                f"driver {1e3 * one.driver_s:.2f} ms",
                file=sys.stderr,
                flush=True,
            )
        found.append({side: costs[side] for side in sides})
    return found


def thousand(place: Place, trials: int, epochs: int, sampler: str) -> dict[str, float]:
    """A long study of trials that do nothing: whether time and memory per trial stay as they were.

    Seconds per trial in the first and in the last tenth of the trials, memory's growth, and bytes
    of ledger and tables per report.
    """
    print(f"{trials} trials of {epochs} reports, {sampler} ...", file=sys.stderr)
    stamps = place.by_engine("nothing", trials, epochs, sampler)
    folder = max(place.folder.glob(f"{trials}-{epochs}-*"), key=lambda one: one.stat().st_mtime)
    tenth = trials // 10
    # The first trials to end have paid for the start of their processes.
    first = Cost.between(stamps.ends[: tenth + place.at_once], place.at_once)
    last = Cost.between(stamps.ends[-tenth - 1 :], 0)
    grown = (stamps.resident[-1] - stamps.resident[tenth]) / (trials - 1 - tenth)
    return {
        "first tenth, ms per trial": 1e3 * first.wall_s,
        "last tenth, ms per trial": 1e3 * last.wall_s,
        "last / first": last.wall_s / first.wall_s,
        "first tenth, driver ms per trial": 1e3 * first.driver_s,
        "last tenth, driver ms per trial": 1e3 * last.driver_s,
        "driver memory, MB at the end": stamps.resident[-1] / 2**20,
        "driver memory, MB more per 100 trials": 100 * grown / 2**20,
    } | written(folder, trials * epochs)


def resume(folder: Path, trials: int, epochs: int, sampler: str) -> dict[str, float]:
    """How long a driver takes to go on with a long study whose last trial has not ended.

    The ledger is written by a conductor without Ray, and taken up by another one.
    """
    print(f"resume after {trials} trials of {epochs} reports, {sampler} ...", file=sys.stderr)
    asked = study(trials, epochs, 1, sampler)
    with begun(asked, folder) as ledger:
        conductor = Conductor(asked, ledger)
        trial = Nothing.__new__(Nothing)
        while (one := conductor.next()) is not None:
            conductor.started(one.number)
            trial.setup({"plan": plan(conductor, one, str(folder), "")})
            last = one.number == trials - 1
            for _ in range(epochs - last):
                conductor.report(one.number, *json.loads(trial.step()["reports"]))
            if last:
                break
    began = perf_counter()
    with Ledger.open(folder) as ledger:
        opened = perf_counter()
        conductor = Conductor(asked, ledger)
        conductor.settle()
        replayed = perf_counter()
        found = conductor.next()
        if found is None or found.number != trials - 1:
            raise RuntimeError("the last trial was to go on")
    ready = perf_counter()
    return {
        "ledger read, s": opened - began,
        "replayed, s": replayed - opened,
        "next trial, s": ready - replayed,
        "all, s": ready - began,
    } | written(folder, trials * epochs - 1)


def written(folder: Path, count: int) -> dict[str, float]:
    """Bytes of ledger and tables for each of `count` reports, and seconds of writing tables."""
    began = perf_counter()
    tables = export.export(folder)
    took = perf_counter() - began
    return {
        "ledger, bytes per report": (folder / events.FILE).stat().st_size / count,
        "tables, bytes per report": sum(one.stat().st_size for one in tables) / count,
        "export, s": took,
    }


def calls(folder: Path, rounds: int) -> dict[str, float]:
    """Median milliseconds of the single things that a driver and a trial do."""
    asked = study(rounds + 1, 1, 1)
    with begun(asked, folder) as ledger:
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
        timed: dict[str, Callable[[], object]] = {
            "driver: validate a recipe": lambda: resolve(trial.recipe),
            "driver: plan a trial (drawn, validated, recorded)": conductor.next,
            "driver: the plan as text": lambda: plan(conductor, trial, "", ""),
            "driver: record an event (fsync)": lambda: ledger.append("toy", **event),
            "trial: begin a training": lambda: Training(trial.recipe),
            "trial: an epoch (one step, validation)": training.epoch,
            "trial: the benchmark Clean": lambda: training.evaluate(["Clean"], part="validation"),
            "trial: save a checkpoint (fsync)": lambda: training.save(folder / "last.pt"),
        }
        return {f"{name}, ms": 1e3 * _median(call, rounds) for name, call in timed.items()}


def _median(call: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = perf_counter()
        call()
        times.append(perf_counter() - began)
    return statistics.median(times)


@dataclass(frozen=True)
class Report:
    """All that was measured; `alone` are figures by part that are compared with nothing."""

    connect_s: float
    figures: list[Figure]
    alone: dict[str, dict[str, float]]


def measure(asked: argparse.Namespace) -> Report:
    """Everything asked for, on a Ray of its own in a temporary folder."""
    found: list[Figure] = []
    alone: dict[str, dict[str, float]] = {}
    connect_s = math.nan
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        if "calls" in asked.part:
            alone["calls"] = calls(home / "calls", asked.calls)
        if "resume" in asked.part:
            alone["resume"] = resume(home / "resume", asked.many, asked.reports, asked.sampler)
        if {"marginal", "reports", "thousand"} & set(asked.part):
            began = perf_counter()
            connected = cluster.connect("local", cpus=asked.at_once, gpus=0, dashboard=False)
            connect_s = perf_counter() - began
            (home / "ray").mkdir()
            place = Place(connected, home / "ray", asked.at_once)
            try:
                for kind in asked.trial:
                    if "marginal" in asked.part:
                        found += marginal(place, kind, asked.trials, asked.rounds)
                    if "reports" in asked.part:
                        found += reports(place, kind, asked.epochs, asked.rounds)
                if "thousand" in asked.part:
                    alone["thousand"] = thousand(place, asked.many, asked.reports, asked.sampler)
            finally:
                cluster.disconnect()
    return Report(connect_s, found, alone)


def text(found: Report) -> str:
    """The report for people, in milliseconds where not said otherwise."""
    lines = []
    if found.figures:
        lines += [
            f"connect to a new local Ray: {found.connect_s:.2f} s",
            "",
            f"{'one more':10}{'trial does':12}{'side':20}{'ms':>10}{'driver ms':>12}"
            "  engine / side",
        ]
        for one in found.figures:
            what = {"marginal": "trial", "reports": "report"}[one.part]
            share = f"{one.ratio:6.2f}  ({one.low:.2f} to {one.high:.2f})"
            lines.append(
                f"{what:10}{one.kind:12}{one.side:20}{1e3 * one.wall_s:10.2f}"
                f"{1e3 * one.driver_s:12.2f}  {share}"
            )
    for part, rows in found.alone.items():
        lines += ["", part, *(f"  {name:52}{value:12.2f}" for name, value in rows.items())]
    return "\n".join(lines).strip()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--trial", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--trials", type=int, default=60, help="trials of a run of `marginal`")
    parser.add_argument("--epochs", type=int, default=100, help="reports of a trial of `reports`")
    parser.add_argument("--many", type=int, default=1000, help="trials of `thousand` and `resume`")
    parser.add_argument("--reports", type=int, default=10, help="reports of each of those")
    parser.add_argument("--sampler", default="TPE", help="of `thousand` and `resume`")
    parser.add_argument("--at-once", type=int, default=2, help="trials at once, a CPU each")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which sides take turns")
    parser.add_argument("--calls", type=int, default=50, help="repetitions of `calls`")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    asked = parser.parse_args(arguments)
    if asked.trials < 2 * asked.at_once + 2 or asked.many < 20:
        parser.error("--trials must be at least twice --at-once and 2, --many at least 20")
    torch.set_num_threads(1)
    found = measure(asked)
    print(json.dumps(asdict(found)) if asked.json else text(found))


if __name__ == "__main__":
    main()
