"""The ledger: the append-only record of a study, and the lock that keeps a second driver away.

An event counts once its line is on disk: every append, or every block of them, ends with fsync. A
driver may be killed at any moment; what it leaves is whole lines and at most one unfinished one,
which the next driver sets aside. The lock is the operating system's own (flock) and goes with the
process that holds it, however that ends, so that there is no stale lock to judge.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from analysis import events
from analysis.events import Event, Events, LedgerError

LOCK_FILE = "lock"


class StudyStorageError(OSError):
    """The study's folder cannot be written or locked; the message names path, cause and space."""


class StudyLockedError(RuntimeError):
    """Another driver works on this study; the message names it and says what to do."""


class Ledger:
    """The open ledger of one study; hold the study's lock while one exists.

    `events` is what stands on disk, the lines appended through this object included. Make one with
    `Ledger.create` or `Ledger.open`; it is a context manager that closes the file.
    """

    def __init__(self, path: Path, found: Events) -> None:
        self.path = path
        self.events = found
        self._latest = _time(path, found[-1]["time"])
        self._grouped = False
        self._pending = False
        with _storage(path):
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    @classmethod
    def create(cls, folder: str | Path, study_event: Mapping[str, Any]) -> Self:
        """Begin the ledger of a new study with its first event, which gets its name and time here.

        The file appears with the event in it or not at all. Raises `LedgerError` where there is a
        ledger already, `StudyStorageError` where the folder cannot be written.
        """
        path = Path(folder) / events.FILE
        if path.exists():
            raise LedgerError(f"{path}: there is a ledger already; open it to go on")
        line = events.encode({"event": "study", "time": _text(_now())} | dict(study_event)) + "\n"
        events.check_study(path, events.decode(line))
        with _storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, line.encode())
        return cls(path, events.read(path))

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Go on with an existing ledger.

        An unfinished last line is moved to `ledger.torn-<time>` beside the ledger; one of an older
        schema version is marked as upgraded, and its lines stay as they are. Raises
        `LedgerError` for a missing, damaged or newer ledger, `StudyStorageError` for the disk.
        """
        path = Path(folder) / events.FILE
        found = events.read(path)
        if found.torn_bytes:
            with _storage(path):
                _set_aside(path, found.torn_bytes)
            found.torn_bytes = 0
        ledger = cls(path, found)
        if events.version(found) < events.SCHEMA_VERSION:
            ledger.append("upgraded", schema_version=events.SCHEMA_VERSION)
        return ledger

    def append(self, event: str, **fields: Any) -> Event:
        """Record an event and return it as a reader will see it; it is on disk when this returns.

        Within `together` it is on disk when that ends. Times never run backwards within a ledger,
        even if the clock does. Raises `LedgerError` for fields that JSON has no word for and
        `StudyStorageError` when the disk is full or broken; the ledger then holds all earlier
        events and nothing of this one.
        """
        with self.together():
            return self.note(event, **fields)

    def note(self, event: str, **fields: Any) -> Event:
        """Record an event from which nothing follows: it is on disk with the next one at latest."""
        if self._file < 0:
            raise StudyStorageError(f"{self.path}: the ledger is closed")
        time = max(_now(), self._latest)
        line = events.encode(dict(event=event, time=_text(time), **fields)) + "\n"
        with _storage(self.path):
            size = os.fstat(self._file).st_size
            try:
                _write(self._file, line.encode())
            except BaseException:
                # Ctrl-C, too: an append that raises has recorded nothing.
                self._take_back(size)
                raise
        self._latest, self._pending = time, True
        written = events.decode(line)
        self.events.append(written)
        return written

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Events that are appended in the block go to the disk at once, when it ends.

        Waiting for a disk takes milliseconds, whatever is written. Where the disk fails nothing of
        the block is left, and nothing that follows from it may be done.
        """
        if self._grouped or self._file < 0:
            yield
            return
        self._grouped = True
        with _storage(self.path):
            size, count = os.fstat(self._file).st_size, len(self.events)
        try:
            yield
        finally:
            self._grouped = False
            with _storage(self.path):
                try:
                    self._flush()
                except BaseException:
                    self._take_back(size)
                    del self.events[count:]
                    raise

    def close(self) -> None:
        """Close the file; what was only noted goes to the disk before."""
        if self._file >= 0:
            try:
                with _storage(self.path):
                    self._flush()
            finally:
                os.close(self._file)
                self._file = -1

    def _flush(self) -> None:
        if self._pending and self._file >= 0:
            os.fsync(self._file)
            self._pending = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _take_back(self, size: int) -> None:
        """Cut off what a failed append left, or close, so that nothing is written behind it."""
        try:
            os.ftruncate(self._file, size)
        except OSError:
            self._pending = False
            self.close()


