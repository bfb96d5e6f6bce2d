"""The program itself in processes of its own, which a test may kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


class Driver:
    """Starts `python -m study` in sessions of their own, and ends all that is left of them."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self._environment = inherited | {"HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
        self._log = home / "log"
        self._sessions: list[int] = []

    def start(self, *words: object, **environment: str) -> subprocess.Popen[bytes]:
        """`python -m study` with these words."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "study", *map(str, words)],
                stdout=log,
                stderr=log,
                env=self._environment | environment,
                start_new_session=True,
            )
        self._sessions.append(process.pid)
        return process

    def said(self) -> str:
        """What all of them wrote, for the message of a failed test."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def trials(self, *sessions: int) -> list[int]:
        """The processes in which trials run now, of these drivers and of other sessions."""
        return [
            pid
            for pid, session in _sessions()
            if session in (*self._sessions, *sessions) and _title(pid).startswith("ray::Trial")
        ]

    def end(self) -> None:
        """Kill what the drivers started; Ray's own processes go soon after theirs."""
        for pid, session in _sessions():
            if session in self._sessions:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def kill_after(process: subprocess.Popen[bytes], ledger: Path, lines: int, delay: float) -> bool:
    """SIGKILL it `delay` seconds after the ledger has so many lines; whether it was still alive."""
    while process.poll() is None:
        if ledger.exists() and ledger.read_bytes().count(b"\n") >= lines:
            time.sleep(delay)
            process.kill()
            break
        time.sleep(0.002)
    return process.wait() == -signal.SIGKILL


def _sessions() -> list[tuple[int, int]]:
    """Every process and the session that it belongs to."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            session = int(path.read_text().rpartition(")")[2].split()[3])
            found.append((int(path.parent.name), session))
    return found


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    return ""
