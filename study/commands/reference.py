"""Commands that say what there is to combine, and what is installed."""

from __future__ import annotations

from typing import Annotated

import typer

from study.commands import shell
from study.commands.options import DataRoot, Json


def list_(
    kind: Annotated[str, typer.Argument(help="losses, weighters, data, …, methods, presets")] = "",
    as_json: Json = False,
) -> None:
    """List components of a kind, methods or presets; without a kind, all kinds.

    In brackets: the task where it is not classification, and weighters that need gradients.

    Example: python -m study list weighters
    """
    with shell.clear_errors():
        from study import reference

        found = reference.listing(kind)
        if as_json:
            shell.out(found, True)
            return
        for name, lines in found.items():
            typer.echo(f"{name}: {', '.join(lines)}" if not kind else "\n".join(lines))
        if below := reference.footer(kind):
            typer.echo(below)


def show(kind: str, name: str, as_json: Json = False) -> None:
    """What a component is, its source, its settings with their defaults, and those of its kind.

    Example: python -m study show weighters CoV
    """
    with shell.clear_errors():
        from study import reference

        found = reference.entry(kind, name)
        shell.out(found if as_json else reference.text(found), as_json)


def doctor(data_root: DataRoot = "", as_json: Json = False) -> None:
    """Versions, hardware, data and space: what a bug report should say first.

    Example: python -m study doctor
    """
    with shell.clear_errors():
        from study import standing

        found = standing.doctor(data_root)
        if as_json:
            shell.out(found, True)
            return
        for key, value in found.items():
            typer.echo(f"{key:14} {value}")
