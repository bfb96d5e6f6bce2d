"""`python -m study`: the commands, thin. Results go to stdout, progress to stderr.

Exit codes: 0 done, 1 done with failed trials, 2 bad usage or config, 3 missing data or no space,
130 interrupted. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
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
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Join a cluster of another machine without a token.")
]
Storage = Annotated[
    str,
    typer.Option(help="Where checkpoints go: s3://…, gs://…; by default the study's folder."),
]
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
    insecure: Insecure = False,
    storage: Storage = "",
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
        life.storage_of(storage, found)
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
        _go(
            folder,
            "run",
            as_json,
            address=address,
            insecure=insecure,
            data_root=data_root,
            storage=storage,
            cpus=cpus,
            dashboard=dashboard,
            data=data,
        )


@app.command()
def resume(
    folder: Folder,
    data_root: DataRoot = "",
    address: Address = "",
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    insecure: Insecure = False,
    storage: Storage = "",
    as_json: Json = False,
) -> None:
    """Go on with a study that was interrupted or killed; at most the epochs in flight are redone.

    Example: python -m study resume studies/quickstart
    """
    with _clear_errors():
        from study import life

        # Data that is not there must end the command, not every trial that it would have gone on.
        data = life.rehearse(life.load(folder), data_root, address=address, cpus=cpus)
        _go(
            folder,
            "resume",
            as_json,
            address=address,
            insecure=insecure,
            data_root=data_root,
            storage=storage,
            cpus=cpus,
            dashboard=dashboard,
            data=data,
        )


@app.command()
def extend(
    folder: Folder,
    trials: Annotated[int, typer.Option(min=0, help="More trials for every arm.")] = 0,
    seeds: Annotated[int, typer.Option(min=0, help="More seeds for the confirmation.")] = 0,
    epochs: Annotated[int, typer.Option(min=0, help="More epochs for every trial.")] = 0,
    changes: Set = None,
    data_root: DataRoot = "",
    address: Address = "",
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    insecure: Insecure = False,
    plan_only: Annotated[
        bool, typer.Option("--no-run", help="Record it; `resume` runs it later.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a study grow: more trials, seeds, epochs, arms, another budget; what there is stays.

    Every trial that was trained counts on. Winners are chosen again; a confirmation of a
    configuration that is no longer one stays in the tables as superseded.

    Examples:

      python -m study extend studies/quickstart --trials 8

      python -m study extend studies/quickstart --seeds 5 --set arms.trades=trades
    """
    with _clear_errors():
        from study import life

        asked = [*life.growth(folder, trials=trials, seeds=seeds, epochs=epochs), *(changes or ())]
        found = life.extend(folder, asked)
        _say(_plan(found))
        if plan_only:
            _say(f"Recorded. Run it with:\n  {_me()} resume {folder}")
            return
        data = life.rehearse(found, data_root, address=address, cpus=cpus)
        _go(
            folder,
            "extend",
            as_json,
            address=address,
            insecure=insecure,
            data_root=data_root,
            storage="",
            cpus=cpus,
            dashboard=dashboard,
            data=data,
        )


