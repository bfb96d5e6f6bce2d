"""Shifted images: padded at the border and cropped back to their size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SettingError
from ..quantities import one_of, whole
from ..randomness import Draws
from ._images import place, sides


class RandomCrop(nn.Module):
    """Shifts every image by up to `padding` pixels: pads all sides, then crops to the old size.

    x [b, c, h, w] is padded to [b, c, h + 2 padding, w + 2 padding]; row and column of the crop
    are drawn for each image from {0, ..., 2 padding}, all equally likely. With padding 4 this is
    the usual augmentation of CIFAR (arXiv 1512.03385, section 4.2).

    `fill` is what lies beyond the border: "zero" (black, where a pixel is in [0, 1]; pipelines that
    normalise after the crop pad with the same) or "reflect", which needs padding below both sides.
    Raises `SettingError` for a negative padding, and for inputs that are no images or too small.
    """

    family = "augmentation"
    moves = True
    short = ("crop", "padding")

    def __init__(self, *, padding: int = 4, fill: str = "zero") -> None:
        super().__init__()
        self.padding = whole("padding", padding)
        self.fill = one_of("fill", fill, ("zero", "reflect"))

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, h, w], shifted; y as it is."""
        h, w = sides("RandomCrop", x)
        p = self.padding
        if self.fill == "reflect" and p >= min(h, w):
            raise SettingError(
                f"RandomCrop with fill reflect needs padding below the sides of an image, found "
                f"padding {p} and images of {h} x {w}"
            )
        b, c = x.shape[:2]
        # float32 whatever x is: bfloat16 has too few numbers.
        start = place(draws.uniform(torch.empty(b, 2, device=x.device)), 2 * p + 1)
        row = start[:, :1] - p + torch.arange(h, device=x.device)
        image = torch.arange(b * c, device=x.device).view(b, c, 1) * h
        left = start[:, 1].view(b, 1, 1)
        # Only rows are padded, and beyond the border other rows are read. That and the windows
        # below, instead of pixels one by one, make it 4 times as fast as plain indexing.
        if self.fill == "zero":
            # The zeros before a row are those after the one above; the last row is all zeros.
            rows = F.pad(x.reshape(-1, w), (p, 0, 0, 1))
            inside = ((row >= 0) & (row < h)).unsqueeze(1)
            first = torch.where(
                inside, (image + row.unsqueeze(1)) * (w + p) + left, b * c * h * (w + p)
            )
        else:
            rows = F.pad(x, (p, p, 0, 0), "reflect")
            row = h - 1 - (h - 1 - row.abs()).abs()
            first = (image + row.unsqueeze(1)) * (w + 2 * p) + left
        # Every w neighbouring numbers of all rows, without a copy.
        windows = rows.flatten().unfold(0, w, 1)
        return windows.index_select(0, first.flatten()).view(b, c, h, w), y
