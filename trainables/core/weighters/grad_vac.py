"""Gradient vaccine (arXiv 2010.05874)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number, whole
from ._gramian import noise, scaled, settled, visits
from ._numbers import hold

# A target of 1 would ask for an infinite weight.
_MOST = 1 - 1e-6


class GradVac(nn.Module):
    """Turns gradients towards each other until they agree as usual (GradVac, arXiv 2010.05874).

    Starting from g_i' = g_i, for every other loss j in random order, with c the cosine of g_i' and
    the original g_j and t_ij the target cosine: if c < t_ij,
    g_i' <- g_i' + |g_i'| (t_ij sqrt(1 - c^2) - c sqrt(1 - t_ij^2)) / (|g_j| sqrt(1 - t_ij^2)) g_j,
    which makes their cosine t_ij; then t_ij <- (1 - beta) t_ij + beta c. The update is sum_i g_i',
    that is one weight per loss, at least 1. Targets start at 0, so the first step is PCGrad's.

    `beta` in [0, 1] is 0.5 as in the common libraries; 0 is PCGrad for ever, and ports of the
    authors' experiments use 0.01. Targets are used up to 1 - 1e-6 in size, so that a pair that
    agreed fully and then does not gets weights of up to 700. A pair with a gradient of 0 (or one
    that surgery reduced to rounding) is left as it is and its target stays. Orders come from `seed`
    and the step. Where the Gramian is not finite all weights are 1 and no target is learned.
    """

    per_loss = True

    def __init__(self, *, k: int, beta: float = 0.5, seed: int = 0) -> None:
        super().__init__()
        self.seed = whole("seed", seed)
        hold(self, "beta", number("beta", beta, low=0, high=1))
        self.register_buffer("targets", torch.zeros(k, k, dtype=torch.float64))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.beta: Tensor
        self.targets: Tensor
        self.step: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]; then learns the target cosines."""
        gramian = gradients.gramian
        k = len(gramian)
        g, _, ok = scaled(gramian)
        orders = visits(self.seed, self.step, k)
        self.step += 1
        norms = g.diagonal().sqrt()
        others = norms[orders]
        least = noise(gramian) * g.diagonal()
        parts = torch.eye(k, dtype=g.dtype, device=g.device)
        products = g
        seen = torch.zeros_like(self.targets)
        for visit in range(k - 1):
            j, other = orders[:, visit : visit + 1], others[:, visit : visit + 1]
            square = (products * parts).sum(1)
            norm = torch.where(square > least, square, 0.0).sqrt()[:, None]
            known = (norm > 0) & (other > 0)
            cosine = (products.gather(1, j) / (norm * other)).clamp(-1, 1)
            target = self.targets.gather(1, j)
            wanted = target.clamp(-_MOST, _MOST)
            lacking = known & (cosine < wanted)
            sine, straight = (1 - cosine.square()).sqrt(), (1 - wanted.square()).sqrt()
            size = norm * (wanted * sine - cosine * straight) / (other * straight)
            added = torch.where(lacking, size, 0.0)
            parts = parts.scatter_add(1, j, added)
            products = products + added * g[j[:, 0]]
            change = torch.where(known & ok, self.beta * (cosine - target), 0.0)
            seen = seen.scatter_add(1, j, change)
        self.targets += seen
        return settled(parts.sum(0), ok, 1.0, losses)
