"""What all weighters have in common: scope, refresh, warm-up and the sum of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from . import catalog
from .errors import SettingError
from .network import Network
from .quantities import flag, number, one_of, whole

# Options of every weighter, beside its own settings.
COMMON: dict[str, Any] = {
    "normalise": "none",
    "scope": "all",
    "warmup": 0,
    "refresh": 1,
    "protect_main": False,
    "max_loss": 0.0,
}
SCOPES = ("all", "trunk", "last-stage", "last-layer")


class HasGramian(Protocol):
    """All that a weighter may ask of the gradients."""

    @property
    def gramian(self) -> Tensor:
        """The products g_i . g_j of the losses' gradients, [k, k]."""


class Weighing(nn.Module):
    """A weighter with the options that all weighters share.

    `normalise` fixes the sum of the weights: "one", "k" (as many as losses, so that the learning
    rate means the same as for plain sums) or "none" (as the method defines it). `scope` says which
    parameters of the model gradients are measured on: "all", "trunk" (without the head),
    "last-stage" or "last-layer"; a smaller scope makes each of the k backward passes cheaper.
    During the first `warmup` steps the weights are 1, while the weighter already learns. The
    weighter is asked in every `refresh`-th step, and its weights are held in between. With
    `protect_main` the main loss has weight 1, and `normalise` fixes the sum of the others ("one",
    or "k": one less than losses). A loss above `max_loss` (0: none) counts as `max_loss` for the
    weighter, and its gradient shrinks in proportion, which clipping the value would set to 0.
    """

    def __init__(
        self,
        weighter: nn.Module,
        k: int,
        *,
        normalise: str = "none",
        scope: str = "all",
        warmup: int = 0,
        refresh: int = 1,
        protect_main: bool = False,
        max_loss: float = 0.0,
    ) -> None:
        super().__init__()
        self.weighter: Any = weighter
        self.normalise = one_of("normalise", normalise, ("none", "one", "k"))
        self.scope = one_of("scope", scope, SCOPES)
        self.warmup = whole("warmup", warmup)
        self.refresh = whole("refresh", refresh, low=1)
        self.protect_main = flag("protect_main", protect_main)
        self.max_loss = number("max_loss", max_loss, low=0)
        # Plain numbers, not buffers: the step branches on them without waiting for the device.
        self.steps = 0
        self.register_buffer("held", torch.ones(k))
        self.held: Tensor

    def forward(self, losses: Tensor, gradients: HasGramian) -> Tensor:
        """Weights [k]; weights whose sum is not above 0 are not normalised."""
        if not self.max_loss:
            return self._common(self._ask(losses, gradients))
        shrink = self._shrink(losses)
        weights = self._ask(losses * shrink, _Shrunk(gradients, shrink))
        return self._common(weights) * shrink

    def _ask(self, losses: Tensor, gradients: HasGramian) -> Tensor:
        if self.steps % self.refresh == 0:
            weights: Tensor = self.weighter(losses, gradients)
            if self.refresh > 1:
                self.held = weights.detach()
        else:
            weights = self.held
        self.steps += 1
        return torch.ones_like(losses) if self.steps <= self.warmup else weights

    def _common(self, weights: Tensor) -> Tensor:
        if self.normalise == "none" and not self.protect_main:
            return weights
        free = weights[1:] if self.protect_main else weights
        if self.normalise != "none":
            total = free.sum()
            wanted = 1.0 if self.normalise == "one" else float(len(free))
            free = torch.where(total > 0, free * (wanted / total), free)
        return torch.cat([torch.ones_like(weights[:1]), free]) if self.protect_main else free

    def _shrink(self, losses: Tensor) -> Tensor:
        return (self.max_loss / losses.abs()).clamp(max=1.0)

    @property
    def looks_back(self) -> bool:
        """Whether the weighter was asked and wants the losses again after the optimizer's step."""
        return hasattr(self.weighter, "observe") and (self.steps - 1) % self.refresh == 0

    def observe(self, losses: Tensor) -> None:
        """The losses [k] of the same batch after the step, for a weighter that looks back."""
        self.weighter.observe(losses * self._shrink(losses) if self.max_loss else losses)

    def end_epoch(self) -> None:
        """Tell the weighter, if it wants to know, that an epoch is over."""
        if hasattr(self.weighter, "end_epoch"):
            self.weighter.end_epoch()

    def extra_passes(self, k: int) -> dict[str, float]:
        """Forward and backward passes per step beyond those of a plain sum of k losses.

        With a scope of its own each backward pass per loss is a partial one.
        """
        backward = 0.0
        if getattr(self.weighter, "per_loss", False) and k > 1:
            backward = (k - 1 if self.scope == "all" else k) / self.refresh
        forward = float(hasattr(self.weighter, "observe")) / self.refresh
        return {"extra_forwards": forward, "extra_backwards": backward}

    def parameters_of(self, model: Network) -> list[nn.Parameter] | None:
        """The parameters of the scope; None where that is all."""
        if self.scope == "all":
            return None
        if self.scope == "trunk":
            head = {id(parameter) for parameter in model.head.parameters()}
            return [one for one in model.parameters() if id(one) not in head and one.requires_grad]
        module = model.head if self.scope == "last-layer" else model.stages()[-1]
        return [one for one in module.parameters() if one.requires_grad]

    def get_extra_state(self) -> Tensor:
        """The number of steps so far, for the checkpoint."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from a checkpoint."""
        self.steps = int(state)


class _Shrunk:
    """The Gramian of losses of which each is multiplied by a factor."""

    def __init__(self, gradients: HasGramian, factors: Tensor) -> None:
        self.gradients = gradients
        self.factors = factors

    @cached_property
    def gramian(self) -> Tensor:
        return self.gradients.gramian * torch.outer(self.factors, self.factors)


def make(config: Mapping[str, Any], k: int, seed: int = 0) -> Weighing:
    """The weighter that `config` names, for k losses, with its common options.

    Raises `SettingError` for a weighter that needs more losses than there are, and for a sum of
    weights that the weighter cannot be held to.
    """
    # A weighter's own setting of the same name is the weighter's.
    mine = catalog.settings("weighters", config["name"])
    shared = COMMON.keys() - mine.keys()
    common = {key: config.get(key, COMMON[key]) for key in shared}
    own = {key: value for key, value in config.items() if key not in shared}
    found = catalog.check("weighters", own)
    least = getattr(found, "least", 1)
    if k < least:
        raise SettingError(
            f"{found.__name__} weighs auxiliary losses against the main one and needs at least "
            f"{least} losses, found {k}; add a loss or take Fixed."
        )
    if getattr(found, "signed", False) and common["normalise"] != "none":
        raise SettingError(
            f"normalise must be none with {found.__name__}, whose weights may be negative and sum "
            f"to nearly 0, found {common['normalise']!r}"
        )
    return Weighing(catalog.build("weighters", own, k=k, seed=seed), k, **common)
