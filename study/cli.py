"""`python -m study`: the commands, thin. Results go to stdout, progress to stderr.

Exit codes: 0 done, 1 done with failed trials, 2 bad usage or config, 3 missing data or no space,
130 interrupted. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Ask whether an auxiliary loss, a weighter or an attack makes a model better: "
    "run a study, read the answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key: search.trials_per_arm=4 (may be repeated)."),
]
DataRoot = Annotated[
    str, typer.Option(help="Folder of all data sets; else $STUDY_DATA, else ~/.cache/study-data.")
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON value to stdout.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]
Address = Annotated[
    str, typer.Option(help="Ray cluster to join; else $RAY_ADDRESS, else a local one of its own.")
]
Cpus = Annotated[int | None, typer.Option(help="CPUs of the local cluster; all by default.")]
Dashboard = Annotated[bool, typer.Option(help="Ray's dashboard, on this machine only.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Benchmarks = Annotated[
    list[str],
    typer.Option(
        "--benchmark", "--eval-benchmark", help="clean, gaussian_0.1, pgd_linf_8/255_20, … (repeat)"
    ),
]


@app.command()
def run(
    study: Annotated[str, typer.Argument(metavar="FILE_OR_PRESET", help="A study file or preset.")],
    changes: Set = None,
    root: Annotated[Path, typer.Option(help="Where studies live.")] = Path("studies"),
    data_root: DataRoot = "",
    address: Address = "",
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and say what would run.")
    ] = False,
    smoke_test: Annotated[
        bool, typer.Option("--smoke-test", help="The same study at toy size, as NAME-smoke.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a study: search, confirm on fresh seeds, benchmarks, tables, report.

    Examples:

      python -m study run quickstart

      python -m study run my.yaml --set data=MNIST --set search.trials_per_arm=16

      python -m study run my.yaml --dry-run
    """
    with _clear_errors():
        from study import life, spec
        from study.provenance import line_of

        path = spec.find(study)
        text = path.read_text(encoding="utf-8")
        asked = [*(changes or ()), *(_toy(text) if smoke_test else ())]
        found = spec.load(path, tuple(asked))
        given = text + "".join(f"\n# --set {one}" for one in asked)
        if not dry_run:
            life.vacant(found, root)
        data = life.rehearse(found, data_root, address=address, cpus=cpus)
        _say(line_of(data))
        _say(_plan(found))
        if dry_run:
            _out(found.resolved() if as_json else "Dry run: nothing was started.", as_json)
            return
        folder = life.create(found, given, root, data)
        _say(f"Study folder: {folder}")
        _go(folder, "run", address, data_root, cpus, dashboard, data, as_json)


@app.command()
def resume(
    folder: Folder,
    data_root: DataRoot = "",
    address: Address = "",
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    as_json: Json = False,
) -> None:
    """Go on with a study that was interrupted or killed; at most the epochs in flight are redone.

    Example: python -m study resume studies/quickstart
    """
    with _clear_errors():
        from study import life

        # Data that is not there must end the command, not every trial that it would have gone on.
        data = life.rehearse(life.load(folder), data_root, address=address, cpus=cpus)
        _go(folder, "resume", address, data_root, cpus, dashboard, data, as_json)


@app.command()
def status(
    folder: Folder,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds.")] = False,
    as_json: Json = False,
) -> None:
    """Where a study stands, from its ledger alone; also while it runs, also on another machine.

    Example: python -m study status studies/quickstart --watch
    """
    with _clear_errors():
        import time

        from study import standing

        while True:
            found = standing.read(folder)
            if as_json:
                _out(found, True)
            else:
                standing.show(found)
            if not watch or found["status"] == "finished":
                return
            time.sleep(2)


@app.command()
def train(
    data: Annotated[
        str, typer.Option("--data", "--dataset", help="Digits, MNIST, UCR_ECG200 …")
    ] = "Digits",
    architecture: Annotated[
        str, typer.Option("--architecture", "--model", help="MLP, ConvNet, ResNet18 …")
    ] = "ConvNet",
    losses: Annotated[
        list[str] | None,
        typer.Option(
            "--loss", "--custom-loss", help="gaussian-kl_0.1, uda, adversarial-attack … (repeat)"
        ),
    ] = None,
    attack_file: Annotated[
        Path | None, typer.Option("--loss-config", "--loss-config-file", help="Attack file (JSON).")
    ] = None,
    weighter: Annotated[str, typer.Option(help="Fixed, CoV, GradientSimilarity …")] = "Fixed",
    epochs: Annotated[int, typer.Option("--epochs", "--max-epochs")] = 10,
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; named after it by default.")
    ] = None,
    device: Device = "auto",
    data_root: DataRoot = "",
    changes: Set = None,
    again: Annotated[bool, typer.Option("--resume", help="Go on with this run.")] = False,
    as_json: Json = False,
) -> None:
    """Train once, without a search.

    Examples:

      python -m study train --data MNIST --architecture ConvNet --loss gaussian-kl_0.1

      python -m study train --data UCR_ECG200 --architecture MLP --loss gaussian-kl_0.1

      python -m study train --data MNIST --loss adversarial-attack --loss-config pgd_2_0.5.json
    """
    with _clear_errors():
        from study import single

        recipe = single.recipe_of(
            data=data,
            architecture=architecture,
            methods=tuple(losses or ()),
            attack_file=attack_file,
            weighter=weighter,
            epochs=epochs,
            seed=seed,
            changes=tuple(changes or ()),
        )
        parts = [data, architecture, *(losses or ["plain"]), weighter, f"seed{seed}"]
        folder = out or Path("runs") / "_".join(parts).replace("/", "-")
        training = single.train(
            recipe, folder, data_root=data_root, device=device, resume=again, say=_say
        )
        last = training.reports[-1]["metrics"]
        _say(f"Next: python -m study evaluate {folder} --benchmark gaussian_0.1")
        _out({"folder": str(folder)} | last if as_json else str(folder), as_json)


