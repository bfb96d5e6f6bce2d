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
        (found,) = torch.autograd.grad(goal.loss(model(x), y).sum(), x)
    return found
