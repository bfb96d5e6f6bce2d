"""Files of trials in a storage elsewhere: an object store or another remote file system.

pyarrow reaches S3, Google Cloud Storage, Azure and HDFS, fsspec whatever else is installed for it.
Secrets belong in the environment: an address that holds one is refused, because addresses are
written to ledgers and messages. This module stays light until a storage is opened.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from .core.errors import SettingError

T = TypeVar("T")

# Schemes of pyarrow's own file systems; any other one is asked of fsspec.
OF_PYARROW = frozenset({"s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"})
# File systems, as pyarrow calls them, that know no folders: none is made there.
OBJECT_STORES = frozenset({"s3", "gcs", "abfs"})
# How long to wait before each further try. Libraries of the stores try several times on their own.
PAUSES_S = (0.5, 2.0, 8.0)
# Errors of a disk that are no fault of whoever writes to it.
DISK_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EFBIG}
)
# What stores answer when a further try is of no use.
_LASTING = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "ACCESS_KEY", "SIGNATURE", "FORBIDDEN", "CREDENTIAL")
_SECRET = ("key", "secret", "token", "password", "passwd", "credential", "signature")
_SECRETS_OF_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PIECE_BYTES = 8 * 2**20


class StorageError(OSError):
    """A storage cannot be reached, read or written; the message names it without its options."""


def checked(uri: str) -> str:
    """The address of a storage as it may be written down; "" stays "", a path becomes absolute.

    Raises `SettingError` for an address that holds a user's password or access keys, and for one
    without a bucket or path. Nothing is asked over the network.
    """
    if not uri:
        return ""
    if "://" not in uri:
        return str(Path(uri).expanduser().resolve())
    parts = urlsplit(uri)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    options = parse_qsl(parts.query, keep_blank_values=True)
    if (
        password
        or (user and parts.scheme == "s3")
        or any(_is_secret(name) or "@" in value for name, value in options)
    ):
        raise SettingError(
            f"storage: an address must not hold a password or access keys, found some in "
            f"{shown(uri)}; set them in the environment of every node instead (for S3 "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)."
        )
    if not (parts.netloc + parts.path).strip("/"):
        raise SettingError(
            f"storage: an address needs a bucket or a path, found {shown(uri)}; for example "
            "s3://bucket/studies."
        )
    return uri


def shown(uri: str) -> str:
    """The address as messages may have it: without user, password and options."""
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def within(uri: str, name: str) -> str:
    """The address of the folder `name` in the storage `uri`; its options stay behind it."""
    if "://" not in uri:
        return str(Path(uri) / name)
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def local_folder(uri: str) -> Path | None:
    """The folder that a path or a file:// address names; None for a storage elsewhere."""
    if "://" not in uri:
        return Path(uri)
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


