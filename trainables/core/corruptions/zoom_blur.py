"""Zoom blur."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._blur import zoomed
from ._pixels import as_bytes, level


class ZoomBlur(nn.Module):
    """The mean of an image and its enlargements, as if moved while exposed (arXiv 1903.12261).

    (x + sum of zoom_f(x)) / (n + 1) over the n factors f = 1, 1 + step, ... zoom_f enlarges the
    middle, ceil(side / f) pixels each way, linearly with the outer pixels in their places, and cuts
    off what is more than a side. (n, step) by severity are (7, .01) (12, .01) (16, .01) (21, .01)
    (26, .01) for small images and (12, .01) (16, .01) (11, .02) (13, .02) (11, .03) for large ones:
    as many as the official ranges, up to 1.06, 1.11, 1.16 and so on, have in float64, where those
    to 1.06 and 1.11 include their end. Nothing is random. Raises `SettingError` for inputs that are
    no images of 1 or 3 channels.
    """

    label = "zoom_blur"
    group = "blur"
    factors = {
        32: ((7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01)),
        224: ((12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)),
    }

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        count, step = level("ZoomBlur", self.factors, x, severity)
        # The official range adds this rounded step: it decides how many pixels 224 / 1.12 are.
        step = (1 + step) - 1
        total = x.clone()
        for i in range(count):
            total += zoomed(x, 1 + i * step)
        return as_bytes(total / (count + 1))
