"""Plasma fractals: clouds of fog, and what bends and mottles frost."""

from __future__ import annotations

import torch
from torch import Tensor

from ..randomness import Draws
from ._pixels import table_of


def plasma(x: Tensor, decay: float, draws: Draws) -> Tensor:
    """A plasma fractal [b, h, w] from 0 to 1 for each image of x [b, c, h, w].

    The diamond-square algorithm on a torus whose sides are a power of two, at least 32 or 256 by
    the size table; the images are its upper left part, as are those of the published sets.
    """
    height, width = x.shape[2:]
    side = {32: 32, 224: 256}[table_of(x)]
    while side < max(height, width):
        side *= 2
    uniform = draws.uniform(x.new_empty(len(x), side * side - 1))
    return fractal(uniform, side, decay)[:, :height, :width]


def fractal(uniform: Tensor, side: int, decay: float) -> Tensor:
    """The fractal [b, side, side] of `uniform` [b, side^2 - 1].

    Midpoints of squares and then of diamonds are the mean of their four neighbours plus
    U(-wobble^2, wobble^2), and `wobble` is divided by `decay` from one step to the next.
    """
    wobble, used = 1.0, 0

    def numbers(like: Tensor) -> Tensor:
        nonlocal used
        used += like[0].numel()
        return wobble**2 * (2 * uniform[:, used - like[0].numel() : used].view_as(like) - 1)

    corners = uniform.new_zeros(len(uniform), 1, 1)
    while corners.shape[1] < side:
        pairs = corners + corners.roll(-1, 1)
        middles = (pairs + pairs.roll(-1, 2)) / 4 + numbers(corners)
        upper = (middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)) / 4
        upper = upper + numbers(corners)
        left = (middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)) / 4
        left = left + numbers(corners)
        rows = torch.stack([corners, upper], 3).flatten(2), torch.stack([left, middles], 3)
        corners = torch.stack([rows[0], rows[1].flatten(2)], 2).flatten(1, 2)
        wobble /= decay
    low = corners.amin((1, 2), keepdim=True)
    return (corners - low) / (corners.amax((1, 2), keepdim=True) - low)
