"""The weights at which what every loss gains is a power of its weight: G w = w^-p."""

from __future__ import annotations

import torch
from torch import Tensor

# The lengths tried in each Newton step; with 0 there is always one that is allowed.
LENGTHS = (0.0, *(2.0 ** (i / 2) for i in range(-28, 17)))


def balanced(cosines: Tensor, norms: Tensor, power: Tensor, steps: int) -> Tensor:
    """The w > 0 [k] with G w = w^-power, for the Gramian G of these definite cosines and norms.

    It is the minimum of the convex function w^T G w / 2 - sum_i w_i^(1 - power) / (1 - power) (the
    logarithm of w_i for power 1), sought by `steps` Newton steps; along each the length is taken at
    which the slope is nearest 0. A gradient of 0 has weight 0, since its equation has no solution.
    """
    length = torch.where(norms > 0, norms, 1.0)
    # Begin where gradients at right angles would end, and measure in units of that.
    unit = length ** ((power - 1) / (power + 1))
    u = unit
    lengths = torch.tensor(LENGTHS, dtype=unit.dtype, device=unit.device)[:, None]
    for _ in range(steps):
        x = u / unit
        curve = cosines + (power * x ** (-power - 1)).diag()
        # Unlike solve(), solve_ex() does not wait for the device.
        step = torch.linalg.solve_ex(curve, unit * x**-power - cosines @ u)[0]
        tried = u + lengths * step
        slopes = ((tried @ cosines - unit * (tried / unit) ** -power) @ step).abs()
        allowed = (tried > 0).all(1) & torch.isfinite(slopes)
        u = tried.index_select(0, torch.where(allowed, slopes, torch.inf).argmin()[None])[0]
    return torch.where(norms > 0, u / length, 0.0)


def limited(weights: Tensor, gramian: Tensor, most: Tensor) -> Tensor:
    """The weights [k], made smaller where the update's norm is above `most` (0: no limit)."""
    norm = (weights @ gramian @ weights).clamp_min(0).sqrt()
    return torch.where((most > 0) & (norm > most), weights * (most / norm), weights)
