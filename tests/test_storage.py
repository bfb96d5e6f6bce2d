from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from trainables import storage
from trainables.core.errors import SettingError
from trainables.storage import (
    Scratch,
    Storage,
    StorageError,
    checked,
    local_folder,
    shown,
    within,
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PAUSES_S", (0.0, 0.0))


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """One that fsspec reaches and one of pyarrow."""
    places = {"memory": f"memory://{tmp_path.name}/in", "file": f"file://{tmp_path}/in"}
    return Storage(places[request.param])


def test_files_come_back_as_they_were(store: Storage, tmp_path: Path) -> None:
    # More than one piece, and nothing at all.
    contents = {"a/b/large": os.urandom(storage._PIECE_BYTES + 17), "empty": b"", "a/x y": b"1"}
    for name, content in contents.items():
        store.put(written(tmp_path / "from", content), name)
    for name, content in contents.items():
        assert store.get(name, tmp_path / "new" / "folder" / "to")
        assert (tmp_path / "new" / "folder" / "to").read_bytes() == content
    assert store.names() == sorted(contents)
    assert store.names("a") == ["a/b/large", "a/x y"]
    assert store.names("a/b/") == ["a/b/large"]
    assert store.names("nothing") == []


def test_a_file_is_replaced_copied_and_deleted(store: Storage, tmp_path: Path) -> None:
    store.put(written(tmp_path / "from", b"longer than the next"), "x")
    store.put(written(tmp_path / "from", b"second"), "x")
    store.copy("x", "deep/y")
    store.delete("x")
    store.delete("x")
    assert not store.get("x", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert store.get("deep/y", tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == b"second"
    with pytest.raises(StorageError, match="x cannot be copied to z"):
        store.copy("x", "z")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("", ""),
        ("s3://bucket/studies?region=eu-central-1", "s3://bucket/studies?region=eu-central-1"),
        (
            "s3://bucket/x?endpoint_override=http://127.0.0.1:9000",
            "s3://bucket/x?endpoint_override=http://127.0.0.1:9000",
        ),
        ("gs://anonymous@bucket/x", "gs://anonymous@bucket/x"),
        (
            "abfss://container@account.dfs.core.windows.net/x",
            "abfss://container@account.dfs.core.windows.net/x",
        ),
        ("/some/where", "/some/where"),
        ("some/../where", str(Path("where").resolve())),
    ],
)
def test_an_address_is_as_it_may_be_written_down(uri: str, expected: str) -> None:
    assert checked(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAHIDDEN:hidden@bucket/x",
        "s3://AKIAHIDDEN@bucket/x",
        "sftp://me:hidden@host/x",
        "s3://bucket/x?access_key=AKIAHIDDEN&secret_key=hidden",
        "s3://bucket/x?region=x&Session_Token=hidden",
        "az://container/x?sig=hidden",
        "s3://bucket/x?endpoint_override=http://me:hidden@127.0.0.1:9000",
    ],
)
def test_an_address_with_a_secret_in_it_is_refused(uri: str) -> None:
    with pytest.raises(SettingError, match="AWS_ACCESS_KEY_ID") as found:
        Storage(uri)
    assert "hidden" not in str(found.value).lower()


@pytest.mark.parametrize("uri", ["s3://", "memory:///", "s3://?region=x"])
def test_an_address_without_a_place_is_refused(uri: str) -> None:
    with pytest.raises(SettingError, match="needs a bucket or a path"):
        checked(uri)


@pytest.mark.parametrize("uri", ["unheard-of://bucket/x", "s3://bucket/x?colour=red"])
def test_an_address_that_nothing_reads_is_refused(uri: str) -> None:
    with pytest.raises(SettingError, match="scheme and options") as found:
        Storage(uri)
    assert "colour" not in str(found.value)


def test_addresses_in_messages_and_of_folders_below() -> None:
    uri = "s3://bucket/studies/?region=x&endpoint_override=http://127.0.0.1:1"
    assert shown(uri) == "s3://bucket/studies/"
    assert shown("sftp://me:hidden@host/x") == "sftp://host/x"
    assert within(uri, "digits") == (
        "s3://bucket/studies/digits?region=x&endpoint_override=http://127.0.0.1:1"
    )
    assert within("s3://bucket", "digits") == "s3://bucket/digits"
    assert within("/shared", "digits") == "/shared/digits"
    assert local_folder("/shared/x") == Path("/shared/x")
    assert local_folder("file:///shared/x%20y") == Path("/shared/x y")
    assert local_folder("s3://bucket/x") is None


class Failing:
    """A file system whose first openings for writing fail."""

    type_name = "s3"

    def __init__(self, inner: Any, errors: list[Exception]) -> None:
        self.inner = inner
        self.errors = errors
        self.asked = 0

    def open_output_stream(self, path: str) -> Any:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.inner.open_output_stream(path)


def failing(store: Storage, errors: list[Exception]) -> Failing:
    system = Failing(store._system, errors)
    store._system, store._has_folders = system, False
    return system


def test_what_fails_for_a_passing_reason_is_tried_again(tmp_path: Path) -> None:
    store = Storage(f"file://{tmp_path}")
    slow = OSError("AWS Error SLOW_DOWN during PutObject operation")
    system = failing(store, [slow, ConnectionResetError("reset")])
    store.put(written(tmp_path / "from", b"content"), "to")
    assert (tmp_path / "to").read_bytes() == b"content"
    assert system.asked == 3


def test_in_the_end_the_error_names_storage_file_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHIDDEN")
    store = Storage(f"memory://{tmp_path.name}?block=1")
    system = failing(store, [OSError("AWS Error INTERNAL: key AKIAHIDDEN")] * 9)
    with pytest.raises(StorageError) as found:
        store.put(written(tmp_path / "from", b"content"), "trials/0003/last.pt")
    assert system.asked == 3
    assert str(found.value) == (
        f"memory://{tmp_path.name}: trials/0003/last.pt cannot be written: "
        "AWS Error INTERNAL: key <AWS_ACCESS_KEY_ID>"
    )
    assert found.value.__cause__ is None
    assert found.value.__suppress_context__


@pytest.mark.parametrize(
    "error",
    [
        OSError("AWS Error ACCESS_DENIED during PutObject operation"),
        OSError("AWS Error NO_SUCH_BUCKET during PutObject operation"),
        PermissionError("no"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=repr,
)
def test_what_will_not_pass_is_not_tried_again(error: Exception, tmp_path: Path) -> None:
    store = Storage(f"file://{tmp_path}")
    system = failing(store, [error] * 9)
    with pytest.raises(StorageError):
        store.put(written(tmp_path / "from", b"content"), "to")
    assert system.asked == 1


def test_half_a_download_is_never_there(tmp_path: Path) -> None:
    class Cut:
        """Streams that end in an error."""

        type_name = "s3"

        def open_input_stream(self, path: str) -> Any:
            inner = fs.LocalFileSystem().open_input_stream(path)

            class Stream:
                def __enter__(self) -> Stream:
                    return self

                def __exit__(self, *error: object) -> None:
                    inner.close()

                def read(self, size: int) -> bytes:
                    if inner.tell():
                        raise OSError("AWS Error NETWORK_CONNECTION")
                    found: bytes = inner.read(3)
                    return found

            return Stream()

    store = Storage(f"file://{tmp_path}")
    written(tmp_path / "from", b"content")
    store._system = Cut()
    written(tmp_path / "to", b"before")
    with pytest.raises(StorageError, match="from cannot be read"):
        store.get("from", tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "to"]


def test_what_killed_processes_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = "from trainables.storage import Scratch; import os; print(Scratch().folder); os._exit(9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    left = Path(done.stdout.strip())
    assert (done.returncode, left.is_dir()) == (9, True)
    mine = Scratch()
    assert not left.exists()
    other = Scratch()
    assert mine.folder.is_dir()
    assert mine.folder != other.folder
    written(mine.emptied("trial") / "x", b"1")
    assert list(mine.emptied("trial").iterdir()) == []
    mine.remove()
    assert not mine.folder.exists()
    assert other.folder.is_dir()
    with (other.folder / "lock").open("w") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    other.remove()


def test_it_is_light_until_a_storage_is_opened() -> None:
    code = (
        "from trainables import storage; import sys; storage.checked('s3://bucket/x');"
        "print([one for one in ('torch', 'ray', 'pyarrow', 'fsspec') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
