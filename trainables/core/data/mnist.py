from __future__ import annotations

from pathlib import Path

from ._idx import load_images
from ._source import Source


class MNIST:
    """Handwritten digits: 60,000 training and 10,000 test grey images of 28 x 28 pixels.

    Read from `<root>/MNIST/raw`, from the four original idx files, `.gz` or unpacked (torchvision
    lays them so). Inputs `[n, 1, 28, 28]` in [0, 1], not standardised: that is the model's first
    layer (training mean 0.1307, standard deviation 0.3081). LeCun et al. 1998, "Gradient-based
    learning applied to document recognition".
    """

    task = "classification"

    def load(self, root: Path) -> Source:
        """Both parts; raises `MissingDataError` for absent files, `SettingError` for damaged."""
        return load_images(
            root,
            folder="MNIST",
            title="MNIST",
            classes=tuple("0123456789"),
            origin="the MNIST page of Yann LeCun or torchvision.datasets.MNIST(download=True)",
        )
