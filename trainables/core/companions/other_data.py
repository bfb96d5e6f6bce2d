"""Batches of a second data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..batch import Batch
from ..errors import SettingError
from ..facts import Part
from ..quantities import whole
from ..randomness import Draws
from ._drawn import drawn


class OtherData(nn.Module):
    """A batch from another data set, or from other classes of the same one, for a second task.

    `data` is the config of a data set as in a recipe, such as {name: MNIST, classes: [3, 4]}; its
    training part is used, its targets are numbered by its own classes, and a loss with a head of
    its own reads them (`AuxiliaryTask`). Every step draws `batch_size` examples with replacement
    (0: as many as the main batch has). Inputs must have the main data's shape. This is the setting
    of auxiliary tasks in arXiv 1812.02224. Raises `SettingError` for another shape and for data
    that is not held in memory or has no classes.
    """

    family = "companion"
    targets = "other"
    short = ("other-data",)

    def __init__(
        self,
        *,
        load: Callable[[Mapping[str, Any] | str], Part | None],
        shape: tuple[int, ...],
        data: Mapping[str, Any] | str = "Digits",
        batch_size: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size = whole("batch_size", batch_size)
        self.classes = 0
        self.part = load(data)
        if self.part is None:
            return
        self.classes = self.part.classes
        if not isinstance(self.part.examples.x, Tensor):
            raise SettingError("data must be a set that is held in memory, found a streamed one")
        found = tuple(self.part.examples.x.shape[1:])
        if found != shape:
            raise SettingError(f"data must have inputs of the main data's {shape}, found {found}")
        if not self.classes:
            raise SettingError("data must have classes, found a set without")

    def forward(self, count: int, draws: Draws) -> Batch:
        """The batch; `count` is the size of the main one."""
        assert self.part is not None
        return Batch(*drawn(self.part.examples, self.batch_size or count, draws))
