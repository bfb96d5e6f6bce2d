"""Less contrast."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._pixels import as_bytes, level


class Contrast(nn.Module):
    """Every channel drawn towards its mean over the image (arXiv 1903.12261).

    (x - mean) c + mean, cut to [0, 1]; c by severity is .75 .5 .4 .3 .15 for small images and
    .4 .3 .2 .1 .05 for large ones. Raises `SettingError` for inputs that are no images of 1 or 3
    channels.
    """

    label = "contrast"
    group = "digital"
    kept = {32: (0.75, 0.5, 0.4, 0.3, 0.15), 224: (0.4, 0.3, 0.2, 0.1, 0.05)}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted; nothing is drawn."""
        kept = level("Contrast", self.kept, x, severity)
        # In float64 the order of the sum, which may depend on the batch, is not seen in the bytes.
        mean = x.double().mean((2, 3), keepdim=True).to(x.dtype)
        return as_bytes((x - mean) * kept + mean)
