"""Where Square looks next: windows, and what it puts into them, for three norms.

Everything is a picture [b, c, h, w] here; a series is one of height 1. Whatever is random comes as
uniform numbers of each example's own.
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from ..randomness import Draws
from ..threat import Box, per_example, size
from ._sparse import within


class Patches:
    """Moves of linf: a window's values in a channel all go to the same side of the ball."""

    def __init__(self, eps: Tensor, box: Box) -> None:
        self.eps = eps
        self.box = box

    def numbers(self, channels: int) -> int:
        """How many uniform numbers a move needs."""
        return 2 + channels

    def start(self, x: Tensor, draws: Draws) -> Tensor:
        """Stripes: one sign for each column of each channel."""
        stripes = draws.uniform(x.new_empty(len(x), x.shape[1], 1, x.shape[3]))
        return self._side(x, _signs(stripes))

    def move(self, x: Tensor, at: Tensor, share: float, numbers: Tensor) -> Tensor:
        """`at` with one window of every example moved to the ball's surface."""
        extent = window(share, *x.shape[2:], least=1)
        inside = [
            _span(numbers[:, axis], whole, part)
            for axis, (whole, part) in enumerate(zip(x.shape[2:], extent, strict=True))
        ]
        mask = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        sides = _signs(numbers[:, 2:])[:, :, None, None]
        return torch.where(mask, self._side(x, sides), at)

    def _side(self, x: Tensor, signs: Tensor) -> Tensor:
        moved = x + self.eps * signs
        return moved if self.box is None else moved.clamp(*self.box)


