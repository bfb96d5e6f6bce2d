"""Tables of a running study: written beside the driver, whole at every moment, never in its way."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from study import refresh
from study.refresh import Refresh

from .written import Written


def wait(one: Refresh, until: Path, change: float = 0.0) -> None:
    """Tick as a driver does until the file is newer than `change`."""
    for _ in range(600):
        one.tick()
        if until.exists() and until.stat().st_mtime_ns / 1e9 > change and one._running is None:
            return
        time.sleep(0.05)
    raise AssertionError(f"{until} was not written")


@pytest.mark.slow  # a process of its own for each export
def test_tables_follow_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "SHARE", 1e6)
    written = Written(tmp_path / "s")
    said: list[str] = []
    one = Refresh(written.folder, said.append, every_s=0.0)
    trials = written.folder / "tables" / "trials.parquet"
    wait(one, trials)
    assert pq.read_table(trials).num_rows == 0
    written.planned(1)
    wait(one, trials, trials.stat().st_mtime_ns / 1e9)
    assert pq.read_table(trials).num_rows == 1
    # Nothing happened since: nothing is begun.
    one.tick()
    assert one._running is None
    assert not said


@pytest.mark.slow  # a process of its own for each export
def test_an_export_that_has_begun_is_stopped(tmp_path: Path) -> None:
    written = Written(tmp_path / "s")
    one = Refresh(written.folder, every_s=0.0)
    one.tick()
    process = one._running
    assert process is not None
    began = time.monotonic()
    one.end()
    assert process.returncode is not None
    assert time.monotonic() - began < refresh.PATIENCE_S + 1
    assert not list(written.folder.glob("tables/.*.tmp"))


@pytest.mark.slow  # a process of its own for each export
def test_what_goes_wrong_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "SHARE", 1e6)
    written = Written(tmp_path / "s")
    (written.folder / "tables").write_text("in the way")
    said: list[str] = []
    one = Refresh(written.folder, said.append, every_s=0.0)
    begun = 0
    for _ in range(600):
        before = one._running
        one.tick()
        begun += one._running is not None and one._running is not before
        if begun == 3:
            break
        time.sleep(0.05)
    one.end()
    assert begun == 3
    (text,) = said
    assert "The study goes on without them" in text
    assert "tables" in text


def test_a_long_export_comes_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(refresh, "monotonic", lambda: clock[0])

    class Process:
        returncode: int | None = None
        pid = 0
        stderr = (tmp_path / "nothing").open("w+b")

        def poll(self) -> int | None:
            return self.returncode

    begun: list[Process] = []

    def popen(*_: object, **__: object) -> Process:
        begun.append(Process())
        return begun[-1]

    monkeypatch.setattr(refresh.subprocess, "Popen", popen)
    monkeypatch.setattr(refresh.os, "setpriority", lambda *_: None)
    written = Written(tmp_path / "s")
    one = Refresh(written.folder)
    one.tick()
    assert not begun  # not in the first half minute
    clock[0] = 130
    one.tick()
    assert len(begun) == 1
    clock[0] = 134
    begun[0].returncode = 0
    one.tick()
    written.planned(1)
    # It took 4 s, a twentieth of 80 s.
    clock[0] = 134 + 79
    one.tick()
    assert len(begun) == 1
    clock[0] = 134 + 80
    one.tick()
    assert len(begun) == 2
