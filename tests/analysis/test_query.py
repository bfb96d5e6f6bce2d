from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.export import export
from analysis.query import (
    Answer,
    MissingExtraError,
    QueryError,
    behind,
    query,
    to_csv,
    to_json,
    to_markdown,
    to_rich,
)
from analysis.schema import TABLES

from .fake_study import BASELINE, Ledger, regression, tiny


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies: one of accuracies, one of errors."""
    found = tmp_path_factory.mktemp("studies")
    tiny(found / "first")
    regression(found / "it's")
    for one in ("first", "it's"):
        export(found / one)
    return found


def test_every_table_is_a_view_of_its_name(root: Path) -> None:
    for name in TABLES:
        (count,) = query(root / "first", f"select count(*) from {name}").rows
        assert count == (pq.read_table(root / "first" / "tables" / f"{name}.parquet").num_rows,)


def test_one_study_answers_what_was_written_into_it(root: Path) -> None:
    sql = """
        select arm, avg(value) as pgd from evaluations join trials using (trial_id)
        where split = 'test' and family = 'adversarial' group by arm order by arm
    """
    found = query(root / "first", sql)
    assert found.columns == ("arm", "pgd")
    assert found.rows == [("gaussian-kl", pytest.approx(0.4)), ("plain", pytest.approx(0.15))]


def test_a_root_has_all_its_studies_under_their_names(root: Path) -> None:
    found = query(root, "select study, count(*) as n from trials group by all order by study")
    assert found.rows == [("first", 8), ("it's", 8)]
    assert query(root / "it's", "select distinct study from trials").rows == [("it's",)]


def test_a_table_of_an_older_release_has_null_where_it_has_no_column(
    root: Path, tmp_path: Path
) -> None:
    shutil.copytree(root, tmp_path / "all")
    path = tmp_path / "all" / "first" / "tables" / "trials.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["weighter"]), path)
    found = query(
        tmp_path / "all", "select study, count(weighter) from trials group by all order by 1"
    )
    assert found.rows == [("first", 0), ("it's", 8)]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select * from trial", ("trial ", "Tables: studies, trials, params")),
        ("select nothing from trials", ('"nothing"', "Columns of trials: study, study_id")),
        ("select from where", ("syntax error", "Tables: ")),
    ],
)
def test_wrong_sql_is_one_line_with_the_names_there_are(
    root: Path, sql: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(QueryError) as error:
        query(root, sql)
    assert "\n" not in str(error.value)
    for one in words:
        assert one in str(error.value)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('{file}')",
        "select * from '{file}'",
        "select * from read_text('{file}')",
        "copy trials to '{file}'",
        "attach '{file}' as other",
        "install httpfs",
        "set enable_external_access = true",
        "pragma enable_external_access",
        "select * from outside",
    ],
)
def test_nothing_but_the_tables_can_be_reached(root: Path, tmp_path: Path, sql: str) -> None:
    outside = pa.table({"secret": [1]})
    assert outside.num_rows == 1
    file = tmp_path / "file.csv"
    file.write_text("secret\n1\n")
    with pytest.raises(QueryError):
        query(root, sql.format(file=file))
    assert file.read_text() == "secret\n1\n"
    assert [one.name for one in tmp_path.iterdir()] == ["file.csv"]


def test_the_tables_are_as_they_were(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    query(root, "create table mine as select * from trials; insert into mine select * from mine")
    with pytest.raises(QueryError):
        query(root, "delete from trials")
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_folder_without_tables_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no study below it"):
        query(tmp_path, "select 1")
    Ledger(tmp_path / "s", [BASELINE])
    with pytest.raises(QueryError, match=r"python -m analysis export .*/s"):
        query(tmp_path / "s", "select 1")


def test_tables_that_are_behind_their_ledger_are_named(root: Path, tmp_path: Path) -> None:
    ledger = tiny(tmp_path / "s")
    export(tmp_path / "s")
    assert behind(tmp_path / "s") == []
    ledger.event("segment", segment=1, command="resume")
    path = tmp_path / "s" / "ledger.jsonl"
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert behind(tmp_path) == [tmp_path / "s"]


ANSWER = Answer(("name", "value"), [("a|b", 0.5), ("c,d", float("nan")), (None, None)])


def test_formats() -> None:
    assert list(csv.reader(io.StringIO(to_csv(ANSWER)))) == [
        ["name", "value"],
        ["a|b", "0.5"],
        ["c,d", "nan"],
        ["", ""],
    ]
    found: list[dict[str, Any]] = json.loads(to_json(ANSWER))
    assert found[0] == {"name": "a|b", "value": 0.5}
    assert found[1]["value"] is found[2]["value"] is None
    assert to_markdown(ANSWER).splitlines()[2:] == [
        "| a\\|b | 0.5 |",
        "| c,d | nan |",
        "|  |  |",
    ]
    assert [str(one) for one in to_rich(ANSWER).columns[0].cells] == ["a|b", "c,d", ""]


def test_times_are_written_in_utc(root: Path) -> None:
    found = query(root / "first", "select min(created_at) as at from studies")
    assert json.loads(to_json(found)) == [{"at": "2026-11-21T19:00:00+00:00"}]


def test_without_duckdb_the_error_says_how_to_install_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingExtraError, match="pip install 'duckdb"):
        query(root, "select 1")


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "analysis", "query", *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow  # processes of their own
def test_the_command(root: Path, tmp_path: Path) -> None:
    found = command(str(root), "select study, count(*) as n from trials group by all order by 1")
    assert found.returncode == 0, found.stderr
    assert "first" in found.stdout and "8" in found.stdout
    found = command(str(root), "select 1 as one", "--json")
    assert json.loads(found.stdout) == [{"one": 1}]
    found = command(str(root), "select 1 as one", "--format", "csv")
    assert found.stdout == "one\n1\n"
    found = command(str(root), "select wrong from trials")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
    (tmp_path / "duckdb.py").write_text("raise ImportError\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from analysis.__main__ import app; app()"
    found = subprocess.run(
        [sys.executable, "-c", code, "query", str(root), "select 1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 3, found.stderr
    assert "pip install" in found.stderr