class Bumps:
    """Moves of l2 and l1: a second window's part of the ball is spent on a bump in the first."""

    def __init__(self, norm: str, eps: Tensor, box: Box) -> None:
        self.norm = norm
        self.eps = eps
        self.box = box

    def numbers(self, channels: int) -> int:
        """How many uniform numbers a move needs."""
        return 5 + channels

    def start(self, x: Tensor, draws: Draws) -> Tensor:
        """A grid of bumps, five to a side, of random signs and orientations."""
        b, c, h, w = x.shape
        tile = [max(h // 5, 1), max(w // 5, 1)]
        grid = [h // tile[0], w // tile[1]]
        numbers = draws.uniform(x.new_empty(b, grid[0] * grid[1], 1 + c))
        shapes = bumps(*tile, self.norm, x.dtype, x.device)[_coin(numbers[..., 0])]
        tiles = shapes.unsqueeze(2) * _signs(numbers[..., 1:]).unsqueeze(3)
        # [b, rows, columns, c, height, width] of tiles -> [b, c, rows height, columns width]
        joined = tiles.view(b, *grid, c, *tile).permute(0, 3, 1, 4, 2, 5)
        joined = joined.reshape(b, c, grid[0] * tile[0], grid[1] * tile[1])
        spare = [h - joined.shape[2], w - joined.shape[3]]
        before = [spare[0] // 2, spare[1] // 2]
        sides = [before[1], spare[1] - before[1], before[0], spare[0] - before[0]]
        return self._settle(x, F.pad(joined, sides))

    def move(self, x: Tensor, at: Tensor, share: float, numbers: Tensor) -> Tensor:
        """`at` with the perturbation of two windows of every example put into the first of them."""
        c, h, w = x.shape[1:]
        extent = window(share, h, w, least=3)
        flat = (at - x).flatten(2)
        one, other = (
            _places(pair, (h, w), extent).unsqueeze(1).expand(-1, c, -1)
            for pair in (numbers[:, :2], numbers[:, 2:4])
        )
        both = torch.zeros_like(flat).scatter(2, one, 1.0).scatter(2, other, 1.0)
        unused = (self._measure(self.eps) - self._measure(flat).sum((1, 2))).clamp_min(0)
        spent = self._measure(flat * both).sum(2)
        allowed = unused[:, None] / c + spent
        # The l1 projection shrinks all values alike, so the first code hands it c times as much.
        length = allowed.sqrt() if self.norm == "l2" else allowed * c
        old = flat.gather(2, one)
        bump = bumps(*extent, self.norm, x.dtype, x.device)[_coin(numbers[:, 4])]
        new = bump.unsqueeze(1) * _signs(numbers[:, 5:]).unsqueeze(2) + self._unit(old)
        flat = flat.scatter(2, other, 0.0).scatter(2, one, self._unit(new) * length.unsqueeze(2))
        return self._settle(x, flat.view_as(x))

    def _measure(self, values: Tensor) -> Tensor:
        """What adds up over values: squares (l2) or sizes (l1)."""
        return values.square() if self.norm == "l2" else values.abs()

    def _unit(self, values: Tensor) -> Tensor:
        """Channel by channel at length 1; zeros stay zeros."""
        order = 2 if self.norm == "l2" else 1
        length = torch.linalg.vector_norm(values, order, dim=2, keepdim=True)
        found: Tensor = values / length.clamp_min(1e-12)
        return found

    def _settle(self, x: Tensor, delta: Tensor) -> Tensor:
        """On the ball's surface (l2) or at the nearest point of ball and box (l1), in the box."""
        if self.norm == "l1":
            # Short of the surface by what float32 sums of many values may be wrong.
            return x + within(x, delta, self.eps * (1 - 1e-6), self.box)
        moved = x + delta * per_example(self.eps / size(delta, "l2").clamp_min(1e-12), x)
        return moved if self.box is None else moved.clamp(*self.box)


def window(share: float, h: int, w: int, *, least: int) -> tuple[int, int]:
    """Height and width of a window that covers about this share of the picture.

    It is a square of side round(sqrt(share h w)), at least `least` and odd where that is 3, cut to
    the picture; of a series (h or w is 1) a stretch of that share.
    """
    series = min(h, w) == 1
    side = max(round(share * h * w if series else sqrt(share * h * w)), least)
    side += least == 3 and side % 2 == 0
    if series:
        return min(side, h), min(side, w)
    side = min(side, h, w)
    return side, side


@lru_cache(maxsize=64)
def bumps(h: int, w: int, norm: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The bump h x w of length 1, its halves above and beside each other, [2, h w].

    A half is a pyramid of nested rectangles around its middle, the k-th one of height 1 / k^2 (l2)
    or 1 / k^4 (l1); the halves are equally long and of opposite signs.
    """
    upright, lying = _halves(h, w, norm), _halves(w, h, norm).T
    # A side of one value cannot be halved: then both are the other one.
    both = [lying if h == 1 else upright, upright if w == 1 else lying]
    return torch.stack(both).flatten(1).to(device, dtype)


def _halves(h: int, w: int, norm: str) -> Tensor:
    order = 2 if norm == "l2" else 1
    parts = [_pyramid(rows, w, 2 * (3 - order)) for rows in (h // 2, h - h // 2) if rows]
    halves = [part / torch.linalg.vector_norm(part, order) for part in parts]
    joined = torch.cat([halves[0], -halves[1]] if len(halves) > 1 else halves)
    found: Tensor = joined / torch.linalg.vector_norm(joined.flatten(), order)
    return found


def _pyramid(h: int, w: int, power: int) -> Tensor:
    """Sum of k^-power over all rectangles k that reach as far out as the place."""
    heights = torch.arange(1, max(h, w) // 2 + 2, dtype=torch.float64) ** -power
    outward = heights.flip(0).cumsum(0).flip(0)
    rows = (torch.arange(h) - h // 2).abs()
    columns = (torch.arange(w) - w // 2).abs()
    return outward[torch.maximum(rows[:, None], columns[None, :])]


def _signs(numbers: Tensor) -> Tensor:
    return 2 * (numbers < 0.5).to(numbers.dtype) - 1


def _coin(numbers: Tensor) -> Tensor:
    return (numbers < 0.5).long()


def _first(numbers: Tensor, whole: int, part: int) -> Tensor:
    """Where a part begins, uniform over all places where it fits, [b]."""
    # A uniform number just below 1 may round up when it is multiplied.
    return (numbers * (whole - part + 1)).long().clamp_max(whole - part)


def _span(numbers: Tensor, whole: int, part: int) -> Tensor:
    """Which of `whole` places are in the part, bool [b, whole]."""
    places = torch.arange(whole, device=numbers.device)
    first = _first(numbers, whole, part).unsqueeze(1)
    return (places >= first) & (places < first + part)


def _places(numbers: Tensor, whole: tuple[int, int], part: tuple[int, int]) -> Tensor:
    """The places of a window in the flattened picture, [b, part[0] part[1]]."""
    rows, columns = (
        _first(numbers[:, axis], whole[axis], part[axis]).unsqueeze(1)
        + torch.arange(part[axis], device=numbers.device)
        for axis in (0, 1)
    )
    return (rows.unsqueeze(2) * whole[1] + columns.unsqueeze(1)).flatten(1)
