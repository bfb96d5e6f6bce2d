"""What every data set gives, where the data lies, and the error for a set that is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..batch import Batch
from ..errors import MissingDataError
from ._pictures import Pictures


@dataclass(frozen=True)
class Examples:
    """Inputs and their targets, row by row.

    `x` is float32: `[n, c, h, w]` for images, `[n, c, t]` for series; or it is `Pictures`, which
    are read from their files batch by batch. `y` is int64 class numbers from 0 `[n]`, float32
    values `[n]` for regression, or float32 boxes `[n, 1 + m, 5]` (see `boxes.py`). Raises
    `ValueError` if the two differ in length.
    """

    x: Tensor | Pictures
    y: Tensor

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} inputs and {len(self.y)} targets are not examples")

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.x.shape if isinstance(self.x, Pictures) else tuple(self.x.shape[1:])

    def take(self, index: Tensor) -> Examples:
        """The examples at `index` (int64 `[m]`), copied, in its order."""
        x = self.x.take(index) if isinstance(self.x, Pictures) else self.x[index]
        return Examples(x, self.y[index])

    def to(self, device: torch.device | str) -> Examples:
        """The same examples on `device`; pictures stay in their files, only targets move."""
        x = self.x if isinstance(self.x, Pictures) else self.x.to(device)
        return Examples(x, self.y.to(device))

    def batches(
        self,
        order: Sequence[Tensor],
        *,
        device: torch.device | str,
        seed: int | None = None,
    ) -> Iterator[Batch]:
        """For each int64 index tensor of `order` its examples, copied, on `device`.

        `seed` is for what is drawn while pictures are read (place and size of a crop, flips): it
        and an example's number in its data set decide, not the order, the split or the number of
        workers. With None pictures are read as for evaluation. Examples in memory ignore it.
        Raises `SettingError` that names the file where a picture cannot be read.
        """
        x, y = self.x, self.y
        if isinstance(x, Pictures):
            pinned = torch.device(device).type == "cuda"
            read = x.batches([index.cpu() for index in order], seed=seed, pinned=pinned)
            for index, pixels in zip(order, read, strict=True):
                targets = y.index_select(0, index.to(y.device))
                yield Batch(
                    pixels.to(device, non_blocking=pinned), targets.to(device, non_blocking=True)
                )
            return
        at_home = torch.device(device) == x.device
        for index in order:
            rows = index if index.device == x.device else index.to(x.device)
            batch = Batch(x.index_select(0, rows), y.index_select(0, rows))
            yield batch if at_home else Batch(batch.x.to(device), batch.y.to(device))


@dataclass(frozen=True)
class Source:
    """A data set as published: training and test examples and what must be known about them.

    `classes[k]` is the name of class k, () for regression. `box` holds the least and the greatest
    value an input can have, None where there is no such bound; eps and sigma are in `units`.
    `provenance` says in words where the numbers come from and what was done to them; it holds no
    path. `title` is what tables call the set: it says "subset" where it is one. `mean` and
    `deviation` are those of each channel where they are published, and None where they are to be
    computed from the training part.
    """

    train: Examples
    test: Examples
    classes: tuple[str, ...]
    box: tuple[float, float] | None
    units: str
    provenance: str
    task: str = "classification"
    title: str = ""
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None


def subset_title(name: str, counts: tuple[int, int], full: tuple[int, int] | None) -> str:
    """What tables call a set: its name, or that it is a subset, and with which counts.

    Figures on a part of a set are not figures on the set, so its name says so everywhere. `full`
    are the published counts, None where there are none.
    """
    return name if counts == full else f"{name} subset ({counts[0]:,} + {counts[1]:,} images)"


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
