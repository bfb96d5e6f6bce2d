from __future__ import annotations

from pathlib import Path

from ..quantities import one_of
from ._cifar import Layout, load_cifar
from ._source import Source

_CLASSES = {"fine": 100, "coarse": 20}


class CIFAR100:
    """Photographs of 100 kinds of things: 50,000 + 10,000 colour images of 32 x 32 pixels.

    `level` is "fine" (100 classes) or "coarse" (their 20 superclasses). Read from
    `<root>/cifar100/cifar-100-python` or `<root>/cifar-100-python`, from the original pickles, of
    which only numpy arrays and plain types are admitted. Inputs `[n, 3, 32, 32]` in [0, 1], red,
    green, blue. Files with fewer images are read, too; `title` and `provenance` of the source then
    say "subset" and the counts. Krizhevsky 2009, "Learning multiple layers of features from tiny
    images". Raises `SettingError` for another level.
    """

    task = "classification"

    def __init__(self, *, level: str = "fine") -> None:
        self.level = one_of("level", level, _CLASSES)

    def load(self, root: Path) -> Source:
        """Both parts; raises `MissingDataError` for absent files, `SettingError` for damaged."""
        return load_cifar(
            root,
            Layout(
                title="CIFAR-100" if self.level == "fine" else "CIFAR-100 coarse",
                folders=("cifar100/cifar-100-python", "cifar-100-python"),
                train=("train",),
                test="test",
                meta="meta",
                labels=f"{self.level}_labels",
                names=f"{self.level}_label_names",
                classes=_CLASSES[self.level],
                origin="www.cs.toronto.edu/~kriz/cifar.html (the python version) "
                "or torchvision.datasets.CIFAR100(download=True)",
            ),
        )
