"""Commands about a study's answer: its report, its trials again, its models, other studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.commands import shell
from study.commands.options import DataRoot, Device, Folder, Json


def report(folder: Folder, as_json: Json = False) -> None:
    """Write the tables and the report of a study again; also while it runs.

    Example: python -m study report studies/quickstart
    """
    with shell.clear_errors():
        from study import standing

        standing.resolved(folder)
        tell(folder, as_json)


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
    with shell.clear_errors():
        from study import life, reproducing, single

        planned, reported = life.trial(folder, trial)
        target = out or Path("runs") / f"{folder.resolve().name}-{trial:04d}"
        try:
            training = single.train(
                planned["recipe"],
                target,
                data_root=data_root,
                device=device,
                epochs=max(reported, default=0),
                say=shell.say,
            )
        except single.DivergedError as error:
            # What it did then is told by the figures, as of any other trial.
            training = error.training
        rows = single.compared(training, reported)
        found = reproducing.differences(training.reports, reported)
        same = not found
        versions = reproducing.other_versions(folder)
        if as_json:
            plain = {"same": same, "differences": found, "other_versions": versions}
            shell.out({"folder": str(target), "metrics": rows} | plain, True)
        else:
            for row in rows:
                typer.echo(f"{row['metric']}: {row['then']:.6g} then, {row['now']:.6g} now")
            typer.echo(reproducing.verdict(found, versions))
        if check and not same:
            raise typer.Exit(1)


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
    with shell.clear_errors():
        from analysis import compare as comparing

        if len(folders) < 2:
            raise typer.BadParameter(f"needs two studies or more, found {len(folders)}")
        found = comparing.compare(folders)
        if as_json:
            shell.out(comparing.to_plain(found), True)
            return
        from analysis import formats

        for grid in comparing.grids(found):
            formats.console().print(formats.to_rich(grid))


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
    with shell.clear_errors():
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
            say=shell.say,
        )
        export(folder)
        shell.say(f"Next: {shell.me()} report {folder}")
        shell.out({"folder": str(folder)} if as_json else str(folder), as_json)


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
    with shell.clear_errors():
        from study import life
        from study.exporting import export_model

        life.load(folder)
        found = export_model(folder, arm=arm, trial=trial, best=best, out=out, data_root=data_root)
        shell.out({"folder": str(found)} if as_json else str(found), as_json)


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
    with shell.clear_errors():
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
            shell.out(found, True)
            return
        hindsight.show(found)


def tell(folder: Path, as_json: bool) -> None:
    """Write tables and report, and show the answer."""
    from study import life, standing

    path = life.tell(folder)
    if as_json:
        shell.out(standing.answer(folder) | {"report": str(path)}, True)
        return
    standing.show_answer(folder)
    typer.echo(f"\nReport: {path}\nTables: {folder / 'tables'}")
