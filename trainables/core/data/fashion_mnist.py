from __future__ import annotations

from pathlib import Path

from ._idx import load_images
from ._source import Source


class FashionMNIST:
    """Articles of clothing: 60,000 training and 10,000 test grey images of 28 x 28 pixels.

    Read from `<root>/FashionMNIST/raw`, from the four original idx files, `.gz` or unpacked.
    Inputs `[n, 1, 28, 28]` in [0, 1]; 6,000 + 1,000 images of each class. arXiv 1708.07747.
    """

    task = "classification"

    def load(self, root: Path) -> Source:
        """Both parts; raises `MissingDataError` for absent files, `SettingError` for damaged."""
        return load_images(
            root,
            folder="FashionMNIST",
            title="Fashion-MNIST",
            classes=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            origin="the repository zalandoresearch/fashion-mnist on GitHub "
            "or torchvision.datasets.FashionMNIST(download=True)",
        )
