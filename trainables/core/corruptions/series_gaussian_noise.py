"""Gaussian noise in every value of a series."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._series import level_and_spread, strength


class SeriesGaussianNoise(nn.Module):
    """Independent Gaussian noise in every value of a series; our own definition.

    x + a d n, n standard normal, d the channel's standard deviation in the example; a by severity
    is .1 .2 .4 .6 .8. Raises `SettingError` for inputs that are no series [b, c, t].
    """

    label = "series_gaussian_noise"
    group = "series"
    amount = (0.1, 0.2, 0.4, 0.6, 0.8)

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, c, t], corrupted."""
        a = strength("SeriesGaussianNoise", self.amount, x, severity)
        _, spread = level_and_spread(x)
        return x + a * spread * draws.normal(x)
