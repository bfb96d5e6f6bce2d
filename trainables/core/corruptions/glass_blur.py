"""Blur as through frosted glass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..augmentations._images import place
from ..quantities import flag
from ..randomness import Draws
from ._blur import gaussian
from ._pixels import as_bytes, level


class GlassBlur(nn.Module):
    """A blur as through frosted glass: pixels are displaced at random (arXiv 1903.12261).

    The image is blurred by a Gaussian sigma and cut down to whole numbers, its pixels are
    displaced, and it is blurred again. For displacing, `rounds` times, from the lower right pixel
    leftwards and upwards, each pixel meets the one at an offset from {-reach ... reach - 1} each
    way. (sigma, reach, rounds) by severity are (.05, 1, 1) (.25, 1, 1) (.4, 1, 1) (.25, 1, 2) (.4,
    1, 2) for small images and (.7, 1, 2) (.9, 2, 1) (1, 2, 3) (1.1, 3, 2) (1.5, 4, 2) for large
    ones. The frame that is too near to the edge for that meets no pixels itself.

    The official program means to exchange the two pixels, but in it (as in its copies) the second
    assignment reads what the first has overwritten, so that the pixel takes the other one's colour
    and the other one keeps it. The published sets were made so, and so are ours; with `exchange`
    true the two are exchanged, and no colour is lost or doubled. Raises `SettingError` for inputs
    that are no images of 1 or 3 channels.
    """

    label = "glass_blur"
    group = "blur"
    glass = {
        32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    }

    def __init__(self, *, exchange: bool = False) -> None:
        super().__init__()
        self.exchange = flag("exchange", exchange)

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        sigma, reach, rounds = level("GlassBlur", self.glass, x, severity)
        blurred = as_bytes(gaussian(x, sigma))
        origin = _displaced(x, reach, rounds, draws, self.exchange)
        moved = blurred.flatten(2).gather(2, origin.unsqueeze(1).expand(-1, x.shape[1], -1))
        return as_bytes(gaussian(moved.view_as(x), sigma))


def _displaced(x: Tensor, reach: int, rounds: int, draws: Draws, exchange: bool) -> Tensor:
    """Where each pixel's colour comes from, [b, h w].

    Pixels are handled in groups that cannot meet one another, which gives the same as one by one.
    """
    (height, width), batch = x.shape[2:], len(x)
    rows, columns = (max(0, side - 2 * reach) for side in (height, width))
    # Pixels first: then a group's are rows of memory.
    origin = torch.arange(height * width, device=x.device).unsqueeze(1).repeat(1, batch)
    if not rows * columns:
        return origin.T
    groups = _groups(height, width, reach, x.device)
    offsets = place(draws.uniform(x.new_empty(batch, rounds, 2, height, width)), 2 * reach) - reach
    across, down = offsets[:, :, 0], offsets[:, :, 1]
    other = (across + width * down).flatten(2).permute(1, 2, 0)
    for one in range(rounds):
        for group in groups:
            met = group.unsqueeze(1) + other[one, group]
            colour = origin.gather(0, met)
            if exchange:
                origin.scatter_(0, met, origin[group])
            origin[group] = colour
    return origin.T


def _groups(height: int, width: int, reach: int, device: torch.device) -> list[Tensor]:
    """The pixels from the lower right to the upper left, those of equal rank together.

    A pixel meets others less than 2 reach rows and columns away from those that its successors
    meet. With rank 2 reach (rows from below) + columns from the right, pixels of one rank are
    further apart than that, and of two pixels that are not, the official order's first comes first.
    """
    row = torch.arange(height - reach, reach, -1).unsqueeze(1)
    column = torch.arange(width - reach, reach, -1)
    rank = (2 * reach * (height - reach - row) + (width - reach - column)).flatten()
    pixel = (row * width + column).flatten()
    order = rank.argsort(stable=True)
    counts = rank.bincount().tolist()
    return [group for group in pixel[order].to(device).split(counts) if len(group)]
