"""Boxes of images as one tensor, so that batches of detection move like all others.

A target is [1 + m, 5]. Its first row is (height, width, 0, 0, 0), the true size of the image, which
lies in the upper left corner of a larger canvas. Each further row is (x1, y1, x2, y2, label) in
pixels with labels from 0; rows with label -1 hold no box.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pack(size: tuple[int, int], boxes: Tensor, labels: Tensor, most: int) -> Tensor:
    """One image's target [1 + most, 5] from its (height, width), boxes [n, 4] and labels [n]."""
    target = torch.zeros(1 + most, 5)
    target[0, 0], target[0, 1] = size
    target[1:, 4] = -1
    target[1 : 1 + len(boxes), :4] = boxes
    target[1 : 1 + len(boxes), 4] = labels
    return target


def unpack(y: Tensor) -> tuple[list[tuple[int, int]], list[dict[str, Tensor]]]:
    """The true sizes (height, width) and the boxes [n, 4] and labels [n] of targets [b, 1 + m, 5].

    The numbers of boxes differ from image to image, so this waits for the device.
    """
    sizes = [(int(h), int(w)) for h, w in y[:, 0, :2].tolist()]
    found = []
    for rows in y[:, 1:]:
        kept = rows[rows[:, 4] >= 0]
        found.append({"boxes": kept[:, :4], "labels": kept[:, 4].long()})
    return sizes, found


def cropped(x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """The images [c, h, w] of their true sizes, cut from their canvases x [b, c, H, W]."""
    return [image[:, :h, :w] for image, (h, w) in zip(x, sizes, strict=True)]
