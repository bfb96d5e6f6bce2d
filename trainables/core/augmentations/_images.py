"""What augmentations of images share: the check of the shape, places of pixels, rectangles."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import SettingError


def sides(name: str, x: Tensor) -> tuple[int, int]:
    """Height and width of images x [b, c, h, w]; raises `SettingError` for any other shape."""
    if x.dim() != 4:
        raise SettingError(
            f"{name} needs images (c, h, w), found inputs of shape {tuple(x.shape[1:])}"
        )
    return x.shape[2], x.shape[3]


def place(uniform: Tensor, count: int) -> Tensor:
    """Whole numbers 0 ... count - 1, all equally likely, from numbers of U[0, 1)."""
    # The product may be rounded up to `count` itself.
    return (uniform * count).long().clamp(max=count - 1)


def rectangle(x: Tensor, middle: Tensor, height: Tensor | int, width: Tensor | int) -> Tensor:
    """Where a rectangle covers each image, bool [b, 1, h, w], cut off at the border.

    `middle` [b, 2] or [1, 2] is its row and column; of an even side one pixel more lies before it
    than after it. `height` and `width` are whole numbers, or [b] or [1].
    """

    def span(middle: Tensor, length: Tensor | int, side: int) -> Tensor:
        first = middle - torch.as_tensor(length, device=x.device) // 2
        pixel = torch.arange(side, device=x.device)
        after = pixel >= first.unsqueeze(1)
        return after & (pixel < (first + length).unsqueeze(1))

    rows = span(middle[:, 0], height, x.shape[2])
    columns = span(middle[:, 1], width, x.shape[3])
    return rows[:, None, :, None] & columns[:, None, None, :]
