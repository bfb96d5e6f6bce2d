"""Cross-entropy on any view."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ..quantities import number


class CrossEntropy(nn.Module):
    """Mean cross-entropy of softmax(logits) on a view; on an attacked view, adversarial training.

    -(1/b) sum_i sum_c q_ic log softmax(z_i)_c, where q is one-hot, or (1 - s) one-hot + s/C with
    label smoothing s in [0, 1) (arXiv 1512.00567). Reads logits [b, c] and class numbers y [b].
    Raises `SettingError` for a smoothing out of range.
    """

    task = "classification"

    def __init__(self, *, view: str = "clean", label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.reads = (view,)
        self.label_smoothing = number("label_smoothing", label_smoothing, low=0, high=0.999)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss."""
        seen = outputs[self.reads[0]]
        return F.cross_entropy(seen.logits, seen.y, label_smoothing=self.label_smoothing)
