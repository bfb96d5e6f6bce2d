"""Losses as constraints, with Lagrange multipliers for weights (arXiv 1804.06500)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number, one_of, whole
from ._numbers import Each, each, hold


class Lagrangian(nn.Module):
    """Keeps losses under bounds while it minimises the others (arXiv 1804.06500).

    A loss to keep has its Lagrange multiplier for a weight, which grows while the loss is above
    its bound and falls while it is below:
    lambda_i <- min(most, max(0, lambda_i + rate (L_i - bound_i))), after its use in the step. The
    other losses have weight 1. `keep` says which are kept:

    - "auxiliary": minimise the main loss such that every auxiliary loss is at most its bound
      (`bounds` is a number for all, or a list of k - 1)
    - "main": minimise the sum of the auxiliary losses such that the main loss is at most `bounds`
      (a number, or a list of one)

    `rate` >= 0; `start` >= 0 is every multiplier's first value (1: a plain sum; 0: the textbook's);
    `most` > 0 bounds it where the constraint cannot be met. Bounds are in the units of coefficient
    times loss, and 0.1 is but an example: no paper can name them. Needs two losses at least.
    Losses may be 0 or negative. Raises `SettingError` for fewer losses and for values out of range.
    """

    least = 2

    def __init__(
        self,
        *,
        k: int,
        keep: str = "auxiliary",
        bounds: Each = 0.1,
        rate: float = 0.01,
        start: float = 1.0,
        most: float = 100.0,
    ) -> None:
        super().__init__()
        whole("k", k, low=self.least)
        main = one_of("keep", keep, ("auxiliary", "main")) == "main"
        # The kept losses stand together, at the beginning or at the end.
        self.kept = slice(0, 1) if main else slice(1, k)
        count = 1 if main else k - 1
        hold(self, "bounds", each("bounds", bounds, count))
        hold(self, "rate", number("rate", rate, low=0))
        most = number("most", most, low=0, above=True)
        hold(self, "most", most)
        first = number("start", start, low=0, high=most)
        self.register_buffer("multipliers", torch.full((count,), first, dtype=torch.float64))
        self.bounds: Tensor
        self.rate: Tensor
        self.most: Tensor
        self.multipliers: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] for this step's losses [k]; then the multipliers learn from these."""
        weights = torch.ones_like(losses)
        weights[self.kept] = self.multipliers.to(losses.dtype)
        self.multipliers += self.rate * (losses[self.kept].double() - self.bounds)
        self.multipliers.clamp_(min=0).clamp_(max=self.most)
        return weights
