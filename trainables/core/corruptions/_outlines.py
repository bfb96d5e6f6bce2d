"""Outlines in pictures of whole numbers: edges by Canny's rules, distances, equal histograms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Lengths of a step to a neighbour, to a diagonal one and of a knight's move.
STEP, DIAGONAL, KNIGHT = 1.0, 1.4, 2.1969
# Ratio of the smaller to the larger slope below which an edge counts as upright: tan(22.5 degrees).
UPRIGHT = 2**0.5 - 1


def edges(x: Tensor, low: float, high: float, reach: int) -> Tensor:
    """Canny's edges of x [b, h, w] (numbers of 0 to 255), bool [b, h, w].

    Sobel slopes with |right| + |down| as their size; the largest ones across the edge that are
    above `low` count if they are above `high`, or if a chain of such neighbours, at most `reach`
    pixels long, leads to one that is.
    """
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    along = wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]
    right = across[:, :, 2:] - across[:, :, :-2]
    down = along[:, 2:] - along[:, :-2]
    size = right.abs() + down.abs()
    around = F.pad(size, (1, 1, 1, 1))

    def beside(rows: int, columns: int) -> Tensor:
        height, width = x.shape[1:]
        return around[:, 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    upright = down.abs() < right.abs() * UPRIGHT
    level = right.abs() < down.abs() * UPRIGHT
    falling = (right < 0) == (down < 0)
    # Of two equal neighbours across an edge the first wins, but none of two on a diagonal.
    peak = torch.where(
        upright,
        (size > beside(0, -1)) & (size >= beside(0, 1)),
        torch.where(
            level,
            (size > beside(-1, 0)) & (size >= beside(1, 0)),
            torch.where(
                falling,
                (size > beside(-1, -1)) & (size > beside(1, 1)),
                (size > beside(-1, 1)) & (size > beside(1, -1)),
            ),
        ),
    )
    weak = peak & (size > low)
    found = weak & (size > high)
    for _ in range(reach):
        grown = found.clone()
        grown[:, 1:] |= found[:, :-1]
        grown[:, :-1] |= found[:, 1:]
        found = grown.clone()
        found[:, :, 1:] |= grown[:, :, :-1]
        found[:, :, :-1] |= grown[:, :, 1:]
        found &= weak
    return found


def distances(edge: Tensor, most: float) -> Tensor:
    """From every pixel of [b, h, w] to the nearest edge, `most` at most.

    The length of the shortest way in steps to neighbours (1), diagonal ones (1.4) and knight's
    moves (2.1969), found in one sweep down and one sweep up the rows.
    """
    far = torch.full(edge.shape, most, device=edge.device).masked_fill(edge, 0)
    return _swept(_swept(far, most).flip(1, 2), most).flip(1, 2)


def _swept(far: Tensor, most: float) -> Tensor:
    """The shortest ways that come from above and, within a row, from the left."""
    width = far.shape[2]
    count = torch.arange(width, device=far.device, dtype=far.dtype)
    # Two columns beyond either side, from which nothing comes.
    last = before = F.pad(far[:, 0], (2, 2), value=most).fill_(most)
    rows = []
    for row in far.unbind(1):
        found = row
        for offset in (-2, 2):
            found = torch.minimum(found, last[:, 2 + offset : 2 + offset + width] + KNIGHT)
        for offset in (-1, 1):
            found = torch.minimum(found, last[:, 2 + offset : 2 + offset + width] + DIAGONAL)
            found = torch.minimum(found, before[:, 2 + offset : 2 + offset + width] + KNIGHT)
        found = torch.minimum(found, last[:, 2 : 2 + width] + STEP)
        # min over columns k <= j of found_k + (j - k).
        found = (found - count).cummin(1).values + count
        rows.append(found)
        before, last = last, F.pad(found, (2, 2), value=most)
    return torch.stack(rows, 1)


def equalised(x: Tensor, count: int) -> Tensor:
    """Whole numbers 0 ... count - 1 in [b, h, w] spread over 0 to 255 by their ranks.

    The lowest number there is becomes 0 and the others 255 times the share of pixels between it
    and them; pictures of one number stay as they are.
    """
    index = x.long().flatten(1)
    found = x.new_zeros(len(x), count).scatter_add(1, index, torch.ones_like(x).flatten(1))
    total = found.cumsum(1)
    lowest = torch.where(total > 0, total, torch.inf).amin(1, keepdim=True)
    spread = 255 / (index.shape[1] - lowest).clamp(min=1)
    table = ((total - lowest).clamp(min=0) * spread).round()
    same = torch.arange(count, device=x.device, dtype=x.dtype)
    table = torch.where(lowest == index.shape[1], same, table)
    return table.gather(1, index).view(x.shape)
