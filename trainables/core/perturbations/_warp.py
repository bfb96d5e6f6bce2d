"""Warps of images: every frame looks up its pixels elsewhere, the same for all examples."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def affine(x: Tensor, inverse: Tensor, shift: Tensor | None = None) -> Tensor:
    """x [b, c, h, w] under affine maps about its centre, one for each frame: [b, f, c, h, w].

    A pixel at p (column, row; pixels are squares, so that the first one's centre is (1/2, 1/2))
    shows what is at m + A (p - m - s), with m the centre of the image, A = `inverse` [f, 2, 2]
    and s = `shift` [f, 2], both float64. Between four pixels it is interpolated linearly, in the
    outermost half of the border's pixels the nearest counts, and outside of the image is black:
    as Pillow does it.
    """
    h, w = x.shape[2:]
    middle = torch.tensor([w / 2, h / 2], dtype=torch.float64)
    found = _pixels(h, w) + 0.5 - middle
    if shift is not None:
        found = found - shift[:, None, None]
    found = torch.einsum("fij,fhwj->fhwi", inverse, found.expand(len(inverse), -1, -1, -1)) + middle
    inside = (found >= 0).all(-1) & (found < 2 * middle).all(-1)
    return _looked_up(x, found - 0.5) * inside.to(x)[:, None].to(x.device)


def projective(x: Tensor, inverse: Tensor) -> Tensor:
    """x [b, c, h, w] under projective maps, one for each frame: [b, f, c, h, w].

    A pixel (j, i, 1) (column, row) shows what is at q_1/q_3, q_2/q_3, q = A (j, i, 1), with A =
    `inverse` [f, 3, 3] (float64). Interpolated linearly, with black around the image: as OpenCV
    does it, whose places are rounded to 1/32 of a pixel and ours are not.
    """
    h, w = x.shape[2:]
    ones = torch.ones(h, w, 1, dtype=torch.float64)
    found = torch.einsum("fij,hwj->fhwi", inverse, torch.cat([_pixels(h, w), ones], -1))
    # The black frame is one pixel wide; whatever lies further out shows it, too.
    place = found[..., :2] / found[..., 2:] + 1
    most = torch.tensor([w + 1, h + 1], dtype=torch.float64)
    return _looked_up(F.pad(x, [1, 1, 1, 1]), place.clamp(min=0).minimum(most))


def _pixels(h: int, w: int) -> Tensor:
    """Column and row of every pixel, [h, w, 2]."""
    rows, columns = torch.meshgrid(
        torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64), indexing="ij"
    )
    return torch.stack([columns, rows], -1)


def _looked_up(x: Tensor, place: Tensor) -> Tensor:
    """x at columns and rows `place` [f, i, j, 2], interpolated linearly, [b, f, c, i, j].

    Places are found on the CPU in double precision, so that a whole number stays one: the result
    is cut off to whole bytes. Beyond the border its pixels go on.
    """
    h, w = x.shape[2:]
    flat = x.flatten(2)
    before = place.floor()
    share = (place - before).to(x.dtype)
    columns, rows = before.long().unbind(-1)
    found = x.new_zeros(())
    for down in (0, 1):
        for right in (0, 1):
            row, column = (rows + down).clamp(0, h - 1), (columns + right).clamp(0, w - 1)
            weight = _share(share[..., 1], down) * _share(share[..., 0], right)
            index = (row * w + column).to(x.device)
            part = flat.index_select(2, index.flatten()).unflatten(2, index.shape)
            found = found + part * weight.to(x.device)
    return found.transpose(1, 2)


def _share(share: Tensor, after: int) -> Tensor:
    return share if after else 1 - share
