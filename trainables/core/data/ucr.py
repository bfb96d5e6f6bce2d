from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..errors import SettingError
from ..quantities import flag
from ._archive import find_set, set_name
from ._series import FORMS, Values, class_names, normalised, read_npz, read_series
from ._source import Examples, Source, missing

_ORIGIN = (
    "the UCR archive's site at www.cs.ucr.edu (2018 release, Dau et al. 2019) "
    "or from timeseriesclassification.com"
)
_FOLDERS = ("ucr", "UCR", "uea", "")
_Part = tuple[Values, list[str]]


class UCR:
    """One set of time series with classes from the UCR archive (or UEA's), in its own split.

    `dataset` is its name, such as "ECG200" (96 time steps, 100 + 100 heartbeats, 2 classes). It is
    read from `<root>/ucr/<name>`, `UCR/<name>`, `uea/<name>` or `<root>/<name>`, from
    `<name>_TRAIN` and `<name>_TEST` with the ending .ts, .tsv, .arff or .txt (the first form that
    holds both parts, else the first for each part), or from `<name>.npz`. Inputs are
    `[n, c, t]`. With `normalise` each series and channel has mean 0 and standard deviation 1
    over time (units: standard deviations); nothing is computed over several series, so nothing of
    the test part can reach the training part. There is no box.

    Labels of any spelling become 0 to C - 1, sorted over both parts: by value when all are
    numbers, else as text. Note that the same set is labelled differently in different files: ECG200
    has classes -1, 1 in .ts and .arff, but 2, 1 in a common .tsv (-1 renumbered to 2), so that
    class 0 of one form is class 1 of the other. `Source.classes` says what the file has.

    Raises `SettingError` for missing values, unequal lengths, time stamps and regression sets
    (file and line are named) and `MissingDataError` if the set is not there.
    """

    task = "classification"
    short = ("UCR", "dataset")

    def __init__(self, *, dataset: str = "ECG200", normalise: bool = True) -> None:
        self.dataset = set_name(dataset)
        self.normalise = flag("normalise", normalise)

    def load(self, root: Path) -> Source:
        """Both parts of the set, read from below `root`."""
        train, test, files = self._read(root)
        if train[0].shape[1:] != test[0].shape[1:]:
            raise SettingError(
                f"{files}: series of unequal length are not supported: channels x time is "
                f"{_size(train[0])} in the training part, {_size(test[0])} in the test part"
            )
        numbers, classes = class_names([*train[1], *test[1]])
        done = "each series standardised over time" if self.normalise else "values as in the file"
        return Source(
            train=self._examples(train, numbers),
            test=self._examples(test, numbers),
            classes=classes,
            box=None,
            units="standard deviations" if self.normalise else "as in the file",
            provenance=f"UCR/UEA archive {self.dataset} from {files}, published split, "
            f"{len(train[1])} + {len(test[1])} series of {_size(train[0])}, {done}",
            title=f"UCR {self.dataset}",
        )

    def _examples(self, part: _Part, numbers: dict[str, int]) -> Examples:
        values, labels = part
        x = normalised(values) if self.normalise else values
        return Examples(
            torch.from_numpy(x.astype(np.float32)),
            torch.tensor([numbers[label] for label in labels], dtype=torch.int64),
        )

    def _read(self, root: Path) -> tuple[_Part, _Part, str]:
        folder = find_set(root, self.dataset, _FOLDERS, _ORIGIN)
        stems = [folder / f"{self.dataset}_{part}" for part in ("TRAIN", "TEST")]
        forms = [
            [form for form in FORMS if stem.with_name(stem.name + form).is_file()] for stem in stems
        ]
        packed = folder / f"{self.dataset}.npz"
        if not all(forms) and packed.is_file():
            parts = read_npz(packed)
            return parts["TRAIN"], parts["TEST"], packed.name
        for stem, found in zip(stems, forms, strict=True):
            if not found:
                looked = [stem.with_name(f"{stem.name}.{{{','.join(f[1:] for f in FORMS)}}}")]
                raise missing(f"{self.dataset!r}", [*looked, packed], _ORIGIN)
        # One form for both parts where there is one: the forms differ in how they label.
        both = [form for form in forms[0] if form in forms[1]]
        chosen = both[:1] * 2 or [found[0] for found in forms]
        paths = [stem.with_name(stem.name + form) for stem, form in zip(stems, chosen, strict=True)]
        train, test = (read_series(path) for path in paths)
        files = " and ".join(path.name for path in paths)
        if not both:
            _same_labels(files, train[1], test[1])
        return train, test, files


def _same_labels(files: str, train: list[str], test: list[str]) -> None:
    """Refuses two files in different forms whose classes are not the same: they cannot be matched.

    Raises `SettingError`.
    """
    spelled = [class_names(labels)[1] for labels in (train, test)]
    if spelled[0] != spelled[1]:
        raise SettingError(
            f"{files}: the two forms label differently: {', '.join(spelled[0])} in the training "
            f"part, {', '.join(spelled[1])} in the test part; both parts in one form are needed"
        )


def _size(x: Values) -> str:
    return f"{x.shape[1]} x {x.shape[2]}"
