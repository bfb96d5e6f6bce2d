"""Images stretched here and pressed there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._blur import gaussian_weights
from ._pixels import as_bytes, level, table_of


class ElasticTransform(nn.Module):
    """A random affine map, then a random smooth displacement of every pixel (arXiv 1903.12261).

    Three corners of a square about the middle, its half side a third of the image's, move by
    U(-affine, affine) in both directions. Then every pixel is taken from a place that lies
    alpha G(sigma) u away, u of U(-1, 1) in each pixel and direction and G the Gaussian filter
    (3 sigma wide, mirrored at the border). Both steps interpolate linearly; the first mirrors the
    image about the centre of the outermost pixel, the second about its edge. Lengths are fractions
    of 32 pixels, (alpha, sigma, affine) = (0, 0, .08) (.05, .2, .07) (.08, .06, .06) (.1, .04, .05)
    (.1, .03, .03) by severity, for small images; for large ones, as published, of 244 pixels, (2,
    .7, .1) (2, .08, .2) (.05, .01, .02) (.07, .01, .02) (.12, .01, .02). For images of other sizes
    they are fractions of the shorter side (and of 244/224 of it). The authors' image library takes
    places of the first step in 1/32 pixel; ours does not round them. Raises `SettingError` for
    inputs that are no images of 1 or 3 channels.
    """

    label = "elastic_transform"
    group = "digital"
    moves = True
    strength = {
        32: (
            (0.0, 0.0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
        224: (
            (2.0, 0.7, 0.1),
            (2.0, 0.08, 0.2),
            (0.05, 0.01, 0.02),
            (0.07, 0.01, 0.02),
            (0.12, 0.01, 0.02),
        ),
    }
    unit = {32: 1.0, 224: 244 / 224}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        strength = level("ElasticTransform", self.strength, x, severity)
        unit = self.unit[table_of(x)] * min(x.shape[2:])
        alpha, sigma, affine = (one * unit for one in strength)
        pixels = x[:, 0].numel() // len(x)
        uniform = 2 * draws.uniform(x.new_empty(len(x), 6 + 2 * pixels)) - 1
        tilted = _affine(x, affine * uniform[:, :6].view(-1, 3, 2))
        field = uniform[:, 6:].reshape(-1, 2, *x.shape[2:])
        return as_bytes(_displaced(tilted, alpha * _smooth(field, sigma)))


def _smooth(field: Tensor, sigma: float) -> Tensor:
    """`field` [b, 2, h, w] under a Gaussian filter 3 sigma wide, mirrored about its edges."""
    if sigma == 0:
        return field
    rows, columns = (_filter(side, sigma).to(field) for side in field.shape[2:])
    flat = field.flatten(0, 1)
    # Products of each matrix on its own: their sums are the same in whatever batch it stands.
    within = torch.bmm(rows.expand(len(flat), -1, -1), flat)
    return torch.bmm(within, columns.mT.expand(len(flat), -1, -1)).view(field.shape)


def _filter(side: int, sigma: float) -> Tensor:
    """The filter for one direction as a matrix [side, side]."""
    radius = int(3 * sigma + 0.5)
    weights = gaussian_weights(sigma, radius)
    place = torch.arange(side).unsqueeze(1) + torch.arange(-radius, radius + 1)
    index = _mirrored(place, side, about=1)
    found = torch.zeros(side, side, dtype=weights.dtype)
    return found.scatter_add(1, index, weights.expand(side, -1))


def _affine(x: Tensor, moved: Tensor) -> Tensor:
    """The images when the three corners of the square move by `moved` [b, 3, 2] (right, down)."""
    height, width = x.shape[2:]
    half = min(height, width) // 3
    # The corners are (1, 1), (1, -1) and (-1, -1) times `half` from the middle. A linear map that
    # moves the first to q1 and so on has these columns:
    corners = moved + half * moved.new_tensor([[1, 1], [1, -1], [-1, -1]])
    middle = moved.new_tensor([width // 2, height // 2])
    side = max(2 * half, 1)
    right = (corners[:, 1] - corners[:, 2]) / side
    down = (corners[:, 0] - corners[:, 1]) / side
    shift = (corners[:, 0] + corners[:, 2]) / 2
    area = right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]
    # Corners on one line have no way back: all is taken from one place then.
    over = torch.where(area == 0, torch.zeros_like(area), 1 / area)
    rows, columns = _grid(x)
    from_x = (columns - middle[0]).view(1, 1, -1) - shift[:, 0].view(-1, 1, 1)
    from_y = (rows - middle[1]).view(1, -1, 1) - shift[:, 1].view(-1, 1, 1)
    right, down, over = right[..., None, None], down[..., None, None], over[:, None, None]
    to_x = (down[:, 1] * from_x - down[:, 0] * from_y) * over + middle[0]
    to_y = (right[:, 0] * from_y - right[:, 1] * from_x) * over + middle[1]
    return _taken(x, to_y, to_x, about=0)


def _displaced(x: Tensor, field: Tensor) -> Tensor:
    """Every pixel taken from `field` [b, 2, h, w] (right, down) away."""
    rows, columns = _grid(x)
    return _taken(x, rows.view(1, -1, 1) + field[:, 1], columns.view(1, 1, -1) + field[:, 0], 1)


def _grid(x: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.arange(x.shape[2], device=x.device, dtype=x.dtype)
    return rows, torch.arange(x.shape[3], device=x.device, dtype=x.dtype)


def _taken(x: Tensor, rows: Tensor, columns: Tensor, about: int) -> Tensor:
    """x at places [b, h, w], linear between pixels; mirrored, see `_mirrored`."""
    batch, channels, height, width = x.shape
    top, left = rows.floor(), columns.floor()
    lower, later = (rows - top).unsqueeze(1), (columns - left).unsqueeze(1)
    ups = [_mirrored(top + step, height, about) * width for step in (0, 1)]
    sides = [_mirrored(left + step, width, about) for step in (0, 1)]
    flat = x.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = (row + column).flatten(1).unsqueeze(1).expand(-1, channels, -1)
        return flat.gather(2, index).view(batch, channels, height, width)

    above = torch.lerp(at(ups[0], sides[0]), at(ups[0], sides[1]), later)
    below = torch.lerp(at(ups[1], sides[0]), at(ups[1], sides[1]), later)
    return torch.lerp(above, below, lower)


def _mirrored(place: Tensor, side: int, about: int) -> Tensor:
    """Whole places as int64 within 0 ... side - 1.

    Mirrored about the centre of the outermost pixel (`about` 0) or about its outer edge (1).
    """
    if side == 1:
        return torch.zeros_like(place, dtype=torch.int64)
    period = 2 * side if about else 2 * side - 2
    found = torch.remainder(place, period)
    return torch.minimum(found, period - about - found).long()
