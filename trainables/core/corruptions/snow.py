"""Falling snow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._blur import along_line, zoomed
from ._pixels import as_bytes, as_given, in_colour, level


class Snow(nn.Module):
    """Flakes that fall across a whitened image (arXiv 1903.12261).

    mix x + (1 - mix) max(x, 1.5 luma + 0.5) + flakes + flakes turned by 180 degrees. The flakes are
    noise N(mean, deviation), its middle enlarged by `zoom`, without what is below `threshold`, cut
    to [0, 1], in bytes, and smeared along a line at an angle of U(-135, -45) degrees. The smear has
    `radius` and `sigma` and follows ImageMagick's definition in our own rendering of it
    (`_blur.along_line`). (mean, deviation, zoom, threshold, radius, sigma, mix) by severity are the
    seven numbers of each row of `weather`. Raises `SettingError` for inputs that are no images of 1
    or 3 channels.
    """

    label = "snow"
    group = "weather"
    weather = {
        32: (
            (0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        224: (
            (0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    }

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        row = level("Snow", self.weather, x, severity)
        mean, deviation, zoom, threshold, radius, sigma, mix = row
        noise = zoomed(mean + deviation * draws.normal(x[:, :1]), zoom)
        drops = as_bytes(noise.where(noise >= threshold, torch.zeros_like(noise)))
        angle = -135 + 90 * draws.uniform(x[:, 0, 0, 0])
        flakes = along_line(drops, radius, sigma, angle)
        # ImageMagick's result is a picture of bytes, too, but rounded.
        flakes = (flakes * 255).round() / 255
        luma = as_given(in_colour(x), x[:, :1])
        white = mix * x + (1 - mix) * torch.maximum(x, 1.5 * luma + 0.5)
        return as_bytes(white + flakes + flakes.flip(2, 3))
