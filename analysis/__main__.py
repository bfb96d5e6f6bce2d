"""`python -m analysis`: tables, figures and the report of a study folder.

Results go to stdout, progress to stderr. Exit code 2 for a folder that is no study.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .tables import RobustnessTable

app = typer.Typer(
    help="Turn the ledger of a study into tables, figures and a report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """How `tables` writes."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON value to stdout.")]


@app.command("export")
def export_(folder: Folder, as_json: Json = False) -> None:
    """Write tables/*.parquet; also while the study runs."""
    with _one_line_errors():
        from .export import export

        _show_paths(export(folder), as_json=as_json)


@app.command()
def tables(
    folder: Folder,
    format: Annotated[Format, typer.Option(help="How to write the table.")] = Format.terminal,
    metric: Annotated[
        str,
        typer.Option(
            help="Metric of the benchmarks; accuracy where there is one, else the search's."
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Show the robustness table: arm x weighter against benchmarks."""
    with _one_line_errors():
        from .tables import robustness_table

        table = robustness_table(folder, metric=metric or None)
    if as_json:
        typer.echo(json.dumps(_as_json(table), ensure_ascii=False))
        return
    from . import formats

    if format is Format.terminal:
        formats.console().print(formats.to_rich(table))
    elif format is Format.markdown:
        typer.echo(formats.to_markdown(table), nl=False)
    elif format is Format.csv:
        typer.echo(formats.to_csv(table), nl=False)
    else:
        typer.echo(formats.to_latex(table), nl=False)


@app.command()
def plot(folder: Folder, as_json: Json = False) -> None:
    """Write report/figures/*.svg and *.png."""
    with _one_line_errors():
        from .export import tables as read
        from .plots import write_figures

        paths, left_out = write_figures(read(folder), folder / "report" / "figures")
    for note in left_out:
        typer.echo(note, err=True)
    both = [one for path in paths.values() for one in (path, path.with_suffix(".png"))]
    _show_paths(both, as_json=as_json)


@app.command()
def robustbench(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(help="Where to; DIR/report/robustbench by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write RobustBench's JSON of every confirmed arm and threat model.

    Only AutoAttack's standard version on all test examples is called autoattack_acc.
    """
    with _one_line_errors():
        from .export import tables as read
        from .robustbench import write

        paths = write(read(folder), out or folder / "report" / "robustbench")
    if not paths:
        typer.echo("No confirmed arm has figures on the test split yet.", err=True)
    _show_paths(paths, as_json=as_json)


@app.command()
def report(folder: Folder, as_json: Json = False) -> None:
    """Write the tables, the figures and report/index.html."""
    with _one_line_errors():
        from .report import write_report

        _show_paths([write_report(folder)], as_json=as_json)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """An error that the user can mend ends the command with one line and exit code 2."""
    try:
        yield
    except (ValueError, PermissionError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def _show_paths(paths: list[Path], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([str(one) for one in paths]))
        return
    for one in paths:
        typer.echo(str(one))


def _as_json(table: RobustnessTable) -> dict[str, Any]:
    """Figures as fractions and full precision; None, also for a value that is not finite."""
    from .formats import records

    return {
        "study": table.study,
        "question": table.question,
        "data": table.data,
        "split": table.split,
        "metric": table.metric.name,
        "better": table.metric.better,
        "caption": table.caption,
        "notes": list(table.notes),
        "rows": [
            {
                "arm": row.arm,
                "weighter": row.weighter,
                "reference": row.reference,
                "n_seeds": row.n_seeds,
                "trials": row.trials,
                "epochs": row.epochs,
                "time_ratio": row.time_ratio,
                "extra_forwards": row.extra_forwards,
                "extra_backwards": row.extra_backwards,
                "selected_trial": row.selected_trial,
                "selected": row.selected,
            }
            for row in table.rows
        ],
        "figures": [{key: _valid(one) for key, one in row.items()} for row in records(table)],
    }


def _valid(value: Any) -> Any:
    # JSON has no word for NaN and infinity.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


if __name__ == "__main__":
    app(prog_name="python -m analysis")
