"""What all weighters have in common: the scope of their gradients and the sum of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import catalog
from .gradients import Gradients
from .network import Network
from .quantities import one_of

# Options of every weighter, beside its own settings.
COMMON: dict[str, Any] = {"normalise": "none", "scope": "all"}
SCOPES = ("all", "trunk", "last-stage", "last-layer")


class Weighing(nn.Module):
    """A weighter with the options that all weighters share.

    `normalise` fixes the sum of the weights: "one", "k" (as many as losses, so that the learning
    rate means the same as for plain sums) or "none" (as the method defines it). `scope` says which
    parameters of the model gradients are measured on: "all", "trunk" (without the head),
    "last-stage" or "last-layer"; a smaller scope makes each of the k backward passes cheaper.
    """

    def __init__(self, weighter: nn.Module, *, normalise: str = "none", scope: str = "all") -> None:
        super().__init__()
        self.weighter = weighter
        self.normalise = one_of("normalise", normalise, ("none", "one", "k"))
        self.scope = one_of("scope", scope, SCOPES)

    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k]; weights that sum to 0 are left as they are."""
        weights: Tensor = self.weighter(losses, gradients)
        if self.normalise == "none":
            return weights
        total = weights.sum()
        wanted = 1.0 if self.normalise == "one" else float(len(losses))
        return torch.where(total > 0, weights * (wanted / total), weights)

    def parameters_of(self, model: Network) -> list[nn.Parameter] | None:
        """The parameters of the scope; None where that is all."""
        if self.scope == "all":
            return None
        if self.scope == "trunk":
            head = {id(parameter) for parameter in model.head.parameters()}
            return [one for one in model.parameters() if id(one) not in head]
        module = model.head if self.scope == "last-layer" else model.stages()[-1]
        return list(module.parameters())


def make(config: Mapping[str, Any], k: int) -> Weighing:
    """The weighter that `config` names, for k losses, with its common options."""
    common = {key: config.get(key, default) for key, default in COMMON.items()}
    own = {key: value for key, value in config.items() if key not in COMMON}
    return Weighing(catalog.build("weighters", own, k=k), **common)
