"""Random shift in time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..quantities import number, one_of
from ..randomness import Draws
from ._series import steps


class TimeShift(nn.Module):
    """Moves every series in time by a random whole number of steps.

    The shift is uniform on {-m, ..., m}, m = `share` times t rounded, drawn per example and the
    same for all its channels: x'[j] = x[j - shift]. `fill` says what stands where the series has
    left: "edge" repeats its first or last value, "roll" lets the other end come in (right for
    periodic series). `share` is in [0, 1]; 0 is the identity.

    Raises `SettingError` for settings out of range and for inputs that are no series [b, c, t].
    """

    family = "augmentation"
    short = ("timeshift", "share", "fill")

    def __init__(self, *, share: float | str = 0.1, fill: str = "edge") -> None:
        super().__init__()
        found = torch.tensor(number("share", share, low=0, high=1))
        self.register_buffer("share", found, persistent=False)
        self.share: Tensor
        self.fill = one_of("fill", fill, ("edge", "roll"))

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, t] shifted; y as it is."""
        t = steps("TimeShift", x)
        most = (self.share * t).round()
        shift = (draws.uniform(x[:, :1, :1]) * (2 * most + 1)).floor() - most
        index = torch.arange(t, device=x.device) - shift.long()
        index = index.remainder(t) if self.fill == "roll" else index.clamp(0, t - 1)
        return x.gather(2, index.expand_as(x)), y
