"""The level of a series wanders."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._series import level_and_spread, strength, waves


class BaselineDrift(nn.Module):
    """The level of every channel of a series wanders slowly; our own definition.

    x + a d g(tau), tau from 0 to 1 over time; g = sum of n_k cos(pi k tau) over k = 1, 2, 3 with
    standard normal n_k, centred and scaled to a mean square of 1. d is the channel's standard
    deviation in the example; a by severity is .2 .4 .6 .9 1.3. A series of one step stays as it is.
    Raises `SettingError` for inputs that are no series [b, c, t].
    """

    label = "baseline_drift"
    group = "series"
    amount = (0.2, 0.4, 0.6, 0.9, 1.3)

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, c, t], corrupted."""
        a = strength("BaselineDrift", self.amount, x, severity)
        share = draws.normal(x[:, :, :1].expand(-1, -1, 3))
        curve = share @ waves(x, 3).cos()
        centre, size = level_and_spread(curve)
        # A constant curve, as that of a single step, is 0 once it is centred.
        curve = (curve - centre) / size.clamp(min=1e-9)
        _, spread = level_and_spread(x)
        return x + a * spread * curve
