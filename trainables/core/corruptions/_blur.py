"""Blurs that several corruptions are made of: Gaussian, along a line, and one step of a zoom."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

# Weights of a line beyond this share of the sum cannot change a whole number of 0 to 255.
NEGLIGIBLE = 1e-9


def gaussian_weights(sigma: float, radius: int) -> Tensor:
    """exp(-i^2 / 2 sigma^2) for i = -radius ... radius, with sum 1, float64."""
    distance = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (distance / sigma).square())
    return weights / weights.sum()


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """x [b, c, h, w] blurred: cut off at 4 sigma, the pixels at the edge continued."""
    height, width = (_smoothing(sigma, side).to(x.device) for side in x.shape[2:])
    return (height @ x.double() @ width.T).to(x.dtype)


def along_line(x: Tensor, radius: float, sigma: float, angle: Tensor) -> Tensor:
    """x [b, c, h, w] smeared along one direction each; `angle` [b] in degrees.

    What ImageMagick defines: the mean over the places p + round(i (cos a, sin a)) from each pixel
    p, i = 0 ... 2 ceil(radius), in (column, row), halves rounded down, with weights
    exp(-i^2 / 2 sigma^2) of sum 1. The pixels at the edge are continued.
    """
    weights = _line(radius, sigma)
    # float64: a place that lies between two pixels must be the same one in every batch.
    direction = angle.double() * (math.pi / 180)
    step = torch.arange(len(weights), device=x.device, dtype=torch.float64).unsqueeze(1)
    rows = torch.ceil(step * direction.sin() - 0.5).long()
    columns = torch.ceil(step * direction.cos() - 0.5).long()
    margin, (height, width) = len(weights), x.shape[2:]
    wide = _continued(x, margin)
    span = wide.shape[3]
    row = torch.arange(margin, margin + height, device=x.device).unsqueeze(1)
    place = (row * span + torch.arange(margin, margin + width, device=x.device)).view(1, 1, -1)
    wide, found = wide.flatten(2), torch.zeros_like(x).flatten(2)
    for i, weight in enumerate(weights.tolist()):
        shift = (rows[i] * span + columns[i]).view(-1, 1, 1)
        index = (place + shift).expand(-1, x.shape[1], -1)
        found.add_(wide.gather(2, index), alpha=weight)
    return found.view_as(x)


def zoomed(x: Tensor, factor: float) -> Tensor:
    """The middle of x [b, c, h, w] enlarged `factor` (at least 1) times, as large as x.

    The middle has ceil(side / factor) pixels each way and becomes round(that x factor) pixels,
    linearly and with the outer pixels in their places; what is more than a side is cut off.
    """
    part, sizes = x, []
    for axis, side in enumerate(x.shape[2:], 2):
        count = math.ceil(side / factor)
        part = part.narrow(axis, (side - count) // 2, count)
        sizes.append(round(count * factor))
    part = interpolate(part, size=sizes, mode="bilinear", align_corners=True)
    for axis, (side, size) in enumerate(zip(x.shape[2:], sizes, strict=True), 2):
        part = part.narrow(axis, (size - side) // 2, side)
    return part


def _smoothing(sigma: float, side: int) -> Tensor:
    """The matrix [side, side] that blurs a column of pixels.

    As a product it is faster than a convolution, and the edges are exact. It is float64 so that
    cutting off to whole numbers afterwards does not depend on how a batch was split.
    """
    radius = int(4 * sigma + 0.5)
    weights = gaussian_weights(sigma, radius)
    offset = torch.arange(-radius, radius + 1)
    place = (torch.arange(side).unsqueeze(1) + offset).clamp(0, side - 1)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    return matrix.scatter_add_(1, place, weights.expand(side, -1))


def _line(radius: float, sigma: float) -> Tensor:
    """The weights from the pixel itself outwards, without those that cannot be seen."""
    distance = torch.arange(2 * math.ceil(radius) + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (distance / sigma).square())
    weights = weights / weights.sum()
    return weights[weights > NEGLIGIBLE]


def _continued(x: Tensor, margin: int) -> Tensor:
    """x with `margin` more pixels on every side, those at the edge again and again."""
    for axis in (2, 3):
        side = x.shape[axis]
        place = torch.arange(-margin, side + margin, device=x.device).clamp(0, side - 1)
        x = x.index_select(axis, place)
    return x
