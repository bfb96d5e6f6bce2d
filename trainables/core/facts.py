"""What components are told about the data and the model; no setting of theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .data._source import Examples
from .threat import Box


class Part(NamedTuple):
    """The training part of a data set, on the device, and the number of its classes."""

    examples: Examples
    classes: int


def _unknown(config: Mapping[str, Any] | str) -> Part | None:
    return None


@dataclass(frozen=True)
class Facts:
    """The data's box, the shape of an input, the model's outputs and features, and more data.

    The defaults stand for what is not known while a recipe is validated without data: no box, no
    shape, and `load`, which reads the training part of another data set, gives none. `unlabelled`
    are the training examples whose targets are hidden. `seed` is the trial's.
    """

    box: Box = None
    shape: tuple[int, ...] = ()
    outputs: int = 2
    width: int = 1
    seed: int = 0
    load: Callable[[Mapping[str, Any] | str], Part | None] = _unknown
    unlabelled: Part | None = None

    def supplied(self) -> dict[str, Any]:
        """As keywords for the catalogue."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
