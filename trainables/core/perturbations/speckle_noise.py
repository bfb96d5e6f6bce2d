"""The image, and then speckle noise anew in every frame."""

from __future__ import annotations

from torch import Tensor, nn

from ..corruptions._pixels import as_bytes
from ..randomness import Draws
from ._frames import led, parameters, repeated


class SpeckleNoise(nn.Module):
    """The image and 30 frames with independent noise in proportion to the pixel (1903.12261).

    x + sigma x n, n standard normal, cut to [0, 1], sigma = .05, the first of the published
    difficulties. One of the sequences for validation. Raises `SettingError` for inputs that are no
    images of 1 or 3 channels.
    """

    label = "speckle_noise"
    against = "first"
    sigma = {32: 0.05, 224: 0.05}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]."""
        sigma = parameters("SpeckleNoise", self.sigma, x)
        many = repeated(x, 30)
        return as_bytes(led(x, many + sigma * many * draws.normal(many)))
