"""Single values of a series that are far off."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._series import level_and_spread, strength


class SeriesImpulseNoise(nn.Module):
    """Single values of a series jump to three deviations above or below; our own definition.

    Every value is replaced, independently and with probability p, by m - 3 d or m + 3 d, both
    equally likely; m and d are the channel's mean and standard deviation in the example. p by
    severity is .01 .02 .05 .1 .2. Raises `SettingError` for inputs that are no series [b, c, t].
    """

    label = "series_impulse_noise"
    group = "series"
    share = (0.01, 0.02, 0.05, 0.1, 0.2)

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, c, t], corrupted."""
        p = strength("SeriesImpulseNoise", self.share, x, severity)
        level, spread = level_and_spread(x)
        chance = draws.uniform(x)
        spike = torch.where(chance < p / 2, level - 3 * spread, level + 3 * spread)
        return torch.where(chance < p, spike, x)
