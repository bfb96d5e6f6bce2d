"""AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from ..quantities import number, several


class AdamW:
    """torch's AdamW (arXiv 1711.05101); its weight decay is decoupled from the gradient.

    `lr` > 0 is the learning rate before the schedule, `betas` the decays of the running means of
    the gradient and its square, `eps` > 0 what keeps their quotient finite; in each step a weight
    shrinks by the share `weight_decay` >= 0 times the learning rate.
    """

    def __init__(
        self,
        *,
        lr: float = 0.001,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.lr = number("lr", lr, low=0, above=True)
        first, second = (
            number("betas", beta, low=0, high=0.999999) for beta in several("betas", betas, 2)
        )
        self.betas = (first, second)
        self.eps = number("eps", eps, low=0, above=True)
        self.weight_decay = number("weight_decay", weight_decay, low=0)

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.AdamW(
            parameters,
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )
