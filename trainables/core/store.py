"""Results kept in files under a name that says what they are made of."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor


def fingerprint(*parts: str | Tensor | Mapping[str, Tensor]) -> str:
    """A name for texts, tensors and state dicts: equal where and only where all of them are."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            found.update(f"text {len(part)} {part}".encode())
        elif isinstance(part, Tensor):
            found.update(f"tensor {part.dtype} {tuple(part.shape)} ".encode())
            plain = part.detach().cpu().contiguous().flatten()
            found.update(plain.view(torch.uint8).numpy().data)
        else:
            for key, value in part.items():
                found.update(fingerprint(key, value).encode())
    return found.hexdigest()[:32]


class Store:
    """Values of tensors, numbers and texts in a folder, by name; without a folder none is kept.

    Files appear whole or not at all, and are read without unpickling code.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = None if folder is None else Path(folder)

    def within(self, name: str) -> Store:
        """A store in a folder of this one."""
        return Store(None if self.folder is None else self.folder / name)

    def get(self, name: str, *, mapped: bool = False) -> Any:
        """The value, None where there is none; `mapped` leaves tensors in the file until read."""
        if self.folder is None or not (self.folder / f"{name}.pt").is_file():
            return None
        path = self.folder / f"{name}.pt"
        try:
            return torch.load(path, weights_only=True, map_location="cpu", mmap=mapped)
        except (RuntimeError, EOFError, UnpicklingError):
            # Cut off by a crash of the machine: made again.
            path.unlink(missing_ok=True)
            return None

    def put(self, name: str, value: Any) -> None:
        """Keep a value."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        # Another trial may be writing the same.
        unfinished = self.folder / f"{name}.{os.getpid()}.tmp"
        try:
            with unfinished.open("wb") as file:
                torch.save(value, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.folder / f"{name}.pt")
        finally:
            unfinished.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the folder with all that it holds."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """The tensor of this name, made by the first of several processes that ask for it."""
        if self.folder is None:
            return make()
        found = self.get(name, mapped=True)
        if found is None:
            with self._locked(name):
                found = self.get(name, mapped=True)
                if found is None:
                    self.put(name, make())
                    found = self.get(name, mapped=True)
        tensor: Tensor = found
        return tensor

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.lock").open("w") as file:
            # Let go by the system when its holder dies. Where a file system has no locks, each
            # process makes the same for itself.
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
