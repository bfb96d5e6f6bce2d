"""The new events of a ledger that somebody may be writing to, each read once.

A reader who stays remembers how many bytes were whole lines. Nothing is locked or written, so it
works on a folder that may not be written to, and beside a driver on another machine.
"""

from __future__ import annotations

from pathlib import Path

from analysis import events
from analysis.events import Event, LedgerError


class Follower:
    """Reads a ledger from where it stopped; `folder` is the study's folder."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / events.FILE
        self._read = 0  # bytes
        self._lines = 0

    def new(self) -> list[Event]:
        """The events written since the last call, as they stand there.

        A last line that is not whole yet is left for the next call. Raises `LedgerError` for a
        missing or damaged ledger, one of a newer schema version, and one that became shorter.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(0, 2)
                if file.tell() < self._read:
                    raise LedgerError(
                        f"{self.path}: became shorter while it was read; another study took its"
                        " place, or its last line was taken back. Read it again"
                    )
                file.seek(self._read)
                *lines, rest = file.read().split(b"\n")
        except FileNotFoundError:
            raise LedgerError(
                f"{self.path}: no ledger here; a study's folder holds {events.FILE}"
            ) from None
        found: list[Event] = []
        for place, line in enumerate(lines):
            try:
                event = events.decode(line)
            except LedgerError as error:
                # The line before a torn end may be torn as well; the next driver sets it aside.
                if place == len(lines) - 1 and not rest:
                    break
                raise LedgerError(f"{self.path}, line {self._lines + 1}: {error}") from None
            if self._lines == 0:
                events.check_study(self.path, event)
            elif event["event"] == "upgraded":
                events.check_study(self.path, event | {"event": "study"})
            found.append(event)
            self._read += len(line) + 1
            self._lines += 1
        return found
