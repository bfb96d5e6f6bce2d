"""Nearest points on a hyperplane within a box, for batches and three norms (exact, by sorting)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..threat import Box


def to_hyperplane(x: Tensor, w: Tensor, gap: Tensor, norm: str, box: Box) -> Tensor:
    """The smallest d with w . d = gap and x + d in the box, per example.

    x and w are [b, ...], gap is [b]. Where no point of the box lies on the hyperplane, d leads to
    the corner of the box that comes nearest to it; where w is 0, d is 0. An x outside the box
    moves only in those of its values that have room in the right direction.

    Every value moves to the side that gains, by at most the room r that the box leaves, and a unit
    of movement gains |w|. Linf and l2 take min(lambda s, r) with s = 1 or s = |w| and one lambda
    per example; l1 uses up the room of the values that gain most. Without a box r is infinite.
    """
    flat, sign = w.flatten(1), gap.sign().unsqueeze(1)
    direction, gain, wanted = flat.sign() * sign, flat.abs(), gap.abs().unsqueeze(1)
    # Gains relative to the largest one: squares of tiny gradients would vanish in float32.
    largest = gain.amax(1, keepdim=True)
    scale = torch.where(largest > 0, largest, 1)
    gain, wanted = gain / scale, wanted / scale
    if box is None:
        moved = _free(gain, wanted, norm)
    else:
        values = x.flatten(1)
        room = torch.where(direction > 0, box[1] - values, values - box[0]).clamp_min(0)
        if norm == "l1":
            moved = _greedy(gain, room, wanted)
        else:
            moved = _even(gain, _pace(gain, norm), room, wanted)
    return (direction * moved).view_as(x)


def _pace(gain: Tensor, norm: str) -> Tensor:
    """How fast every value moves, as seen by the shared lambda."""
    return torch.ones_like(gain) if norm == "linf" else gain


def _free(gain: Tensor, wanted: Tensor, norm: str) -> Tensor:
    if norm == "l1":
        # A share of the one largest gain, which is 1 (0 where w is 0: then nothing moves).
        best = gain.argmax(1, keepdim=True)
        return torch.zeros_like(gain).scatter(1, best, wanted)
    pace = _pace(gain, norm)
    total = (gain * pace).sum(1, keepdim=True)
    return pace * wanted / torch.where(total > 0, total, 1)


def _greedy(gain: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """The values that gain most move as far as they can, and the last of them as far as it must."""
    gain, order = gain.sort(dim=1, descending=True, stable=True)
    room = room.gather(1, order)
    gained = (gain * room).cumsum(1)
    missing = (wanted - torch.cat([torch.zeros_like(wanted), gained[:, :-1]], 1)).clamp_min(0)
    moved = torch.minimum(missing / gain.clamp_min(torch.finfo(gain.dtype).tiny), room)
    return torch.zeros_like(moved).scatter(1, order, moved)


def _even(gain: Tensor, pace: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """min(lambda pace, room) with the least lambda that gains what is wanted.

    What is gained is piecewise linear in lambda and bends where a value has used up its room.
    """
    # A value that cannot gain bends at 0 and then counts for nothing.
    moves = gain * pace > 0
    bends = torch.where(moves, room / torch.where(moves, pace, 1), 0)
    bends, order = bends.sort(dim=1)
    used = (gain * room).gather(1, order)
    slope = torch.where(moves, gain * pace, 0).gather(1, order)
    # Sums over the values that have used up their room before a bend, and over all others.
    full = used.cumsum(1) - used
    left = slope.flip(1).cumsum(1).flip(1)
    short = (full + bends * left < wanted).sum(1, keepdim=True)
    last = short.clamp_max(gain.shape[1] - 1)
    free = left.gather(1, last)
    rate = (wanted - full.gather(1, last)) / torch.where(free > 0, free, 1)
    moved = torch.minimum(rate.clamp_min(0) * pace, room)
    return torch.where(short == gain.shape[1], room, moved)
