"""Fog before the image."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._pixels import as_bytes, level
from ._texture import plasma


class Fog(nn.Module):
    """A random cloud of light over the image (arXiv 1903.12261).

    (x + c cloud) top / (top + c) with top the image's largest number, so that it stays what it
    was at most. The cloud is a plasma fractal from 0 to 1 whose roughness falls by `decay` squared
    with each halving of the step; its sides are 32 (small images), 256 (large ones) or the next
    power of two that holds the image, which is its upper left part. (c, decay) by severity is
    (.2, 3) (.5, 3) (.75, 2.5) (1, 2) (1.5, 1.75) for small images and (1.5, 2) (2, 2) (2.5, 1.7)
    (2.5, 1.5) (3, 1.4) for large ones. Raises `SettingError` for inputs that are no images of 1 or
    3 channels.
    """

    label = "fog"
    group = "weather"
    cloud = {
        32: ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
        224: ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    }

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        amount, decay = level("Fog", self.cloud, x, severity)
        cloud = plasma(x, decay, draws).unsqueeze(1)
        top = x.amax((1, 2, 3), keepdim=True)
        return as_bytes((x + amount * cloud) * (top / (top + amount)))
