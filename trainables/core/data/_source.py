"""What every data set gives, where the data lies, and the error for a set that is not there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import MissingDataError


@dataclass(frozen=True)
class Examples:
    """Inputs and their targets, row by row.

    `x` is float32: `[n, c, h, w]` for images, `[n, c, t]` for series. `y` is `[n]`: int64 class
    numbers from 0. Raises `ValueError` if the two differ in length.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} inputs and {len(self.y)} targets are not examples")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> Examples:
        """The examples at `index` (int64 `[m]`), copied, in its order."""
        return Examples(self.x[index], self.y[index])


@dataclass(frozen=True)
class Source:
    """A data set as published: training and test examples and what must be known about them.

    `classes[k]` is the name of class k. `box` holds the least and the greatest value an input can
    have, None where there is no such bound; eps and sigma are in `units`. `provenance` says in
    words where the numbers come from and what was done to them; it holds no path.
    """

    train: Examples
    test: Examples
    classes: tuple[str, ...]
    box: tuple[float, float] | None
    units: str
    provenance: str
    task: str = "classification"


def data_root(root: str = "") -> Path:
    """The folder that holds all data: `root`, else `$STUDY_DATA`, else `~/.cache/study-data`."""
    return Path(root or os.environ.get("STUDY_DATA", "") or "~/.cache/study-data").expanduser()


def missing(what: str, looked: Sequence[Path], origin: str, hint: str = "") -> MissingDataError:
    """The error that says where `what` was looked for and how to get it (`origin`, in words)."""
    places = " or ".join(str(path) for path in looked)
    return MissingDataError(
        f"{what} is not there: looked for {places}.{hint} "
        f"Nothing is downloaded: get it from {origin} and put it there, or name the folder "
        "that holds your data with --data-root or $STUDY_DATA."
    )
