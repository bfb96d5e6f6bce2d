"""Zooming in while the picture is taken."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..corruptions._pixels import as_bytes
from ..randomness import Draws
from ._frames import parameters
from ._warp import affine


class ZoomBlur(nn.Module):
    """The mean of the image and ever more enlargements of it (arXiv 1903.12261).

    Frame i of 0 ... 30 is the mean of the image enlarged 1, 1.004, ..., 1 + .004 i times about its
    centre, interpolated linearly. Every enlargement is cut off to whole bytes first, as it was in
    the published sets. Raises `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "zoom_blur"
    against = "previous"
    step = {32: 0.004, 224: 0.004}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]; nothing is drawn."""
        count = torch.arange(31, dtype=torch.float64)
        factor = 1 + parameters("ZoomBlur", self.step, x) * count
        zoomed = as_bytes(affine(x, torch.eye(2, dtype=torch.float64) / factor.view(-1, 1, 1)))
        return as_bytes(zoomed.cumsum(1) / (count.to(x) + 1).view(-1, 1, 1, 1))
