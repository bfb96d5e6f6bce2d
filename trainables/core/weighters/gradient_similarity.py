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
        if self.form == "weighted":
            weights = gradients.cosines.clamp(min=0)
        elif self.form == "unweighted":
            agree = gradients.gramian[0] >= 0
            weights = (agree & (gradients.norms * gradients.norms[0] > 0)).to(losses.dtype)
        else:
            against = gradients.gramian[0].clamp(max=0) / gradients.gramian[0, 0]
            weights = torch.ones_like(losses)
            weights[0] -= torch.nan_to_num(against, nan=0.0, posinf=0.0, neginf=0.0).sum()
            return weights
        weights[0] = 1
        return weights
