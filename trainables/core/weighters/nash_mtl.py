"""The losses bargain for the update's direction (arXiv 2202.01017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number
from ._fairness import balanced, limited
from ._gramian import scaled, settled
from ._quadratic import cosines_and_norms

# Newton steps. Measured for 2 to 16 gradients: 7 at norms of 1 to 10^6 or cosines near -1, 12 where
# two of several cancel up to float32's rounding.
STEPS = 14


class NashMTL(nn.Module):
    """The Nash solution of the losses' bargain for the update's direction (arXiv 2202.01017).

    w > 0 with G w = 1 / w (elementwise), with the Gramian G: the direction d = sum_i w_i g_i
    maximises sum_i log g_i . d in a ball. The solution's norm is sqrt(k); as in the authors' code d
    is made shorter where it is longer than `max_norm` (at least 0; 0: no limit). So with the
    default 1 every update has norm 1, measured over the weighter's scope, unless gradients cancel.

    We minimise w^T G w / 2 - sum_i log w_i by Newton steps, whose minimum is the solution; the
    authors solve a sequence of convex approximations and keep the last weights where that fails.
    Weights are bounded where gradients cancel, because the Gramian counts as known up to its
    rounding. A loss whose gradient is 0 has weight 0; weights are 1/k where the Gramian is 0 or not
    finite. `refresh` of the common options is the authors' update_weights_every.
    """

    per_loss = True
    absorbs = True

    def __init__(self, *, max_norm: Any = 1.0) -> None:
        super().__init__()
        found = torch.tensor(number("max_norm", max_norm, low=0), dtype=torch.float64)
        self.register_buffer("max_norm", found, persistent=False)
        self.max_norm: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]."""
        g, scale, ok = scaled(gradients.gramian)
        cosines, norms = cosines_and_norms(g, gradients.gramian)
        weights = balanced(cosines, norms, torch.ones_like(scale), STEPS)
        weights = limited(weights, g, self.max_norm)
        return settled(weights / scale.sqrt(), ok, 1 / len(losses), losses)
