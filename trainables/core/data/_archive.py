"""Finds a set of a time-series archive, and reads .ts files that may have gaps or unequal lengths.

Series of unequal length and missing values are repaired only where the caller names a way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import SettingError, nearest
from ..quantities import flag, one_of
from ._series import Values, normalised, read_uneven
from ._source import missing

PADS = ("none", "zero", "edge")
GAPS = ("error", "interpolate")


@dataclass(frozen=True)
class Reading:
    """How the series of a set are read; raises `SettingError` for a value that is not allowed.

    `pad`: "none" refuses series of unequal length; "zero" and "edge" fill shorter ones up at the
    end, with 0 or their last value, to the longest of both parts (after normalisation, so that 0 is
    then the mean). `missing`: "error" refuses missing values; "interpolate" fills them linearly
    between their neighbours in time, at either end with the nearest value. `normalise` gives every
    series and channel mean 0 and standard deviation 1 over its own time steps.
    """

    pad: str
    missing: str
    normalise: bool

    def __post_init__(self) -> None:
        one_of("pad", self.pad, PADS)
        one_of("missing", self.missing, GAPS)
        flag("normalise", self.normalise)

    @property
    def units(self) -> str:
        """What eps and sigma are measured in."""
        return "standard deviations" if self.normalise else "as in the file"

    @property
    def done(self) -> str:
        """What was done to the values, in words."""
        words = [
            "each series standardised over time" if self.normalise else "values as in the file"
        ]
        if self.missing != "error":
            words.append("missing values interpolated")
        if self.pad != "none":
            words.append(f"shorter series filled up ({self.pad})")
        return ", ".join(words)


def set_name(dataset: str) -> str:
    """`dataset` if it can be the name of a set; raises `SettingError` for a path."""
    if not isinstance(dataset, str) or dataset in ("", "..") or dataset != Path(dataset).name:
        raise SettingError(f"dataset must be the name of a set, not a path, found {dataset!r}")
    return dataset


def find_set(root: Path, dataset: str, folders: Sequence[str], origin: str) -> Path:
    """The folder of a set in one of `folders` below `root`.

    Raises `MissingDataError` that names the nearest set there is.
    """
    places = [root / folder / dataset for folder in folders]
    for place in places:
        if place.is_dir():
            return place
    known = _sets(root, folders)
    hint = nearest(dataset, known) if known else ""
    raise missing(f"The set {dataset!r}", places, origin, hint)


def read_parts(
    folder: Path, reading: Reading, origin: str, *, target: bool
) -> tuple[tuple[Tensor, Tensor], tuple[list[str], list[str]]]:
    """The inputs float32 `[n, c, t]` and the labels of a folder's `<its name>_{TRAIN,TEST}.ts`.

    Raises `MissingDataError` when a file is absent, `SettingError` naming file and line for what
    `reading` does not allow, and where the parts do not fit together.
    """
    paths = [folder / f"{folder.name}_{part}.ts" for part in ("TRAIN", "TEST")]
    parts: list[tuple[list[Values], list[str]]] = []
    for path in paths:
        if not path.is_file():
            raise missing(f"{folder.name!r}", [path], origin)
        found, labels = read_uneven(
            path, target=target, gaps=reading.missing != "error", unequal=reading.pad != "none"
        )
        if reading.missing != "error":
            found = [_filled(path, row, one) for row, one in enumerate(found, start=1)]
        if reading.normalise:
            found = [normalised(one[None])[0] for one in found]
        parts.append((found, labels))
    (train, train_labels), (test, test_labels) = parts
    # Without padding all series of a part are equally long, so one stands for all.
    if len(train[0]) != len(test[0]) or (reading.pad == "none" and train[0].shape != test[0].shape):
        raise SettingError(
            f"{paths[0].name} and {paths[1].name}: channels x time must be the same in both "
            f"parts, found {_size(train[0])} and {_size(test[0])}; series of unequal length are "
            "read only with a way to fill them up (pad)"
        )
    longest = max(one.shape[1] for one in [*train, *test])
    return (
        (_stacked(train, longest, reading.pad), _stacked(test, longest, reading.pad)),
        (train_labels, test_labels),
    )


def _stacked(series: list[Values], longest: int, pad: str) -> Tensor:
    x = np.zeros((len(series), len(series[0]), longest), dtype=np.float32)
    for row, one in zip(x, series, strict=True):
        length = one.shape[1]
        row[:, :length] = one
        if pad == "edge":
            row[:, length:] = one[:, -1:]
    return torch.from_numpy(x)


def _filled(path: Path, row: int, series: Values) -> Values:
    """A series without gaps."""
    gaps = np.isnan(series)
    empty = gaps.all(axis=1)
    if empty.any():
        raise SettingError(
            f"{path}, series {row}: channel {int(empty.argmax()) + 1} has no value at all, so "
            "there is nothing to interpolate"
        )
    steps = np.arange(series.shape[1])
    return np.array(
        [
            np.interp(steps, steps[~gap], channel[~gap])
            for gap, channel in zip(gaps, series, strict=True)
        ]
    )


def _sets(root: Path, folders: Sequence[str]) -> list[str]:
    """The names of the sets below `root`; directly under it only folders that look like one."""
    found = set()
    for name in folders:
        folder = root / name
        if folder.is_dir():
            for one in folder.iterdir():
                if one.is_dir() and (name or next(one.glob(f"{one.name}_TRAIN.*"), None)):
                    found.add(one.name)
    return sorted(found)


def _size(series: Values) -> str:
    return f"{series.shape[0]} x {series.shape[1]}"
