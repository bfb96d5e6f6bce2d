"""Penalty on the gradient with respect to the input."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ._targets import values


class InputGradientPenalty(nn.Module):
    """Mean squared norm of the loss's input gradient: double backpropagation (arXiv 1711.09404).

    (1/b) sum_i || d l_i / d x_i ||_2^2, after Drucker and LeCun (1992): l is cross-entropy of
    logits [b, c], or the squared error (z - y)^2 where the model has one output. Where examples
    depend on each other, as through batch statistics, it is the gradient of the sum of all l. Costs
    one more backward pass, and another through it. Gradients are in the input's own units, so a
    coefficient does not carry over between data sets. `input_gradient` makes the objective take
    gradients with respect to the view's x.
    """

    tasks = ("classification", "regression")
    targets = ("task",)
    input_gradient = True

    def __init__(self, *, view: str = "clean") -> None:
        super().__init__()
        self.reads = (view,)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar penalty, at least 0."""
        seen = outputs[self.reads[0]]
        if seen.logits.shape[1] == 1:
            total = F.mse_loss(seen.logits, values(seen.y, seen.logits), reduction="sum")
        else:
            total = F.cross_entropy(seen.logits, seen.y, reduction="sum")
        (gradient,) = torch.autograd.grad(total, seen.x, create_graph=True)
        return gradient.flatten(1).square().sum(1).mean()
