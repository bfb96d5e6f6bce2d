"""A second classification task on data of its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ._head import head


class AuxiliaryTask(nn.Module):
    """Cross-entropy of a second task that shares the trunk (as in arXiv 1812.02224).

    The loss's own head maps features [b, width] of a view, usually one of other data, to the
    classes of that view, and cross-entropy compares them with the view's own y: class numbers [b]
    or labels [b, c] that an augmentation mixed. The number of classes is `classes_of[view]`, and
    `outputs`, the model's own, for views that are not listed there. The head is linear, or Linear,
    ReLU, Linear with `hidden` units ("width": as many as there are features). Raises
    `SettingError` for `hidden` out of range.
    """

    tasks = ("classification", "regression")
    targets = ("task", "other")

    def __init__(
        self,
        *,
        width: int,
        outputs: int,
        classes_of: Mapping[str, int],
        view: str = "auxiliary",
        hidden: int | str = 0,
    ) -> None:
        super().__init__()
        self.reads = (view,)
        self.head = head(width, classes_of.get(view, outputs), hidden)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss."""
        seen = outputs[self.reads[0]]
        return F.cross_entropy(self.head(seen.features), seen.y)
