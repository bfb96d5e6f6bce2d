"""The image turns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..corruptions._pixels import as_bytes
from ..randomness import Draws
from ._frames import parameters
from ._warp import affine


class Rotate(nn.Module):
    """The image turns clockwise by 1 degree a frame, from -15 to 15 (arXiv 1903.12261).

    About its centre, interpolated linearly, with black where nothing is: torchvision's `affine` for
    Pillow images, with which the published sets were made. (Its version of that time turned about a
    point half a pixel right of the centre and below it, at most 0.2 pixels of a shift.) In
    ImageNet-P, which was cut from larger images afterwards, pixels beyond the crop come in instead
    of black. Raises `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "rotate"
    against = "previous"
    most = {32: 15, 224: 15}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]; nothing is drawn."""
        most = parameters("Rotate", self.most, x)
        angle = torch.arange(-most, most + 1, dtype=torch.float64).deg2rad()
        cos, sin = angle.cos(), angle.sin()
        inverse = torch.stack([cos, sin, -sin, cos], 1).view(-1, 2, 2)
        return as_bytes(affine(x, inverse))
