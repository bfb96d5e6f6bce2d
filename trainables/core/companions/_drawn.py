"""Examples drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data._source import Examples
from ..randomness import Draws


def drawn(examples: Examples, count: int, draws: Draws) -> tuple[Tensor, Tensor]:
    """x and y of `count` examples, each drawn uniformly and independently of the others."""
    x, y = examples.x, examples.y
    assert isinstance(x, Tensor)
    numbers = draws.uniform(torch.empty(count, dtype=torch.float64, device=y.device))
    index = (numbers * len(y)).long().clamp(max=len(y) - 1)
    return x.index_select(0, index), y.index_select(0, index)
