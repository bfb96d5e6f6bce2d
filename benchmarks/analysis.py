"""What it takes to read a large study: from our files, and from those that Ray Tune leaves.

    python -m benchmarks.analysis [--trials 1000] [--reports 100] [--rounds 3] [--json]
    python -m benchmarks.analysis --no-ray --trials 10000 --reports 10

The same trials, reports and test figures are written as a study's ledger and, by Ray's own loggers,
as a Ray Tune experiment. Then each is read in a process of its own, which does nothing else: all
tables and the report; the robustness table from the ledger, from the Parquet files, and from Ray's
files as a user of `ExperimentAnalysis` gets it. Ray is imported before the clock starts, and so is
what we need. That the figures of both sides are equal is checked, not assumed.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

from analysis import events

Tree = dict[str, Any]
STUDY_ID = "0123456789ab"
ARMS = [
    ("baseline", "Fixed"),
    ("gaussian-kl", "Fixed"),
    ("gaussian-kl", "CoV"),
    ("adversarial", "Fixed"),
]
BENCHMARKS: dict[str, Tree] = {
    "clean": {"family": "clean"},
    "gaussian_0.1": {"family": "noise"},
    "pgd_linf_8/255_20": {
        "family": "adversarial",
        "norm": "linf",
        "eps": 8 / 255,
        "eps_text": "8/255",
        "steps": 20,
        "restarts": 1,
    },
    "pgd_l2_0.5_20": {
        "family": "adversarial",
        "norm": "l2",
        "eps": 0.5,
        "eps_text": "0.5",
        "steps": 20,
        "restarts": 1,
    },
    "fog_3": {"family": "corruption", "severity": 3, "source": "generated"},
}
# With the seven figures of each of two losses: thirty columns of numbers in every report.
METRICS = (
    "train/loss",
    "train/weighted_loss",
    "train/extra_forwards",
    "train/extra_backwards",
    "validation/accuracy",
    "validation/loss",
    *(f"validation/{name}/{one}" for name in BENCHMARKS for one in ("accuracy", "loss")),
)
FIGURES = (
    "raw_loss",
    "weight",
    "weighted_loss",
    "loss_ratio",
    "grad_norm",
    "grad_cos",
    "grad_conflict",
)
SEEDS = range(1000, 1005)
TEST = 10_000


@dataclass(frozen=True)
class Trial:
    """One trial and all that it reports; `tested` holds its test accuracies by benchmark."""

    number: int
    phase: str
    arm: str
    weighter: str
    seed: int
    recipe: Tree
    reports: list[Tree]
    tested: dict[str, float]


def trials(count: int, reports: int) -> Iterator[Trial]:
    """`count` trials of four arms; the last ones confirm the first of each arm on five seeds."""
    draws = random.Random(0)
    confirmed = min(len(SEEDS), count // (2 * len(ARMS)))
    searched = count - confirmed * len(ARMS)
    for number in range(count):
        place = number if number < searched else number - searched
        arm, weighter = ARMS[place % len(ARMS)]
        confirms = number >= searched
        seed = SEEDS[place // len(ARMS)] if confirms else 0
        # The configuration that a trial confirms is the first of its arm.
        of = random.Random(place % len(ARMS) if confirms else number)
        made = _recipe(arm, weighter, of, reports) | {"seed": seed}
        robust = 0.1 + 0.1 * (place % len(ARMS))
        tested = {
            name: round(TEST * min(0.99, robust * (1 + i) + draws.uniform(0, 0.05))) / TEST
            for i, name in enumerate(BENCHMARKS)
        }
        yield Trial(
            number,
            "confirm" if confirms else "search",
            arm,
            weighter,
            seed,
            made,
            [_report(draws, epoch / reports, number) for epoch in range(1, reports + 1)],
            tested if confirms else {},
        )


def _recipe(arm: str, weighter: str, of: random.Random, epochs: int) -> Tree:
    aux = {
        "name": "Consistency",
        "coefficient": 10 ** of.uniform(-2, 1),
        "view": "noisy",
        "target": "clean",
        "divergence": "kl",
        "stop_gradient": False,
        "temperature": 1.0,
    }
    main = {"name": "CrossEntropy", "coefficient": 1.0, "view": "clean", "label_smoothing": 0.0}
    views = {"noisy": {"name": "GaussianNoise", "sigma": 10 ** of.uniform(-2, -0.3)}}
    return {
        "data": {"name": "Digits", "validation": 0.2, "limit": 0, "seed": 0},
        "architecture": {"name": "ConvNet", "channels": [16, 32], "hidden": 64},
        "training": {
            "epochs": epochs,
            "batch_size": 64,
            "forward": "joint",
            "clip_norm": 0.0,
            "optimizer": {"name": "Adam", "lr": 10 ** of.uniform(-4, -2), "betas": [0.9, 0.999]},
            "schedule": {"name": "Cosine", "warmup_epochs": 0, "final": 0.0},
        },
        "views": {} if arm == "baseline" else views,
        "losses": {"main": main} | ({} if arm == "baseline" else {"kl": aux}),
        "weighter": {"name": weighter, "normalise": "none", "scope": "all"},
    }


def _report(draws: random.Random, done: float, number: int) -> Tree:
    """Curves that rise, with noise: numbers of full length, as measured ones are."""
    rise = 0.5 + 0.4 * done * (0.5 + 0.5 * ((number * 7919) % 101) / 100)
    return {
        "metrics": {
            name: rise + draws.gauss(0, 0.01)
            if name.endswith("accuracy")
            else float(name.endswith("backwards"))
            if "extra" in name
            else 2.3 * (1 - rise) + draws.gauss(0, 0.02)
            for name in METRICS
        },
        "weights": {
            loss: {name: 1 - 0.5 * done + draws.gauss(0, 0.05) for name in FIGURES}
            for loss in ("main", "kl")
        },
        "train_s": 2 + draws.uniform(0, 0.1),
        "eval_s": 0.5 + draws.uniform(0, 0.1),
    }


def _group(one: Trial) -> str:
    first = ARMS.index((one.arm, one.weighter)) if one.phase == "confirm" else one.number
    return f"{first:012x}"


def _rows(tested: dict[str, float]) -> list[Tree]:
    empty = dict.fromkeys(
        ("severity", "norm", "eps", "eps_text", "steps", "restarts", "source", "unreliable_why")
    )
    return [
        {"split": "test", "benchmark": place, "name": name}
        | empty
        | BENCHMARKS[name]
        | {"metric": "accuracy", "value": value, "n_examples": TEST}
        | {"n_correct": round(TEST * value), "seed": 0, "duration_s": 1.5, "unreliable": False}
        for place, (name, value) in enumerate(tested.items())
    ]


def write_ours(folder: Path, found: Iterator[Trial], reports: int) -> None:
    """The study's `resolved.json` and `ledger.jsonl`, each line as the ledger encodes it."""
    folder.mkdir(parents=True)
    resolved = {
        "schema_version": events.SCHEMA_VERSION,
        "study": folder.name,
        "study_id": STUDY_ID,
        "question": "How long does it take to read a large study?",
        "seed": 0,
        "baseline": "baseline",
        "arms": [{"arm": arm, "weighter": one, "recipe": {}} for arm, one in ARMS],
        "search": {"sampler": "random", "trials_per_arm": 0}
        | {"metric": "validation/accuracy", "mode": "max"}
        | {"objectives": {"validation/accuracy": "max"}},
        "schedule": {"name": "none", "max_epochs": reports},
        "confirm": {"top": 1, "seeds": len(SEEDS)},
        "benchmarks": [{"name": name} for name in ("Clean", "Noise", "PGD", "PGD", "Fog")],
        "resources": {"cpu": 1, "gpu": 0},
        "data": {"name": "Digits"},
        "task": "classification",
    }
    (folder / "resolved.json").write_text(json.dumps(resolved), encoding="utf-8")
    clock = datetime(2026, 11, 22, tzinfo=UTC)
    with (folder / events.FILE).open("w", encoding="utf-8") as file:

        def write(event: str, **fields: Any) -> None:
            nonlocal clock
            clock += timedelta(milliseconds=250)
            time = clock.isoformat(timespec="microseconds")
            file.write(events.encode({"event": event, "time": time} | fields) + "\n")

        write(
            "study",
            schema_version=events.SCHEMA_VERSION,
            study=folder.name,
            study_id=STUDY_ID,
            versions={},
            git={},
            hardware={"cpus": 2, "gpus": 0},
        )
        write("segment", segment=0, command="run")
        for one in found:
            write(
                "planned",
                trial=one.number,
                phase=one.phase,
                arm=one.arm,
                weighter=one.weighter,
                seed=one.seed,
                group=_group(one),
                recipe=one.recipe,
                params={"training/optimizer/lr": one.recipe["training"]["optimizer"]["lr"]},
                distributions={},
                place=one.number,
            )
            write("started", trial=one.number, node=None)
            for epoch, report in enumerate(one.reports, start=1):
                last = epoch == len(one.reports)
                write(
                    "report",
                    trial=one.number,
                    epoch=epoch,
                    **report,
                    evaluations=_rows(one.tested) if last else [],
                    rung=None,
                    decision="complete" if last else "continue",
                    summary=None,
                )
            write(
                "ended",
                trial=one.number,
                state="COMPLETE",
                reason="budget",
                error=None,
                summary={"num_params": 10_000, "peak_mem_bytes": None},
            )
        write("finished", failed=0)


