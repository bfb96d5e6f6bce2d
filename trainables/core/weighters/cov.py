"""Coefficient-of-variation weighting (arXiv 2009.01717)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..gradients import Gradients
from ..quantities import number, one_of
from ._numbers import hold


class CoV(nn.Module):
    """Weights each loss by the coefficient of variation of its loss ratio (arXiv 2009.01717).

    With the ratio l_i(t) = L_i(t) / mean of L_i before t (1 at t = 0), and sigma_i and mu_i the
    standard deviation and mean of l_i over the steps before t,
    w_i = c_i / sum_j c_j with c_i = sigma_i / mu_i; weights sum to 1.

    `mode` says what a mean is: "full" is over all steps so far; "decay" is the exponential one,
    m <- decay m + (1 - decay) x with m = x in the first step, for `decay` in [0, 1).

    We follow the authors' code where the paper leaves room: weights are 1/k in the first two steps,
    statistics are those of the steps before t, the variance is the population's plus 1e-8. Two
    things differ in mode "decay": their code decays the means but sums the squared deviations over
    all steps, where ours decays the variance too; and their default of 1, which freezes the means
    at the first step, is refused (0.99 is our choice). Losses must not be negative: a loss whose
    mean ratio is not above 0 gets weight 0. A loss that has been 0 so far has ratio 1 instead of
    0/0; if no loss has ever varied the weights are equal.
    """

    def __init__(self, *, k: int, mode: str = "full", decay: float = 0.99) -> None:
        super().__init__()
        self.mode = one_of("mode", mode, ("full", "decay"))
        found = number("decay", decay, low=0, high=1)
        if found == 1:
            raise SettingError(f"decay must be below 1, which freezes the means, found {decay!r}")
        hold(self, "decay", found)
        # float64: squared ratios of a loss that explodes leave float32's range.
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean_loss", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("mean_ratio", torch.zeros(k, dtype=torch.float64))
        # Their sum in mode "full", their mean in mode "decay".
        self.register_buffer("squares", torch.zeros(k, dtype=torch.float64))
        self.decay: Tensor
        self.step: Tensor
        self.mean_loss: Tensor
        self.mean_ratio: Tensor
        self.squares: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] for this step's losses [k]; then learns from these losses."""
        variance = self.squares
        if self.mode == "full":
            variance = variance / self.step.clamp_min(1)
        deviation = (variance + 1e-8).sqrt()
        variation = torch.where(self.mean_ratio > 0, deviation / self.mean_ratio, 0.0)
        equal = torch.full_like(losses, 1 / len(losses))
        total = variation.sum()
        weights = torch.where((self.step > 1) & (total > 0), variation / total, equal)
        self._learn(losses.double())
        return weights.to(losses.dtype)

    def _learn(self, losses: Tensor) -> None:
        # Welford's update of the mean ratio and its squared deviations, and of the mean loss.
        later = self.step > 0
        ratio = torch.where(later & (self.mean_loss > 0), losses / self.mean_loss, 1.0)
        self.step += 1
        full = self.mode == "full"
        share = 1.0 / self.step.double() if full else 1.0 - self.decay * later
        before = ratio - self.mean_ratio
        self.mean_ratio.lerp_(ratio, share)
        squares = before * (ratio - self.mean_ratio)
        if full:
            self.squares += squares
        else:
            self.squares.lerp_(squares, share)
        self.mean_loss.lerp_(losses, share)
