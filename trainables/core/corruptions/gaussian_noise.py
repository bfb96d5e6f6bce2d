"""Gaussian noise in every pixel."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._pixels import as_bytes, level


class GaussianNoise(nn.Module):
    """Independent Gaussian noise in every channel of every pixel (arXiv 1903.12261).

    x + sigma n, n standard normal, cut to [0, 1]; sigma by severity is .04 .06 .08 .09 .10 for
    small images and .08 .12 .18 .26 .38 for large ones. Raises `SettingError` for inputs that are
    no images of 1 or 3 channels.
    """

    label = "gaussian_noise"
    group = "noise"
    sigma = {32: (0.04, 0.06, 0.08, 0.09, 0.10), 224: (0.08, 0.12, 0.18, 0.26, 0.38)}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        return as_bytes(x + level("GaussianNoise", self.sigma, x, severity) * draws.normal(x))
