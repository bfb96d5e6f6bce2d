"""Settings of weighters as float64 numbers: one for all losses, or one for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..quantities import number, several

# What a setting may be that holds for all losses or lists one value for each.
Each = float | Sequence[float]


def each(
    setting: str,
    value: Any,
    count: int,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: bool = False,
) -> list[float]:
    """`count` numbers from one number or from a list of as many; the range is `number`'s.

    Raises `SettingError` naming the setting (and the entry), the rule and the value.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [number(setting, value, low=low, high=high, above=above)] * count
    entries = enumerate(several(setting, value, count))
    return [number(f"{setting}[{i}]", one, low=low, high=high, above=above) for i, one in entries]


def hold(module: nn.Module, name: str, value: float | list[float]) -> None:
    """Keep a setting on the module's device; it is not state and no checkpoint changes it."""
    module.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)
