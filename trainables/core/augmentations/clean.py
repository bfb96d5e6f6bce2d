"""The batch as it is."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws


class Clean(nn.Module):
    """The batch as it is; every objective has it under the label "clean"."""

    family = "clean"
    short = ("clean",)

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x and y, untouched."""
        return x, y
