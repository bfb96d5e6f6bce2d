"""What augmentations of time series share."""

from __future__ import annotations

from torch import Tensor

from ..errors import SettingError


def steps(name: str, x: Tensor) -> int:
    """The number of time steps t of series x [b, c, t].

    Raises `SettingError` naming the augmentation `name` for inputs that are no series.
    """
    if x.dim() != 3:
        shape = tuple(x.shape[1:])
        raise SettingError(f"{name} needs series (c, t), found inputs of shape {shape}")
    return x.shape[2]
