"""The channels of a series have another gain."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._series import level_and_spread, strength


class AmplitudeScaling(nn.Module):
    """Every channel of a series is r times as large or as small; our own definition.

    m + g (x - m), m the channel's mean in the example; g is r or 1 / r, both equally likely, drawn
    for each channel. r by severity is 1.1 1.25 1.5 2 3. Raises `SettingError` for inputs that are
    no series [b, c, t].
    """

    label = "amplitude_scaling"
    group = "series"
    ratio = (1.1, 1.25, 1.5, 2.0, 3.0)

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, c, t], corrupted."""
        r = strength("AmplitudeScaling", self.ratio, x, severity)
        level, _ = level_and_spread(x)
        larger = draws.uniform(x[:, :, :1]) < 0.5
        return level + torch.where(larger, r, 1 / r).to(x) * (x - level)
