"""Relative loss balancing with random lookback (arXiv 2110.09813)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number, whole
from . import _random
from ._numbers import hold


class ReLoBRaLo(nn.Module):
    """Favours losses that fell least since the last or the first step (arXiv 2110.09813).

    With the balance b_i(t, u) = k softmax_i(L_i(t) / (tau L_i(u))) and a random bit r that is 1
    with probability `rho`,
    w(t) = alpha (r w(t - 1) + (1 - r) b(t, 0)) + (1 - alpha) b(t, t - 1).
    Weights begin at 1, sum to k and lie in [0, k]; `alpha` and `rho` lie in [0, 1] and `tau` > 0.

    This is the paper's equation; the authors' code also sets alpha to 1 in the first step and to 0
    in the second, after which it forgets slowly where it started. The bits follow from `seed` and
    the step alone. Losses must not be negative: the quotient is 1 where the earlier loss is not
    above 0.
    """

    def __init__(
        self,
        *,
        k: int,
        alpha: float = 0.999,
        rho: float = 0.9999,
        tau: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        hold(self, "alpha", number("alpha", alpha, low=0, high=1))
        hold(self, "rho", number("rho", rho, low=0, high=1))
        hold(self, "tau", number("tau", tau, low=0, above=True))
        self.seed = whole("seed", seed)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("first", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("last", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("weights", torch.ones(k, dtype=torch.float64))
        self.alpha: Tensor
        self.rho: Tensor
        self.tau: Tensor
        self.step: Tensor
        self.first: Tensor
        self.last: Tensor
        self.weights: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] for this step's losses [k]."""
        now = losses.double()
        # In the first step there is no earlier loss: all quotients are 1, all balances 1.
        then = torch.stack([self.first, self.last])
        quotients = torch.where(then > 0, now / then, 1.0)
        since_first, since_last = len(now) * (quotients / self.tau).softmax(1)
        stay = _random.uniform(self.seed, self.step, 1) < self.rho
        kept = torch.where(stay, self.weights, since_first)
        self.weights.copy_(since_last.lerp(kept, self.alpha))
        self.first.copy_(torch.where(self.step > 0, self.first, now))
        self.last.copy_(now)
        self.step += 1
        return self.weights.to(losses.dtype)
