"""What perturbations share: the parameters for a size of images, and frames of noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from ..corruptions._pixels import level

T = TypeVar("T")


def parameters(name: str, table: Mapping[int, T], x: Tensor) -> T:
    """Those of images of this size, by the size table of corruptions (32 or 224).

    Raises `SettingError` for inputs that are no images of 1 or 3 channels.
    """
    return level(name, {size: (value,) for size, value in table.items()}, x, 1)


def repeated(x: Tensor, count: int) -> Tensor:
    """x [b, c, h, w] as [b, count, c, h, w], without a copy."""
    return x.unsqueeze(1).expand(-1, count, *x.shape[1:])


def led(x: Tensor, frames: Tensor) -> Tensor:
    """The frames [b, f, c, h, w] after x itself as the first one."""
    return torch.cat([x.unsqueeze(1), frames], 1)
