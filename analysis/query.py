"""SQL over the tables of one study or of many, by duckdb, which sees nothing but these tables.

A query that someone sends with a study must not be able to read or write other files, so duckdb
gets the tables as objects and is then shut off from everything outside.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .schema import RECORDED, TABLES

INSTALL = "python -m pip install 'duckdb>=1.1'"


class MissingExtraError(ImportError):
    """duckdb is not installed; the message says how to install it."""


class QueryError(ValueError):
    """There is nothing to query, or the SQL is wrong; the message says what there is."""


@dataclass(frozen=True)
class Answer:
    """The rows of a query's last statement under the names of its columns."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def query(folder: Path, sql: str) -> Answer:
    """What `sql` says of the study in `folder`, or of all studies in folders of it.

    Every table is a view of its name, with a first column `study`, the name of the study's folder.
    Times are in UTC. Raises `QueryError` for a folder without tables and for wrong SQL, and
    `MissingExtraError` where duckdb is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise MissingExtraError(f"query needs duckdb; install it with: {INSTALL}") from None
    found = _tables(folder)
    with duckdb.connect(config={"python_enable_replacements": "false"}) as database:
        columns = {name: _view(database, name, paths) for name, paths in found.items()}
        database.execute("set timezone = 'UTC'")
        database.execute("set enable_external_access = false")
        database.execute("set lock_configuration = true")
        try:
            answer = database.sql(sql)
            rows = None if answer is None else answer.to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(_explained(error, sql, columns)) from None
    if rows is None:
        return Answer((), [])
    names = tuple(rows.column_names)
    values = [column.to_pylist() for column in rows.columns]
    return Answer(names, list(zip(*values, strict=True)))


def behind(folder: Path) -> list[Path]:
    """The studies whose ledger was written to after their tables were."""
    found = []
    for path, _ in _studies(folder):
        ledger, trials = path / "ledger.jsonl", path / "tables" / "trials.parquet"
        if ledger.is_file() and ledger.stat().st_mtime > trials.stat().st_mtime:
            found.append(path)
    return found


def _studies(folder: Path) -> list[tuple[Path, str]]:
    """Folders with tables, and what the column `study` calls them: by their names."""
    if (folder / "tables" / "trials.parquet").is_file():
        return [(folder, folder.resolve().name)]
    inner = sorted(path.parents[1] for path in folder.glob("*/tables/trials.parquet"))
    return [(path, path.name) for path in inner]


def _tables(folder: Path) -> dict[str, list[tuple[Path, str]]]:
    """Table -> its files, with the study of each."""
    studies = _studies(folder)
    if not studies:
        where = "it has no tables/" if (folder / "ledger.jsonl").is_file() else "no study below it"
        hint = f"; write them with: python -m analysis export {folder}"
        raise QueryError(f"{folder}: {where}{hint if 'tables' in where else ''}")
    found: dict[str, list[tuple[Path, str]]] = {}
    for name in (*TABLES, *RECORDED):
        paths = [(path / "tables" / f"{name}.parquet", study) for path, study in studies]
        there = [(path, study) for path, study in paths if path.is_file()]
        if there:
            found[name] = there
    return found


def _view(database: Any, name: str, files: Sequence[tuple[Path, str]]) -> list[str]:
    """Make the view of a table over all studies; returns the names of its columns."""
    from pyarrow import dataset

    parts = []
    for place, (path, study) in enumerate(files):
        database.register(f"_{name}_{place}", dataset.dataset(path))
        told = study.replace("'", "''")
        parts.append(f"select '{told}' as study, * from _{name}_{place}")
    # By name: tables of older releases lack columns.
    database.execute(f"create view {name} as {' union all by name '.join(parts)}")
    return [row[0] for row in database.execute(f"describe {name}").fetchall()]


def _explained(error: Exception, sql: str, columns: dict[str, list[str]]) -> str:
    """The error in one line, with the names that would have been right."""
    text = " ".join(str(error).partition("\nLINE")[0].split())
    asked = [name for name in columns if re.search(rf"\b{name}\b", sql)]
    known = [f"Tables: {', '.join(columns)}"]
    known += [f"Columns of {name}: {', '.join(columns[name])}" for name in asked]
    return f"{text}. {'. '.join(known)}."


def to_csv(answer: Answer) -> str:
    """The answer as CSV; empty where nothing is known, NaN where something diverged."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([_plain(one) for one in row] for row in answer.rows)
    return text.getvalue()


def to_json(answer: Answer) -> str:
    """The answer as a JSON list of objects; null also for numbers that are not finite."""
    rows = [
        {name: _valid(one) for name, one in zip(answer.columns, row, strict=True)}
        for row in answer.rows
    ]
    return json.dumps(rows, ensure_ascii=False, default=_plain)


def to_markdown(answer: Answer) -> str:
    """The answer as a Markdown table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(one.replace("|", "\\|") for one in cells) + " |"

    lines = [line(answer.columns), line(["---"] * len(answer.columns))]
    lines += [line([_shown(one) for one in row]) for row in answer.rows]
    return "\n".join(lines) + "\n"


def to_rich(answer: Answer) -> Any:
    """The answer as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for i, name in enumerate(answer.columns):
        numbers = any(isinstance(row[i], int | float) for row in answer.rows)
        table.add_column(Text(name), justify="right" if numbers else "left")
    for row in answer.rows:
        # As texts: a name in brackets is no markup.
        table.add_row(*(Text(_shown(one).replace("\n", " ")) for one in row))
    return table


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str) else str(value)


def _valid(value: Any) -> Any:
    # JSON has no word for NaN and infinity.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
