"""What a driver watches: room, wishes from outside, signals."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.events import latest, read
from study import watch
from study.ledger import StudyLock, StudyStorageError
from study.spec import parse
from trainables.core.errors import SettingError

from .drivers import Driver
from .in_process import TINY, Runner, begin, curves, tiny

FILE: dict[str, Any] = TINY | {
    "weighters": ["Fixed"],
    "search": {"sampler": "random", "trials_per_arm": 3},
    "schedule": {"name": "none"},
    "benchmarks": ["Clean"],
    "confirm": {"top": 1, "seeds": 1},
}


class Halting:
    """What a watch needs of a conductor."""

    halted = ""
    too_many_failures = False


def test_room_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_LEAST_FREE_BYTES", str(10**18))
    with pytest.raises(StudyStorageError, match=r"at least 10{18} \(\$STUDY_LEAST_FREE_BYTES\)"):
        watch.room(tmp_path / "not" / "there" / "yet")
    monkeypatch.setenv("STUDY_LEAST_FREE_BYTES", "a lot")
    with pytest.raises(SettingError, match="must be a whole number, found 'a lot'"):
        watch.room(tmp_path)
    monkeypatch.setenv("STUDY_LEAST_FREE_BYTES", "1")
    watch.room(tmp_path)


def test_a_full_disk_halts_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conductor: Any = Halting()
    free = watch.free_bytes(tmp_path)
    # Half of what a start asks for is enough while it runs.
    monkeypatch.setenv("STUDY_LEAST_FREE_BYTES", str(free + free // 2))
    watch.Watch(conductor, tmp_path).tick()
    assert conductor.halted == ""
    monkeypatch.setenv("STUDY_LEAST_FREE_BYTES", str(4 * free))
    watch.Watch(conductor, tmp_path).tick()
    assert conductor.halted.startswith("disk: only ")


def test_the_wait_for_room_ends_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_LEAST_FREE_BYTES", str(10**18))
    said: list[str] = []
    waiting = threading.Thread(
        target=watch.wait_for_room, args=(tmp_path, "disk: full", said.append, 0.01)
    )
    waiting.start()
    time.sleep(0.1)
    assert waiting.is_alive()
    monkeypatch.setenv("STUDY_LEAST_FREE_BYTES", "1")
    waiting.join(timeout=10)
    assert not waiting.is_alive()
    assert said[0].startswith("Paused: disk: full")
    assert said[-1] == "There is room again."
    assert list(tmp_path.iterdir()) == []


def test_a_wish_to_stop_needs_a_driver_and_reaches_it_once(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="there is nothing to stop"):
        watch.ask_to_stop(tmp_path, now=False)
    conductor: Any = Halting()
    with StudyLock(tmp_path):
        watch.ask_to_stop(tmp_path, now=False)
        watch.Watch(conductor, tmp_path).tick()
    assert conductor.halted == "stop: asked for from outside"
    assert not (tmp_path / watch.STOP_FILE).exists()


@pytest.fixture(params=["heard", "ignored"])
def ctrl_c(request: pytest.FixtureRequest) -> Iterator[None]:
    """With Ctrl-C as Python has it, and ignored as in a script's background."""
    heard = request.param == "heard"
    before = signal.signal(signal.SIGINT, signal.default_int_handler if heard else signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_a_wish_to_stop_at_once_is_a_ctrl_c(tmp_path: Path) -> None:
    with StudyLock(tmp_path):
        watch.ask_to_stop(tmp_path, now=True)
        with pytest.raises(KeyboardInterrupt):
            watch.Watch(Halting(), tmp_path).tick()  # type: ignore[arg-type]


@pytest.mark.usefixtures("ctrl_c")
def test_sigterm_is_a_ctrl_c_and_the_handler_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    given_up: list[bool] = []
    with (
        pytest.raises(KeyboardInterrupt),
        watch.Signals(lambda: given_up.append(True)) as seen,
    ):
        seen.arm()
        signal.raise_signal(signal.SIGTERM)
    assert seen.terminated
    assert signal.getsignal(signal.SIGTERM) is before
    assert not given_up


def test_who_does_not_end_after_sigterm_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "GRACE_S", 0.05)
    given_up = threading.Event()
    with watch.Signals(given_up.set) as seen:
        seen.arm()
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert given_up.wait(10)


