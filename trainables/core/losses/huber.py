"""Huber's loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..batch import Outputs
from ..quantities import number
from ._targets import values


class Huber(nn.Module):
    """Mean of Huber's loss (1964): squares for small errors, absolute values for large ones.

    With e = |z - y| for outputs z [b, 1] and values y [b]: e^2 / 2 where e <= delta, and
    delta (e - delta / 2) beyond. `delta` > 0 is in the units of the (standardised) targets. The
    smooth L1 loss is this divided by delta. Raises `SettingError` for a delta out of range.
    """

    tasks = ("regression",)
    targets = ("task",)

    def __init__(self, *, view: str = "clean", delta: float = 1.0) -> None:
        super().__init__()
        self.reads = (view,)
        self.register_buffer(
            "delta", torch.tensor(number("delta", delta, low=0, above=True)), persistent=False
        )
        self.delta: Tensor

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss, at least 0."""
        seen = outputs[self.reads[0]]
        error = (seen.logits - values(seen.y, seen.logits)).abs()
        # One expression for both parts: the unused side of a branch could overflow.
        small = error.minimum(self.delta)
        return (small * (error - small / 2)).mean()
