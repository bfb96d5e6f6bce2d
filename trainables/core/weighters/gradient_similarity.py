"""Auxiliary losses weighed by how their gradient agrees with the main loss's (arXiv 1812.02224)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import one_of


class GradientSimilarity(nn.Module):
    """Uses an auxiliary gradient as far as it agrees with the main one (arXiv 1812.02224).

    With g the main loss's gradient, a an auxiliary loss's and c = g.a / (|g| |a|), the main weight
    is 1 and the auxiliary weight is

    - "weighted": max(0, c)
    - "unweighted": 1 where c >= 0, else 0
    - "projection": 1, while the main weight becomes 1 - sum_a min(0, g.a) / |g|^2, which takes from
      each auxiliary gradient its part against g (a one-sided PCGrad; a variant of the paper's rule)

    Each auxiliary loss is gated by itself. Where either gradient is 0 its cosine is taken as 0 and
    the auxiliary loss is dropped (projection: kept as it is). The promise to follow descent on the
    main loss holds for plain gradient steps; momentum and Adam weaken it.
    """

    def __init__(self, *, form: str = "weighted") -> None:
        super().__init__()
        self.form = one_of("form", form, ("weighted", "unweighted", "projection"))

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]."""
        main = losses.new_ones(1)
        if self.form == "weighted":
            return torch.cat([main, _finite(gradients.cosines[1:]).clamp(min=0)])
        gramian = gradients.gramian
        products = gramian[0, 1:]
        if self.form == "projection":
            against = _finite(products.clamp(max=0) / gramian[0, 0])
            return torch.cat([main - against.sum(), torch.ones_like(products)])
        lengths = gradients.norms[0] * gradients.norms[1:]
        gate = (products >= 0) & (lengths > 0)
        return torch.cat([main, gate.to(main.dtype)])


def _finite(quotients: Tensor) -> Tensor:
    """Quotients with 0 for what has no value: gradients that are 0 or beyond float32's squares."""
    return torch.nan_to_num(quotients, nan=0.0, posinf=0.0, neginf=0.0)
