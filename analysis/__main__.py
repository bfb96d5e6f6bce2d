"""`python -m analysis`: tables, figures and the report of a study folder.

Results go to stdout, progress to stderr. Exit code 2 for a folder that is no study.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .grid import Grid
    from .tables import RobustnessTable
    from .verdicts import Verdict

    Verdicts = Mapping[tuple[tuple[str, str], str], Verdict]

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
    html = "html"


class Which(StrEnum):
    """What `tables` shows."""

    robustness = "robustness"
    corruptions = "corruptions"
    severities = "severities"
    weighters = "weighters"
    coefficients = "coefficients"
    ablation = "ablation"
    transfer = "transfer"
    selection = "selection"


class As(StrEnum):
    """How `tables` shows accuracies."""

    accuracy = "accuracy"
    error = "error"


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
    which: Annotated[Which, typer.Option(help="Which table.")] = Which.robustness,
    format: Annotated[Format, typer.Option(help="How to write the table.")] = Format.terminal,
    as_: Annotated[
        As, typer.Option("--as", help="Accuracies as they are, or as errors: 100 % less accuracy.")
    ] = As.accuracy,
    metric: Annotated[
        str,
        typer.Option(
            help="Metric of the robustness table; accuracy where there is one, else the search's."
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Show a table of the study: rows are arm x weighter, as a rule against benchmarks."""
    with _one_line_errors():
        from .export import tables_with_history

        made, history = tables_with_history(folder)
        shown = made
        if as_ is As.error and metric in ("", "accuracy"):
            from .as_error import as_error

            shown = as_error(made)
            metric = "error" if "error" in shown["evaluations"]["metric"].to_pylist() else metric
        if which is not Which.robustness:
            from importlib import import_module

            place = "corruptions" if which is Which.severities else which.value
            make = getattr(import_module(f"analysis.grids.{place}"), which.value)
            _show(make(shown, history), None, format, as_json=as_json)
            return
        from .judgement import judge
        from .tables import robustness_table

        table = robustness_table(shown, metric=metric or None, history=history)
        _show(table, judge(table, made, folder), format, as_json=as_json)


@app.command()
def plot(folder: Folder, as_json: Json = False) -> None:
    """Write report/figures/*.svg and *.png."""
    with _one_line_errors():
        from .export import tables as read
        from .export import with_recorded
        from .plots import write_figures

        made = with_recorded(folder, read(folder))
        paths, left_out = write_figures(made, folder / "report" / "figures")
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


@app.command()
def ranks(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Studies, one for each data set.")
    ],
    benchmark: Annotated[str, typer.Option(help="By which the arms are ranked.")] = "clean",
    format: Annotated[Format, typer.Option(help="How to write the table.")] = Format.terminal,
    plot: Annotated[
        Path | None, typer.Option(help="Write the critical-difference diagram: .svg or .png.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rank the arms of several studies of different data sets, and say which differ.

    Example: python -m analysis ranks studies/series-* --benchmark gaussian_0.3 --plot ranks.svg
    """
    with _one_line_errors():
        if plot is not None and plot.suffix not in (".svg", ".png", ".pdf"):
            raise ValueError(f"--plot must end in .svg, .png or .pdf, found {str(plot)!r}")
        from .grids.ranks import ranks as as_grid
        from .ranks import critical_difference, rank_table
        from .tables import robustness_table

        found = rank_table([robustness_table(one) for one in folders], benchmark)
        if plot is not None:
            from .plots import save

            save(critical_difference(found), plot)
        _show(as_grid(found), None, format, as_json=as_json)


class Rows(StrEnum):
    """How `query` writes."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"
    json = "json"


@app.command()
def query(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A study's folder, or one with several studies.")
    ],
    sql: Annotated[str, typer.Argument(metavar="SQL", help="In duckdb's words; - reads stdin.")],
    format: Annotated[Rows, typer.Option(help="How to write the rows.")] = Rows.terminal,
    as_json: Json = False,
) -> None:
    """Ask the tables by SQL; each is a view of its name, and no other file can be reached.

    Example: python -m analysis query studies "select study, arm, max(clean_acc) from trials group
    by all"
    """
    from . import query as asking

    with _one_line_errors():
        try:
            found = asking.query(folder, sys.stdin.read() if sql == "-" else sql)
        except asking.MissingExtraError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(3) from None
    for one in asking.behind(folder):
        typer.echo(f"{one}: the tables are older than the ledger; see export", err=True)
    if as_json or format is Rows.json:
        typer.echo(asking.to_json(found))
    elif format is Rows.terminal:
        from .formats import console

        console().print(asking.to_rich(found))
    else:
        write = asking.to_csv if format is Rows.csv else asking.to_markdown
        typer.echo(write(found), nl=False)


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


def _show(
    shown: RobustnessTable | Grid, found: Verdicts | None, format: Format, *, as_json: bool
) -> None:
    """Write a table to stdout."""
    from . import formats
    from .grid import Grid

    if as_json:
        plain = _grid_json(shown) if isinstance(shown, Grid) else _table_json(shown, found or {})
        typer.echo(json.dumps(plain, ensure_ascii=False))
    elif format is Format.terminal:
        formats.console().print(formats.to_rich(shown, found))
    else:
        write = {
            Format.markdown: formats.to_markdown,
            Format.csv: formats.to_csv,
            Format.latex: formats.to_latex,
            Format.html: formats.to_html,
        }[format]
        typer.echo(write(shown, found), nl=False)


def _grid_json(grid: Grid) -> dict[str, Any]:
    """Figures in full precision under the columns' keys; None for a cell of numbers without one."""
    rows = []
    for row in grid.body:
        plain: dict[str, Any] = {}
        for column, entry in zip(grid.columns, row, strict=True):
            plain[column.key] = _valid(entry.value) if column.number else entry.text
            if entry.half is not None:
                plain[f"{column.key}_half_width"] = _valid(entry.half)
        rows.append(plain)
    return {
        "table": grid.name,
        "title": grid.title,
        "caption": grid.caption,
        "notes": list(grid.notes),
        "rows": rows,
    }


def _table_json(table: RobustnessTable, found: Verdicts) -> dict[str, Any]:
    """Figures as fractions and full precision; None, also for a value that is not finite."""
    from .formats import records
    from .verdicts import answer

    return {
        "study": table.study,
        "question": table.question,
        "answer": answer(table, found),
        "data": table.data,
        "split": table.split,
        "metric": table.metric.name,
        "better": table.metric.better,
        "caption": table.caption,
        "warnings": list(table.warnings),
        "notes": list(table.notes),
        "rows": [
            {
                "arm": row.arm,
                "weighter": row.weighter,
                "reference": row.reference,
                "control": row.control or None,
                "n_seeds": row.n_seeds,
                "trials": row.trials,
                "epochs": row.epochs,
                "time_ratio": row.time_ratio,
                "extra_forwards": row.extra_forwards,
                "extra_backwards": row.extra_backwards,
                "train_s": row.train_s,
                "peak_mem_bytes": row.peak_bytes,
                "selected_trial": row.selected_trial,
                "selected": row.selected,
            }
            for row in table.rows
        ],
        "figures": [
            {key: _valid(one) for key, one in row.items()} for row in records(table, found)
        ],
    }


def _valid(value: Any) -> Any:
    # JSON has no word for NaN and infinity.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


if __name__ == "__main__":
    app(prog_name="python -m analysis")
