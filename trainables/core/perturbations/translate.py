"""The image moves from left to right."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..corruptions._pixels import as_bytes, table_of
from ..randomness import Draws
from ._frames import parameters
from ._warp import affine


class Translate(nn.Module):
    """The image moves to the right by one step a frame (arXiv 1903.12261).

    16 frames from 7 steps left of its place to 8 steps right of it for small images, 41 frames from
    20 steps left to 20 right for large ones. What comes in is black. A step is one pixel as in the
    published sets of 32 and 224 pixels; twice, three times ... as large images, for which nothing
    is defined, have steps of as many pixels. In ImageNet-P, which was cut from larger images after
    the move, pixels beyond the crop come in instead of black. Raises `SettingError` for inputs that
    are no images of 1 or 3 channels.
    """

    label = "translate"
    against = "previous"
    steps = {32: (-7, 8), 224: (-20, 20)}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 16 or 41, c, h, w]; nothing is drawn."""
        first, last = parameters("Translate", self.steps, x)
        pixels = max(1, min(x.shape[2:]) // table_of(x))
        shift = torch.zeros(last - first + 1, 2, dtype=torch.float64)
        shift[:, 0] = pixels * torch.arange(first, last + 1)
        return as_bytes(
            affine(x, torch.eye(2, dtype=torch.float64).expand(len(shift), 2, 2), shift)
        )
