"""The light changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..corruptions._pixels import as_bytes
from ..randomness import Draws
from ._frames import parameters


class Brightness(nn.Module):
    """The value of every pixel in HSV colours rises from frame to frame (arXiv 1903.12261).

    V' = V + c cut to [0, 1] with V the largest channel; c in 31 frames from -15 to 15 steps of
    .015 for small images and of .02 for large ones. Hue and saturation stay, so all channels are
    scaled by V'/V, and black pixels become grey of c. Raises `SettingError` for inputs that are no
    images of 1 or 3 channels.
    """

    label = "brightness"
    against = "previous"
    step = {32: 0.015, 224: 0.02}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]; nothing is drawn."""
        added = parameters("Brightness", self.step, x) * torch.arange(-15, 16).to(x)
        value = x.amax(1, keepdim=True).unsqueeze(1)
        wanted = (value + added.view(-1, 1, 1, 1)).clamp(0, 1)
        scaled = x.unsqueeze(1) * (wanted / value)
        return as_bytes(scaled.where(value > 0, wanted))
