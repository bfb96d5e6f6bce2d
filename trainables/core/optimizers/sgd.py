"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..errors import SettingError
from ..quantities import flag, number


class SGD:
    """torch's SGD with momentum (Nesterov's if asked; that needs momentum above 0).

    v <- momentum v + g, and a step of -lr v, or -lr (g + momentum v) with `nesterov`; g is the
    gradient plus `weight_decay` >= 0 times the weights. `lr` > 0 is the learning rate before the
    schedule, `momentum` is in [0, 1].
    """

    def __init__(
        self,
        *,
        lr: float = 0.05,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.lr = number("lr", lr, low=0, above=True)
        self.momentum = number("momentum", momentum, low=0, high=1)
        self.nesterov = flag("nesterov", nesterov)
        self.weight_decay = number("weight_decay", weight_decay, low=0)
        if self.nesterov and self.momentum == 0:
            raise SettingError("nesterov needs momentum above 0, found momentum=0")

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )
