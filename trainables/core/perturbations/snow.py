"""The wind that drives the snow turns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..corruptions._blur import along_line, zoomed
from ..corruptions._pixels import as_bytes, as_given, in_colour
from ..randomness import Draws
from ._frames import parameters, repeated


class Snow(nn.Module):
    """The same flakes, blown into another direction in every frame (arXiv 1903.12261).

    Normal numbers of mean .05 and deviation .3 are enlarged (2 times for small images, 3 times for
    large ones), those below .5 are left out, and the rest is smeared along a line, by radius 10 and
    deviation 2 or 14 and 4, at -150 + 4 i degrees in frames i = 0 ... 30. The layer and itself
    upside down are laid over .85 x + .15 max(x, 1.5 g + .5), g being the image in grey. CIFAR-10-P
    scores spatter instead. Raises `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "snow"
    against = "previous"
    flakes = {32: (2.0, 10, 2), 224: (3.0, 14, 4)}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]."""
        factor, radius, sigma = parameters("Snow", self.flakes, x)
        layer = zoomed(0.05 + 0.3 * draws.normal(x[:, :1]), factor)
        layer = as_bytes(layer.where(layer >= 0.5, 0))
        angle = 4 * torch.arange(31, dtype=torch.float64, device=x.device) - 150
        blown = along_line(repeated(layer, 31).flatten(0, 1), radius, sigma, angle.repeat(len(x)))
        blown = as_bytes(blown + 0.5 / 255).unflatten(0, (len(x), 31))
        colour = in_colour(x)
        grey = (colour * colour.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, True)
        ground = 0.85 * colour + 0.15 * colour.maximum(1.5 * grey + 0.5)
        found = as_bytes(ground.unsqueeze(1) + blown + blown.flip(3, 4))
        return as_bytes(as_given(found.flatten(0, 1), x).unflatten(0, (len(x), 31)))
