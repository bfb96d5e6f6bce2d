"""Online learning of auxiliary weights (Lin et al., NeurIPS 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number, whole
from ._numbers import hold


class OLAUX(nn.Module):
    """Raises the weight of an auxiliary loss while its gradient helps the main one (OL-AUX).

    From "Adaptive Auxiliary Task Weighting for Reinforcement Learning" (Lin et al., NeurIPS 2019).
    The main loss has weight 1. Every `horizon` steps, for each auxiliary loss a,
    w_a <- w_a + rate sum over these steps of g_main . g_a, the gradient step on w_a that lowers the
    main loss after the next step to first order. `rate` is the product of the paper's learning rate
    of the weights and that of the model; the sum has the scale of the losses squared, so no value
    suits all, and it is to be searched.

    All start at `start`. We keep weights in [0, `most`]: below 0 an auxiliary loss would be
    maximised, and the paper has no upper bound, but agreeing gradients that grow would have no end.
    A step whose Gramian is not finite counts as no evidence. Needs at least two losses.
    """

    per_loss = True
    least = 2

    def __init__(
        self,
        *,
        k: int,
        horizon: int = 5,
        rate: float = 0.01,
        start: float = 1.0,
        most: float = 100.0,
    ) -> None:
        super().__init__()
        whole("losses", k, low=self.least)
        self.horizon = whole("horizon", horizon, low=1)
        bound = number("most", most, low=0, above=True)
        first = number("start", start, low=0, high=bound)
        hold(self, "rate", number("rate", rate, low=0))
        hold(self, "most", bound)
        self.register_buffer("weights", torch.full((k,), first, dtype=torch.float64))
        self.register_buffer("evidence", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.rate: Tensor
        self.most: Tensor
        self.weights: Tensor
        self.evidence: Tensor
        self.step: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k]; then learns from the Gramian [k, k]."""
        weights = self.weights.to(losses.dtype, copy=True)
        weights[0] = 1
        products = gradients.gramian[0].double()
        self.evidence += torch.where(torch.isfinite(products).all(), products, 0.0)
        self.step += 1
        due = self.step % self.horizon == 0
        # Clamped to 0 first: a bound that is a tensor takes no number beside it.
        learned = torch.minimum((self.weights + self.rate * self.evidence).clamp(min=0), self.most)
        self.weights.copy_(torch.where(due, learned, self.weights))
        self.evidence.copy_(torch.where(due, 0.0, self.evidence))
        return weights
