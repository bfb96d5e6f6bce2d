"""The image, and then Gaussian noise anew in every frame."""

from __future__ import annotations

from torch import Tensor, nn

from ..corruptions._pixels import as_bytes
from ..randomness import Draws
from ._frames import led, parameters, repeated


class GaussianNoise(nn.Module):
    """The image and 30 frames with independent Gaussian noise (arXiv 1903.12261).

    x + sigma n, n standard normal, cut to [0, 1]; sigma is .02 for small images and .03 for large
    ones, the first of the published difficulties. Raises `SettingError` for inputs that are no
    images of 1 or 3 channels.
    """

    label = "gaussian_noise"
    against = "first"
    sigma = {32: 0.02, 224: 0.03}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]."""
        sigma = parameters("GaussianNoise", self.sigma, x)
        many = repeated(x, 30)
        return as_bytes(led(x, many + sigma * draws.normal(many)))
