"""What a driver watches beside its trials: signals, a wish to stop from outside, room on the disk.

A study that runs out of room waits for it, because a week's work should not end for want of a
gigabyte; and it asks for room before the disk is full, because then nothing can be written at all.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from study.ledger import StudyStorageError, locked
from trainables.core.errors import SettingError

if TYPE_CHECKING:
    from study.conductor import Conductor

# A study of small models needs little; below this a checkpoint or a table may not fit.
LEAST_FREE_BYTES = 200 * 2**20
STOP_FILE = "stop"
NOW = "now"
# Slurm and Kubernetes kill 30 s after they asked.
GRACE_S = 15.0


def least_free_bytes() -> int:
    """How much must be free: $STUDY_LEAST_FREE_BYTES, else 200 MiB; half of it while running."""
    text = os.environ.get("STUDY_LEAST_FREE_BYTES", "")
    if text and not text.isdecimal():
        raise SettingError(f"$STUDY_LEAST_FREE_BYTES must be a whole number, found {text!r}.")
    return int(text) if text else LEAST_FREE_BYTES


def free_bytes(folder: Path) -> int:
    """What is free where the folder is, or will be."""
    place = folder
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def room(folder: Path) -> None:
    """Raises `StudyStorageError` where a study would soon run out of room."""
    free, least = free_bytes(folder), least_free_bytes()
    if free < least:
        raise StudyStorageError(
            f"{folder}: only {free} bytes are free there, a study needs at least {least} "
            "($STUDY_LEAST_FREE_BYTES); make room or choose another --root."
        )


def wait_for_room(
    folder: Path, reason: str, say: Callable[[str], None], every_s: float = 5.0
) -> None:
    """Return when the folder can be written and has room again; Ctrl-C ends the wait."""
    say(
        f"Paused: {reason}. Everything reported is kept. The study goes on by itself when "
        f"{folder} can be written and {least_free_bytes()} bytes are free; Ctrl-C leaves it paused."
    )
    while True:
        with suppress(StudyStorageError):
            room(folder)
            _try_to_write(folder)
            say("There is room again.")
            return
        time.sleep(every_s)


def ask_to_stop(folder: Path, *, now: bool) -> None:
    """Ask the driver of a study, wherever it runs, to stop; raises `SettingError` without one.

    It stops when every running trial has reported its epoch, or at once.
    """
    if not locked(folder):
        raise SettingError(f"{folder}: no driver works on this study; there is nothing to stop.")
    try:
        (folder / STOP_FILE).write_text(NOW if now else "", encoding="utf-8")
    except OSError as error:
        raise StudyStorageError(f"{folder}: cannot be written: {error.strerror}") from error


def unask(folder: Path) -> None:
    """Forget what was asked of an earlier driver."""
    with suppress(OSError):
        (folder / STOP_FILE).unlink(missing_ok=True)


class Watch:
    """Looks after a running study at every turn of its loop, at most once a second."""

    def __init__(self, conductor: Conductor, folder: Path) -> None:
        self._conductor = conductor
        self._folder = folder
        self._next = 0.0

    def tick(self) -> None:
        """Let the conductor halt where there is reason to."""
        if time.monotonic() < self._next or self._conductor.halted:
            return
        self._next = time.monotonic() + 1.0
        free = free_bytes(self._folder)
        if (self._folder / STOP_FILE).exists():
            wish = (self._folder / STOP_FILE).read_text(encoding="utf-8")
            unask(self._folder)
            self._conductor.halted = "stop: asked for from outside"
            if wish == NOW:
                signal.raise_signal(signal.SIGINT)
        elif free < least_free_bytes() // 2:
            self._conductor.halted = f"disk: only {free} bytes are free in {self._folder}"
        elif self._conductor.too_many_failures:
            self._conductor.halted = "failures: more than budget.max_failed"


@contextmanager
def signals(give_up: Callable[[], None]) -> Iterator[SimpleNamespace]:
    """SIGTERM, which schedulers send before they kill, ends the segment as Ctrl-C does.

    Gives an object that says whether it came (`terminated`). If the block has not ended `GRACE_S`
    after it, `give_up` is called in a thread of its own.
    """
    seen = SimpleNamespace(terminated=False)
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    timer = threading.Timer(GRACE_S, give_up)
    timer.daemon = True

    def terminate(*_: object) -> None:
        if not seen.terminated:
            seen.terminated = True
            timer.start()
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield seen
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)


def _try_to_write(folder: Path) -> None:
    probe = folder / ".writable"
    try:
        with probe.open("wb") as file:
            file.write(bytes(2**20))
            file.flush()
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as error:
        raise StudyStorageError(f"{folder}: cannot be written: {error.strerror}") from error
