"""What the policies of fixed magnitudes share: fourteen operations and their values in bins."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ._operations import IDENTITY, NAMES

# The fourteen of arXiv 1909.13719 and 2103.10158.
FOURTEEN = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
_COLOURS = ("Brightness", "Color", "Contrast", "Sharpness")


@lru_cache
def bins(count: int, h: int, w: int, *, wide: bool = False) -> Tensor:
    """Values of every operation in every bin, float64 [2, operations, count]; not to be changed.

    Magnitudes grow evenly from 0 to their largest: shear 0.3, TranslateX/Y 150/331 of the length
    in whole pixels, Rotate 30 degrees, 8 - 4 bits, a threshold from 255 to 0, and colour factors
    1 +- 0.9; `wide` 0.99, 32 pixels, 135 degrees, 8 - 6 bits and 1 +- 0.99. The second of the two
    tables is for the other sign.
    """
    found = torch.zeros(2, IDENTITY + 1, count, dtype=torch.float64)

    # In float32, as torchvision computes them: what is cut off to whole pixels depends on it.
    def enter(name: str, plus: Tensor, minus: Tensor) -> None:
        found[0, NAMES.index(name)], found[1, NAMES.index(name)] = plus, minus

    for name, most in (("ShearX", 0.3), ("ShearY", 0.3), ("Rotate", 30.0)):
        largest = (135.0 if name == "Rotate" else 0.99) if wide else most
        size = torch.linspace(0, largest, count).double()
        enter(name, size, -size)
    for name, length in (("TranslateX", w), ("TranslateY", h)):
        pixels = torch.linspace(0, 32.0 if wide else 150.0 / 331.0 * length, count).trunc()
        # torchvision's positive shifts are to the right and down.
        enter(name, -pixels.double() / length, pixels.double() / length)
    for name in _COLOURS:
        size = torch.linspace(0, 0.99 if wide else 0.9, count).double()
        enter(name, 1 + size, 1 - size)
    lost = (torch.arange(count) / ((count - 1) / (6 if wide else 4))).round().double()
    enter("Posterize", 8 - lost, 8 - lost)
    threshold = torch.linspace(255.0, 0.0, count).double()
    enter("Solarize", threshold, threshold)
    return found
