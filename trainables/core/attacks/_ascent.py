"""What gradient attacks climb."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tasks import Goal


def slope(
    model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, goal: Goal
) -> tuple[Tensor, Tensor]:
    """The prediction at x, and the gradient of the goal's summed loss with respect to x.

    No parameter gets a gradient, and neither result has a graph.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        prediction = model(x)
        loss = goal.loss(prediction, y)
        # Ones in front of every example's loss: the gradient of the sum, without making it.
        (found,) = torch.autograd.grad(loss, x, torch.ones_like(loss))
    return prediction.detach(), found


def gradient(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, goal: Goal) -> Tensor:
    """The gradient of the goal's summed loss with respect to x; no parameter gets one."""
    return slope(model, x, y, goal)[1]


class Divergence:
    """The goal of moving a prediction away from a reference prediction, which stands for a target.

    What is climbed is KL(softmax(y) || softmax(prediction)), y [b, c] being the reference, as in
    TRADES (arXiv 1901.08573); of a single output, a number, it is the squared difference. An
    example counts as fooled where the highest logit is another one.
    """

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """The divergence per example, [b]."""
        if prediction.shape[1] == 1:
            return (prediction - y).square().squeeze(1)
        p, q = F.log_softmax(y, 1), F.log_softmax(prediction, 1)
        return F.kl_div(q, p, reduction="none", log_target=True).sum(1)

    def fooled(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Whether the class has changed, bool [b]; never of a number."""
        return prediction.argmax(1) != y.argmax(1)
