"""The weights at which what every loss gains is a power of its weight: G w = w^-p."""

from __future__ import annotations

import torch
from torch import Tensor


def balanced(cosines: Tensor, norms: Tensor, power: Tensor, steps: int) -> Tensor:
    """The w > 0 [k] with G w = w^-power, for the Gramian G of these definite cosines and norms.

    It is the minimum of the convex function w^T G w / 2 - sum_i w_i^(1 - power) / (1 - power) (the
    logarithm of w_i for power 1), sought by `steps` Newton steps. Each begins at the least value
    among the multiples of w, and is as long as the value surely falls: where m is the most that a
    weight loses in a whole step, as a part of itself, the curvature at length t is at most
    (1 - t m)^-(power + 1) times the one at 0, and so the slope is not above 0 up to
    t = (1 - (1 + power m)^(-1 / power)) / m, which tends to 1 at the end and keeps every w > 0.
    A gradient of 0 has weight 0, since its equation has no solution.
    """
    length = torch.where(norms > 0, norms, 1.0)
    # Begin where gradients at right angles would end, and measure in units of that: K x = x^-power.
    unit = length ** ((power - 1) / (power + 1))
    matrix = cosines * unit / unit[:, None]
    squares = unit.square()
    diagonal = power * torch.eye(len(unit), dtype=unit.dtype, device=unit.device)
    root, back = -1 / power, -1 / (1 + power)
    x = torch.ones_like(unit)
    for _ in range(steps):
        raised = x**power
        curve = raised[:, None] * matrix * x
        # What each loss gains, over what it should gain; on the whole this is 1 at the multiple.
        gains = curve.sum(1)
        share = squares * x / raised
        level = share @ gains / share.sum()
        # Unlike solve(), solve_ex() does not wait for the device.
        step = torch.linalg.solve_ex(torch.addcmul(curve, diagonal, level), level - gains)[0]
        most = step.amin().clamp_max(-1e-6)
        t = ((1 - power * most) ** root - 1) / most
        x = x * level**back
        x = torch.addcmul(x, x * step, t)
    return torch.where(norms > 0, x * unit / length, 0.0)


def limited(weights: Tensor, gramian: Tensor, most: Tensor) -> Tensor:
    """The weights [k], made smaller where the update's norm is above `most` (0: no limit)."""
    norm = (weights @ gramian @ weights).clamp_min(0).sqrt()
    return torch.where((most > 0) & (norm > most), weights * (most / norm), weights)
