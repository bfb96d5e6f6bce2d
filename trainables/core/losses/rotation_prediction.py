"""Rotation prediction."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ._head import head
from ._targets import class_numbers


class RotationPrediction(nn.Module):
    """Cross-entropy of predicting how an image was turned, RotNet (arXiv 1803.07728).

    The loss's own head maps features [b, width] of a view to 4 logits; y of the view is the number
    of quarter turns, int64 [b] in 0..3, as the augmentation Rotate90 leaves it. The head is linear,
    or Linear, ReLU, Linear with `hidden` units ("width": as many as there are features). ln 4 is
    chance. The paper shows all four turns of every image in a batch; here each image is turned once
    per step, by chance. Raises `SettingError` for `hidden` out of range and where the view's
    targets are no turns.
    """

    tasks = ("classification", "regression")
    targets = ("view",)

    def __init__(self, *, width: int, view: str = "rotated", hidden: int | str = 0) -> None:
        super().__init__()
        self.reads = (view,)
        self.head = head(width, 4, hidden)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss."""
        seen = outputs[self.reads[0]]
        return F.cross_entropy(self.head(seen.features), class_numbers(self, seen.y))
