"""A tracker per loss: coefficient-of-variation weighting as it began (arXiv 2009.01717v1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number, whole
from ._numbers import Each, each, hold


class LossTracker(nn.Module):
    """Weighs each loss by itself, by how much its ratio varied lately (arXiv 2009.01717v1).

    With the ratio l_i(t) = L_i(t) / mean of L_i before t (1 at t = 0) and sigma_i the population's
    standard deviation of the last `block_size` ratios, the point estimate of the paper's first
    version is w_i(t) = sigma_i / l_i(t - 1), both as of the step before. Weights are not normalised
    over the losses; for that see CoV, the paper's final version.

    - `weight` > 0: the weight in the first `warmup` steps (at least 2: no ratio varies before)
    - `max_loss` >= 0: a loss whose weighed value w L would be above it gets weight max_loss / L
      (0: no limit)
    - `block_size` >= 2: how many ratios sigma is taken over
    - `most` > 0: no weight is larger, however small a ratio was

    The first four are a number for all losses or a list of k. The defaults of 100 ratios and 30
    steps are those of the public loss tracker and its example, whose weights never moved. Readings
    and repairs against it:

    - sigma is over the ratios seen so far, not over the unfilled rest of its buffer as well
    - the buffer is a ring and does not have to grow, which failed
    - ratios are of the losses as they come in, not of the weighed and limited ones, which fed the
      weight back into its own statistic
    - the first ratio is 1, not the loss itself; so is that of a loss that has been 0 so far
    - `max_loss` scales the gradient; clamping the value set it to 0
    - a ratio that is not above 0 keeps the constant `weight`, instead of dividing by 0; so do all
      losses when none has varied within its window
    - losses are not changed in place, and one backward pass serves all

    A loss that did not vary within its window, while another did, has weight 0. Losses must not be
    negative.
    """

    def __init__(
        self,
        *,
        k: int,
        weight: Each = 1.0,
        max_loss: Each = 0.0,
        warmup: Each = 30,
        block_size: Each = 100,
        most: float = 1e3,
    ) -> None:
        super().__init__()
        weights = each("weight", weight, k, low=0, above=True)
        limits = each("max_loss", max_loss, k, low=0)
        warmups = [whole("warmup", one) for one in each("warmup", warmup, k)]
        blocks = [whole("block_size", one, low=2) for one in each("block_size", block_size, k)]
        hold(self, "weight", weights)
        hold(self, "max_loss", [one or float("inf") for one in limits])
        hold(self, "most", number("most", most, low=0, above=True))
        self.register_buffer("warmup", torch.tensor(warmups).clamp_min(2), persistent=False)
        self.register_buffer("block", torch.tensor(blocks), persistent=False)
        self.register_buffer("slots", torch.arange(max(blocks)), persistent=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean_loss", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("ratios", torch.zeros(k, max(blocks), dtype=torch.float64))
        self.register_buffer("estimate", torch.tensor(weights, dtype=torch.float64))
        self.weight: Tensor
        self.max_loss: Tensor
        self.most: Tensor
        self.warmup: Tensor
        self.block: Tensor
        self.slots: Tensor
        self.step: Tensor
        self.mean_loss: Tensor
        self.ratios: Tensor
        self.estimate: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] for this step's losses [k]; then learns from these losses."""
        now = losses.double()
        limit = torch.where(now > 0, self.max_loss / now, torch.inf)
        weights = torch.minimum(self.estimate, limit)
        self._learn(now)
        return weights.to(losses.dtype)

    def _learn(self, losses: Tensor) -> None:
        known = (self.step > 0) & (self.mean_loss > 0)
        ratio = torch.where(known, losses / self.mean_loss, 1.0)
        self.ratios.scatter_(1, (self.step % self.block).unsqueeze(1), ratio.unsqueeze(1))
        self.step += 1
        self.mean_loss += (losses - self.mean_loss) / self.step
        count = torch.minimum(self.step, self.block)
        # Slots that no ratio has reached yet hold 0.
        centre = self.ratios.sum(1) / count
        apart = self.ratios - centre.unsqueeze(1)
        filled = self.slots < count.unsqueeze(1)
        deviation = (torch.where(filled, apart * apart, 0.0).sum(1) / count).sqrt()
        estimate = (deviation / ratio).clamp(max=self.most)
        usable = (self.step >= self.warmup) & (ratio > 0) & (deviation.sum() > 0)
        self.estimate.copy_(torch.where(usable, estimate, self.weight))
