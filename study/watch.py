"""What a driver watches beside its trials: signals, a wish to stop from outside, room on the disk.

A study that runs out of room waits for it, because a week's work should not end for want of a
gigabyte; and it asks for room before the disk is full, because then nothing can be written at all.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

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
                interrupt()
        elif free < least_free_bytes() // 2:
            self._conductor.halted = f"disk: only {free} bytes are free in {self._folder}"
        elif self._conductor.too_many_failures:
            self._conductor.halted = "failures: more than budget.max_failed"


class Signals:
    """SIGTERM, which schedulers send before they kill, ends the segment as Ctrl-C does.

    A context manager; `arm` sets the handler, after Ray has started, which sets its own.
    `terminated` says whether the signal came. If the block has not ended `GRACE_S` after it,
    `give_up` is called in a thread of its own. Python runs a handler once the main thread is back
    from whatever C function it is in, and a call into a Ray whose processes got the signal, too,
    does not come back; so the seconds are counted from the signal itself, which wakes the thread.
    """

    def __init__(self, give_up: Callable[[], None]) -> None:
        self.terminated = False
        self._give_up = give_up
        self._ended = threading.Event()
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        self._listener = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._before: tuple[Any, int] | None = None

    def arm(self) -> None:
        """Catch SIGTERM from now on; nothing where this is not the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._listener.start()
            self._before = (
                signal.signal(signal.SIGTERM, self._terminate),
                signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._before is not None:
            handler, descriptor = self._before
            signal.set_wakeup_fd(descriptor)
            signal.signal(signal.SIGTERM, handler)
        self._mouth.close()
        if self._before is not None:
            self._listener.join()
        self._ear.close()

    def _terminate(self, *_: object) -> None:
        self.terminated = True
        interrupt()

    def _listen(self) -> None:
        """Read the number of each signal that comes, until SIGTERM or the end of the block."""
        while came := self._ear.recv(1):
            if came[0] == signal.SIGTERM:
                self.terminated = True
                if not self._ended.wait(GRACE_S):
                    self._give_up()
                return


def interrupt() -> None:
    """What Ctrl-C does now: Ray's own handler while it has one, else `KeyboardInterrupt`.

    A program that a script has put into the background ignores Ctrl-C, and so the signal alone.
    """
    if callable(signal.getsignal(signal.SIGINT)):
        signal.raise_signal(signal.SIGINT)
    else:
        raise KeyboardInterrupt


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
