"""Exact small quadratic programs over a Gramian, without a branch on any value.

Every program here is decided by which of its k unknowns are above 0. All 2^k such sets are solved
together, by an elimination that doubles them index after index, and the set that fulfils the
conditions of the optimum is taken. For two to five losses that is a handful of tiny operations; for
16 losses, the most allowed, it was measured at 17 ms per right side on one core.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import SettingError

# 2^16 sets are still bearable.
MOST = 16

# Tableaus of more numbers than this are worked on a few right sides at a time.
LARGEST = 2**22


def few(name: str, k: int) -> int:
    """`k` if that many losses can be solved for; else a `SettingError` that names the weighter."""
    if k > MOST:
        raise SettingError(
            f"{name} solves for every set of active losses and takes at most {MOST} losses, "
            f"found {k}."
        )
    return k


def cosines_and_norms(gramian: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """The cosines [k, k] of gradients with this float64 Gramian, made definite, and norms [k].

    The cosine to itself is 1 plus what rounding leaves unknown of a Gramian in `like`'s dtype, so
    that duplicates and antiparallel gradients are told apart no further than the numbers allow:
    4 k eps, at least 1e-12. A gradient of 0 has cosine 0 to every other.
    """
    k = len(gramian)
    norms = gramian.diagonal().sqrt()
    inverse = torch.nan_to_num(1 / norms, posinf=0.0)
    # One side after the other: the product of two inverses may leave float64's range.
    cosines = (gramian * inverse[:, None] * inverse).clamp(-1, 1)
    ridge = max(1e-12, 4 * k * torch.finfo(like.dtype).eps)
    return cosines.fill_diagonal_(1 + ridge), norms


def all_sets(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The linear systems of all 2^k sets of unknowns, for a definite matrix [k, k], right [k, m].

    Returns values [2^k, k, m] and sides [2^k, k, 1], which are 1 inside a set and -1 outside. The
    values inside a set A are the z with M_AA z = right_A, those outside are what M z lacks of the
    right side there.
    """
    k = len(matrix)
    sets = torch.cat([matrix, right], dim=1)[None]
    for i in range(k):
        # The next unknown's column comes first, and is not needed again after its turn.
        column, without = sets[..., :1], sets[..., 1:]
        # No pivot of a definite matrix is below its least eigenvalue; the guard is against noise.
        row = without[:, i : i + 1] / column[:, i : i + 1].clamp_min(1e-14)
        both = without.new_empty(2, *without.shape)
        both[0] = without
        torch.addcmul(without, column, row, value=-1, out=both[1])
        both[1, :, i : i + 1] = row
        sets = both.flatten(0, 1)
    # Set number s holds the unknowns whose bits are set in s.
    order = torch.arange(k, device=matrix.device)
    bits = (torch.arange(1 << k, device=matrix.device)[:, None] >> order) & 1
    return sets, (2 * bits - 1).to(matrix.dtype)[..., None]


def chosen(values: Tensor, sides: Tensor) -> Tensor:
    """z >= 0 [k, m], each column from the set whose values best have the sign of their sides.

    `values` [2^k, k, m] and `sides` [2^k, k, 1] are those of `all_sets`, or a combination of its
    columns. For the optimum's set z is at least 0 inside, and nothing is lacking outside.
    """
    worst = torch.nan_to_num((values * sides).amin(1), nan=-torch.inf)
    best = worst.argmax(0)
    places = best.expand(1, values.shape[1], -1)
    found = values.gather(0, places)[0]
    inside = sides.expand_as(values).gather(0, places)[0] > 0
    return torch.where(inside, found, 0.0).clamp_min(0)


def nonnegative(matrix: Tensor, right: Tensor) -> Tensor:
    """The z >= 0 that minimises z^T M z / 2 - right^T z, for each column of right [k, m].

    M [k, k] is symmetric and positive definite.
    """
    k = len(matrix)
    parts = right.split(max(1, LARGEST // (k << k)), dim=1)
    return torch.cat([chosen(*all_sets(matrix, part)) for part in parts], dim=1)


def smallest(cosines: Tensor, norms: Tensor) -> Tensor:
    """The weights [k] of the shortest convex combination of gradients: w >= 0, sum w = 1."""
    # A gradient that is nothing beside the others takes all the weight, as one of 0 must.
    norms = norms.clamp_min(1e-15)
    right = norms.min() / norms
    # The minimiser of |sum z_i g_i|^2 / 2 - sum z_i is a multiple of the shortest combination.
    z = nonnegative(cosines, right[:, None])[:, 0] * right
    return z / z.sum()


def lifted(cosines: Tensor, norms: Tensor, weights: Tensor) -> Tensor:
    """The v >= u that minimise v^T G v, for each column u >= 0 of weights [k, m].

    They project sum u_i g_i on the cone of the directions that no gradient opposes.
    """
    length = norms[:, None]
    z = nonnegative(cosines, -cosines @ (weights * length))
    return weights + torch.where(length > 0, z / length, 0.0)
