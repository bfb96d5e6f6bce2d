from __future__ import annotations

from pathlib import Path

import torch

from ._archive import Reading, find_set, read_parts, set_name
from ._series import class_names
from ._source import Examples, Source

_ORIGIN = "timeseriesclassification.com (the UEA multivariate archive, in .ts form)"
_FOLDERS = ("uea", "UEA", "")


class UEA:
    """One set of multivariate series with classes from the UEA archive (arXiv 1811.00075).

    `dataset` is its name, such as "BasicMotions" (6 channels, 100 time steps, 40 + 40 recordings of
    4 activities). It is read from `<root>/uea/<name>`, `UEA/<name>` or `<root>/<name>`, from
    `<name>_TRAIN.ts` and `<name>_TEST.ts`, in its published split. Inputs are `[n, c, t]`; there is
    no box. Labels become 0 to C - 1, sorted over both parts: by value when all are numbers, else as
    text.

    With `normalise` each series and channel has mean 0 and standard deviation 1 over time, as for
    the UCR sets; the archive itself is not normalised, and amplitudes tell classes apart in some of
    its sets. Series of unequal length are an error unless `pad` says how to fill up shorter ones at
    their end: "zero", or "edge" for their last value. The longest series of both parts gives the
    length. Missing values are an error unless `missing` is "interpolate": linear between the
    neighbours in time, the nearest value at the ends.

    Raises `SettingError` naming file and line, and `MissingDataError` if the set is not there.
    """

    task = "classification"
    short = ("UEA", "dataset")

    def __init__(
        self,
        *,
        dataset: str = "BasicMotions",
        normalise: bool = True,
        pad: str = "none",
        missing: str = "error",
    ) -> None:
        self.dataset = set_name(dataset)
        self.reading = Reading(pad=pad, missing=missing, normalise=normalise)

    def load(self, root: Path) -> Source:
        """Both parts of the set, read from below `root`."""
        folder = find_set(root, self.dataset, _FOLDERS, _ORIGIN)
        inputs, labels = read_parts(folder, self.reading, _ORIGIN, target=False)
        numbers, classes = class_names([*labels[0], *labels[1]])
        train, test = (
            Examples(x, torch.tensor([numbers[label] for label in part]))
            for x, part in zip(inputs, labels, strict=True)
        )
        return Source(
            train=train,
            test=test,
            classes=classes,
            box=None,
            units=self.reading.units,
            provenance=f"UEA archive {self.dataset} from .ts, published split, {len(train)} + "
            f"{len(test)} series of {train.shape[0]} x {train.shape[1]}, {self.reading.done}",
            title=f"UEA {self.dataset}",
        )
