"""A random window of every series, stretched to the whole length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..quantities import number
from ..randomness import Draws
from ._series import steps


class WindowSlice(nn.Module):
    """Cuts a random window out of every series and stretches it to the series' length.

    Window slicing of Le Guennec, Malinowski and Tavenard (2016), who left the slices short. The
    window spans `share` of the series, in (0, 1]; its start s is uniform where it fits, drawn per
    example and the same for all its channels: x'[j] = x(s + share j) for j = 0 ... t - 1,
    s ~ U[0, (1 - share)(t - 1)], where x between two steps is interpolated linearly. The start need
    not be a whole step. `share` 1 is the identity.

    Raises `SettingError` for a share out of range and for inputs that are no series [b, c, t].
    """

    family = "augmentation"
    short = ("windowslice", "share")

    def __init__(self, *, share: float | str = 0.9) -> None:
        super().__init__()
        found = torch.tensor(number("share", share, low=0, above=True, high=1))
        self.register_buffer("share", found, persistent=False)
        self.share: Tensor

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, t] sliced and stretched; y as it is."""
        t = steps("WindowSlice", x)
        start = draws.uniform(x[:, :1, :1]) * ((1 - self.share) * (t - 1))
        place = start + self.share * torch.arange(t, device=x.device, dtype=x.dtype)
        before = place.floor().clamp(max=t - 1)
        left = before.long()
        # At the last step there is nothing to the right, and nothing of it is taken.
        right = (left + 1).clamp(max=t - 1)
        first, second = (x.gather(2, index.expand_as(x)) for index in (left, right))
        return torch.lerp(first, second, (place - before).expand_as(x)), y
