"""Fewer and larger pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._bytes import from_bytes, to_whole
from ._pixels import level


class Pixelate(nn.Module):
    """Images made smaller by averages over boxes and large again (arXiv 1903.12261).

    The sides become int(c side) and then what they were, both by Pillow's box filter and exactly
    with its numbers. c by severity is .95 .9 .85 .75 .65 for small images and .6 .5 .4 .3 .25 for
    large ones. Raises `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "pixelate"
    group = "digital"
    kept = {32: (0.95, 0.9, 0.85, 0.75, 0.65), 224: (0.6, 0.5, 0.4, 0.3, 0.25)}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted; nothing is drawn."""
        kept = level("Pixelate", self.kept, x, severity)
        height, width = x.shape[2:]
        small = max(int(height * kept), 1), max(int(width * kept), 1)
        whole = _means(_means(to_whole(x), small[1]).mT, small[0]).mT.to(torch.uint8)
        # Larger again: every pixel is one of the small image's.
        for axis, side in ((3, width), (2, height)):
            first, _ = _boxes(whole.shape[axis], side)
            whole = whole.index_select(axis, first.to(x.device))
        return from_bytes(whole, x)


def _means(whole: Tensor, wanted: int) -> Tensor:
    """Whole numbers [b, c, h, w] with `wanted` columns: means over boxes, rounded, halves up."""
    first, last = _boxes(whole.shape[3], wanted)
    place = torch.arange(whole.shape[3])
    inside = ((place >= first[:, None]) & (place < last[:, None])).to(whole)
    # Sums of few whole numbers: exact in any order.
    return (whole @ inside.mT).div_(inside.sum(1)).add_(0.5).floor_()


def _boxes(given: int, wanted: int) -> tuple[Tensor, Tensor]:
    """The first pixel of each of the `wanted` boxes and the first one after it.

    Pillow weighs the pixels of a box with round(2^22 / count) and rounds the sum over 2^22; of
    boxes of up to 9 pixels, and ours are smaller, that is their mean, rounded with halves up.
    """
    scale = given / wanted
    wide = max(scale, 1.0)
    middle = (torch.arange(wanted, dtype=torch.float64) + 0.5) * scale
    place = torch.arange(given, dtype=torch.float64)
    # Where a pixel lies on the edge of a box the rounding of Pillow's very operations decides.
    first = (middle - wide * 0.5 + 0.5).floor().clamp(min=0)[:, None]
    last = (middle + wide * 0.5 + 0.5).floor().clamp(max=given)[:, None]
    offset = (place - middle[:, None] + 0.5) * (1 / wide)
    inside = (place >= first) & (place < last) & (offset > -0.5) & (offset <= 0.5)
    start = inside.int().argmax(1)
    return start, start + inside.sum(1)
