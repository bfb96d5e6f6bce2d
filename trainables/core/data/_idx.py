"""Reads idx files, the format of MNIST and of the sets made in its likeness.

An idx file is: two zero bytes, a type byte (8: unsigned bytes), the number of dimensions, each
dimension as a big-endian 32-bit number, then the values row by row.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..errors import SettingError
from ._source import Examples, Source, missing

_PARTS = {"train": 60_000, "t10k": 10_000}
_CLASSES = 10
_SIDE = 28


def read_idx(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """The unsigned bytes in an idx file, plain or gzip-compressed (by its name), as `shape`.

    Raises `SettingError` naming the file, the rule and what was found when it is damaged or
    holds something else.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, f"it cannot be unpacked ({error})") from None
    magic = bytes((0, 0, 8, len(shape)))
    if raw[:4] != magic:
        raise _damaged(path, f"the magic number must be {magic.hex()}, found {raw[:4].hex()!r}")
    start = 4 + 4 * len(shape)
    if len(raw) < start:
        raise _damaged(path, f"it ends within its header of {start} bytes")
    found = tuple(int(size) for size in np.frombuffer(raw[4:start], dtype=">u4"))
    if found != shape:
        raise _damaged(path, f"the shape must be {shape}, found {found}")
    if len(raw) - start != math.prod(shape):
        raise _damaged(path, f"it must hold {math.prod(shape)} values, found {len(raw) - start}")
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)


def load_images(
    root: Path, folder: str, title: str, classes: tuple[str, ...], origin: str
) -> Source:
    """The 60,000 + 10,000 grey 28 x 28 images under `root/folder/raw`, in [0, 1].

    Raises `MissingDataError` when a file is absent, `SettingError` when one is damaged or has
    another count.
    """
    raw = root / folder / "raw"
    parts = {}
    for part, count in _PARTS.items():
        images = _find(raw, f"{part}-images-idx3-ubyte", folder, origin)
        labels = _find(raw, f"{part}-labels-idx1-ubyte", folder, origin)
        pixels = read_idx(images, (count, _SIDE, _SIDE))
        numbers = read_idx(labels, (count,))
        if numbers.max() >= _CLASSES:
            rule = f"labels must be 0 to {_CLASSES - 1}, found {numbers.max()}"
            raise _damaged(labels, rule)
        # One float32 copy is made and scaled in place: the training part is 188 MB.
        x = torch.from_numpy(pixels.astype(np.float32)).div_(255).unsqueeze(1)
        parts[part] = Examples(x, torch.from_numpy(numbers.astype(np.int64)))
    return Source(
        train=parts["train"],
        test=parts["t10k"],
        classes=classes,
        box=(0.0, 1.0),
        units="pixel [0, 1]",
        provenance=f"{folder}, original idx files and split, 60000 + 10000 images, bytes / 255",
        title=title,
    )


def _find(raw: Path, name: str, folder: str, origin: str) -> Path:
    places = [raw / f"{name}.gz", raw / name]
    for path in places:
        if path.is_file():
            return path
    raise missing(folder, places, origin)


def _damaged(path: Path, rule: str) -> SettingError:
    return SettingError(f"{path} is damaged or another file: {rule}. Get it again.")
