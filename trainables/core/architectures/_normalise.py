"""Normalisation as a layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """(x - mean) / deviation per channel (dimension 1), with a deviation of 0 taken as 1."""

    def __init__(self, mean: Sequence[float], deviation: Sequence[float], dims: int) -> None:
        super().__init__()
        shape = (1, -1, *[1] * (dims - 1))
        scale = torch.tensor([one if one > 0 else 1.0 for one in deviation])
        self.register_buffer("mean", torch.tensor(mean).view(shape))
        self.register_buffer("scale", (1 / scale).view(shape))
        self.mean: Tensor
        self.scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """x [b, c, ...] normalised."""
        # In place on the difference, which nothing else holds: one large tensor less to make.
        return (x - self.mean).mul_(self.scale)
