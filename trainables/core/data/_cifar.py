"""Reads the pickled batches of the CIFAR sets without running anything that is in them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import SettingError
from ._source import Examples, Source, missing, subset_title

_SIDE = 32
_VALUES = 3 * _SIDE * _SIDE
_FULL = (50_000, 10_000)


@dataclass(frozen=True)
class Layout:
    """Which files make up a set, and under which keys the labels and their names are."""

    title: str
    folders: tuple[str, ...]
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    names: str
    classes: int
    origin: str


def load_cifar(root: Path, layout: Layout) -> Source:
    """Both parts in [0, 1]; a set with other than 50,000 + 10,000 images is called a subset.

    Raises `MissingDataError` when a file is absent and `SettingError` naming the file when one is
    damaged, truncated or holds something else.
    """
    places = [root / folder for folder in layout.folders]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise missing(layout.title, places, layout.origin)
    files = [*layout.train, layout.test, layout.meta]
    absent = [folder / name for name in files if not (folder / name).is_file()]
    if absent:
        raise missing(f"A part of {layout.title}", absent, layout.origin)
    names = _names(folder / layout.meta, layout)
    train = _examples([folder / name for name in layout.train], layout)
    test = _examples([folder / layout.test], layout)
    counts = (len(train), len(test))
    title = subset_title(layout.title, counts, _FULL)
    return Source(
        train=train,
        test=test,
        classes=names,
        box=(0.0, 1.0),
        units="pixel [0, 1]",
        provenance=f"{title}, original batch files and split, {counts[0]:,} + {counts[1]:,} of "
        f"{_FULL[0]:,} + {_FULL[1]:,} images, bytes / 255",
        title=title,
    )


def _examples(paths: Sequence[Path], layout: Layout) -> Examples:
    pixels, numbers = zip(*(_batch(path, layout) for path in paths), strict=True)
    x = np.concatenate(pixels).reshape(-1, 3, _SIDE, _SIDE)
    # One float32 copy is made and scaled in place: the training part is 614 MB.
    return Examples(
        torch.from_numpy(x.astype(np.float32)).div_(255),
        torch.from_numpy(np.concatenate(numbers)),
    )


def _batch(path: Path, layout: Layout) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    held = _unpickled(path)
    x, labels = held.get("data"), held.get(layout.labels)
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.ndim != 2:
        raise _wrong(path, f"'data' must be bytes [n, {_VALUES}], found {_kind(x)}")
    if x.shape[1] != _VALUES or not len(x):
        raise _wrong(path, f"'data' must be bytes [n, {_VALUES}], found {_kind(x)}")
    if not isinstance(labels, list) or len(labels) != len(x):
        found = f"{len(labels)} of them" if isinstance(labels, list) else _kind(labels)
        raise _wrong(path, f"{layout.labels!r} must be a list of {len(x)} numbers, found {found}")
    for label in labels:
        if type(label) is not int or not 0 <= label < layout.classes:
            rule = f"{layout.labels!r} must be 0 to {layout.classes - 1}, found {label!r}"
            raise _wrong(path, rule)
    return x, np.array(labels, dtype=np.int64)


def _names(path: Path, layout: Layout) -> tuple[str, ...]:
    names = _unpickled(path).get(layout.names)
    if not isinstance(names, list) or len(names) != layout.classes:
        rule = f"{layout.names!r} must be a list of {layout.classes} names, found {_kind(names)}"
        raise _wrong(path, rule)
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)


def _unpickled(path: Path) -> dict[str, Any]:
    """The mapping in a pickle of numpy arrays and plain types; its keys as text."""
    # Python 2 wrote the originals, so their text is bytes.
    reader = _Reader(io.BytesIO(path.read_bytes()), encoding="bytes")
    try:
        found = reader.load()
    except Exception as error:  # a damaged pickle may raise anything
        raise _wrong(path, f"it cannot be read ({error or type(error).__name__})") from None
    if not isinstance(found, dict):
        raise _wrong(path, f"it must hold a mapping, found {_kind(found)}")
    return {
        key.decode(errors="replace") if isinstance(key, bytes) else str(key): value
        for key, value in found.items()
    }


class _Reader(pickle.Unpickler):
    """Makes numpy arrays and plain types; anything else in the file is refused."""

    def find_class(self, module: str, name: str) -> Any:
        found = _ADMITTED.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted")
        return found


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the older pickle protocols."""
    return text.encode(encoding)


def _rebuilt(value: Any, protocol: int) -> Callable[..., Any]:
    found: Callable[..., Any] = value.__reduce_ex__(protocol)[0]
    return found


# Numpy's own functions are private and have moved; its values say which ones they need.
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _rebuilt(np.zeros(1), 2),
    ("numpy.core.multiarray", "scalar"): _rebuilt(np.float64(0), 2),
    ("numpy.core.numeric", "_frombuffer"): _rebuilt(np.zeros(1), 5),
    ("_codecs", "encode"): _encode,
}


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return "nothing" if value is None else type(value).__name__


def _wrong(path: Path, rule: str) -> SettingError:
    return SettingError(f"{path} is damaged or another file: {rule}. Get it again.")
