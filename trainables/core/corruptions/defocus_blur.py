"""Blur of a picture out of focus."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._blur import gaussian_weights
from ._pixels import as_bytes, level


class DefocusBlur(nn.Module):
    """A blur by a disk, as of a lens out of focus (arXiv 1903.12261).

    The disk is 1 at all pixels within `radius` of its centre, with sum 1, and is itself smoothed by
    a Gaussian `softness` of 3 x 3 pixels (5 x 5 for a radius above 8). (radius, softness) by
    severity are (.3, .4) (.4, .5) (.5, .6) (1, .2) (1.5, .1) for small images and (3, .1) (4, .5)
    (6, .5) (8, .5) (10, .5) for large ones. Images are mirrored at their edges, without the
    outermost pixel. So was, in the published sets, the square that holds the disk (17 x 17 up to
    radius 8, else just as large): radius 8 and 10 touch its edge, and images become 1.3 % and 1.1 %
    brighter; ours do, too. Nothing is random. Raises `SettingError` for inputs that are no images
    of 1 or 3 channels.
    """

    label = "defocus_blur"
    group = "blur"
    disk = {
        32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    }

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        radius, softness = level("DefocusBlur", self.disk, x, severity)
        kernel = _kernel(radius, softness).to(x)
        return as_bytes(_convolved(x, kernel))


def _kernel(radius: float, softness: float) -> Tensor:
    """The smoothed disk [2 m + 1, 2 m + 1], float64, as small as its weights allow."""
    half, reach = (8, 1) if radius <= 8 else (math.ceil(radius), 2)
    offset = torch.arange(-half, half + 1)
    disk = (offset.square() + offset.square().unsqueeze(1) <= radius**2).double()
    disk /= disk.sum()
    weights = gaussian_weights(softness, reach)
    for axis in (0, 1):
        place = _mirrored(2 * half + 1, reach)
        disk = disk.index_select(axis, place).unfold(axis, 2 * reach + 1, 1) @ weights
    # A radius within the square leaves margins, which would only cost time.
    margin = max(0, min(half, half - math.floor(radius) - reach))
    side = 2 * half + 1 - 2 * margin
    return disk.narrow(0, margin, side).narrow(1, margin, side)


def _convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """x convolved with a symmetric kernel by Fourier transforms, which cost the same for a disk of
    any radius."""
    reach = len(kernel) // 2
    for axis in (2, 3):
        x = x.index_select(axis, _mirrored(x.shape[axis], reach).to(x.device))
    height, width = x.shape[2:]
    sizes = (_transformable(height), _transformable(width))
    product = torch.fft.rfft2(x, s=sizes) * torch.fft.rfft2(kernel, s=sizes)
    # The first rows and columns are those into which the kernel wraps around.
    full: Tensor = torch.fft.irfft2(product, s=sizes)
    return full[:, :, 2 * reach : height, 2 * reach : width]


def _mirrored(side: int, reach: int) -> Tensor:
    """The pixels from -reach to side + reach - 1, mirrored at the outermost ones."""
    place = torch.arange(-reach, side + reach)
    period = max(1, 2 * (side - 1))
    place = place.remainder(period)
    return torch.minimum(place, period - place) if side > 1 else place


def _transformable(size: int) -> int:
    """The next size that is a product of 2, 3 and 5, for which transforms are fast."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1
