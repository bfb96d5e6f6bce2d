"""The image gets out of focus."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..corruptions._blur import gaussian
from ..corruptions._pixels import as_bytes
from ..randomness import Draws
from ._frames import parameters


class GaussianBlur(nn.Module):
    """A Gaussian filter that widens from frame to frame (arXiv 1903.12261).

    31 frames with deviations of .3 + .015 i for small images and .25 + .035 i for large ones; the
    pixels at the border go on beyond it. The filter is that of the corruption, cut off at 4
    deviations; for the published sets it was at 7 and at 6, which changes few bytes, and those by
    1. One of the sequences for validation. Raises `SettingError` for inputs that are no images of 1
    or 3 channels.
    """

    label = "gaussian_blur"
    against = "previous"
    widths = {32: (0.3, 0.015), 224: (0.25, 0.035)}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]; nothing is drawn."""
        first, step = parameters("GaussianBlur", self.widths, x)
        frames = [gaussian(x, first + step * i) for i in range(31)]
        return as_bytes(torch.stack(frames, 1))
