from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.events import SCHEMA_VERSION, LedgerError, decode, encode, read

TIME = "2026-11-21T19:20:01.123456+00:00"
STUDY = {"event": "study", "time": TIME, "schema_version": 1, "study": "tiny"}
REPORT = {
    "event": "report",
    "time": TIME,
    "trial": 0,
    "epoch": 1,
    "metrics": {"train/loss": math.nan, "validation/accuracy": 0.5, "lowest": -math.inf},
    "weights": {"main": {"raw_loss": math.inf, "weight": 1.0, "grad_norm": None}},
    "evaluations": [
        {"split": "test", "name": "NaN", "norm": None, "eps": math.inf, "value": math.nan}
    ],
}


def write(path: Path, *lines: str | bytes, end: bytes = b"\n") -> Path:
    parts = [line.encode() if isinstance(line, str) else line for line in lines]
    path.write_bytes(b"\n".join(parts) + end)
    return path


def test_one_line_of_strict_json() -> None:
    event = {**STUDY, "question": "Is a × b\nbetter?", "seed": 0}
    line = encode(event)
    assert line == (
        '{"event":"study","time":"2026-11-21T19:20:01.123456+00:00","schema_version":1,'
        '"study":"tiny","question":"Is a × b\\nbetter?","seed":0}'
    )
    assert decode(line) == event


def test_numbers_that_are_not_finite_survive() -> None:
    line = encode(REPORT)
    plain = json.loads(line, parse_constant=pytest.fail)
    assert plain["metrics"] == {
        "train/loss": "NaN",
        "validation/accuracy": 0.5,
        "lowest": "-Infinity",
    }
    event = decode(line)
    assert math.isnan(event["metrics"]["train/loss"])
    assert event["metrics"]["lowest"] == -math.inf
    assert event["weights"] == REPORT["weights"]
    row = event["evaluations"][0]
    assert math.isnan(row["value"])
    assert row["eps"] == math.inf
    assert row["name"] == "NaN"  # a text, whatever it says


def test_texts_elsewhere_are_left_alone() -> None:
    event = {**STUDY, "question": "NaN", "params": {"norm": "Infinity"}}
    assert decode(encode(event)) == event


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_settings_must_be_finite(value: float) -> None:
    with pytest.raises(LedgerError, match=r"recipe/training/clip_norm: .*must be finite"):
        encode({**STUDY, "recipe": {"training": {"clip_norm": value}}})


