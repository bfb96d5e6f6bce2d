"""What attacks that look for the smallest perturbation give back."""

from __future__ import annotations

import torch
from torch import Tensor

from ..threat import per_example, size


def within(x: Tensor, x_adv: Tensor, norm: str, eps: Tensor) -> Tensor:
    """`x_adv` where it lies in the ball around x, else x."""
    return torch.where(per_example(size(x_adv - x, norm) <= eps, x), x_adv, x)