def test_the_seconds_are_counted_while_the_main_thread_is_in_a_c_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "GRACE_S", 0.01)
    given_up = threading.Event()
    thread = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
    with contextlib.suppress(KeyboardInterrupt), watch.Signals(given_up.set) as seen:
        seen.arm()
        thread.start()
        # Half a second without the interpreter's lock and without a look at signals.
        hashlib.pbkdf2_hmac("sha256", b"a call into Ray", b"that does not return", 10**6)
    assert given_up.is_set()


def test_whoever_ends_in_time_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "GRACE_S", 0.2)
    given_up = threading.Event()
    before = threading.active_count()
    with contextlib.suppress(KeyboardInterrupt), watch.Signals(given_up.set) as seen:
        seen.arm()
        signal.raise_signal(signal.SIGTERM)
    assert threading.active_count() == before
    assert not given_up.is_set()
    assert signal.set_wakeup_fd(-1) == -1


# Long enough to be stopped by a program that has to start first.
LONG = FILE | {
    "arms": {"baseline": {}},
    "training": TINY["training"] | {"epochs": 400},
    "search": {"sampler": "random", "trials_per_arm": 2},
    "confirm": {"seeds": 0},
}

# The program itself.


def wait_for(ledger: Path, lines: int, process: subprocess.Popen[bytes], driver: Driver) -> None:
    while not ledger.exists() or ledger.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, driver.said()
        time.sleep(0.01)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(FILE), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGTERM to all", "stop", "stop --now"])
def test_every_way_to_stop_is_an_interruption_that_resume_continues(
    runner: Runner, driver: Driver, file: Path, tmp_path: Path, how: str
) -> None:
    longer = FILE | {"training": TINY["training"] | {"epochs": 30}}
    asked = LONG if how.startswith("stop") else longer
    file.write_text(json.dumps(asked), encoding="utf-8")
    folder = tmp_path / "studies" / "tiny"
    small = ("--cpus", 2, "--no-dashboard")
    process = driver.start("run", file, "--root", tmp_path / "studies", *small)
    wait_for(folder / "ledger.jsonl", 8, process, driver)
    if how == "SIGTERM to all":
        os.killpg(process.pid, signal.SIGTERM)
    elif how.startswith("SIG"):
        process.send_signal(signal.Signals[how])
    else:
        assert driver.start(*how.replace("stop", f"stop {folder}").split()).wait() == 0
    assert process.wait() == 130, driver.said()
    assert latest(read(folder)) == "interrupted"
    assert driver.start("resume", folder, *small).wait() == 0, driver.said()
    reference = begin(tmp_path / "reference", parse(asked))
    runner.run(reference)
    assert curves(folder) == curves(reference)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB; the test is skipped where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_study_waits_while_its_disk_is_full_and_goes_on_by_itself(
    runner: Runner, driver: Driver, file: Path, small_disk: Path, tmp_path: Path
) -> None:
    folder = small_disk / "tiny"
    process = driver.start(
        *("run", file, "--root", small_disk, "--cpus", 1, "--no-dashboard"),
        STUDY_LEAST_FREE_BYTES=str(2**22),
    )
    wait_for(folder / "ledger.jsonl", 8, process, driver)
    ballast = small_disk / "ballast"
    with ballast.open("wb") as other, contextlib.suppress(OSError):
        while True:  # until there is no room at all
            other.write(bytes(2**16))
            other.flush()
    until = time.monotonic() + 120
    while "Paused: " not in driver.said():
        assert process.poll() is None, driver.said()
        assert time.monotonic() < until, driver.said()
        time.sleep(0.05)
    ballast.unlink()
    assert process.wait() == 0, driver.said()
    reference = begin(tmp_path / "reference", parse(FILE))
    runner.run(reference)
    assert curves(folder) == curves(reference)


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_runs(
    small_disk: Path, tmp_path: Path
) -> None:
    folder = begin(small_disk / "tiny", tiny())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StudyStorageError, match="cannot be written: Read-only file system"):
        StudyLock(folder).__enter__()
