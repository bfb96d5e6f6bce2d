"""Drops of water or mud on the lens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..randomness import Draws
from ._blur import gaussian
from ._outlines import distances, edges, equalised
from ._pixels import as_bytes, as_given, in_colour, level

WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
FARTHEST = 20


class Spatter(nn.Module):
    """Splashes of water (severity 1 to 3) or mud (4 and 5) over the image (arXiv 1903.12261).

    The liquid is where a layer of noise N(mean, deviation), smoothed by a Gaussian filter of
    `sigma`, is above `threshold`. Mud covers the image with brown by the liquid's mask, smoothed
    by a Gaussian filter of `strength` and 0 where that is below 0.8. Water adds pale turquoise
    times `strength` times a relief in [0, 1]: the layer's height times the distance (20 pixels at
    most) to the layer's edges, with equalised histogram and lit from the side. (mean, deviation,
    sigma, threshold, strength) by severity are the five numbers of each row of `splashes`.

    The steps are those of the published sets; Canny's edges, the distances and the histogram are
    our own code of their rules on the device of x. Deviations: a weak edge counts if a strong one
    is at most 16 pixels of weak ones away; an image without liquid stays as it is (the authors'
    code divides by 0 there); noise above 1 counts as 1 (theirs begins again at 0). Raises
    `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "spatter"
    group = "extra"
    splashes = {
        32: (
            (0.62, 0.1, 0.7, 0.7, 0.5),
            (0.65, 0.1, 0.8, 0.7, 0.5),
            (0.65, 0.3, 1.0, 0.69, 0.5),
            (0.65, 0.1, 0.7, 0.69, 0.6),
            (0.65, 0.1, 0.5, 0.68, 0.6),
        ),
        224: (
            (0.65, 0.3, 4.0, 0.69, 0.6),
            (0.65, 0.3, 3.0, 0.68, 0.6),
            (0.65, 0.3, 2.0, 0.68, 0.5),
            (0.65, 0.3, 1.0, 0.65, 1.5),
            (0.67, 0.4, 1.0, 0.65, 1.5),
        ),
    }

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        row = level("Spatter", self.splashes, x, severity)
        mean, deviation, sigma, threshold, strength = row
        layer = gaussian(mean + deviation * draws.normal(x[:, :1]), sigma).squeeze(1)
        splashed = _muddy if severity > 3 else _watery
        found = splashed(in_colour(x), layer, (layer >= threshold).to(x.dtype), strength)
        return as_bytes(as_given(found.clamp(0, 1), x))


def _muddy(x: Tensor, layer: Tensor, wet: Tensor, strength: float) -> Tensor:
    smooth = gaussian(wet.unsqueeze(1), strength)
    cover = smooth.where(smooth >= 0.8, torch.zeros_like(smooth))
    return x * (1 - cover) + x.new_tensor(MUD).view(1, 3, 1, 1) * cover


def _watery(x: Tensor, layer: Tensor, wet: Tensor, strength: float) -> Tensor:
    height = (layer * 255).clamp(0, 255).floor() * wet
    far = distances(edges(height, 50, 150, reach=16), FARTHEST).to(x.dtype)
    # A mean may lie just below the whole number that it is.
    steps = equalised((_averaged(far) + 1e-4).floor(), FARTHEST + 1)
    shine = height * _averaged(_lit(steps).clamp(0, 255)).round()
    top = shine.amax((1, 2), keepdim=True)
    shine = (strength * shine / top).where(top > 0, torch.zeros_like(shine))
    return x + x.new_tensor(WATER).view(1, 3, 1, 1) * shine.unsqueeze(1)


def _averaged(x: Tensor) -> Tensor:
    """Means over 3 x 3 pixels of x [b, h, w]."""
    wide = _mirrored(x)
    rows = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9


def _lit(x: Tensor) -> Tensor:
    """x [b, h, w] weighed by

        -2 -1 0
        -1  1 1
         0  1 2

    which is what is there and the difference along the diagonal, as if lit from one side.
    """
    wide, (height, width) = _mirrored(x), x.shape[1:]

    def at(row: int, column: int) -> Tensor:
        return wide[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    return x + 2 * (at(1, 1) - at(-1, -1)) + at(0, 1) - at(0, -1) + at(1, 0) - at(-1, 0)


def _mirrored(x: Tensor) -> Tensor:
    """x [b, h, w] as [b, h + 2, w + 2], mirrored about the centre of the outermost pixels."""
    return F.pad(x, (1, 1, 1, 1), mode="reflect")
