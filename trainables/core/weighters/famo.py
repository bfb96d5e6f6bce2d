"""Fast adaptive multitask optimization (arXiv 2306.03792)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number
from ._adam import Adam
from ._numbers import Each, each, hold


class FAMO(nn.Module):
    """Makes all losses fall at the same relative rate, by their values alone (arXiv 2306.03792).

    With z = softmax(v) and d_i = max(0, L_i - b_i) + eps, the gradient of c sum_i z_i log d_i is
    sum_i w_i g_i with w_i = (z_i / d_i) / sum_j (z_j / d_j); weights sum to 1. After the
    optimizer's step the same batch is measured again, and Adam takes a step on v along
    J delta + decay v, where delta_i = log d_i before - log d_i after and J = diag(z) - z z^T: a
    loss that fell more than others loses weight. That costs one more forward pass in every step.

    - `lr` >= 0 of v's own Adam; `decay` >= 0: 1e-3 as in the paper's algorithm (the authors' files
      have 1e-5 and 0.01)
    - `floor`: the lower bound b, a number for all losses or a list of k
    - `eps` > 0: the least distance from the floor

    Losses must be above their floor: one that is not counts as at eps above it, and takes nearly
    all weight. A constant coefficient of a loss cancels in its part of the gradient. The authors
    clip the norm of the model's gradient at 1, which is a setting of the training here.
    """

    absorbs = True

    def __init__(
        self,
        *,
        k: int,
        lr: float = 0.025,
        decay: float = 1e-3,
        floor: Each = 0.0,
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        self.adam = Adam(k, lr=number("lr", lr, low=0))
        hold(self, "decay", number("decay", decay, low=0))
        hold(self, "floor", each("floor", floor, k))
        hold(self, "eps", number("eps", eps, low=0, above=True))
        self.register_buffer("logits", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("before", torch.zeros(k, dtype=torch.float64))
        self.decay: Tensor
        self.floor: Tensor
        self.eps: Tensor
        self.logits: Tensor
        self.before: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] for this step's losses [k], which are kept to compare with."""
        logs = self._logs(losses)
        self.before.copy_(logs)
        # z / d, normalised.
        return (self.logits - logs).softmax(0).to(losses.dtype)

    @torch.no_grad()
    def observe(self, losses: Tensor) -> None:
        """Learn from the losses [k] of the batch that `forward` saw last, after the step."""
        fallen = self.before - self._logs(losses)
        shares = self.logits.softmax(0)
        gradient = shares * (fallen - (shares * fallen).sum())
        self.logits += self.adam.step(gradient + self.decay * self.logits)

    def _logs(self, losses: Tensor) -> Tensor:
        return ((losses.double() - self.floor).clamp_min(0) + self.eps).log()
