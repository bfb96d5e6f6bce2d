"""A study of schema version 1, kept as its driver wrote it (clocks and data's facts apart).

`ledger-v1.jsonl` and `resolved-v1.json` are of a real tiny study: two arms on Digits, one trial
that failed, some that diverged or were stopped, one retried, an interruption, a confirmation.
`tables-v1.json` has a digest of every column that the release of that day made of it, and
`robustness-v1.csv` its answer.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from analysis import events
from analysis.export import export, tables, tables_with_history
from analysis.formats import to_csv
from analysis.history import fold
from analysis.objectives import objectives_of
from analysis.report import write_report
from analysis.stops import stops
from analysis.tables import robustness_table

HERE = Path(__file__).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "golden"
    place.mkdir()
    for name in ("ledger.jsonl", "resolved.json"):
        kept = HERE / name.replace(".", "-v1.")
        shutil.copy(kept, place / name)
    return place


def test_the_tables_of_an_older_study_do_not_change(folder: Path) -> None:
    expected = json.loads((HERE / "tables-v1.json").read_text(encoding="utf-8"))
    made = tables(folder)
    assert set(expected) <= set(made)
    found = {
        name: {
            column: hashlib.sha256(
                json.dumps(made[name][column].to_pylist(), default=str).encode()
            ).hexdigest()[:16]
            for column in columns
        }
        for name, columns in expected.items()
    }
    assert found == expected
    assert {name: table.num_rows for name, table in made.items()} == {
        "studies": 1, "trials": 14, "params": 651, "reports": 240, "evaluations": 64, "weights": 39,
    }  # fmt: skip


def test_the_answer_of_an_older_study_does_not_change(folder: Path) -> None:
    expected = list(csv.DictReader((HERE / "robustness-v1.csv").read_text().splitlines()))
    found = list(csv.DictReader(to_csv(robustness_table(folder)).splitlines()))
    assert len(found) == len(expected) == 4
    for mine, theirs in zip(found, expected, strict=True):
        for key, value in theirs.items():
            try:
                number = float(value)
            except ValueError:
                assert mine[key] == value, key
            else:
                # Student's t comes from SciPy, whose last digit may move.
                assert float(mine[key]) == pytest.approx(number, rel=1e-9), key


def test_its_events_read_as_those_of_today(folder: Path) -> None:
    before = (folder / "ledger.jsonl").read_bytes()
    found = events.read(folder)
    kinds = [one["event"] for one in found]
    assert kinds.count("stopped") == sum(one.get("decision") == "stop" for one in found) == 4
    (failed,) = (one for one in found if one["event"] == "failed")
    assert (failed["trial"], failed["class"], failed["type"]) == (1, "error", "ValueError")
    place = found.index(failed)
    assert found[place + 1]["event"] == "ended"
    assert events.version(found) == 1
    assert (folder / "ledger.jsonl").read_bytes() == before


def test_its_history(folder: Path) -> None:
    history = tables_with_history(folder)[1]
    states = [one.state for one in history.in_order()]
    assert states[:10] == [
        "COMPLETE", "FAIL", "PRUNED", "FAIL", "PRUNED", "COMPLETE", "PRUNED", "FAIL", "PRUNED",
        "FAIL",
    ]  # fmt: skip
    assert states[10:] == ["COMPLETE"] * 4
    assert [one.phase for one in history.in_order()] == ["search"] * 10 + ["confirm"] * 4
    assert (history.status, history.finishes, history.extensions) == ("finished", 1, [])
    assert history.trials[5].retries == 1


def test_it_had_one_objective_and_no_reasons(folder: Path) -> None:
    made, history = tables_with_history(folder)
    assert objectives_of(made["studies"].to_pylist()[0]) == {"validation/accuracy": "max"}
    found = stops(history, "validation/accuracy")
    assert [one.trial for one in found] == [2, 4, 6, 8]
    assert all((one.cutoff, one.rank, one.of) == (None, None, None) for one in found)


def test_its_files_and_its_report_can_be_written(folder: Path) -> None:
    assert len(export(folder)) == 6
    html = write_report(folder).read_text(encoding="utf-8")
    assert "not recorded" in html
    assert "ValueError" in html
    assert "1 trial failed: gaussian-kl × CoV (search) 1." in html
    assert "3 trials diverged: gaussian-kl × CoV (search) 3." in html
    assert "Retries after a lost process: gaussian-kl × CoV (search) 1." in html
    assert "Several objectives" not in html


def test_a_driver_of_today_may_go_on_with_it(folder: Path) -> None:
    before = repr(tables(folder)["trials"].to_pylist())  # a NaN is not equal to itself
    when = "2026-11-22T08:00:00.000000+00:00"
    planned = next(one for one in events.read(folder) if one["event"] == "planned")
    more = [
        {"event": "upgraded", "schema_version": 2},
        {"event": "segment", "segment": 2, "command": "extend", "storage": None},
        planned | {"trial": 14, "place": 5},
        {"event": "started", "trial": 14},
        {
            "event": "report", "trial": 14, "epoch": 1, "metrics": {"validation/accuracy": 0.1},
            "weights": {}, "evaluations": [], "rung": 1, "train_s": 2.0, "eval_s": 0.5,
            "decision": "stop",
        },
        {
            "event": "stopped", "trial": 14, "epoch": 1, "rung": 1, "cutoff": 0.25, "rank": 3,
            "of": 3,
        },
        {
            "event": "ended", "trial": 14, "state": "PRUNED", "reason": "rung", "error": None,
            "summary": None,
        },
    ]  # fmt: skip
    with (folder / "ledger.jsonl").open("a", encoding="utf-8") as ledger:
        ledger.writelines(events.encode(one | {"time": when}) + "\n" for one in more)
    made, history = tables_with_history(folder)
    assert repr(made["trials"].to_pylist()[:14]) == before
    last = stops(history, "validation/accuracy")[-1]
    assert (last.trial, last.cutoff, last.rank, last.of) == (14, 0.25, 3, 3)
    # The stop of version 2 is not told a second time.
    found = events.read(folder)
    assert events.version(found) == 2
    assert sum(one["event"] == "stopped" and one["trial"] == 14 for one in found) == 1
    assert fold(found).status == "running"
