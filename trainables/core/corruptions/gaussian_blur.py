"""Gaussian blur."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._blur import gaussian
from ._pixels import as_bytes, level


class GaussianBlur(nn.Module):
    """A blur by a Gaussian of the given width (arXiv 1903.12261).

    The Gaussian is cut off at 4 sigma, pixels at the edge are continued; sigma by severity is .4 .6
    .7 .8 1 pixels for small images and 1 2 3 4 6 for large ones. One of the four types for
    validation; nothing is random. Raises `SettingError` for inputs that are no images of 1 or 3
    channels.
    """

    label = "gaussian_blur"
    group = "extra"
    sigma = {32: (0.4, 0.6, 0.7, 0.8, 1), 224: (1, 2, 3, 4, 6)}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        return as_bytes(gaussian(x, level("GaussianBlur", self.sigma, x, severity)))
