"""Salt and pepper."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._pixels import as_bytes, level


class ImpulseNoise(nn.Module):
    """Salt and pepper in the channels of the pixels (arXiv 1903.12261).

    Independently of all others each value becomes 1 with probability amount / 2, 0 with probability
    amount / 2, else it stays; a colour pixel may keep two of its channels. `amount` by severity is
    .01 .02 .03 .05 .07 for small images and .03 .06 .09 .17 .27 for large ones. Raises
    `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "impulse_noise"
    group = "noise"
    amount = {32: (0.01, 0.02, 0.03, 0.05, 0.07), 224: (0.03, 0.06, 0.09, 0.17, 0.27)}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        amount = level("ImpulseNoise", self.amount, x, severity)
        uniform = draws.uniform(x)
        salt = (uniform < amount / 2).to(x.dtype)
        return as_bytes(torch.where(uniform < amount, salt, x))
