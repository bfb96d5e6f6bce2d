"""What corruptions of images share: the size tables, colours, and whole numbers of 0 to 255."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from ..augmentations._images import sides
from ..errors import SettingError

T = TypeVar("T")
# ImageNet-C was made at 224 pixels and CIFAR-10-C at 32, with parameters of their own. Between the
# two nothing is defined: the nearer one on a logarithmic scale counts, sqrt(32 x 224) = 84.7.
BETWEEN = 85
SEVERITIES = (1, 2, 3, 4, 5)


def severity_of(value: object) -> int:
    """`value` if it is a severity, 1 to 5."""
    if isinstance(value, bool) or value not in SEVERITIES:
        raise SettingError(f"severity must be a whole number from 1 to 5, found {value!r}")
    return int(value)


def table_of(x: Tensor) -> int:
    """Which of the two size tables images [b, c, h, w] belong to: 32 or 224."""
    return 32 if min(x.shape[2:]) < BETWEEN else 224


def level(name: str, table: Mapping[int, Sequence[T]], x: Tensor, severity: int) -> T:
    """The parameters of a severity (1 to 5) for images of this size.

    Raises `SettingError` for inputs that are no images of 1 or 3 channels and for another severity.
    """
    sides(name, x)
    if x.shape[1] not in (1, 3):
        raise SettingError(
            f"{name} needs images of 1 or 3 channels, found inputs of shape {tuple(x.shape[1:])}"
        )
    return table[table_of(x)][severity_of(severity) - 1]


def as_bytes(x: Tensor) -> Tensor:
    """x cut to [0, 1] and down to k/255, as the published sets were: cut off, not rounded."""
    # A number that stands for a whole one may lie just below it in float32.
    return x.clamp(0, 1).mul_(255).add_(1e-3).floor_().div_(255)  # in place: fresh memory is dear


def in_colour(x: Tensor) -> Tensor:
    """Images [b, 1 or 3, h, w] as [b, 3, h, w]; grey ones with three equal channels."""
    return x.expand(-1, 3, -1, -1)


def as_given(found: Tensor, x: Tensor) -> Tensor:
    """A colour image with as many channels as x has: its luma (ITU-R 601) where that is 1."""
    if x.shape[1] == 3:
        return found
    return (found * found.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