def write_rays(folder: Path, found: Iterator[Trial]) -> None:
    """The same as Ray Tune leaves it: two of its three default loggers, and its state file.

    TensorBoard's event files, which nobody reads tables from, are left out.
    """
    from ray.train._internal.storage import StorageContext
    from ray.tune import PlacementGroupFactory
    from ray.tune.experiment import Trial as RayTrial
    from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback
    from ray.tune.utils.serialization import TuneFunctionEncoder

    storage = StorageContext(storage_path=str(folder.parent), experiment_dir_name=folder.name)
    state = []
    # Ray's driver stages its files elsewhere and copies them; here they are where it leaves them.
    with patch.object(StorageContext, "experiment_driver_staging_path", str(folder)):
        for one in found:
            config = one.recipe | {"arm": one.arm, "phase": one.phase}
            trial = RayTrial(
                "train",
                config=config,
                storage=storage,
                placement_group_factory=PlacementGroupFactory([{"CPU": 1}]),
                stub=True,
            )
            trial.create_placement_group_factory()
            trial.init_local_path()
            loggers = [JsonLoggerCallback(), CSVLoggerCallback()]
            for logger in loggers:
                logger.log_trial_start(trial)
            for epoch, result in enumerate(_results(one, trial.trial_id, config), start=1):
                for logger in loggers:
                    logger.log_trial_result(epoch, trial, result)
                trial.run_metadata.last_result = result
            for logger in loggers:
                logger.log_trial_end(trial)
            state.append(trial.get_json_state())
    plain = {"trial_data": state, "runner_data": {}, "stats": {}}
    text = json.dumps(plain, cls=TuneFunctionEncoder)
    (folder / "experiment_state-2026-11-22_08-00-00.json").write_text(text, encoding="utf-8")


