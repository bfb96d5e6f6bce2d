"""The image grows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..corruptions._pixels import as_bytes
from ..randomness import Draws
from ._frames import parameters
from ._warp import affine


class Scale(nn.Module):
    """The image grows about its centre, frame by frame (arXiv 1903.12261).

    31 frames: from 70 % in steps of 2 % for small images, from 40 % in steps of 2.5 % for large
    ones; interpolated linearly without smoothing, black around it, as torchvision's `affine` does
    for Pillow images. In ImageNet-P, which was cut from larger images afterwards, pixels beyond the
    crop come in before black does. Raises `SettingError` for inputs that are no images of 1 or 3
    channels.
    """

    label = "scale"
    against = "previous"
    percent = {32: (70, 2), 224: (40, 2.5)}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]; nothing is drawn."""
        first, step = parameters("Scale", self.percent, x)
        factor = (first + step * torch.arange(31, dtype=torch.float64)) / 100
        return as_bytes(affine(x, torch.eye(2, dtype=torch.float64) / factor.view(-1, 1, 1)))
