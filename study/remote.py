"""A study's own files in the storage of its trials, so that another machine can take it up.

The folder on the driver's disk stays the truth while a driver lives; what is in the storage is a
copy, at most half a minute old. A driver's machine may be lost with its disk: `fetch` brings the
study back elsewhere, and it goes on from there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from analysis import events
from trainables.core.errors import SettingError
from trainables.storage import Storage, StorageError

# Beside the ledger; the ledger goes last, so that what it tells of is there.
OWN = ("study.yaml", "resolved.json", "ledger.torn-*", "tables/*.parquet", "report/**/*")
# What trials wrote for tables, beside their checkpoints.
RECORDED = ("examples.npz", "policies.jsonl")
CHECKPOINTS = ("best.pt", "last.pt")


class Mirror:
    """Copies a study's files to its place in a storage, those that changed.

    `uri` is the study's own place, the one below which its trials keep their checkpoints. Raises
    `SettingError` where another study is there, `StorageError` where it cannot be read.
    """

    def __init__(self, folder: Path, uri: str, *, every_s: float = 30.0) -> None:
        self.folder = folder
        self.every_s = every_s
        self._storage = Storage(uri)
        self._there: dict[str, tuple[int, int]] = {}
        self._next = 0.0
        _claim(folder, self._storage)

    def tick(self, *, now: bool = False) -> str:
        """Copy what changed if it is time to, or `now`; why that failed, "" where it did not.

        A storage that cannot be reached is no reason to stop: it is tried again at the next turn.
        """
        if not now and monotonic() < self._next:
            return ""
        try:
            self.copy()
        except StorageError as error:
            return str(error)
        finally:
            self._next = monotonic() + self.every_s
        return ""

    def copy(self) -> None:
        """Copy what changed now; raises `StorageError` where it cannot be."""
        for path in _files(self.folder):
            name = path.relative_to(self.folder).as_posix()
            found = path.stat()
            now = found.st_size, found.st_mtime_ns
            if self._there.get(name) != now:
                self._storage.put(path, name)
                self._there[name] = now


def fetch(uri: str, folder: Path) -> Path:
    """Bring the study at `uri` into `folder`, to be looked at or resumed there.

    Its ledger, settings, tables, report and what trials recorded come; checkpoints stay, as the
    trials go on from the storage itself. Raises `SettingError` where the folder holds anything, or
    where there is no study, and `StorageError`. The folder appears whole or not at all.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingError(f"{folder} is there already; nothing was changed. Name a new folder.")
    storage = Storage(uri)
    names = storage.names()
    if events.FILE not in names:
        raise SettingError(f"{storage.shown} holds no study: there is no {events.FILE}.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetched-") as unfinished:
        whole = Path(unfinished) / "study"
        for name in names:
            if not name.startswith("trials/") or name.endswith(RECORDED):
                storage.get(name, whole / name)
        events.read(whole / events.FILE)
        whole.replace(folder)
    return folder


def fetch_recorded(uri: str, folder: Path) -> None:
    """Bring what trials recorded into the study's folder, where tables are made of it."""
    storage = Storage(uri)
    for name in storage.names("trials"):
        if name.endswith(RECORDED):
            storage.get(name, folder / name)


def fetch_trial(uri: str, folder: Path, number: int) -> Path:
    """Bring a trial's checkpoints into the study's folder; the trial's folder there.

    Raises `SettingError` where it has none.
    """
    storage = Storage(uri)
    name = f"trials/{number:04d}"
    found = [storage.get(f"{name}/{one}", folder / name / one) for one in CHECKPOINTS]
    if not any(found):
        raise SettingError(f"{storage.shown} has no checkpoint of trial {number}.")
    return folder / name


def _files(folder: Path) -> Iterator[Path]:
    for pattern in OWN:
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and path.suffix not in (".new", ".tmp"):
                yield path
    if (folder / events.FILE).exists():
        yield folder / events.FILE


def _claim(folder: Path, storage: Storage) -> None:
    """See that the place is free or this study's own."""
    with tempfile.TemporaryDirectory() as scratch:
        if not storage.get(events.FILE, Path(scratch) / events.FILE):
            return
        theirs = _study_id(Path(scratch) / events.FILE)
    mine = _study_id(folder / events.FILE)
    if mine != theirs:
        raise SettingError(
            f"storage: {storage.shown} holds another study ({theirs}); nothing was changed. Name "
            "another place, or fetch that study to go on with it."
        )


def _study_id(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return str(json.loads(file.readline())["study_id"])
