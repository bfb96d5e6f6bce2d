"""The update that is alpha-fair to the losses (arXiv 2402.15638)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number
from ._fairness import balanced, limited
from ._gramian import scaled, settled
from ._quadratic import cosines_and_norms

# Newton steps. Measured for 2 to 16 gradients: at most 19 for norms of 1 to 10000 at alpha 0.5 to 5
# and of 1 to 100 at alpha 0.1 to 10, 16 where two of several cancel up to float32's rounding.
STEPS = 24


class FairGrad(nn.Module):
    """The update that is alpha-fair in what each loss gains by it (arXiv 2402.15638).

    w > 0 with G w = w^(-1 / alpha) (elementwise), with the Gramian G: the direction
    d = sum_i w_i g_i maximises sum_i (g_i . d)^(1 - alpha) / (1 - alpha) in a ball. `alpha` is in
    [0.1, 10]: towards 0 the sum of the gains counts, 1 is the Nash bargain, a large alpha favours
    the loss that gains least.

    The paper leaves the size of d open, its code multiplies by k and clips the norm to 1; here d is
    made shorter where it is longer than `max_norm` (at least 0; 0: no limit), measured over the
    weighter's scope. We minimise the convex function whose optimum the equation is, by Newton
    steps; the authors use least squares, which may stop at weights that do not solve it. A loss
    whose gradient is 0 has weight 0. Weights are 1/k where the Gramian is 0 or not finite.
    """

    per_loss = True

    def __init__(self, *, alpha: Any = 1.0, max_norm: Any = 1.0) -> None:
        super().__init__()
        for name, value in (
            ("alpha", number("alpha", alpha, low=0.1, high=10)),
            ("max_norm", number("max_norm", max_norm, low=0)),
        ):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)
        self.alpha: Tensor
        self.max_norm: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]."""
        g, scale, ok = scaled(gradients.gramian)
        cosines, norms = cosines_and_norms(g, gradients.gramian)
        power = 1 / self.alpha
        weights = balanced(cosines, norms, power, STEPS) * scale ** (-1 / (1 + power))
        weights = limited(weights, g, self.max_norm / scale.sqrt())
        return settled(weights, ok, 1 / len(losses), losses)
