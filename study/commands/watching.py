"""Commands that follow a study, here or in other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from study.commands import shell
from study.commands.options import Folder, Json


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
    with shell.clear_errors():
        from study import standing

        if watch:
            standing.watch(folder, as_json)
            return
        found = standing.read(folder)
        if as_json:
            shell.out(found, True)
        else:
            standing.show(found)


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
    with shell.clear_errors():
        from study import standing

        rows = standing.studies(root, deep)
        if as_json:
            shell.out(rows, True)
        else:
            standing.show_studies(rows)


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
    with shell.clear_errors():
        from study import mirror as mirrors

        found = mirrors.opened(
            folder, optuna=optuna, tensorboard=tensorboard, wandb=wandb, mlflow=mlflow
        )
        trials = mirrors.follow(folder, [one for _, one in found], watch=watch, say=shell.say)
        shown = [how for how, _ in found]
        shell.out({"trials": trials, "shown_by": shown} if as_json else "\n".join(shown), as_json)


def dashboard(
    out: Annotated[Path | None, typer.Option(help="File to write; else stdout.")] = None,
) -> None:
    """The Grafana dashboard of studies, as JSON to import.

    Example: python -m study dashboard --out study.json
    """
    with shell.clear_errors():
        from study.dashboards.grafana import dashboard

        text = json.dumps(dashboard(), indent=1)
        if out is None:
            typer.echo(text)
        else:
            out.write_text(text + "\n", encoding="utf-8")
            typer.echo(str(out))
