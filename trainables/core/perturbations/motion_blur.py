"""The direction of a motion blur turns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..corruptions._blur import along_line
from ..corruptions._pixels import as_bytes
from ..randomness import Draws
from ._frames import parameters, repeated


class MotionBlur(nn.Module):
    """The image smeared along a line that turns from frame to frame (arXiv 1903.12261).

    Radius, deviation and step of the angle are 6, 1.8 and 9 degrees in 21 frames for small images,
    10, 3 and 4 degrees in 31 frames for large ones; the last angle is 0. The blur is our own
    rendering of what ImageMagick defines, as in the corruption of that name, rounded to bytes.
    Raises `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "motion_blur"
    against = "previous"
    line = {32: (6, 1.8, 9, 21), 224: (10, 3, 4, 31)}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 21 or 31, c, h, w]; nothing is drawn."""
        radius, sigma, step, count = parameters("MotionBlur", self.line, x)
        angle = step * torch.arange(1 - count, 1, dtype=torch.float64, device=x.device)
        many = repeated(x, count).flatten(0, 1)
        found = along_line(many, radius, sigma, angle.repeat(len(x)))
        return as_bytes(found.unflatten(0, (len(x), count)) + 0.5 / 255)
