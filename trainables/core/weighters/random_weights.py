"""Random weights in every step (arXiv 2111.10603)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import whole
from . import _random


class RandomWeights(nn.Module):
    """New random weights in every step, whatever the losses are: RLW (arXiv 2111.10603).

    w = softmax(z) with z_i from N(0, 1); the weights sum to 1 and each has mean 1/k. The baseline
    that tells what weights that merely vary are worth. The numbers follow from `seed` and the step
    alone. Of the paper's distributions this is the normal one, as in the libraries.
    """

    def __init__(self, *, k: int, seed: int = 0) -> None:
        super().__init__()
        self.k = k
        self.seed = whole("seed", seed)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.step: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] of this step."""
        weights = _random.normal(self.seed, self.step, self.k).softmax(0)
        self.step += 1
        return weights.to(losses.dtype)
