"""The image is sheared."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..corruptions._pixels import as_bytes
from ..randomness import Draws
from ._frames import parameters
from ._warp import affine


class Shear(nn.Module):
    """The image leans over by 1 degree a frame, from -15 to 15 (arXiv 1903.12261).

    Rows move by tan(angle) times their distance from the middle row, interpolated linearly, with
    black where nothing is: torchvision's `affine` for Pillow images. (Its version when the
    published sets were made also shrank the height by the angle's cosine, 3 % at most.) One of the
    sequences for validation. Raises `SettingError` for inputs that are no images of 1 or 3
    channels.
    """

    label = "shear"
    against = "previous"
    most = {32: 15, 224: 15}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]; nothing is drawn."""
        most = parameters("Shear", self.most, x)
        inverse = torch.eye(2, dtype=torch.float64).repeat(2 * most + 1, 1, 1)
        inverse[:, 0, 1] = torch.arange(-most, most + 1, dtype=torch.float64).deg2rad().tan()
        return as_bytes(affine(x, inverse))