class Storage:
    """Whole files by name below one address; names have slashes, "trials/0003/last.pt".

    What fails for a passing reason is tried again after `PAUSES_S`; then `StorageError` is raised.
    In an object store a file appears whole or not at all. Raises `SettingError` for an address that
    `checked` refuses, or that neither pyarrow nor fsspec can read.
    """

    def __init__(self, uri: str) -> None:
        self.uri = checked(uri)
        self.shown = shown(uri)
        self._system, self._base = self._tried("cannot be opened", lambda: _opened(self.uri))
        self._has_folders = self._system.type_name not in OBJECT_STORES

    def get(self, name: str, to: Path) -> bool:
        """Copy a file to `to`, where it appears whole or not at all; whether there is such a file.

        The folder of `to` is made.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        unfinished = to.with_name(f"{to.name}.{os.getpid()}.tmp")

        def act() -> None:
            source = self._system.open_input_stream(self._path(name))
            with source, unfinished.open("wb") as file:
                shutil.copyfileobj(source, file, _PIECE_BYTES)
            unfinished.replace(to)

        try:
            self._tried(f"{name} cannot be read", act)
        except FileNotFoundError:
            return False
        finally:
            unfinished.unlink(missing_ok=True)
        return True

    def put(self, path: Path, name: str) -> None:
        """Copy the file at `path` into the storage, in place of what has that name there."""

        def act() -> None:
            self._make_folder(name)
            # A stream that was begun is closed before the next try: it must not end after it.
            with path.open("rb") as file, self._system.open_output_stream(self._path(name)) as out:
                shutil.copyfileobj(file, out, _PIECE_BYTES)

        self._demand(f"{name} cannot be written", act)

    def copy(self, name: str, to: str) -> None:
        """Copy a file within the storage, without the bytes coming here."""

        def act() -> None:
            self._make_folder(to)
            self._system.copy_file(self._path(name), self._path(to))

        self._demand(f"{name} cannot be copied to {to}", act)

    def delete(self, name: str) -> None:
        """Delete a file; none of that name is as good."""
        with suppress(FileNotFoundError):
            self._tried(
                f"{name} cannot be deleted", lambda: self._system.delete_file(self._path(name))
            )

    def names(self, prefix: str = "") -> list[str]:
        """The names of all files below a folder of the storage, in order."""
        from pyarrow import fs

        place = self._path(prefix).rstrip("/")
        selector = fs.FileSelector(place, allow_not_found=True, recursive=True)
        found = self._tried("cannot be listed", lambda: self._system.get_file_info(selector))
        below = len(self._base) + 1 if self._base else 0
        return sorted(one.path[below:] for one in found if one.type == fs.FileType.File)

    def _path(self, name: str) -> str:
        return "/".join(one for one in (self._base, name) if one)

    def _make_folder(self, name: str) -> None:
        if self._has_folders:
            self._system.create_dir(self._path(name).rpartition("/")[0], recursive=True)

    def _demand(self, what: str, act: Callable[[], None]) -> None:
        try:
            self._tried(what, act)
        except FileNotFoundError as error:
            raise StorageError(f"{self.shown}: {what}: {_said(error)}") from None

    def _tried(self, what: str, act: Callable[[], T]) -> T:
        pauses = iter(PAUSES_S)
        while True:
            try:
                return act()
            except (FileNotFoundError, SettingError):
                raise
            except Exception as error:
                # What a file system of fsspec raises can be anything.
                pause = next(pauses, None) if _passing(error) else None
                if pause is None:
                    raise StorageError(f"{self.shown}: {what}: {_said(error)}") from None
            time.sleep(pause)


class Scratch:
    """A folder of this process on the local disk, for trials whose files belong elsewhere.

    It is held by a lock that goes with the process, however that ends; the next one that needs such
    a folder removes those that nobody holds.
    """

    def __init__(self) -> None:
        base = Path(tempfile.gettempdir()) / f"trials-{os.getuid()}"
        base.mkdir(mode=0o700, exist_ok=True)
        if base.lstat().st_uid != os.getuid():
            raise StorageError(f"{base} belongs to another user; set TMPDIR to a folder of yours.")
        with _held(base):
            _sweep(base)
            self.folder = Path(tempfile.mkdtemp(dir=base))
            # A plain descriptor: it is held to the end of the process, and that is no leak.
            self._lock = os.open(self.folder / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def emptied(self, name: str) -> Path:
        """The folder `name` in this one, with nothing in it."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / name).mkdir()
        return self.folder / name

    def remove(self) -> None:
        """Remove the folder with all that it holds."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


@contextmanager
def _held(base: Path) -> Iterator[None]:
    with (base / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sweep(base: Path) -> None:
    """Remove the folders whose processes have ended."""
    for folder in base.iterdir():
        if not folder.is_dir():
            continue
        try:
            with (folder / "lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue


def _opened(uri: str) -> tuple[Any, str]:
    """The file system of an address, and the path of the address in it."""
    from pyarrow import fs

    scheme = urlsplit(uri).scheme
    place = local_folder(uri)
    if place is not None:
        return fs.LocalFileSystem(), str(place)
    try:
        if scheme in OF_PYARROW:
            try:
                system, base = fs.FileSystem.from_uri(_quick(uri))
            except ValueError:
                # An older pyarrow does not know that option.
                system, base = fs.FileSystem.from_uri(uri)
        else:
            inner, base = importlib.import_module("fsspec.core").url_to_fs(uri)
            system = fs.PyFileSystem(fs.FSSpecHandler(inner))
    except ImportError as error:
        raise SettingError(
            f"storage: {shown(uri)} needs a package that is not installed here: {error}."
        ) from None
    except ValueError:
        # Its message has the whole address.
        raise SettingError(
            f"storage: {shown(uri)} is no address that pyarrow or fsspec can read: look at its "
            "scheme and options; for example s3://bucket/studies?region=eu-central-1."
        ) from None
    return system, str(base).rstrip("/")


def _quick(uri: str) -> str:
    """The address with small files of S3 written by one request instead of three."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or "allow_delayed_open" in parts.query:
        return uri
    return urlunsplit(parts._replace(query=f"{parts.query}&allow_delayed_open=true".lstrip("&")))


def _is_secret(name: str) -> bool:
    return name.lower() == "sig" or any(one in name.lower() for one in _SECRET)


def _passing(error: Exception) -> bool:
    """Whether a further try may do better."""
    if isinstance(error, PermissionError | ImportError | TypeError | ValueError):
        return False
    if isinstance(error, OSError) and error.errno in DISK_ERRNOS:
        return False
    return not any(one in str(error) for one in _LASTING)


def _said(error: Exception) -> str:
    """The text of an error without what the environment keeps secret."""
    text = str(error) or type(error).__name__
    for name in _SECRETS_OF_ENVIRONMENT:
        if value := os.environ.get(name):
            text = text.replace(value, f"<{name}>")
    return text
