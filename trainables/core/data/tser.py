from __future__ import annotations

from pathlib import Path

import torch

from ._archive import Reading, find_set, read_parts, set_name
from ._series import values_of
from ._source import Examples, Source

_ORIGIN = "tseregression.org or Zenodo (the TSER archive of Tan et al. 2020, in .ts form)"
_FOLDERS = ("tser", "TSER", "")


class TSER:
    """One set of series with a number as target from the time-series regression archive.

    arXiv 2006.10996. `dataset` is its name, such as "Tecator" (fat content of meat from its
    spectrum of 100 steps, 172 + 43 samples). It is read from `<root>/tser/<name>`, `TSER/<name>` or
    `<root>/<name>`, from `<name>_TRAIN.ts` and `<name>_TEST.ts`, in its published split. Inputs are
    `[n, c, t]`, targets float32 `[n]` in the file's units; there is neither a box nor a class.

    With `normalise` each series and channel has mean 0 and standard deviation 1 over time; it is
    off, because the level of a series may be what the target depends on. Missing values are an
    error unless `missing` is "interpolate": linear between the neighbours in time, the nearest
    value at the ends. Series of unequal length are an error unless `pad` says how to fill up
    shorter ones at their end: "zero", or "edge" for their last value. The longest series of both
    parts gives the length.

    Raises `SettingError` naming the file, and `MissingDataError` if the set is not there.
    """

    task = "regression"
    short = ("TSER", "dataset")

    def __init__(
        self,
        *,
        dataset: str = "Tecator",
        normalise: bool = False,
        pad: str = "none",
        missing: str = "error",
    ) -> None:
        self.dataset = set_name(dataset)
        self.reading = Reading(pad=pad, missing=missing, normalise=normalise)

    def load(self, root: Path) -> Source:
        """Both parts of the set, read from below `root`."""
        folder = find_set(root, self.dataset, _FOLDERS, _ORIGIN)
        inputs, labels = read_parts(folder, self.reading, _ORIGIN, target=True)
        train, test = (
            Examples(
                x, torch.from_numpy(values_of(folder / f"{folder.name}_{name}.ts", part)).float()
            )
            for x, part, name in zip(inputs, labels, ("TRAIN", "TEST"), strict=True)
        )
        return Source(
            train=train,
            test=test,
            classes=(),
            box=None,
            units=self.reading.units,
            provenance=f"TSER archive {self.dataset} from .ts, published split, {len(train)} + "
            f"{len(test)} series of {train.shape[0]} x {train.shape[1]}, {self.reading.done}",
            task=self.task,
            title=f"TSER {self.dataset}",
        )