def _results(one: Trial, trial_id: str, config: Tree) -> Iterator[Tree]:
    """What a trainable reports, with what Ray adds to it."""
    total = 0.0
    for epoch, report in enumerate(one.reports, start=1):
        spent = report["train_s"] + report["eval_s"]
        total += spent
        last = epoch == len(one.reports)
        yield {
            **report["metrics"],
            **{f"{loss}/{k}": v for loss, own in report["weights"].items() for k, v in own.items()},
            **({f"test/{name}/accuracy": v for name, v in one.tested.items()} if last else {}),
            "timestamp": 1763800000 + epoch,
            "checkpoint_dir_name": None,
            "done": last,
            "training_iteration": epoch,
            "trial_id": trial_id,
            "date": "2026-11-22_08-00-00",
            "time_this_iter_s": spent,
            "time_total_s": total,
            "pid": 1,
            "hostname": "node",
            "node_ip": "127.0.0.1",
            "config": config,
            "time_since_restore": total,
            "iterations_since_restore": epoch,
        }


Means = dict[str, dict[str, float]]


def _of_table(source: Any) -> Means:
    from analysis.tables import robustness_table

    return {
        f"{row.arm} {row.weighter}": {
            ("corruptions" if name.startswith("corruptions") else name): cell.interval.mean
            for name, cell in row.cells.items()
        }
        for row in robustness_table(source).rows
    }


def from_ledger(folder: Path) -> Callable[[], Means]:
    """The robustness table from the ledger."""
    import analysis.tables  # noqa: F401

    return lambda: _of_table(folder)


def from_parquet(folder: Path) -> Callable[[], Means]:
    """The robustness table from the Parquet files."""
    import analysis.tables  # noqa: F401
    from analysis.export import stored

    return lambda: _of_table(stored(folder))


def from_rays(folder: Path) -> Callable[[], Means]:
    """The same means as a user of Ray Tune gets them from its experiment folder."""
    from ray import tune

    def read() -> Means:
        frame = tune.ExperimentAnalysis(str(folder)).dataframe()
        frame = frame[frame["config/phase"] == "confirm"]
        frame["arm"] = frame["config/arm"] + " " + frame["config/weighter/name"]
        columns = {f"test/{name}/accuracy": name for name in BENCHMARKS}
        means = frame.groupby("arm")[list(columns)].mean()
        means = means.rename(columns=columns | {"test/fog_3/accuracy": "corruptions"})
        return {str(arm): dict(row) for arm, row in means.to_dict("index").items()}

    return read


def whole_report(folder: Path) -> Callable[[], Means]:
    """All tables, written, and the whole report."""
    from analysis.report import write_report

    def write() -> Means:
        write_report(folder)
        return {}

    return write


def all_tables(folder: Path) -> Callable[[], Means]:
    """All tables, written."""
    from analysis.export import export

    def write() -> Means:
        export(folder)
        return {}

    return write


