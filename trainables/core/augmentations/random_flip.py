"""Images mirrored at random."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..quantities import number
from ..randomness import Draws
from ._images import sides


class RandomFlip(nn.Module):
    """Mirrors every image left to right with probability p, each on its own.

    x [b, c, h, w]; p lies in [0, 1]. Raises `SettingError` for another p and for inputs that are no
    images. Not for digits and letters, which a mirror turns into something else.
    """

    family = "augmentation"
    moves = True
    short = ("flip", "p")

    def __init__(self, *, p: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(number("p", p, low=0, high=1)), persistent=False)
        self.p: Tensor

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, h, w], some mirrored; y as it is."""
        sides("RandomFlip", x)
        kept = draws.uniform(torch.empty(len(x), device=x.device)) >= self.p
        # With weights of 0 and 1 `lerp_` gives one of the two exactly; within the mirrored copy it
        # is four times as fast as choosing into a new tensor, whose pages the system must clear.
        return x.flip(3).lerp_(x, kept.to(x.dtype).view(-1, 1, 1, 1)), y
