"""Adam for a weighter's own few numbers, with all of its state in buffers (arXiv 1412.6980)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._numbers import hold


class Adam(nn.Module):
    """The steps of Adam for `count` numbers (arXiv 1412.6980).

    `step(gradient)` is what to add to the numbers: -lr m' / (sqrt(v') + eps) with the running means
    m of the gradient and v of its square, and m' = m / (1 - beta_1^t), v' = v / (1 - beta_2^t).
    The same numbers as torch's own, in float64; weight decay is the caller's (add decay times the
    numbers to the gradient). A gradient's entry that is not finite counts as 0.
    """

    def __init__(
        self,
        count: int,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        self.betas = betas
        self.eps = eps
        hold(self, "lr", lr)
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("square", torch.zeros(count, dtype=torch.float64))
        self.lr: Tensor
        self.steps: Tensor
        self.mean: Tensor
        self.square: Tensor

    @torch.no_grad()
    def step(self, gradient: Tensor) -> Tensor:
        """What to add to the numbers, [count], for their gradient [count]."""
        gradient = torch.nan_to_num(gradient.double(), nan=0.0, posinf=0.0, neginf=0.0)
        first, second = self.betas
        self.steps += 1
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        mean = self.mean / (1 - first**self.steps)
        square = self.square / (1 - second**self.steps)
        return -self.lr * mean / (square.sqrt() + self.eps)
