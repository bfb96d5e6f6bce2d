"""Weights learned by their logarithms, together with the model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..quantities import number
from ._numbers import hold


class LogWeights(nn.Module):
    """One trainable logarithm v of a weight per loss, [k], kept in [-log most, log most].

    The bound keeps a loss near 0 from driving its weight without limit, and a loss that exploded
    once from losing its weight for good. The gradient is not autograd's: `learn` leaves it in
    `.grad`, clamped to [-most, most], and the model's optimizer takes the step.
    """

    def __init__(self, k: int, *, start: float, most: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.full((k,), start))
        most = number("most", most, low=1, above=True)
        hold(self, "most", most)
        hold(self, "limit", math.log(most))
        self.most: Tensor
        self.limit: Tensor

    @torch.no_grad()
    def forward(self) -> Tensor:
        """exp(v), [k]; puts back what an optimizer's step carried beyond the bound."""
        return self.value.clamp_(-self.limit, self.limit).exp()

    def learn(self, gradient: Tensor) -> None:
        """Leave the gradient [k] with respect to v for the optimizer."""
        self.value.grad = gradient.clamp(-self.most, self.most).to(self.value.dtype)
