"""Drops of water run down the lens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..corruptions._blur import gaussian
from ..corruptions._pixels import as_bytes, as_given, in_colour
from ..corruptions.spatter import _watery
from ..randomness import Draws
from ._frames import parameters, repeated


class Spatter(nn.Module):
    """Drops of water that run down the lens, frame by frame (arXiv 1903.12261).

    Normal numbers of mean .6 and deviation .265, smoothed by a Gaussian of 1.75 pixels, are the
    liquid where they are at least .7, for small images; .65, .27, 3.7 and .69 for large ones. It is
    drawn as the corruption spatter draws water of strength .6. From a frame to the next each column
    becomes a mean of itself and what is above it (and, for large images, below it): `run` gives the
    weights from the row `below` rows further down upwards. 31 frames. Raises `SettingError` for
    inputs that are no images of 1 or 3 channels.
    """

    label = "spatter"
    against = "previous"
    liquid = {32: (0.6, 0.265, 1.75, 0.7), 224: (0.65, 0.27, 3.7, 0.69)}
    run = {32: ((0.2, 0.8), 0), 224: ((0.05, 0.1, 0.15, 0.7), 1)}

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x [b, c, h, w] as frames [b, 31, c, h, w]."""
        mean, deviation, sigma, least = parameters("Spatter", self.liquid, x)
        weights, below = parameters("Spatter", self.run, x)
        layer = gaussian(mean + deviation * draws.normal(x[:, :1]), sigma)[:, 0]
        layers = [layer.where(layer >= least, 0)]
        for _ in range(30):
            layers.append(_lowered(layers[-1], weights, below))
        many = torch.stack(layers, 1).flatten(0, 1)
        colour = repeated(in_colour(x), 31).flatten(0, 1)
        found = _watery(colour, many, torch.ones_like(many), 0.6).clamp(0, 1)
        return as_bytes(as_given(found, x).unflatten(0, (len(x), 31)))


def _lowered(layer: Tensor, weights: tuple[float, ...], below: int) -> Tensor:
    """Columns of [b, h, w] as sums of weights[i] times what is i - below rows above, 0 outside."""
    h = layer.shape[1]
    wide = torch.nn.functional.pad(layer, (0, 0, len(weights) - 1 - below, below))
    found = torch.zeros_like(layer)
    for i, weight in enumerate(weights):
        first = len(weights) - 1 - i
        found = found + weight * wide[:, first : first + h]
    return found
