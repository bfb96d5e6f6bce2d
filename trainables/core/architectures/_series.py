"""What networks on time series share: the shape that they need, and their convolutions."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import SettingError
from ..quantities import several, whole


def series(name: str, shape: tuple[int, ...], least: int = 1, because: str = "") -> tuple[int, int]:
    """Channels and time steps of inputs of this shape.

    Raises `SettingError` naming the network `name` for inputs that are no series, and for series of
    fewer than `least` steps, with the reason `because`.
    """
    if len(shape) != 2:
        raise SettingError(f"{name} needs series (c, t), found inputs of shape {shape}")
    channels, steps = shape
    if steps < least:
        raise SettingError(
            f"{name} needs series of at least {least} steps ({because}), found {steps}"
        )
    return channels, steps


def sizes(setting: str, value: Any, count: int = 0) -> list[int]:
    """`value` as a list of whole numbers from 1, at least one of them; `count` unless that is 0.

    Raises `SettingError` naming the setting.
    """
    found = [whole(setting, one, low=1) for one in several(setting, value, count)]
    if not found:
        raise SettingError(f"{setting} must name at least one size, found []")
    return found


def convolution(before: int, after: int, kernel: int) -> nn.Sequential:
    """A convolution over time that keeps the length, then batch normalisation.

    An even kernel has its surplus zero behind the last step, as in Keras; torch's own "same" does
    that too, but with a warning. There is no bias, which batch normalisation would cancel. Weights
    begin as in Keras (Glorot, uniform), where the published accuracies come from.
    """
    found = nn.Conv1d(before, after, kernel, bias=False)
    nn.init.xavier_uniform_(found.weight)
    padding = nn.ConstantPad1d(((kernel - 1) // 2, kernel // 2), 0.0)
    return nn.Sequential(padding, found, nn.BatchNorm1d(after))
