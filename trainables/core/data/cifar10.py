from __future__ import annotations

from pathlib import Path

from ._cifar import Layout, load_cifar
from ._source import Source

_LAYOUT = Layout(
    title="CIFAR-10",
    folders=("cifar10/cifar-10-batches-py", "cifar-10-batches-py"),
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    labels="labels",
    names="label_names",
    classes=10,
    origin="www.cs.toronto.edu/~kriz/cifar.html (the python version) "
    "or torchvision.datasets.CIFAR10(download=True)",
)


class CIFAR10:
    """Photographs of 10 kinds of things: 50,000 + 10,000 colour images of 32 x 32 pixels.

    Read from `<root>/cifar10/cifar-10-batches-py` or `<root>/cifar-10-batches-py`, from the
    original pickled batches, of which only numpy arrays and plain types are admitted. Inputs
    `[n, 3, 32, 32]` in [0, 1], red, green, blue. Batches with fewer images are read, too; `title`
    and `provenance` of the source then say "subset" and the counts. Krizhevsky 2009, "Learning
    multiple layers of features from tiny images".
    """

    task = "classification"

    def load(self, root: Path) -> Source:
        """Both parts; raises `MissingDataError` for absent files, `SettingError` for damaged."""
        return load_cifar(root, _LAYOUT)
