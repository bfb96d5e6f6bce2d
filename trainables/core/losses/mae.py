"""Absolute error."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ._targets import values


class MAE(nn.Module):
    """Mean absolute error: (1/b) sum_i |z_i - y_i| of outputs z [b, 1] and values y [b].

    Least absolute deviations (Boscovich 1757). Its optimum is the conditional median, so far-off
    targets pull less than with squares. The gradient at z = y is 0.
    """

    tasks = ("regression",)
    targets = ("task",)

    def __init__(self, *, view: str = "clean") -> None:
        super().__init__()
        self.reads = (view,)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss, at least 0."""
        seen = outputs[self.reads[0]]
        return F.l1_loss(seen.logits, values(seen.y, seen.logits))
