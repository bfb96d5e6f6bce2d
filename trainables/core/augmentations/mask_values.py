"""Random parts of every series masked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..quantities import number, one_of
from ..randomness import Draws
from ._series import steps


class MaskValues(nn.Module):
    """Sets random segments of every series to one value, to be reconstructed (arXiv 2010.02803).

    On average `share` of the values, in [0, 1], become `fill`, in segments whose lengths are
    geometric with mean `length` steps (long series). The mask is a chain over the steps that keeps
    its state with probability k = max(0, 1 - 1 / (length (1 - share))) and otherwise draws it
    anew, masked with probability `share`: the paper's chain wherever length >= 1 / (1 - share).
    Independent steps already have mean length 1 / (1 - share), so a shorter `length`, such as 1,
    means independent steps. `channels` "apart" gives each channel a mask of its own, as in the
    paper, "together" one to all channels of an example.

    Raises `SettingError` for settings out of range and for inputs that are no series [b, c, t].
    """

    family = "augmentation"
    short = ("maskvalues", "share", "length")

    def __init__(
        self,
        *,
        share: float | str = 0.15,
        length: float | str = 3.0,
        fill: float | str = 0.0,
        channels: str = "apart",
    ) -> None:
        super().__init__()
        values = {
            "share": number("share", share, low=0, high=1),
            "length": number("length", length, low=1),
            "fill": number("fill", fill),
        }
        for name, value in values.items():
            self.register_buffer(name, torch.tensor(value), persistent=False)
        self.share: Tensor
        self.length: Tensor
        self.fill: Tensor
        self.channels = one_of("channels", channels, ("apart", "together"))

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, t] with masked segments; y as it is."""
        step = torch.arange(steps("MaskValues", x), device=x.device)
        like = x if self.channels == "apart" else x[:, :1]
        keep = 1 - 1 / (self.length * (1 - self.share))
        fresh = (draws.uniform(like) >= keep) | (step == 0)
        # Every step has the state of the last fresh one up to it.
        latest = torch.where(fresh, step, 0).cummax(2).values
        mask = (draws.uniform(like) < self.share).gather(2, latest)
        return torch.where(mask, self.fill.to(x.dtype), x), y
