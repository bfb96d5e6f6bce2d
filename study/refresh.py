"""The tables of a running study, written again and again by a process of its own.

A study that is killed leaves tables that can be read. The driver, which answers Ray in the same
moment, neither waits for them nor fails with them: reading a long ledger takes seconds, and what is
written here can be written from the ledger at any later time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from analysis.events import FILE

EVERY_S = 30.0
# An export takes at most this share of a processor's time.
SHARE = 0.05
# So long the end of a study waits for an export that was asked to stop.
PATIENCE_S = 5.0


class Refresh:
    """Exports the tables of the study in `folder` every half minute in which something happened.

    The first export comes after `every_s` seconds. Long ones come less often, so that they take at
    most a twentieth of a processor. What goes wrong is said once. Call `tick` often and `end` at
    the end, in that order.
    """

    def __init__(
        self, folder: Path, say: Callable[[str], None] = print, every_s: float = EVERY_S
    ) -> None:
        self._folder = folder
        self._say = say
        self._every_s = every_s
        self._size = 0
        self._began = 0.0
        self._next = monotonic() + every_s
        self._running: subprocess.Popen[bytes] | None = None
        self._said = False

    def tick(self) -> None:
        """Begin an export if it is time and the ledger has grown; never wait."""
        if self._running is not None:
            if self._running.poll() is None:
                return
            self._ended(self._running)
        if monotonic() < self._next:
            return
        self._next = monotonic() + self._every_s
        with suppress(OSError):
            size = (self._folder / FILE).stat().st_size
            if size > self._size:
                self._begin(size)

    def end(self) -> None:
        """Stop an export that has begun: what comes later must not be overwritten by it."""
        if self._running is None:
            return
        process, self._running = self._running, None
        # It leaves no half of a file behind, and what was there before is there still.
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    def _begin(self, size: int) -> None:
        command = [sys.executable, "-m", "analysis", "export", str(self._folder.resolve())]
        try:
            self._running = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # Ctrl-C in the terminal is for the driver.
                start_new_session=True,
                # The same code as this, wherever the study was started.
                cwd=Path(__file__).parents[1],
            )
        except OSError as error:
            self._fail(str(error))
            return
        # Trials come first where processors are scarce.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._running.pid, 10)
        self._size, self._began = size, monotonic()

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        self._running = None
        self._next = max(self._next, monotonic() + (monotonic() - self._began) / SHARE)
        assert process.stderr is not None
        with process.stderr:
            text = process.stderr.read().decode("utf-8", "replace").strip()
        if process.returncode:
            self._fail(text.rpartition("\n")[2])

    def _fail(self, why: str) -> None:
        self._size = 0
        if not self._said:
            self._said = True
            self._say(f"The tables could not be written ({why}). The study goes on without them.")
