"""The geometric mean of the losses instead of their sum (arXiv 1904.08492)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number
from ._numbers import hold


class GeometricMean(nn.Module):
    """Descends on the geometric mean of the losses: GLS (arXiv 1904.08492).

    The gradient of m = (prod_i L_i)^(1/k) is sum_i w_i g_i with w_i = m / (k L_i); all w_i L_i are
    equal. A constant coefficient of a loss changes only the length of the step. Computed from
    logarithms, because the product leaves the range of numbers.

    For the weights a loss counts as at least `eps` in (0, 1] times the largest loss, so that no
    weight is above 1 / (eps k); a loss that is 0 would make m and all other weights 0 for good.
    That holds for negative losses, too, for which the mean is not defined; if no loss is above 0
    the weights are 1/k.
    """

    absorbs = True

    def __init__(self, *, eps: float = 1e-8) -> None:
        super().__init__()
        hold(self, "eps", number("eps", eps, low=0, high=1, above=True))
        self.eps: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] for this step's losses [k]."""
        largest = losses.double().max()
        logs = torch.maximum(losses.double(), self.eps * largest).log()
        weights = (logs.mean() - logs).exp()
        return torch.where(largest > 0, weights, 1.0).to(losses.dtype) / len(losses)
