"""A stretch of a series is lost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..augmentations._images import place
from ..randomness import Draws
from ._series import level_and_spread, strength


class SegmentDropout(nn.Module):
    """A stretch of a series is lost, and its mean stands there; our own definition.

    The stretch is s times the length, rounded, at least one step, in all channels at once, and
    begins at a random place where it fits. Each channel's mean over the whole example replaces what
    is lost. s by severity is .05 .1 .2 .3 .5. Raises `SettingError` for inputs that are no series
    [b, c, t].
    """

    label = "segment_dropout"
    group = "series"
    share = (0.05, 0.1, 0.2, 0.3, 0.5)

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, c, t], corrupted."""
        s = strength("SegmentDropout", self.share, x, severity)
        t = x.shape[2]
        length = max(1, round(s * t))
        start = place(draws.uniform(x[:, :1, :1]), t - length + 1)
        time = torch.arange(t, device=x.device)
        lost = (time >= start) & (time < start + length)
        level, _ = level_and_spread(x)
        return torch.where(lost, level, x)