@app.command()
def fetch(
    storage: Annotated[str, typer.Argument(metavar="ADDRESS", help="s3://bucket/studies/NAME, …")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
) -> None:
    """Bring a study from its storage to this machine, to look at it or to resume it here.

    Example: python -m study fetch s3://bucket/studies/quickstart studies/quickstart
    """
    with _clear_errors():
        from study import remote

        remote.fetch(storage, folder)
        _say(f"Go on with it:\n  {_me()} resume {folder}")
        typer.echo(str(folder))


@app.command()
def stop(
    folder: Folder,
    now: Annotated[
        bool, typer.Option("--now", help="At once; the epochs in flight are lost.")
    ] = False,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait for its end.")] = 600.0,
) -> None:
    """Stop a running study from outside, also from another machine that sees its folder.

    By default every running trial ends its epoch first, so that nothing is lost.

    Example: python -m study stop studies/quickstart
    """
    with _clear_errors():
        import time

        from analysis import events
        from study import ledger, watch

        watch.ask_to_stop(folder, now=now)
        _say("Asked. Waiting for the driver to end …")
        until = time.monotonic() + wait_s
        while ledger.locked(folder):
            if time.monotonic() > until:
                _say(f"It has not ended after {wait_s:g} s; it will when its epochs have.")
                raise typer.Exit(1)
            time.sleep(0.2)
        if events.latest(events.read(folder)) == "finished":
            _say("The study had just finished.")
        else:
            _say(f"Stopped. Go on with:\n  {_me()} resume {folder}")


@app.command()
def status(
    folder: Folder,
    watch: Annotated[
        bool, typer.Option("--watch", help="Until nobody works on the study any more.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Where a study stands, from its ledger alone; also while it runs, also on another machine.

    With --watch it is drawn again in place; without a terminal, a line whenever something changes.

    Example: python -m study status studies/quickstart --watch
    """
    with _clear_errors():
        from study import standing

        if watch:
            standing.watch(folder, as_json)
            return
        found = standing.read(folder)
        if as_json:
            _out(found, True)
        else:
            standing.show(found)


@app.command("list-studies")
def list_studies(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Where studies live; studies by default.")
    ] = Path("studies"),
    deep: Annotated[bool, typer.Option("--deep", help="Look below inner folders, too.")] = False,
    as_json: Json = False,
) -> None:
    """Every study below a folder: how far it is, its best arm, its question.

    Example: python -m study list-studies studies
    """
    with _clear_errors():
        from study import standing

        rows = standing.studies(root, deep)
        if as_json:
            _out(rows, True)
        else:
            standing.show_studies(rows)


@app.command()
def mirror(
    folder: Folder,
    optuna: Annotated[
        str, typer.Option(help="SQLite file or database URL; DIR/optuna.db without any option.")
    ] = "",
    tensorboard: Annotated[str, typer.Option(help="Folder that TensorBoard is shown.")] = "",
    wandb: Annotated[str, typer.Option(help="W&B project (needs wandb).")] = "",
    mlflow: Annotated[str, typer.Option(help="MLflow tracking URI (needs mlflow-skinny).")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Follow a running study.")] = False,
    as_json: Json = False,
) -> None:
    """Show a study in other tools; called again, it adds only what is new.

    Examples:

      python -m study mirror studies/quickstart

      python -m study mirror studies/quickstart --tensorboard runs/board --watch
    """
    with _clear_errors():
        from study import mirror as mirrors

        found = mirrors.opened(
            folder, optuna=optuna, tensorboard=tensorboard, wandb=wandb, mlflow=mlflow
        )
        trials = mirrors.follow(folder, [one for _, one in found], watch=watch, say=_say)
        shown = [how for how, _ in found]
        _out({"trials": trials, "shown_by": shown} if as_json else "\n".join(shown), as_json)


@app.command("dashboard")
def dashboard_(
    out: Annotated[Path | None, typer.Option(help="File to write; else stdout.")] = None,
) -> None:
    """The Grafana dashboard of studies, as JSON to import.

    Example: python -m study dashboard --out study.json
    """
    with _clear_errors():
        from study.dashboards.grafana import dashboard

        text = json.dumps(dashboard(), indent=1)
        if out is None:
            typer.echo(text)
        else:
            out.write_text(text + "\n", encoding="utf-8")
            typer.echo(str(out))


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
        from study import life, single, standing
        from study.provenance import data_of, line_of
        from trainables.core import records
        from trainables.core.quantities import one_of

        one_of("--part", part, ("test", "validation"))
        life.bring(folder)
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
    check: Annotated[
        bool, typer.Option("--check", help="End with 1 where any figure differs.")
    ] = False,
    device: Device = "auto",
    data_root: DataRoot = "",
    as_json: Json = False,
) -> None:
    """Train one trial of a study again, as far as it went, and compare what it reports.

    Weights, order and views come from the trial's seed: with the same versions on the same kind of
    processor every figure is the same to the last digit. With --check a difference ends with 1.

    Examples:

      python -m study reproduce studies/quickstart 7

      python -m study reproduce studies/quickstart 7 --check
    """
    with _clear_errors():
        from study import life, reproducing, single

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
        found = reproducing.differences(training.reports, reported)
        same = not found
        versions = reproducing.other_versions(folder)
        if as_json:
            plain = {"same": same, "differences": found, "other_versions": versions}
            _out({"folder": str(target), "metrics": rows} | plain, True)
        else:
            for row in rows:
                typer.echo(f"{row['metric']}: {row['then']:.6g} then, {row['now']:.6g} now")
            typer.echo(reproducing.verdict(found, versions))
        if check and not same:
            raise typer.Exit(1)


@app.command()
def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR DIR...", help="Studies; the first is the reference."),
    ],
    as_json: Json = False,
) -> None:
    """Studies side by side: which settings differ, and by how much the results of common arms do.

    Paired by seed where seeds, data and split are the same; figures of other test sets or of other
    benchmarks are not compared, and the table says why.

    Example: python -m study compare studies/quickstart studies/quickstart-wide
    """
    with _clear_errors():
        from analysis import compare as comparing

        if len(folders) < 2:
            raise typer.BadParameter(f"needs two studies or more, found {len(folders)}")
        found = comparing.compare(folders)
        if as_json:
            _out(comparing.to_plain(found), True)
            return
        from analysis import formats

        for grid in comparing.grids(found):
            formats.console().print(formats.to_rich(grid))


@app.command("import")
def import_(
    experiment: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT", help="Folder of a Ray Tune experiment.")
    ],
    root: Annotated[Path, typer.Option(help="Where studies live.")] = Path("studies"),
    name: Annotated[str, typer.Option(help="Of the study; the folder's by default.")] = "",
    metric: Annotated[str, typer.Option(help="What the search went by.")] = "",
    mode: Annotated[str, typer.Option(help="max or min; min for losses and errors.")] = "",
    arm: Annotated[str, typer.Option(help="Setting that tells arms apart: config/method.")] = "",
    weighter: Annotated[str, typer.Option(help="Setting that names the weighter.")] = "",
    seed: Annotated[str, typer.Option(help="Setting that is the seed: config/seed.")] = "",
    as_json: Json = False,
) -> None:
    """Make a study of a plain Ray Tune experiment, for tables, report, status, query and compare.

    Figures are validation figures unless they are called train/… or test/…; no pickle is opened.

    Example: python -m study import ~/ray_results/my_sweep --arm config/loss --seed config/seed
    """
    with _clear_errors():
        from analysis.export import export
        from study.importing import import_ray

        folder = import_ray(
            experiment,
            root,
            name=name,
            metric=metric,
            mode=mode,
            arm=arm,
            weighter=weighter,
            seed=seed,
            say=_say,
        )
        export(folder)
        _say(f"Next: {_me()} report {folder}")
        _out({"folder": str(folder)} if as_json else str(folder), as_json)


@app.command()
def export(
    folder: Folder,
    arm: Annotated[str, typer.Option(help="Arm, or arm × weighter; the best by default.")] = "",
    trial: Annotated[int | None, typer.Option(help="Number of one trial instead.")] = None,
    best: Annotated[bool, typer.Option("--best/--last", help="Which checkpoint.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="A new folder; DIR/export/ARM by default.")
    ] = None,
    data_root: DataRoot = "",
    as_json: Json = False,
) -> None:
    """Write a trained model for others: its weights alone, and a card that says what it is worth.

    Example: python -m study export studies/quickstart --arm adversarial
    """
    with _clear_errors():
        from study import life
        from study.exporting import export_model

        life.load(folder)
        found = export_model(folder, arm=arm, trial=trial, best=best, out=out, data_root=data_root)
        _out({"folder": str(found)} if as_json else str(found), as_json)


@app.command()
def report(folder: Folder, as_json: Json = False) -> None:
    """Write the tables and the report of a study again; also while it runs.

    Example: python -m study report studies/quickstart
    """
    with _clear_errors():
        from study import standing

        standing.resolved(folder)
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


@app.command()
def simulate(
    folder: Folder,
    schedule: Annotated[
        str, typer.Option(help="ASHA, median or none; without one a sweep of settings.")
    ] = "",
    form: Annotated[str, typer.Option(help="Of ASHA: stopping or promotion.")] = "",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="grace_epochs=1, reduction_factor=4 (may be repeated)."),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="What the schedule goes by; the study's own by default.")
    ] = "",
    final: Annotated[
        str, typer.Option(help="A second metric: would the best by it have been stopped?")
    ] = "",
    slots: Annotated[
        int, typer.Option(min=0, help="Trials at a time; 0: as many as there were.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """What another schedule would have spent, stopped and found, from a study's curves.

    Nothing is trained. Trials that were stopped have no curve beyond: what a schedule that lets
    them go on would find is counted as unknown.

    Examples:

      python -m study simulate studies/quickstart

      python -m study simulate studies/quickstart --schedule ASHA --set grace_epochs=2
    """
    with _clear_errors():
        from study import hindsight

        found = hindsight.answer(
            folder,
            name=schedule,
            form=form,
            changes=tuple(changes or ()),
            metric=metric,
            final=final,
            slots=slots,
        )
        if as_json:
            _out(found, True)
            return
        hindsight.show(found)


@app.command()
def check(
    study: Annotated[str, typer.Argument(metavar="FILE_OR_PRESET", help="A study file or preset.")],
    changes: Set = None,
    root: Annotated[Path, typer.Option(help="Where studies live.")] = Path("studies"),
    data_root: DataRoot = "",
    address: Address = "",
    insecure: Insecure = False,
    storage: Storage = "",
    nodes: Annotated[int, typer.Option(min=1, help="So many nodes must have joined.")] = 1,
    wait_s: Annotated[float, typer.Option(min=0, help="Seconds to wait for them.")] = 0,
    hosts: Annotated[bool, typer.Option("--hosts", help="Show the nodes' host names.")] = False,
    as_json: Json = False,
) -> None:
    """Look at every node of a cluster: versions, code, storage, data, GPUs; nothing is run.

    Example: python -m study check my.yaml --address 10.0.0.1:6379 --root /shared/studies
    """
    with _clear_errors():
        from study import cluster, spec
        from study import nodes as looking

        found = spec.load(spec.find(study), tuple(changes or ()))
        joined = looking.gather(address, nodes, wait_s=wait_s, insecure=insecure, say=_say)
        try:
            needs = found.resources
            fits = joined.slots(needs.cpu, needs.gpu)
            data = found.arms[0].tree["data"]
            rows = looking.check(root, data_root, storage, data=data, hosts=hosts)
        finally:
            cluster.disconnect()
        _out(rows if as_json else looking.shown(rows), as_json)
        _say(f"{fits} trials fit at once.")
        looking.demand(rows)


@app.command()
def submit(
    study: Annotated[str, typer.Argument(metavar="FILE_OR_PRESET", help="A study file or preset.")],
    address: Annotated[str, typer.Option(help="The cluster's dashboard: http://127.0.0.1:8265")],
    root: Annotated[str, typer.Option(help="Where studies live, on the cluster; all nodes share.")],
    changes: Set = None,
    data_root: DataRoot = "",
    storage: Storage = "",
    insecure: Insecure = False,
    again: Annotated[
        bool, typer.Option("--resume", help="Go on with the study if it was begun there.")
    ] = False,
    python: Annotated[
        str, typer.Option(help="The cluster's Python that has this package.")
    ] = sys.executable,
    code: Annotated[bool, typer.Option("--code", help="Send the sources from here, too.")] = False,
    wait: Annotated[bool, typer.Option(help="Show the log and end as the study does.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and say what would be sent.")
    ] = False,
    smoke_test: Annotated[
        bool, typer.Option("--smoke-test", help="The same study at toy size, as NAME-smoke.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a study as a job of a Ray cluster: its driver runs there, and this machine may leave.

    Example: python -m study submit my.yaml --address http://127.0.0.1:8265 --root /shared/studies
    """
    with _clear_errors():
        from study import spec
        from study import submit as sending

        path = spec.find(study)
        toy = _toy(path.read_text(encoding="utf-8")) if smoke_test else ()
        asked = [*(changes or ()), *toy]
        found = spec.load(path, tuple(asked))
        given = {"--data-root": data_root, "--storage": storage}
        command = sending.entrypoint(
            path.name,
            found.study,
            python=python,
            root=root,
            resume=again,
            options=[
                *(word for pair in given.items() if pair[1] for word in pair),
                *(["--insecure"] if insecure else []),
            ],
            changes=[word for one in asked for word in ("--set", one)],
        )
        if dry_run:
            sent = sending.would_send(path, code=code)
            plain = {"entrypoint": command, "sent": sent.shipped, "not_sent": sent.excluded}
            _out(plain if as_json else f"{command}\n{sent.summary()}", as_json)
            return
        client, job = sending.submit(
            address, path, command, name=found.study, code=code, insecure=insecure, say=_say
        )
        _out({"job": job, "entrypoint": command} if as_json else job, as_json)
        ray = Path(sys.executable).with_name("ray")
        _say(f"Its log: {ray} job logs --address {address} --follow {job}")
        _say(f"To end it: {ray} job stop --address {address} {job}")
        if wait and (ended := sending.follow(client, job, lambda text: _say(text.rstrip("\n")))):
            raise typer.Exit(ended)


@app.command()
def launch(
    kind: Annotated[str, typer.Argument(help="slurm, kuberay or ray-up")],
    study: Annotated[str, typer.Option(help="A study file or preset.")] = "quickstart",
    storage: Annotated[
        str, typer.Option(help="Where studies live on the cluster; all nodes share it.")
    ] = "/shared/studies",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    nodes: Annotated[int, typer.Option()] = 1,
    cpus_per_node: Annotated[int, typer.Option()] = 1,
    gpus_per_node: Annotated[int, typer.Option()] = 0,
    python: Annotated[
        str, typer.Option(help="The nodes' Python that has this package.")
    ] = sys.executable,
    data_root: DataRoot = "",
    time: Annotated[str, typer.Option(help="slurm: the limit, hours:minutes:seconds.")] = (
        "24:00:00"
    ),
    image: Annotated[str, typer.Option(help="kuberay: a container image with this package.")] = "",
    claim: Annotated[str, typer.Option(help="kuberay: the shared volume's claim.")] = (
        "study-storage"
    ),
    provider: Annotated[str, typer.Option(help="ray-up: local or aws.")] = "local",
    install: Annotated[str, typer.Option(help="ray-up: what pip installs on new nodes.")] = "",
    head_ip: Annotated[str, typer.Option(help="ray-up local: the head's address.")] = "",
    worker_ip: Annotated[
        list[str] | None, typer.Option(help="ray-up local: another node's (repeat).")
    ] = None,
    ssh_user: Annotated[str, typer.Option(help="ray-up: who logs in.")] = "ubuntu",
    region: Annotated[str, typer.Option(help="ray-up aws.")] = "us-west-2",
    instance: Annotated[str, typer.Option(help="ray-up aws: type of machine.")] = "m5.2xlarge",
) -> None:
    """Write the files that start a cluster and run a study on it; nothing is overwritten.

    Example: python -m study launch slurm --nodes 4 --gpus-per-node 2 --study my.yaml
    """
    with _clear_errors():
        from study import launch as launching

        asked = launching.Asked(
            storage=storage,
            nodes=nodes,
            cpus=cpus_per_node,
            gpus=gpus_per_node,
            python=python,
            data_root=data_root,
            time=time,
            image=image,
            claim=claim,
            provider=provider,
            install=install,
            head_ip=head_ip,
            worker_ips=tuple(worker_ip or ()),
            ssh_user=ssh_user,
            region=region,
            instance=instance,
        )
        written = launching.write(kind, study, asked, out)
        typer.echo("\n".join(map(str, written)))
        _say(f"Next: read it; then {launching.NEXT[kind].format(file=written[0])}")


@app.command()
def plan(
    study: Annotated[str, typer.Argument(metavar="FILE_OR_PRESET", help="A study file or preset.")],
    changes: Set = None,
    data_root: DataRoot = "",
    cpus: Annotated[int | None, typer.Option(help="CPUs to plan for; all here by default.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs to plan for; all here by default.")] = None,
    address: Annotated[str, typer.Option(help="Ray cluster to plan for; else this machine.")] = "",
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """What a study will take: trials, epochs, device hours, disk, and how long it lasts.

    Every arm is timed for a moment here; nothing is started and nothing written.

    Example: python -m study plan quickstart --cpus 8
    """
    with _clear_errors():
        from study import plan as planning
        from study import spec

        found = spec.load(spec.find(study), tuple(changes or ()))
        slots = planning.slots(found, address=address, cpus=cpus, gpus=gpus, insecure=insecure)
        made = planning.plan(found, data_root=data_root, slots=slots, say=_say)
        if as_json:
            _out(made.plain(), True)
        else:
            planning.show(made)


def _go(folder: Path, command: str, as_json: bool, **settings: Any) -> None:
    from study import life

    try:
        done, failed = life.conduct(folder, command, say=_say, **settings)
    except life.TooManyFailuresError as error:
        _tell(folder, as_json)
        _say(str(error))
        raise typer.Exit(1) from None
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
        f"{asked} trial{'' if asked == 1 else 's'} each, then {again} on fresh seeds each"
        f"{_with(found.confirm.controls)}; "
        f"{arms * (asked + again)} trials of at most {found.epochs} epochs ({epochs} in all)"
    )


def _with(controls: Sequence[str]) -> str:
    return f" and as many for each control ({', '.join(controls)})" if controls else ""


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
    from trainables.storage import StorageError

    if isinstance(error, MissingDataError | StudyStorageError | StorageError):
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
