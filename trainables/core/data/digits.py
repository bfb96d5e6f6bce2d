from __future__ import annotations

from pathlib import Path

import torch

from ..errors import SettingError
from ..splits import stratified_sample
from ._source import Examples, Source

# The publisher gives no split; this number fixes one, the same for everybody and for every seed.
_TEST_SEED = (1797,)


class Digits:
    """Handwritten digits that come with scikit-learn: 1,797 grey images of 8 x 8 pixels.

    The embedded default: real and offline. Inputs `[n, 1, 8, 8]` in [0, 1] (pixel / 16); 10
    classes. Scikit-learn publishes no split, so this class draws the test part: a share `test` of
    the images, stratified by class, once and from a fixed number, so that it is the same for every
    study, seed and machine (0.25: 1,348 + 449 images). Both parts keep the published order.
    Source: scikit-learn's `load_digits`, the test part of the UCI set "Optical Recognition of
    Handwritten Digits" (Alpaydin and Kaynak 1998).

    Raises `SettingError` if `test` is not a number with 0 < test < 1 or is so near to one of them
    that a class has no example in one of the parts.
    """

    task = "classification"

    def __init__(self, *, test: float = 0.25) -> None:
        if isinstance(test, bool) or not isinstance(test, int | float) or not 0 < test < 1:
            raise SettingError(f"test must be a number between 0 and 1, found {test!r}")
        self.test = test

    def load(self, root: Path) -> Source:
        """The two parts; `root` is not read."""
        # Imported here: it takes a second, and no other set needs it.
        from sklearn.datasets import load_digits

        found = load_digits()
        x = torch.from_numpy(found.images).float().div_(16).unsqueeze(1)
        y = torch.from_numpy(found.target).long()
        total = round(self.test * len(y))
        counts = torch.bincount(y)
        if not len(counts) <= total <= len(y) - len(counts):
            raise SettingError(
                f"test must leave an example of each of the {len(counts)} classes in both parts, "
                f"found {self.test!r}: {total} of {len(y)} images are for the test"
            )
        chosen = stratified_sample(y, total, low=1, high=counts - 1, seed=_TEST_SEED)
        in_test = torch.zeros(len(y), dtype=torch.bool)
        in_test[chosen] = True
        return Source(
            train=Examples(x[~in_test], y[~in_test]),
            test=Examples(x[in_test], y[in_test]),
            classes=tuple("0123456789"),
            box=(0.0, 1.0),
            units="pixel [0, 1]",
            provenance=f"scikit-learn's digits, {len(y)} images, pixel / 16; own fixed stratified "
            f"test part of {total}",
            title="Digits",
        )
