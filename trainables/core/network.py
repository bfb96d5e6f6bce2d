"""What every architecture is: a trunk that gives features, and a head on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """A trunk and a head; `width` is the number of features, known before the first batch."""

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
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


class Detector(nn.Module, ABC):
    """A network that finds boxes: it computes its own losses, and detections instead of logits.

    `terms` are the names of its inner losses. `head` and `stages` are for the scope of gradients
    as in `Network`; `width` is 0, because there is no vector of features per image.
    """

    tasks: ClassVar[tuple[str, ...]] = ("detection",)
    terms: ClassVar[tuple[str, ...]]
    width = 0
    head: nn.Module

    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """The parts of the trunk in order; the last one is the scope "last-stage"."""

    @abstractmethod
    def losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The inner losses of images x [b, c, h, w] with packed boxes y, each a scalar."""

    @abstractmethod
    def image_losses(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the inner losses of each image by itself, [b], with statistics frozen."""

    @abstractmethod
    def detect(self, x: Tensor, y: Tensor) -> Tensor:
        """Detections [b, m, 6] in images x, whose true sizes are read from y, and nothing else."""
