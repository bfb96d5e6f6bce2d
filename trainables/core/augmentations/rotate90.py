"""Quarter turns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..randomness import Draws


class Rotate90(nn.Module):
    """Turns every image by 0 to 3 quarter turns, which become its target (arXiv 1803.07728).

    The number of quarter turns, counterclockwise, is uniform on 0..3 for every image on its own; y
    is that number, int64 [b], whatever it was before (`relabels`). For images x [b, c, h, h] only:
    raises `SettingError` for other shapes.
    """

    family = "augmentation"
    moves = True
    short = ("rotate90",)
    relabels = True

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """The turned images and their quarter turns."""
        if x.dim() != 4 or x.shape[2] != x.shape[3]:
            raise SettingError(
                f"Rotate90 needs square images (c, h, h), found inputs of shape "
                f"{tuple(x.shape[1:])}"
            )
        turns = (4 * draws.uniform(x[:, 0, 0, 0])).to(torch.int64)
        # All four and then a choice: how many images take which turn stays on the device.
        turned = torch.stack([torch.rot90(x, k, (2, 3)) for k in range(4)])
        return turned[turns, torch.arange(len(x), device=x.device)], turns