SUBJECTS: dict[str, Callable[[Path], Callable[[], Means]]] = {
    "all tables written": all_tables,
    "tables and report": whole_report,
    "robustness table, ledger": from_ledger,
    "robustness table, Parquet": from_parquet,
    "robustness table, Ray's files": from_rays,
}


@dataclass(frozen=True)
class Figure:
    """Processor seconds (median, least, most over rounds), least wall seconds, largest peak memory.

    All of a process that does nothing else; what it imports beforehand is in the memory alone.
    """

    subject: str
    seconds: float
    low: float
    high: float
    wall_s: float
    peak_mib: float


def _alone(subject: str, folder: Path) -> tuple[tuple[float, float, float], Means]:
    """Processor and wall seconds, peak memory in MiB and the means, by a process of its own."""
    command = [sys.executable, "-m", "benchmarks.analysis", "--child", subject, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{subject}: {done.stderr[-2000:]}")
    seconds, wall, peak, means = json.loads(done.stdout.splitlines()[-1])
    return (seconds, wall, peak), means


def _child(subject: str, folder: Path) -> None:
    # What any of them would import on the way.
    for name in ("pandas", "pyarrow.compute", "pyarrow.dataset", "scipy.special"):
        import_module(name)
    run = SUBJECTS[subject](folder)
    began, wall = process_time(), perf_counter()
    means = run()
    seconds, wall = process_time() - began, perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, wall, peak, means]))


def measure(asked: argparse.Namespace, home: Path) -> Tree:
    """Everything asked for, in a temporary folder."""
    ours, rays = home / "studies" / "large", home / "rays" / "large"
    write_ours(ours, trials(asked.trials, asked.reports), asked.reports)
    sides = {one: ours for one in SUBJECTS if "Ray" not in one}
    if asked.ray:
        write_rays(rays, trials(asked.trials, asked.reports))
        sides |= {one: rays for one in SUBJECTS if "Ray" in one}
    found: dict[str, list[tuple[float, float, float]]] = {}
    means: list[Means] = []
    for _ in range(asked.rounds):
        for subject, folder in sides.items():
            print(subject, file=sys.stderr)
            spent, table = _alone(subject, folder)
            found.setdefault(subject, []).append(spent)
            means += [table] if table else []
    figures = []
    for subject, runs in found.items():
        seconds, walls, peaks = zip(*runs, strict=True)
        middle = statistics.median(seconds)
        own = Figure(subject, middle, min(seconds), max(seconds), min(walls), max(peaks))
        figures.append(own)
    parquet = sum(one.stat().st_size for one in (ours / "tables").glob("*.parquet"))
    files = {"ledger": (ours / events.FILE).stat().st_size, "Parquet": parquet}
    if asked.ray:
        files["Ray"] = sum(one.stat().st_size for one in rays.rglob("*") if one.is_file())
    return {
        "trials": asked.trials,
        "reports": asked.reports,
        "figures": [asdict(one) for one in figures],
        "bytes": files,
        "largest_difference": difference(means),
    }


def difference(found: Sequence[Means]) -> float:
    """The largest difference between the means of any two tables; they have the same rows."""
    first = found[0]
    for one in found:
        if {arm: set(row) for arm, row in one.items()} != {k: set(v) for k, v in first.items()}:
            raise SystemExit("the two sides have other rows or columns")
    return max(
        abs(one[arm][name] - first[arm][name]) for one in found for arm in one for name in one[arm]
    )


def text(found: Tree) -> str:
    """The report for people."""
    head = f"{'what':32}{'processor s':>12}  {'least to most':18}{'wall s':>8}{'peak MiB':>9}"
    lines = [head]
    for one in found["figures"]:
        spread = f"{one['low']:.2f} to {one['high']:.2f}"
        lines.append(
            f"{one['subject']:32}{one['seconds']:12.2f}  {spread:18}"
            f"{one['wall_s']:8.2f}{one['peak_mib']:9.0f}"
        )
    sizes = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in found["bytes"].items())
    lines += ["", f"MB on the disk: {sizes}"]
    lines += [f"figures of the tables differ by at most {found['largest_difference']:.0e}"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--reports", type=int, default=100, help="of each trial")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each subject")
    parser.add_argument("--no-ray", dest="ray", action="store_false", help="our side alone")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    asked = parser.parse_args(arguments)
    if asked.child:
        _child(asked.child[0], Path(asked.child[1]))
        return
    if asked.trials < 8 * len(ARMS):
        parser.error(f"--trials must be at least {8 * len(ARMS)}, found {asked.trials}")
    with tempfile.TemporaryDirectory() as name:
        found = measure(asked, Path(name))
    print(json.dumps(found) if asked.json else text(found))


if __name__ == "__main__":
    main()