class StudyLock:
    """Keeps a second driver out of a study's folder while in the `with` block.

    The guard is flock on the file `lock`; the text in it (process, machine as a hash, since when)
    only serves the message. Raises `StudyLockedError` where another driver holds it and
    `StudyStorageError` where the folder is missing or its file system cannot lock.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / LOCK_FILE
        self._file = -1

    def __enter__(self) -> Self:
        with _storage(self.path):
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _flock(file, self.path)
            holder = {"pid": os.getpid(), "machine": machine(), "since": _text(_now())}
            with _storage(self.path):
                os.ftruncate(file, 0)
                _write(file, json.dumps(holder).encode())
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The file stays: unlinking it would let two drivers lock two files of one name.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)
        self._file = -1


def locked(folder: str | Path) -> bool:
    """Whether a driver on this machine or a shared file system holds the study's lock now."""
    path = Path(folder) / LOCK_FILE
    if not path.exists():
        return False
    # Read only, so that a reader of somebody else's study needs no right to write there.
    with path.open("rb") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (ImportError, OSError):
            return True
    return False


def _flock(file: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:
        raise StudyStorageError(
            f"{path}: this system has no flock; run studies on Linux, macOS or in WSL"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise StudyLockedError(_locked(path)) from None
        raise StudyStorageError(
            f"{path}: this file system cannot lock files ({error.strerror}); put the study on"
            " another one with --root"
        ) from error


def _locked(path: Path) -> str:
    who = "another process"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads(path.read_text(encoding="utf-8"))
        where = "this machine" if holder["machine"] == machine() else "another machine"
        who = f"process {holder['pid']} on {where} (since {holder['since']})"
    return (
        f"{path.parent}: {who} is working on this study. Wait until it has ended or stop it"
        " (Ctrl-C there; its study can be resumed), or run this study under another name or --root"
    )


def machine() -> str:
    # A hash: host names are nobody's business where study folders are shared.
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextlib.contextmanager
def _storage(path: Path) -> Iterator[None]:
    """Errors of the disk under one name, with what a user needs to act on them."""
    try:
        yield
    except (StudyStorageError, StudyLockedError):
        raise
    except OSError as error:
        try:
            free = f"{shutil.disk_usage(path.parent).free} bytes free there"
        except OSError:
            free = "its folder cannot be reached"
        raise StudyStorageError(f"{path}: cannot be written: {error.strerror} ({free})") from error


def _write(file: int, data: bytes) -> None:
    """All of `data`; one call as a rule, more where the disk takes only a part."""
    while data:
        data = data[os.write(file, data) :]


def _write_whole(path: Path, data: bytes) -> None:
    """A file that is there with all of `data`, or not at all."""
    unfinished = path.with_name(path.name + ".new")
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        _write(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    unfinished.replace(path)
    _sync_folder(path.parent)


def _set_aside(path: Path, torn_bytes: int) -> None:
    """Move the last bytes of the ledger to a file of their own, in an order safe against kills."""
    whole = path.stat().st_size - torn_bytes
    with path.open("rb") as file:
        file.seek(whole)
        torn = file.read()
    _write_whole(path.with_name(f"ledger.torn-{_now():%Y%m%dT%H%M%S.%fZ}"), torn)
    ledger = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(ledger, whole)
        os.fsync(ledger)
    finally:
        os.close(ledger)


def _sync_folder(folder: Path) -> None:
    """A new name is on disk only after its folder is; systems that cannot open one skip this."""
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _time(path: Path, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = datetime.min
    if time.tzinfo is None:
        raise LedgerError(f"{path}: times must be ISO 8601 with a zone, found {text!r}")
    return time


def _now() -> datetime:
    return datetime.now(UTC)


def _text(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")
