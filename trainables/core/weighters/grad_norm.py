"""Gradient normalisation (arXiv 1711.02257)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number
from ._adam import Adam
from ._numbers import hold

# The least weight before the sum is restored; the paper sets no bound.
_LEAST = 1e-4


class GradNorm(nn.Module):
    """Learns weights under which slow losses get large gradients (GradNorm, arXiv 1711.02257).

    With n_i = |g_i|, G_i = w_i n_i, their mean m, and the inverse training rate
    r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0)), the weights w descend on
    sum_i |G_i - m r_i^alpha|, the target m r_i^alpha held constant: the gradient for w_i is
    sign(G_i - m r_i^alpha) n_i. They start at 1, move by an Adam of their own with step `rate`,
    stay at 1e-4 or more, and are scaled to sum to k after each move. The step that
    measures is weighed with the weights before it.

    `alpha` (at least 0) is the strength that pulls training rates together: 1.5 in the paper, and
    0.12 on some of its sets. The paper measures on the last shared layer: option `scope`.
    Well-known ports differ: softmax weights, the model's optimizer, L(0) as the first epoch's mean,
    or a sum of 1. A loss that starts at 0 or below counts as if it stayed where it began; later
    negative losses count as 0. Where a norm is not finite w gets the gradient 0.
    """

    per_loss = True
    absorbs = True

    def __init__(self, *, k: int, alpha: float = 1.5, rate: float = 0.025) -> None:
        super().__init__()
        hold(self, "alpha", number("alpha", alpha, low=0))
        self.adam = Adam(k, lr=number("rate", rate, low=0, above=True))
        self.register_buffer("weights", torch.ones(k, dtype=torch.float64))
        self.register_buffer("first", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.alpha: Tensor
        self.weights: Tensor
        self.first: Tensor
        self.step: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k]; then learns from the losses [k] and the Gramian's diagonal."""
        weights = self.weights.to(losses.dtype, copy=True)
        self._learn(losses.double(), gradients.gramian.diagonal().double().sqrt())
        return weights

    def _learn(self, losses: Tensor, norms: Tensor) -> None:
        self.first.copy_(torch.where(self.step > 0, self.first, losses))
        self.step += 1
        # The bound keeps the mean of ratios finite; losses in float32 cannot reach it.
        ratio = (losses / self.first).clamp(0, 1e100)
        ratio = torch.where(self.first > 0, ratio, 1.0)
        mean = ratio.mean()
        rates = torch.where(mean > 0, ratio / mean, 1.0)
        sizes = self.weights * norms
        targets = sizes.mean() * rates**self.alpha
        gradient = (sizes - targets).sign() * norms
        moved = self.weights + self.adam.step(torch.where(norms.isfinite().all(), gradient, 0.0))
        moved = moved.clamp(min=_LEAST)
        self.weights.copy_(moved * (len(moved) / moved.sum()))
