"""Impartial multi-task learning by the losses' scales (IMTL-L, ICLR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number
from ._log_weights import LogWeights


class IMTLL(nn.Module):
    """Learned scales that bring all weighed losses to 1: IMTL-L (Liu et al., ICLR 2021).

    What is minimised over the model and the scales s_i is sum_i exp(s_i) L_i - s_i, so that
    w_i = exp(s_i). The s_i begin at `start` and are trained by the model's optimizer. At rest
    exp(s_i) = 1/L_i: a constant coefficient of a loss cancels. This is Uncertainty in its form
    "full" with s of the other sign. The paper is not on arXiv: openreview.net, IMPnRXEWpvr.

    The weights stay in [1/most, most] (`most` > 1), which the paper does not ask for: a loss that
    goes to 0 would raise its weight without limit; the gradient of s_i is clamped to [-most, most].
    A loss that is 0 or negative drives its weight to `most`.
    """

    absorbs = True

    def __init__(self, *, k: int, start: float = 0.0, most: float = 1e4) -> None:
        super().__init__()
        self.scale = LogWeights(k, start=number("start", start), most=most)

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] for this step's losses [k]; leaves the gradient of s."""
        weights: Tensor = self.scale().to(losses.dtype)
        self.scale.learn(weights * losses - 1)
        return weights
