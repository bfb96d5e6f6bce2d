"""The image, and then shot noise anew in every frame."""

from __future__ import annotations

from torch import Tensor, nn

from ..corruptions._pixels import as_bytes
from ..corruptions._poisson import poisson
from ..randomness import Draws
from ._frames import led, parameters, repeated


class ShotNoise(nn.Module):
    """The image and 30 frames of as few photons that they are counted (arXiv 1903.12261).

    Poisson(r x) / r, cut to [0, 1]; r is 700 for small images and 300 for large ones, the first of
    the published difficulties. Raises `SettingError` for inputs that are no images of 1 or 3
    channels.
    """

    label = "shot_noise"
    against = "first"
    rate = {32: 700, 224: 300}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]."""
        rate = parameters("ShotNoise", self.rate, x)
        return as_bytes(led(x, poisson(repeated(x, 30), rate, draws) / rate))
