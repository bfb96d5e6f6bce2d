"""Stronger or paler colours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._pixels import as_bytes, as_given, in_colour, level


class Saturate(nn.Module):
    """The saturation of every pixel in HSV colours, scaled and shifted (arXiv 1903.12261).

    S' = clip(m S + a, 0, 1) where S = (V - min) / V and V the largest channel; hue and value stay,
    so that every channel becomes V - (V - channel) S'/S. A grey pixel has S = 0 and, by convention,
    the hue of red: where a > 0 its green and blue become V (1 - a), as in the published files. Grey
    images keep that as its luma. (m, a) by severity is (.3, 0) (.1, 0) (1.5, 0) (2, .1) (2.5, .2)
    for small images and (.3, 0) (.1, 0) (2, 0) (5, .1) (20, .2) for large ones. Raises
    `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "saturate"
    group = "extra"
    change = {
        32: ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
        224: ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
    }

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted; nothing is drawn."""
        scale, shift = level("Saturate", self.change, x, severity)
        colour = in_colour(x)
        value, low = colour.amax(1, keepdim=True), colour.amin(1, keepdim=True)
        spread = value - low
        # S' is 1 at most: V - min, the spread, may grow to V.
        wanted = torch.minimum(scale * spread + shift * value, value)
        below = (value - colour) * (wanted / spread)
        reddish = wanted * x.new_tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
        return as_bytes(as_given(value - below.where(spread > 0, reddish), x))
