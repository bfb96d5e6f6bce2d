"""More light in every pixel."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._pixels import as_bytes, level


class Brightness(nn.Module):
    """A constant added to the value of every pixel in HSV colours (arXiv 1903.12261).

    V' = min(V + c, 1) with V the largest channel; hue and saturation stay, so that all channels are
    scaled by V'/V, and black pixels become grey of c. Of grey images that is x + c. c by severity
    is .05 .1 .15 .2 .3 for small images and .1 .2 .3 .4 .5 for large ones. Raises `SettingError`
    for inputs that are no images of 1 or 3 channels.
    """

    label = "brightness"
    group = "weather"
    added = {32: (0.05, 0.1, 0.15, 0.2, 0.3), 224: (0.1, 0.2, 0.3, 0.4, 0.5)}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted; nothing is drawn."""
        added = level("Brightness", self.added, x, severity)
        value = x.amax(1, keepdim=True)
        brighter = (value + added).clamp(max=1)
        # A black pixel has neither hue nor saturation: all its channels become the new value.
        return as_bytes((x * (brighter / value)).where(value > 0, brighter))
