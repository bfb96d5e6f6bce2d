"""Weights by how slowly each loss falls from epoch to epoch (arXiv 1803.10704)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number
from ._numbers import hold


class DynamicWeightAverage(nn.Module):
    """Favours the losses that fell least over the last two epochs: DWA (arXiv 1803.10704).

    With r_i = (mean of L_i over the last epoch) / (mean over the one before),
    w = k softmax(r / T), where T is `temperature` > 0; weights sum to k and are 1 in the first two
    epochs. A short training is therefore a plain sum.

    Losses must not be negative: r_i is 1 where the earlier mean is not above 0.
    """

    def __init__(self, *, k: int, temperature: float = 2.0) -> None:
        super().__init__()
        hold(self, "temperature", number("temperature", temperature, low=0, above=True))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("sums", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("weights", torch.ones(k, dtype=torch.float64))
        self.temperature: Tensor
        self.epochs: Tensor
        self.count: Tensor
        self.sums: Tensor
        self.means: Tensor
        self.weights: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] of this epoch; adds the losses [k] to the epoch's sums."""
        self.sums += losses
        self.count += 1
        return self.weights.to(losses.dtype)

    @torch.no_grad()
    def end_epoch(self) -> None:
        """The weights of the next epoch; nothing changes after an epoch without a step."""
        stepped = self.count > 0
        means = torch.where(stepped, self.sums / self.count, self.means)
        ratio = torch.where(self.means > 0, means / self.means, 1.0)
        weights = len(ratio) * (ratio / self.temperature).softmax(0)
        self.weights.copy_(torch.where(stepped & (self.epochs > 0), weights, self.weights))
        self.epochs += stepped
        self.means.copy_(means)
        self.sums.zero_()
        self.count.zero_()
