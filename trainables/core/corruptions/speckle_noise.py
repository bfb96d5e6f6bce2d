"""Noise in proportion to the light."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._pixels import as_bytes, level


class SpeckleNoise(nn.Module):
    """Gaussian noise in proportion to the value of each channel of each pixel (arXiv 1903.12261).

    x + sigma x n, n standard normal, cut to [0, 1]; sigma by severity is .06 .10 .12 .16 .20 for
    small images and .15 .20 .35 .45 .60 for large ones. One of the four types for validation.
    Raises `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "speckle_noise"
    group = "extra"
    sigma = {32: (0.06, 0.10, 0.12, 0.16, 0.20), 224: (0.15, 0.20, 0.35, 0.45, 0.60)}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        return as_bytes(x + level("SpeckleNoise", self.sigma, x, severity) * x * draws.normal(x))
