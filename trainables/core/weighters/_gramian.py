"""What gradient weighters do with a Gramian: scale it, find its eigenvectors, walk through it."""

from __future__ import annotations

import torch
from torch import Tensor

from ._random import uniform

# Rotations by 45 degrees or less converge quadratically. Measured: float64's last bits after 6
# sweeps for 8 gradients and after 8 for 16, also with norms from 1 to 1e-8 and with opposite ones.
_SWEEPS = 8


def scaled(gramian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The Gramian [k, k] in float64 over its mean diagonal, that scale, and whether it is usable.

    It is not usable where an entry is not finite or no gradient differs from 0; then the matrix is
    the identity and the scale 1, so that whatever is computed from them stays finite.
    """
    g = gramian.double()
    scale = g.diagonal().mean()
    # One sum tells: finite numbers of float32 cannot leave float64's range, inf and nan stay or,
    # as inf - inf, become nan.
    ok = torch.isfinite(g.sum()) & (scale > 0)
    identity = torch.eye(len(g), dtype=g.dtype, device=g.device)
    return torch.where(ok, g / scale, identity), torch.where(ok, scale, 1.0), ok


def settled(weights: Tensor, ok: Tensor, otherwise: float, losses: Tensor) -> Tensor:
    """`weights` [k] in the losses' dtype; `otherwise` each where `ok` is false or one overflows."""
    found = weights.to(losses.dtype)
    return torch.where(ok & torch.isfinite(found).all(), found, otherwise)


def noise(gramian: Tensor) -> float:
    """The part of its largest eigenvalue that a Gramian's other eigenvalues are lost in."""
    return len(gramian) * torch.finfo(gramian.dtype).eps


def spectrum(g: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [n], in no order, and eigenvectors [k, n] of a symmetric float64 matrix [k, k].

    n is k, or k + 1 with one eigenvalue 0 whose vector is 0.
    """
    if g.device.type == "cpu":
        values, vectors = torch.linalg.eigh(g)
        return values, vectors
    # On a GPU eigh waits for the device to learn whether it converged.
    return rotated(g)


def rotated(g: Tensor) -> tuple[Tensor, Tensor]:
    """`spectrum` by Jacobi's rotations, half of the pairs at a time, without a look at a value."""
    k = len(g)
    half = (k + 1) // 2
    a = torch.nn.functional.pad(g, (0, 2 * half - k, 0, 2 * half - k))
    vectors = torch.eye(2 * half, dtype=g.dtype, device=g.device)
    turn = _turned(vectors)
    for _ in range(_SWEEPS * (2 * half - 1)):
        # Index i of the first half meets i + half: zeroes what stands between the two.
        first, second = a.diagonal().split(half)
        apart = second - first
        beside = 2 * a.diagonal(half) * torch.copysign(torch.ones_like(apart), apart)
        angle = torch.atan2(beside, apart.abs()) / 2
        cos, sin = angle.cos().diag(), angle.sin().diag()
        rotation = torch.cat([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)]) @ turn
        a = rotation.T @ a @ rotation
        vectors = vectors @ rotation
    return a.diagonal(), vectors[:k]


def _turned(identity: Tensor) -> Tensor:
    """A permutation matrix [2h, 2h] under which, in 2h - 1 turns, everyone meets everyone once.

    The first stays and all others move on by one around the table, as in a round robin.
    """
    half = len(identity) // 2
    if half == 1:
        return identity
    kept, first, second = identity[:, :1], identity[:, 1:half], identity[:, half:]
    upper = torch.cat([kept, second[:, :1], first[:, :-1]], 1)
    return torch.cat([upper, second[:, 1:], first[:, -1:]], 1)


def impartial(gramian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [k] whose weighed gradient has the same projection on every gradient's direction.

    With u_i the gradients' directions and U their Gramian, x = pinv(U) 1 and w_i = x_i / |g_i|, so
    that sum_i w_i g_i = sum_i x_i u_i =: d. Returns w; the factor by which d gets the
    length sum_j g_j . d / |d|; and whether the Gramian is usable. w is in units of the gradients'
    root mean square: take w over its sum, or w times the factor. A gradient of 0 has weight 0.
    Dependent gradients get the least x that brings the projections closest; where 1 is in the null
    space of U (two opposite gradients) there is no such direction and all weights are 0.
    """
    g, _, ok = scaled(gramian)
    norms = g.diagonal().sqrt()
    inverse = torch.where(norms > 0, 1 / norms, 0.0)
    # Float32 rounds products of small gradients to more than their norms allow.
    units = (g * inverse * inverse[:, None]).clamp(-1, 1)
    values, vectors = spectrum(units)
    lost = noise(gramian)
    kept = values > lost * values.max()
    x = vectors @ (torch.where(kept, 1 / values, 0.0) * vectors.sum(0))
    # x . U x = x . 1 for a pseudo-inverse.
    square = x.sum()
    exists = square > lost
    factor = norms @ units @ x / torch.where(exists, square, 1.0)
    return torch.where(exists, x * inverse, 0.0), factor, ok


def visits(seed: int, step: Tensor, k: int) -> Tensor:
    """For each of k gradients a random order of the others, [k, k - 1], from seed and step."""
    if k <= 2:
        # There is only one order, which need not be drawn.
        return torch.arange(k - 1, -1, -1, device=step.device)[:, None][:, : k - 1]
    drawn = uniform(seed, step, k * k).view(k, k)
    last = 2 * torch.eye(k, dtype=drawn.dtype, device=drawn.device)
    return (drawn + last).argsort(1)[:, : k - 1]
