"""Gradient surgery (arXiv 2001.06782)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import whole
from ._gramian import scaled, settled, visits


class PCGrad(nn.Module):
    """Takes from each gradient its part against every other one (PCGrad, arXiv 2001.06782).

    Starting from g_i' = g_i, for every other loss j in random order
    g_i' <- g_i' - min(0, g_i'.g_j) / |g_j|^2 g_j, with the other losses' original gradients; the
    update is sum_i g_i'. As each g_i' stays a sum of original gradients, this is one weight per
    loss, at least 1. The sum follows the paper; several ports take the mean, a learning rate that
    is k times smaller. With three or more losses g_i' may still conflict with those visited early.

    The orders come from `seed` and the step. No gradient is projected on one that is 0; where the
    Gramian is not finite all weights are 1.
    """

    per_loss = True

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = whole("seed", seed)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.step: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]."""
        gramian = gradients.gramian
        k = len(gramian)
        g, _, ok = scaled(gramian)
        orders = visits(self.seed, self.step, k)
        self.step += 1
        squares = g.diagonal()[orders]
        # Row i: what g_i' is made of, and its products with the original gradients.
        parts = torch.eye(k, dtype=g.dtype, device=g.device)
        products = g
        for visit in range(k - 1):
            j, square = orders[:, visit : visit + 1], squares[:, visit : visit + 1]
            against = -products.gather(1, j).clamp(max=0)
            added = torch.where(square > 0, against / square, 0.0)
            parts = parts.scatter_add(1, j, added)
            products = products + added * g[j[:, 0]]
        return settled(parts.sum(0), ok, 1.0, losses)
