"""The gradient that gradient attacks climb."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..tasks import Goal


def gradient(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, goal: Goal) -> Tensor:
    """The gradient of the goal's summed loss with respect to x; no parameter gets one."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        loss = goal.loss(model(x), y)
        # Ones in front of every example's loss: the gradient of the sum, without making it.
        (found,) = torch.autograd.grad(loss, x, torch.ones_like(loss))
    return found
