"""Time runs unevenly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._series import strength, waves


class TimeWarp(nn.Module):
    """Time runs faster here and slower there, between fixed ends; our own definition.

    x'(tau) = x(tau + sum of a_k sin(pi k tau) / (pi k) over k = 1, 2, 3), tau from 0 to 1, where x
    between two steps is interpolated linearly. The a_k are uniform on [-1, 1] and then scaled so
    that their absolute values add up to s, so time never runs backwards: its speed is between 1 - s
    and 1 + s. The same for all channels of an example. s by severity is .1 .25 .4 .6 .8. Raises
    `SettingError` for inputs that are no series [b, c, t].
    """

    label = "time_warp"
    group = "series"
    moves = True
    speed = (0.1, 0.25, 0.4, 0.6, 0.8)

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, c, t], corrupted."""
        s = strength("TimeWarp", self.speed, x, severity)
        t = x.shape[2]
        share = 2 * draws.uniform(x[:, 0, :1].expand(-1, 3)) - 1
        share = s * share / share.abs().sum(1, keepdim=True).clamp(min=1e-9)
        angle = waves(x, 3)
        k = torch.arange(1, 4, dtype=x.dtype, device=x.device).unsqueeze(1)
        time = torch.arange(t, dtype=x.dtype, device=x.device)
        place = time + (t - 1) * (share @ (angle.sin() / (math.pi * k)))
        place = place.clamp(0, t - 1)
        before = place.floor()
        left = before.long()
        right = (left + 1).clamp(max=t - 1)
        index = (one.unsqueeze(1).expand_as(x) for one in (left, right))
        first, second = (x.gather(2, one) for one in index)
        return torch.lerp(first, second, (place - before).unsqueeze(1).expand_as(x))
