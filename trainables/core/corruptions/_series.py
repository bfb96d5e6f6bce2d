"""What corruptions of series share. There is no published set of them: these are our own.

Series come in all units, so strengths are relative to each channel's own standard deviation in the
example, and lengths to that of the series. The tables were chosen so that severity 1 is hardly seen
in a plot and 5 leaves the coarse shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..augmentations._series import steps
from ._pixels import severity_of


def strength(name: str, table: Sequence[float], x: Tensor, severity: int) -> float:
    """The entry of a severity, 1 to 5; raises `SettingError` for inputs that are no series."""
    steps(name, x)
    return table[severity_of(severity) - 1]


def level_and_spread(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (of the population) of each channel, [b, c, 1]."""
    return x.mean(2, keepdim=True), x.std(2, correction=0, keepdim=True)


def waves(x: Tensor, count: int) -> Tensor:
    """The angles pi k tau of half waves k = 1 ... count, tau from 0 to 1 over time, [count, t]."""
    time = torch.linspace(0, 1, x.shape[2], dtype=x.dtype, device=x.device)
    k = torch.arange(1, count + 1, dtype=x.dtype, device=x.device)
    return math.pi * k.unsqueeze(1) * time