def test_numpy_scalars_become_plain() -> None:
    event = {
        **STUDY,
        "metrics": {"a": np.float32(0.1), "b": np.float64("nan"), "c": np.int64(3)},
        "flag": np.bool_(True),
    }
    found = decode(encode(event))
    assert found["metrics"]["a"] == float(np.float32(0.1))
    assert math.isnan(found["metrics"]["b"])
    assert type(found["metrics"]["c"]) is int
    assert found["flag"] is True


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"a": [1, {"b": {2}}]}, "a/1/b: cannot be written as JSON, found a set"),
        ({"a": np.zeros(2)}, "a: cannot be written as JSON, found a ndarray"),
        ({"a": Path("x")}, "a: cannot be written as JSON, found a "),
        ({"a": {1: 2}}, "a: keys must be texts, found 1"),
        ({"time": None}, "needs 'time' as a text, found None"),
    ],
)
def test_what_json_has_no_word_for_is_refused(field: dict[str, Any], message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        encode({**STUDY, **field})


def test_texts_that_are_no_utf8_are_escaped() -> None:
    # What Python makes of a file name with the byte 0xff.
    event = decode(encode({**STUDY, "error": {"text": "no file a\udcff"}}))
    assert event["error"]["text"] == "no file a\\udcff"


def test_a_whole_ledger(tmp_path: Path) -> None:
    path = write(tmp_path / "ledger.jsonl", encode(STUDY), encode(REPORT))
    found = read(path)
    assert [event["event"] for event in found] == ["study", "report"]
    assert not found.torn
    assert found.torn_bytes == 0
    # The study's folder or a text will do.
    assert repr(read(tmp_path)) == repr(read(str(path))) == repr(found)


@pytest.mark.parametrize("cut", range(1, 40))
def test_an_unfinished_last_line_is_left_out(tmp_path: Path, cut: int) -> None:
    tail = encode({"event": "interrupted", "time": TIME, "note": "×"}).encode()[:-cut]
    path = write(tmp_path / "ledger.jsonl", encode(STUDY), tail, end=b"")
    found = read(path)
    assert found == [STUDY]
    assert found.torn
    assert found.torn_bytes == len(tail)


def test_a_whole_event_without_its_newline_is_unfinished(tmp_path: Path) -> None:
    tail = encode({"event": "interrupted", "time": TIME}).encode()
    assert read(write(tmp_path / "ledger.jsonl", encode(STUDY), tail, end=b"")).torn_bytes == len(
        tail
    )


@pytest.mark.parametrize("tail", [b"\0" * 100, b'{"event":"re', b"\xff\xfe", b"", b'{"a":NaN}'])
def test_a_last_line_that_is_no_json_is_left_out(tmp_path: Path, tail: bytes) -> None:
    found = read(write(tmp_path / "ledger.jsonl", encode(STUDY), tail))
    assert found == [STUDY]
    assert found.torn_bytes == len(tail) + 1


@pytest.mark.parametrize("damage", [b"\0" * 10, b"{", b"", b"42", b'{"event":"report"}', b"\xff"])
@pytest.mark.parametrize("torn", [b"", b'{"eve'])
def test_a_damaged_line_before_the_last_is_an_error(
    tmp_path: Path, damage: bytes, torn: bytes
) -> None:
    if not torn:
        damage += b"\n" + encode(REPORT).encode()
    path = write(tmp_path / "ledger.jsonl", encode(STUDY), damage, torn, end=b"")
    with pytest.raises(LedgerError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line 2: ")


def test_two_broken_lines_do_not_mend_each_other(tmp_path: Path) -> None:
    first = '{"event":"report","time":"now","metrics":[{}'
    path = write(tmp_path / "ledger.jsonl", encode(STUDY), first, "{}]}", encode(REPORT))
    with pytest.raises(LedgerError, match=r"line 2: not valid JSON"):
        read(path)


def test_a_ledger_of_many_pieces_is_read_as_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [encode(STUDY), *(encode(REPORT | {"epoch": one}) for one in range(50))]
    path = write(tmp_path / "ledger.jsonl", *lines, '{"eve', end=b"")
    whole = read(path)
    monkeypatch.setattr("analysis.events._AT_ONCE", 700)
    found = read(path)
    assert repr(found) == repr(whole) == repr([decode(one) for one in lines])
    assert found.torn_bytes == whole.torn_bytes == 5
    path.write_bytes(path.read_bytes().replace(b'"epoch":33', b'"epoch":3 3'))
    with pytest.raises(LedgerError, match=r"line 35: not valid JSON"):
        read(path)


def test_a_finished_last_line_that_is_no_event_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="line 2: an event without 'event'"):
        read(write(tmp_path / "ledger.jsonl", encode(STUDY), b'{"time":"now"}'))


def test_newer_versions_are_refused(tmp_path: Path) -> None:
    newer = encode({**STUDY, "schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(LedgerError, match=r"schema version 3.*reads up to 2; update it"):
        read(write(tmp_path / "ledger.jsonl", newer))


@pytest.mark.parametrize("version", [None, "1", True, 0, 1.5])
def test_versions_are_whole_numbers(tmp_path: Path, version: object) -> None:
    with pytest.raises(LedgerError, match="schema_version must be 1 or more"):
        read(write(tmp_path / "ledger.jsonl", encode({**STUDY, "schema_version": version})))


def test_a_ledger_begins_with_its_study(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="must begin with the event 'study', found 'report'"):
        read(write(tmp_path / "ledger.jsonl", encode(REPORT), encode(STUDY)))
    for content in (b"", b'{"event":"stu'):
        with pytest.raises(LedgerError, match="holds no study"):
            read(write(tmp_path / "ledger.jsonl", content, end=b""))
    with pytest.raises(LedgerError, match="no ledger here"):
        read(tmp_path / "elsewhere")
