"""What every architecture is: a trunk that gives features, and a head on them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """A trunk and a head; `width` is the number of features, known before the first batch."""

    width: int
    head: nn.Module

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Inputs [b, ...] in natural units to features [b, width]."""

    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """The parts of the trunk in order; the last one is the scope "last-stage"."""

    def forward(self, x: Tensor) -> Tensor:
        """Inputs [b, ...] to outputs [b, c]."""
        outputs: Tensor = self.head(self.features(x))
        return outputs
