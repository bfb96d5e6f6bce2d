"""The image tilts in space."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..corruptions._pixels import as_bytes
from ..randomness import Draws
from ._frames import parameters
from ._warp import projective


class Tilt(nn.Module):
    """The image tilts about both of its axes at once, as seen in perspective (arXiv 1903.12261).

    31 frames, both angles equal, from -15 to 15 steps of 0.75 degrees for small images and of 1
    degree for large ones. The image lies in the plane z = 0 with its centre (w / 2, h / 2) at the
    origin, is turned about y and then about x, and is projected from the distance of its diagonal;
    interpolated linearly, with black around it. Pixels are rounded and not cut off, as OpenCV does.
    In ImageNet-P, which was cut from larger images afterwards, pixels beyond the crop come in
    instead of black. Raises `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "tilt"
    against = "previous"
    degrees = {32: 0.75, 224: 1.0}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]; nothing is drawn."""
        step = parameters("Tilt", self.degrees, x)
        angles = step * torch.arange(-15, 16, dtype=torch.float64).deg2rad()
        h, w = x.shape[2:]
        inverse = torch.stack([_seen(float(angle), h, w).inverse() for angle in angles])
        return as_bytes(projective(x, inverse) + 0.5 / 255)


def _seen(angle: float, h: int, w: int) -> Tensor:
    """Where (column, row, 1) of the image comes to lie, homogeneous, [3, 3]."""
    cos, sin, far = math.cos(angle), math.sin(angle), math.hypot(w, h)
    # Points of the plane, with its centre at the origin, as (x, y, z).
    plane = torch.tensor([[1, 0, -w / 2], [0, 1, -h / 2], [0, 0, 0]], dtype=torch.float64)
    about_y = torch.tensor([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], dtype=torch.float64)
    about_x = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
    turned = about_x @ about_y @ plane
    turned[2, 2] += far
    onto = torch.tensor([[far, 0, w / 2], [0, far, h / 2], [0, 0, 1]], dtype=torch.float64)
    return onto @ turned
