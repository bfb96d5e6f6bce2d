"""Fast changes of a series are lost."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..randomness import Draws
from ._series import strength


class LowPass(nn.Module):
    """A series is smoothed by a Gaussian in time; our own definition.

    Frequency f (per step) is kept with a share of exp(-2 pi^2 w^2 f^2): the Gaussian has a standard
    deviation of w = s t steps, t the length; at its ends the series goes on mirrored. s by severity
    is .01 .02 .03 .05 .08. Nothing is drawn. Raises `SettingError` for inputs that are no series
    [b, c, t].
    """

    label = "low_pass"
    group = "series"
    width = (0.01, 0.02, 0.03, 0.05, 0.08)

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, c, t], corrupted."""
        s = strength("LowPass", self.width, x, severity)
        t = x.shape[2]
        # Mirrored, a period of 2 t is exactly that of the transform.
        waves = torch.fft.rfft(torch.cat([x, x.flip(2)], 2))
        f = torch.fft.rfftfreq(2 * t, dtype=x.dtype, device=x.device)
        kept = torch.exp(-2 * math.pi**2 * (s * t) ** 2 * f.square())
        smooth: Tensor = torch.fft.irfft(waves * kept, n=2 * t)
        return smooth[:, :, :t]
