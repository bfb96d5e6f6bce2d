"""Noise of counted light."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._pixels import as_bytes, level
from ._poisson import poisson


class ShotNoise(nn.Module):
    """Every channel of every pixel as a number of counted photons (arXiv 1903.12261).

    Poisson(photons x) / photons, cut to [0, 1], where `photons` is the mean count of a pixel of
    value 1: by severity 500 250 100 75 50 for small images and 60 25 12 5 3 for large ones. The
    numbers are exactly Poisson's, not rounded normal ones. Raises `SettingError` for inputs that
    are no images of 1 or 3 channels.
    """

    label = "shot_noise"
    group = "noise"
    photons = {32: (500, 250, 100, 75, 50), 224: (60, 25, 12, 5, 3)}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        photons = level("ShotNoise", self.photons, x, severity)
        return as_bytes(poisson(x, photons, draws) / photons)
