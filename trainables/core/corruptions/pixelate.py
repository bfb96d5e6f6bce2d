"""Fewer and larger pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._pixels import as_bytes, level
from ._texture import few


class Pixelate(nn.Module):
    """Images made smaller by averages over boxes and large again (arXiv 1903.12261).

    The sides become int(c side) and then what they were, both by Pillow's box filter and exactly
    with its numbers: means rounded to bytes, halves up, first along the rows and then the columns.
    c by severity is .95 .9 .85 .75 .65 for small images and .6 .5 .4 .3 .25 for large ones. Raises
    `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "pixelate"
    group = "digital"
    kept = {32: (0.95, 0.9, 0.85, 0.75, 0.65), 224: (0.6, 0.5, 0.4, 0.3, 0.25)}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted; nothing is drawn."""
        kept = level("Pixelate", self.kept, x, severity)
        height, width = x.shape[2:]
        small = max(int(height * kept), 1), max(int(width * kept), 1)
        found = []
        for part in x.split(few(x)):
            whole = (as_bytes(part) * 255).round()
            found.append(_resized(_resized(whole, small), (height, width)) / 255)
        return torch.cat(found)


def _resized(whole: Tensor, sides: tuple[int, int]) -> Tensor:
    """Images [b, c, h, w] of whole numbers resized to `sides` as Pillow does, width first."""
    for axis, wanted in ((3, sides[1]), (2, sides[0])):
        first, last = _boxes(whole.shape[axis], wanted)
        count = (last - first).to(whole)
        if count.max() == 1:
            whole = whole.index_select(axis, first.to(whole.device))
            continue
        place = torch.arange(whole.shape[axis])
        inside = ((place >= first[:, None]) & (place < last[:, None])).to(whole)
        # Sums of few whole numbers: exact in any order.
        total = whole @ inside.mT / count if axis == 3 else inside @ whole / count[:, None]
        whole = (total + 0.5).floor()
    return whole


def _boxes(given: int, wanted: int) -> tuple[Tensor, Tensor]:
    """The first pixel of each of the `wanted` boxes and the first one after it.

    Pillow weighs a box with round(2^22 / count); of boxes of up to 9 pixels, and ours are smaller,
    that gives the mean, rounded with halves up.
    """
    scale = given / wanted
    wide = max(scale, 1.0)
    middle = (torch.arange(wanted, dtype=torch.float64) + 0.5) * scale
    place = torch.arange(given, dtype=torch.float64)
    offset = (place - middle[:, None] + 0.5) / wide
    inside = (offset > -0.5) & (offset <= 0.5)
    first = inside.int().argmax(1)
    return first, first + inside.sum(1)
