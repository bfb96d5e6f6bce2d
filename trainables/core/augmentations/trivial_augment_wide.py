"""One random operation of a random magnitude."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..quantities import whole
from ..randomness import Draws
from ._bins import FOURTEEN, bins
from ._images import place
from ._operations import apply_to_bytes, fits, from_bytes, numbers_of, to_bytes


class TrivialAugmentWide(nn.Module):
    """One operation of a random magnitude for every image, nothing to tune (arXiv 2103.10158).

    The operation is drawn from the fourteen of RandAugment, its magnitude from `bins` even steps,
    and its sign where it has one, all equally likely. The ranges are the wide ones: shear up to
    0.99, TranslateX/Y up to 32 pixels whatever the size, Rotate up to 135 degrees, colour factors
    1 +- 0.99, Posterize 8 to 2 bits and Solarize from 255 to 0. The result equals torchvision's to
    the last bit for images of 8 bits; the nearest pixel is read, and black from outside.

    For images x [b, 1 or 3, h, w] in [0, 1], which are rounded to k/255; a Color of a grey image
    changes nothing. The host waits for the device once. Raises `SettingError` for bins below 2 and
    other inputs.
    """

    family = "augmentation"
    moves = True
    short = ("trivialaugment",)

    def __init__(self, *, bins: int = 31) -> None:
        super().__init__()
        self.bins = whole("bins", bins, low=2)
        self.register_buffer("operations", numbers_of(FOURTEEN), persistent=False)
        self.operations: Tensor

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, h, w] after one operation for each image; y as it is."""
        fits("TrivialAugmentWide", x)
        # float32 whatever x is: bfloat16 has too few numbers.
        drawn = draws.uniform(torch.empty(len(x), 3, device=x.device))
        op = self.operations[place(drawn[:, 0], len(self.operations))]
        table = bins(self.bins, *x.shape[2:], wide=True).to(x.device)
        value = table[place(drawn[:, 1], 2), op, place(drawn[:, 2], self.bins)]
        return from_bytes(apply_to_bytes(to_bytes(x), op, value, draws), x), y