@app.command()
def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's or trial's folder, or a .pt file.")
    ],
    benchmarks: Benchmarks,
    part: Annotated[str, typer.Option(help="test or validation")] = "test",
    limit: Annotated[int, typer.Option(help="At most so many examples; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of noise and of random starts.")] = 0,
    best: Annotated[bool, typer.Option("--best/--last", help="Which checkpoint.")] = False,
    device: Device = "auto",
    data_root: DataRoot = "",
    as_json: Json = False,
) -> None:
    """Benchmarks on a trained model; rows are added to RUN/evaluations.jsonl.

    RUN/evaluated-<n>.npz says of every example how it fared. What is known of the same model, data
    and benchmark is read from RUN/cache, and an interrupted attack goes on where it was.

    Example: python -m study evaluate runs/X --benchmark clean --benchmark gaussian_0.1
    """
    with _clear_errors():
        from study import single, standing
        from study.provenance import data_of, line_of
        from trainables.core import records
        from trainables.core.quantities import one_of

        one_of("--part", part, ("test", "validation"))
        training = single.restore(folder, best=best, data_root=data_root, device=device)
        home = folder if folder.is_dir() else folder.parent
        found = training.evaluate(
            list(benchmarks),
            part=part,
            limit=limit,
            seed=seed,
            checks=True,
            store=home / "cache",
        )
        rows = found.rows
        if folder.is_dir():
            with (folder / "evaluations.jsonl").open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            # Not `examples.npz`: that is the study's own evaluation of its trial.
            known = len(list(folder.glob("evaluated-*.npz")))
            records.write_examples(folder / f"evaluated-{known + 1}.npz", found.judged)
        if as_json:
            _out(rows, True)
        else:
            typer.echo(line_of(data_of(training, data_root)))
            standing.show_rows(rows)


@app.command()
def look(
    names: Annotated[
        list[str], typer.Argument(metavar="VIEW...", help="AugMix, fog_3, fog, corruptions, ...")
    ],
    data: Annotated[str, typer.Option(help="Name of a data set.")] = "Digits",
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .pdf or .svg.")] = Path(
        "sheet.png"
    ),
    examples: Annotated[int, typer.Option(min=1, help="Test examples in a row.")] = 5,
    first: Annotated[int, typer.Option(min=0, help="Number of the first one.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the views' random numbers.")] = 0,
    data_root: DataRoot = "",
) -> None:
    """Draw a contact sheet: what views make of real examples.

    The name of a corruption without a severity shows all five, and "corruptions" all types.

    Example: python -m study look corruptions --data CIFAR10 --out sheet.png
    """
    with _clear_errors():
        from study import look as looking

        path = looking.sheet(
            names, data, out, examples=examples, first=first, seed=seed, data_root=data_root
        )
        typer.echo(str(path))


@app.command()
def reproduce(
    folder: Folder,
    trial: Annotated[int, typer.Argument(help="Number of the trial in the study's tables.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/STUDY-TRIAL by default.")
    ] = None,
    device: Device = "auto",
    data_root: DataRoot = "",
    as_json: Json = False,
) -> None:
    """Train one trial of a study again, as far as it went, and compare what it reports.

    Example: python -m study reproduce studies/quickstart 7
    """
    with _clear_errors():
        from study import life, single

        planned, reported = life.trial(folder, trial)
        target = out or Path("runs") / f"{folder.resolve().name}-{trial:04d}"
        training = single.train(
            planned["recipe"],
            target,
            data_root=data_root,
            device=device,
            epochs=max(reported, default=0),
            say=_say,
        )
        rows = single.compared(training, reported)
        if as_json:
            _out({"folder": str(target), "metrics": rows}, True)
            return
        for row in rows:
            typer.echo(f"{row['metric']}: {row['then']:.6g} then, {row['now']:.6g} now")
        same = all(row["then"] == row["now"] for row in rows)
        typer.echo("Equal to the last digit." if same else "Not equal; see the versions in report.")


