from __future__ import annotations

import errno
import json
import os
import random
import resource
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from analysis.events import LedgerError, encode, read
from study.ledger import Ledger, StudyLock, StudyLockedError, StudyStorageError

STUDY = {"event": "study", "schema_version": 2, "study": "tiny", "study_id": "0123456789ab"}


@contextmanager
def process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A second Python that runs `script`; killed at the end whatever happened."""
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def test_created_appended_closed_and_opened_again(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "studies" / "tiny", STUDY) as ledger:
        written = ledger.append("report", trial=0, metrics={"loss": float("inf")}, pair=(1, 2))
        assert ledger.append("ended", trial=0)["event"] == "ended"
    # What a reader sees, not what was handed in.
    assert written["pair"] == [1, 2]
    assert written["metrics"] == {"loss": float("inf")}
    with Ledger.open(tmp_path / "studies" / "tiny") as ledger:
        ledger.append("segment", segment=1, command="resume")
        assert [one["event"] for one in ledger.events] == ["study", "report", "ended", "segment"]
        assert ledger.events == read(ledger.path)
    assert [path.name for path in ledger.path.parent.iterdir()] == ["ledger.jsonl"]
    lines = ledger.path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["study", "report", "ended", "segment"]


def test_times_are_utc_with_microseconds_and_never_run_backwards(tmp_path: Path) -> None:
    future = "2999-01-01T00:00:00.000000+00:00"
    with Ledger.create(tmp_path, STUDY) as ledger:
        first = ledger.append("a")["time"]
    assert len(first) == len(future)
    assert first.endswith("+00:00")
    assert ledger.events[0]["time"] <= first
    with ledger.path.open("a", encoding="utf-8") as file:
        file.write(encode({"event": "b", "time": future}) + "\n")
    # The clock was set back since: the order of lines stays the order of times.
    with Ledger.open(tmp_path) as ledger:
        assert ledger.append("c")["time"] == future


def test_a_ledger_is_not_begun_twice_nor_without_its_study(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="must begin with the event 'study'"):
        Ledger.create(tmp_path, {**STUDY, "event": "planned"})
    assert not list(tmp_path.iterdir())
    Ledger.create(tmp_path, STUDY).close()
    with pytest.raises(LedgerError, match="a ledger already"):
        Ledger.create(tmp_path, STUDY)
    with pytest.raises(LedgerError, match="no ledger here"):
        Ledger.open(tmp_path / "elsewhere")


def test_times_without_a_zone_are_refused(tmp_path: Path) -> None:
    for text in ("yesterday", "2026-11-21T19:20:01"):
        (tmp_path / "ledger.jsonl").write_text(encode({**STUDY, "time": text}) + "\n")
        with pytest.raises(LedgerError, match=f"with a zone, found '{text}'"):
            Ledger.open(tmp_path)


@pytest.mark.parametrize("torn", [b'{"event":"report","trial":1,"metr', b"\0\0\0\n", b"{}"])
def test_an_unfinished_line_is_set_aside(tmp_path: Path, torn: bytes) -> None:
    with Ledger.create(tmp_path, STUDY) as ledger:
        ledger.append("segment", segment=0)
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + torn)
    with Ledger.open(tmp_path) as ledger:
        assert ledger.path.read_bytes() == whole
        assert not ledger.events.torn
        ledger.append("segment", segment=1)
    (aside,) = tmp_path.glob("ledger.torn-*")
    assert aside.read_bytes() == torn
    assert [event.get("segment") for event in read(tmp_path)] == [None, 0, 1]


def test_refused_fields_leave_no_trace(tmp_path: Path) -> None:
    with Ledger.create(tmp_path, STUDY) as ledger:
        before = ledger.path.read_bytes()
        with pytest.raises(LedgerError, match="what: cannot be written"):
            ledger.append("report", what=object())
        assert ledger.path.read_bytes() == before
        assert len(ledger.events) == 1
    with pytest.raises(StudyStorageError, match="closed"):
        ledger.append("report")


APPEND = """
import sys
from study.ledger import Ledger

