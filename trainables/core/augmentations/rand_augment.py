"""Random operations of one magnitude."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..quantities import whole
from ..randomness import Draws
from ._bins import FOURTEEN, bins
from ._images import place
from ._operations import apply_to_bytes, fits, from_bytes, numbers_of, to_bytes


class RandAugment(nn.Module):
    """`count` operations, one after another, all of one magnitude (arXiv 1909.13719).

    For every image each operation is drawn from fourteen, all equally likely and with replacement:
    Identity, AutoContrast, Equalize, Rotate, Solarize, Color, Posterize, Contrast, Brightness,
    Sharpness, ShearX, ShearY, TranslateX, TranslateY; so is the sign of shear, TranslateX/Y, Rotate
    and of the colour factors' distance from 1. `magnitude` 0 ... `bins` - 1 goes evenly from
    nothing to the largest, which are those of AutoAugment; the paper's scale is 0 to 10 for `bins`
    11, while the usual code has 31. The result equals torchvision's to the last bit for images of 8
    bits; the nearest pixel is read, and black from outside.

    For images x [b, 1 or 3, h, w] in [0, 1], which are rounded to k/255; a Color of a grey image
    changes nothing. The host waits for the device once for each of the `count` operations. Raises
    `SettingError` for bins below 2, a magnitude that is none of them, and other inputs.
    """

    family = "augmentation"
    moves = True
    short = ("randaugment", "count", "magnitude")

    def __init__(self, *, count: int = 2, magnitude: int = 9, bins: int = 31) -> None:
        super().__init__()
        self.count = whole("count", count, low=1)
        self.magnitude = whole("magnitude", magnitude)
        self.bins = whole("bins", bins, low=2)
        if self.magnitude >= self.bins:
            raise SettingError(
                f"magnitude must be below bins, which is {self.bins}, found {magnitude!r}"
            )
        self.register_buffer("operations", numbers_of(FOURTEEN), persistent=False)
        self.operations: Tensor

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, h, w] after `count` operations for each image; y as it is."""
        fits("RandAugment", x)
        # float32 whatever x is: bfloat16 has too few numbers.
        drawn = draws.uniform(torch.empty(len(x), self.count, 2, device=x.device))
        op = self.operations[place(drawn[..., 0], len(self.operations))]
        table = bins(self.bins, *x.shape[2:]).to(x.device)[..., self.magnitude]
        value = table[place(drawn[..., 1], 2), op]
        pixels = to_bytes(x)
        for turn in range(self.count):
            pixels = apply_to_bytes(pixels, op[:, turn], value[:, turn], draws)
        return from_bytes(pixels, x), y