@app.command()
def report(folder: Folder, as_json: Json = False) -> None:
    """Write the tables and the report of a study again; also while it runs.

    Example: python -m study report studies/quickstart
    """
    with _clear_errors():
        from study import life

        life.load(folder)
        _tell(folder, as_json)


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="losses, weighters, data, …, methods, presets")] = "",
    as_json: Json = False,
) -> None:
    """List components of a kind, methods or presets; without a kind, all kinds.

    In brackets: the task where it is not classification, and weighters that need gradients.

    Example: python -m study list weighters
    """
    with _clear_errors():
        from study import reference

        found = reference.listing(kind)
        if as_json:
            _out(found, True)
            return
        for name, lines in found.items():
            typer.echo(f"{name}: {', '.join(lines)}" if not kind else "\n".join(lines))
        if below := reference.footer(kind):
            typer.echo(below)


@app.command()
def show(kind: str, name: str, as_json: Json = False) -> None:
    """What a component is, its source, its settings with their defaults, and those of its kind.

    Example: python -m study show weighters CoV
    """
    with _clear_errors():
        from study import reference

        found = reference.entry(kind, name)
        _out(found if as_json else reference.text(found), as_json)


@app.command()
def doctor(data_root: DataRoot = "", as_json: Json = False) -> None:
    """Versions, hardware, data and space: what a bug report should say first.

    Example: python -m study doctor
    """
    with _clear_errors():
        from study import standing

        found = standing.doctor(data_root)
        if as_json:
            _out(found, True)
            return
        for key, value in found.items():
            typer.echo(f"{key:14} {value}")


def _go(
    folder: Path,
    command: str,
    address: str,
    data_root: str,
    cpus: int | None,
    dashboard: bool,
    data: dict[str, Any],
    as_json: bool,
) -> None:
    from study import life

    done, failed = life.conduct(
        folder,
        command,
        address=address,
        data_root=data_root,
        cpus=cpus,
        dashboard=dashboard,
        data=data,
        say=_say,
    )
    if not done:
        _say(f"Interrupted; everything reported is kept. Go on with:\n  {_me()} resume {folder}")
        raise typer.Exit(130)
    _tell(folder, as_json)
    if failed:
        _say(f"{failed} trials failed; see the report.")
        raise typer.Exit(1)


def _tell(folder: Path, as_json: bool) -> None:
    from study import life, standing

    path = life.tell(folder)
    if as_json:
        _out(standing.answer(folder) | {"report": str(path)}, True)
        return
    standing.show_answer(folder)
    typer.echo(f"\nReport: {path}\nTables: {folder / 'tables'}")


def _plan(found: Any) -> str:
    arms, asked = len(found.arms), found.search.trials_per_arm
    again = found.confirm.top * found.confirm.seeds
    epochs = arms * (asked + again) * found.epochs
    return (
        f"{found.study}: {arms} arms ({', '.join(one.name for one in found.arms)}); "
        f"{asked} trial{'' if asked == 1 else 's'} each, then {again} on fresh seeds each; "
        f"{arms * (asked + again)} trials of at most {found.epochs} epochs ({epochs} in all)"
    )


def _toy(text: str) -> tuple[str, ...]:
    """Changes that make any study a toy: few examples, two epochs, one trial, one seed."""
    from study.yaml_text import read_yaml

    name = read_yaml(text)["study"]
    return (
        f"study={name}-smoke",
        "data.limit=200",
        "training.epochs=2",
        "schedule.max_epochs=2",
        "schedule.grace_epochs=1",
        "search.trials_per_arm=1",
        "confirm.seeds=1",
        "probe.limit=32",
        "test.limit=32",
    )


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _out(value: Any, as_json: bool) -> None:
    typer.echo(json.dumps(value, indent=1) if as_json else value)


def _me() -> str:
    return f"{Path(sys.executable)} -m study"


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Errors that a user can mend as one line and an exit code; all others with their traceback."""
    try:
        yield
    except KeyboardInterrupt:
        _say("Interrupted.")
        raise typer.Exit(130) from None
    except Exception as error:
        code = _code(error)
        if code is None:
            raise
        _say(f"Error: {error}")
        raise typer.Exit(code) from None


def _code(error: Exception) -> int | None:
    from analysis.events import LedgerError
    from analysis.export import NotAStudyError
    from search_spaces.methods import MethodError
    from search_spaces.ranges import RangeError
    from study.ledger import StudyLockedError, StudyStorageError
    from trainables.core.errors import MissingDataError, SettingError

    if isinstance(error, MissingDataError | StudyStorageError):
        return 3
    wrong = (
        SettingError,
        RangeError,
        MethodError,
        LedgerError,
        NotAStudyError,
        StudyLockedError,
    )
    return 2 if isinstance(error, wrong) else None
