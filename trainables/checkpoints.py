"""A trial's checkpoints: the last two generations and the best one, here or in a storage elsewhere.

`last.pt` is the state after the last epoch, `previous.pt` the one before it, `best.pt` the best so
far. A file that cannot be read is set aside as `<name>.broken` and the trial goes on from the one
before: it trains the same epochs again, bit for bit.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .core import intact
from .core.errors import SettingError
from .storage import Storage, StorageError

if TYPE_CHECKING:
    from .core.training import Training

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
POLICIES, EXAMPLES = "policies.jsonl", "examples.npz"


class Checkpoints:
    """The files of one trial in `folder`, kept in `storage` below `prefix` if there is one.

    With a storage `folder` is scratch: what the storage has is fetched before it is needed, and
    what is written is there when the call returns. Raises `StorageError` or `OSError` where it
    cannot be; what was kept before is kept then.
    """

    def __init__(self, folder: Path, storage: Storage | None = None, prefix: str = "") -> None:
        self.folder = folder
        self.storage = storage
        self.prefix = prefix

    def load(self, training: Training) -> str:
        """Let the training go on from the newest whole checkpoint, if there is one.

        Returns what was wrong with newer ones, "" if nothing was. Raises `SettingError` for a
        checkpoint of a newer program: it is whole, and not for this one.
        """
        for stale in self.folder.glob("*.tmp"):
            # Of a process that was lost while it wrote.
            stale.unlink(missing_ok=True)
        self._fetch(POLICIES)
        problems = []
        for name in (LAST, PREVIOUS):
            if not self._fetch(name):
                continue
            problem = self._try(training, self.folder / name)
            if not problem:
                if name == PREVIOUS:
                    self._previous_is_last()
                break
            problems.append(problem)
            self._set_aside(name)
        return "; ".join(problems)

    def save(self, training: Training) -> None:
        """Write the state as `last.pt`; what was there becomes `previous.pt`."""
        with self._tidy():
            # Its own name: a lost process may still write while its successor does.
            made = self.folder / f"next.{os.getpid()}.tmp"
            training.save(made)
            # A kill between the two leaves previous.pt alone, which `load` takes.
            with suppress(FileNotFoundError):
                (self.folder / LAST).replace(self.folder / PREVIOUS)
            made.replace(self.folder / LAST)
        if self.storage is not None:
            if (self.folder / PREVIOUS).exists():
                self._copy(LAST, PREVIOUS)
            self.keep(LAST)

    def keep_best(self) -> None:
        """Let `best.pt` be what `last.pt` is."""
        twin = self.folder / f"best.{os.getpid()}.tmp"
        with self._tidy():
            twin.unlink(missing_ok=True)
            # The same bytes under a second name: no second copy of the model is written.
            try:
                twin.hardlink_to(self.folder / LAST)
            except OSError:  # a file system without hard links
                shutil.copyfile(self.folder / LAST, twin)
            twin.replace(self.folder / BEST)
        if self.storage is not None:
            self._copy(LAST, BEST)

    def keep(self, name: str) -> None:
        """Put a file of the folder into the storage if there is one of either."""
        if self.storage is not None and (self.folder / name).exists():
            self.storage.put(self.folder / name, self._name(name))

    def _fetch(self, name: str) -> bool:
        """Whether the file is in the folder, fetched from the storage where that is the place."""
        if self.storage is not None:
            return self.storage.get(self._name(name), self.folder / name)
        return (self.folder / name).exists()

    def _try(self, training: Training, path: Path) -> str:
        problem = intact.problem(path)
        if problem:
            return problem
        try:
            training.load(path)
        except SettingError as error:
            if intact.newer(path):
                raise
            return str(error).replace(str(path), path.name)
        return ""

    def _set_aside(self, name: str) -> None:
        (self.folder / name).replace(self.folder / f"{name}.broken")
        if self.storage is not None:
            # Or the next generation would make it the one before.
            self.storage.copy(self._name(name), self._name(f"{name}.broken"))
            self.storage.delete(self._name(name))

    def _previous_is_last(self) -> None:
        (self.folder / PREVIOUS).replace(self.folder / LAST)
        if self.storage is not None:
            self.storage.copy(self._name(PREVIOUS), self._name(LAST))

    def _copy(self, name: str, to: str) -> None:
        """Let the storage copy a file of its own to another name."""
        assert self.storage is not None
        try:
            self.storage.copy(self._name(name), self._name(to))
        except StorageError:
            # Stores copy up to a size (S3: 5 GB); what is here has the same bytes.
            self.keep(to)

    def _name(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    @contextmanager
    def _tidy(self) -> Iterator[None]:
        """Leave no half of a file behind where something fails."""
        try:
            yield
        except BaseException:
            for torn in self.folder.glob(f"*.{os.getpid()}.tmp"):
                with suppress(OSError):
                    torn.unlink()
            raise
