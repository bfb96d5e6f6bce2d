"""Weights by the losses' slopes over the last steps (arXiv 1912.12355)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number, one_of, whole
from ._numbers import hold


class SoftAdapt(nn.Module):
    """Favours the losses that fall least, or rise, over the last steps (arXiv 1912.12355).

    With the slope s_i of L_i per step, from the last `history` >= 2 losses including this step's,
    by `form`:

    - "plain": w = softmax(beta s)
    - "normalised": w = softmax(beta s / sum_j |s_j|), which does not depend on the losses' scale
    - "loss-weighted": w_i = m_i exp(beta s_i) / sum_j m_j exp(beta s_j), m_i the mean of those
      losses

    A negative `beta` favours the losses that fall fastest. Weights sum to 1 and are 1/k until
    `history` losses were seen. The slope is the backward difference of order `history` - 1:
    L(t) - L(t - 1) for 2 (the default), (3 L(t) - 4 L(t - 1) + L(t - 2)) / 2 for 3; higher orders
    add noise. The authors' package differs: it applies forward coefficients, whose slope is the
    oldest step's, and normalises by the signed sum of slopes, which can be 0 or turn all signs
    around. Slopes that are all 0 give equal weights. Negative losses are allowed; "loss-weighted"
    takes a negative m_i as 0, and gives equal weights if no m_i is above 0.
    """

    def __init__(self, *, k: int, form: str = "plain", beta: float = 0.1, history: int = 2) -> None:
        super().__init__()
        self.form = one_of("form", form, ("plain", "normalised", "loss-weighted"))
        hold(self, "beta", number("beta", beta))
        order = whole("history", history, low=2) - 1
        hold(self, "coefficients", _backward_difference(order))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("past", torch.zeros(k, order + 1, dtype=torch.float64))
        self.beta: Tensor
        self.coefficients: Tensor
        self.step: Tensor
        self.past: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] for this step's losses [k]."""
        self.past.copy_(torch.cat([self.past[:, 1:], losses.double().unsqueeze(1)], 1))
        self.step += 1
        # Not a matrix product: how that rounds may differ with the number of losses.
        slope = (self.past * self.coefficients).sum(1)
        usable = self.step >= self.past.shape[1]
        if self.form == "normalised":
            total = slope.abs().sum()
            slope = torch.where(total > 0, slope / total, 0.0)
        logits = self.beta * slope
        if self.form == "loss-weighted":
            means = self.past.mean(1).clamp_min(0)
            usable = usable & (means.sum() > 0)
            logits = logits + means.log()
        weights = torch.where(usable, logits.softmax(0), 1 / len(losses))
        return weights.to(losses.dtype)


def _backward_difference(order: int) -> list[float]:
    """Coefficients, oldest first, of the first derivative at the newest of order + 1 points."""
    # f' = sum_n D^n f / n with the n-th backward difference D^n; collected by points.
    older = [(-1) ** j * math.comb(order, j) / j for j in range(order, 0, -1)]
    return [*older, -math.fsum(older)]