with Ledger.open(sys.argv[1]) as ledger:
    number = int(sys.argv[2])
    while True:
        # Long lines, so that some kills fall into a write.
        ledger.append("report", number=number, text="×" * (number * 7919 % 60000))
        print(number, flush=True)
        number += 1
"""


@pytest.mark.slow
def test_every_acknowledged_event_survives_sigkill(tmp_path: Path) -> None:
    rng = random.Random(0)
    Ledger.create(tmp_path, STUDY).close()
    count = 0
    for _ in range(8):
        with process(APPEND, tmp_path, count) as writer:
            assert writer.stdout is not None
            for _ in range(rng.randint(1, 12)):
                acknowledged = int(writer.stdout.readline())
            time.sleep(rng.uniform(0, 0.02))
            writer.kill()
            # What it said between the last line read and its end counts, too.
            for line in writer.stdout.read().splitlines():
                acknowledged = int(line)
        with Ledger.open(tmp_path) as ledger:
            numbers = [event["number"] for event in ledger.events[1:]]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > acknowledged
        for event in ledger.events[1:]:
            assert len(event["text"]) == event["number"] * 7919 % 60000
        count = len(numbers)
    assert count > 20


def test_every_cut_of_a_ledger_opens_and_goes_on(tmp_path: Path) -> None:
    """What a kill at any byte leaves behind, exhaustively."""
    with Ledger.create(tmp_path, STUDY) as ledger:
        ledger.append("segment", segment=0)
        ledger.append("planned", trial=0, arm="gaussian-kl × CoV")
    whole = ledger.path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole) + 1):
        ledger.path.write_bytes(whole[:cut])
        with Ledger.open(tmp_path) as ledger:
            ledger.append("interrupted")
        kept = whole[:cut].count(b"\n")
        assert [event["event"] for event in read(tmp_path)] == [
            *["study", "segment", "planned"][:kept],
            "interrupted",
        ]
    assert len(list(tmp_path.glob("ledger.torn-*"))) == len(whole) + 1 - first - 2 - 1


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    with Ledger.create(tmp_path, STUDY) as ledger:
        ledger.append("segment", segment=0)
        before = ledger.path.read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # The file may grow by 10 bytes more: the write is cut off in the middle of the line.
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
        try:
            with pytest.raises(
                StudyStorageError, match=r"ledger\.jsonl: .* \(\d+ bytes free"
            ) as got:
                ledger.append("report", trial=0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert isinstance(got.value.__cause__, OSError)
        assert got.value.__cause__.errno == errno.EFBIG
        assert ledger.path.read_bytes() == before
        # There is space again: the same object goes on.
        ledger.append("report", trial=0)
    assert [event["event"] for event in read(tmp_path)] == ["study", "segment", "report"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_space_left(tmp_path: Path) -> None:
    with Ledger.create(tmp_path, STUDY) as ledger:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, ledger._file)
        os.close(full)
        with pytest.raises(StudyStorageError, match="No space left on device"):
            ledger.append("report", trial=0)
        assert len(ledger.events) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyStorageError, match=r"ledger\.jsonl: cannot be written"):
        Ledger.create(tmp_path / "file" / "tiny", STUDY)


def test_an_interrupted_append_records_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.create(tmp_path, STUDY) as ledger:
        before = ledger.path.read_bytes()

        def interrupted(_file: int) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(os, "fsync", interrupted)
            ledger.append("report", trial=0)
        assert ledger.path.read_bytes() == before
        ledger.append("interrupted")
    assert [event["event"] for event in read(tmp_path)] == ["study", "interrupted"]


def test_events_of_a_block_go_to_the_disk_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    with Ledger.create(tmp_path, STUDY) as ledger:
        fsync = os.fsync

        def counted(file: int) -> None:
            flushed.append(len(ledger.path.read_bytes().splitlines()))
            fsync(file)

        monkeypatch.setattr(os, "fsync", counted)
        with ledger.together():
            ledger.append("report", trial=0)
            with ledger.together():
                ledger.append("report", trial=1)
            assert flushed == []
        assert flushed == [3]
        with ledger.together():
            pass
        # Nothing follows from it, so it waits for the next one.
        ledger.note("started", trial=2)
        assert flushed == [3]
        ledger.append("report", trial=2)
        assert flushed == [3, 5]
        ledger.note("started", trial=3)
    assert flushed == [3, 5, 6]
    assert len(read(tmp_path)) == 6


def test_of_a_block_that_the_disk_refuses_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_file: int) -> None:
        raise OSError(errno.EIO, "broken")

    with Ledger.create(tmp_path, STUDY) as ledger:
        before = ledger.path.read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", broken)
            with pytest.raises(StudyStorageError, match="broken"), ledger.together():
                ledger.append("report", trial=0)
                ledger.append("report", trial=1)
        assert ledger.path.read_bytes() == before
        assert [one["event"] for one in ledger.events] == ["study"]
        # What went well before an error of another kind is kept.
        with pytest.raises(RuntimeError), ledger.together():
            ledger.append("report", trial=2)
            raise RuntimeError
    assert [event["event"] for event in read(tmp_path)] == ["study", "report"]


HOLD = """
import sys
from study.ledger import StudyLock

with StudyLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_driver_is_told_who_works_here(tmp_path: Path) -> None:
    with process(HOLD, tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StudyLockedError) as caught, StudyLock(tmp_path):
            pass
        message = str(caught.value)
        assert f"process {holder.pid} on this machine (since 20" in message
        assert "another name or --root" in message
        # The refused one has not harmed the holder's text.
        assert json.loads((tmp_path / "lock").read_text())["pid"] == holder.pid
        assert holder.stdin is not None
        holder.stdin.close()
        assert holder.wait(timeout=20) == 0
        holder.stdin = None
    with StudyLock(tmp_path):
        pass


def test_a_killed_driver_leaves_no_lock(tmp_path: Path) -> None:
    with process(HOLD, tmp_path) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
        holder.wait(timeout=20)
    assert json.loads((tmp_path / "lock").read_text())["pid"] == holder.pid
    with StudyLock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_the_lock_holds_within_one_process_and_is_given_back(tmp_path: Path) -> None:
    with StudyLock(tmp_path):
        with pytest.raises(StudyLockedError, match=f"process {os.getpid()}"), StudyLock(tmp_path):
            pass
        with pytest.raises(StudyLockedError), StudyLock(tmp_path):
            pass
    assert (tmp_path / "lock").read_bytes() == b""
    with pytest.raises(ZeroDivisionError), StudyLock(tmp_path):
        _ = 1 / 0
    with StudyLock(tmp_path):
        pass


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    with StudyLock(tmp_path):
        # Ray's processes outlive a driver by seconds; they must not inherit the lock.
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with StudyLock(tmp_path):
            pass
    finally:
        child.kill()
        child.communicate()


def test_a_lock_without_its_text_is_still_a_lock(tmp_path: Path) -> None:
    with StudyLock(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(StudyLockedError, match="another process is working"):
            StudyLock(tmp_path).__enter__()


def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StudyStorageError, match="lock: cannot be written: No such file"):
        StudyLock(tmp_path / "typo").__enter__()
    assert not (tmp_path / "typo").exists()


@pytest.mark.slow
def test_of_many_drivers_one_gets_the_lock(tmp_path: Path) -> None:
    script = """
        import sys, time
        from study.ledger import StudyLock, StudyLockedError
        try:
            with StudyLock(sys.argv[1]):
                print("held", flush=True)
                sys.stdin.read()
        except StudyLockedError:
            print("refused", flush=True)
    """
    with ExitStack() as stack:
        # All live until the end, so that nobody gets the lock by waiting.
        drivers = [stack.enter_context(process(script, tmp_path)) for _ in range(3)]
        words = sorted(one.stdout.readline() for one in drivers if one.stdout is not None)
    assert words == ["held\n", "refused\n", "refused\n"]
