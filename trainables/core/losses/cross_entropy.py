"""Cross-entropy on any view."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ..quantities import number, one_of
from ._targets import shares


class CrossEntropy(nn.Module):
    """Mean cross-entropy of softmax(logits) on a view; on an attacked view, adversarial training.

    -(1/b) sum_i sum_c q_ic log softmax(z_i)_c, where q is one-hot (or the label that an
    augmentation mixed), and (1 - s) q + s/C with label smoothing s in [0, 1) (arXiv 1512.00567).
    Reads logits [b, c] and y: class numbers [b] or mixed labels [b, c].

    `tsa` is the training-signal annealing of UDA (arXiv 1904.12848) for main losses that soon know
    their few labels by heart: examples whose target's probability p(y) = sum_c y_c p_c is above
    eta = a (1 - 1/C) + 1/C are left out, and the mean is over those kept (the sum is divided by at
    least 1). At progress r = steps done / steps planned, a is r for "linear", exp(5 (r - 1)) for
    "exp" and 1 - exp(-5 r) for "log"; "none" keeps all. The objective fills the buffer `progress`.
    Raises `SettingError` for a smoothing out of range and an unknown annealing.
    """

    tasks = ("classification",)
    targets = ("task",)

    def __init__(
        self, *, view: str = "clean", label_smoothing: float = 0.0, tsa: str = "none"
    ) -> None:
        super().__init__()
        self.reads = (view,)
        self.label_smoothing = number("label_smoothing", label_smoothing, low=0, high=0.999)
        self.tsa = one_of("tsa", tsa, ("none", "linear", "exp", "log"))
        if self.tsa != "none":
            self.register_buffer("progress", torch.tensor(0.0), persistent=False)
        self.progress: Tensor

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss."""
        seen = outputs[self.reads[0]]
        if self.tsa == "none":
            return F.cross_entropy(seen.logits, seen.y, label_smoothing=self.label_smoothing)
        each = F.cross_entropy(
            seen.logits, seen.y, reduction="none", label_smoothing=self.label_smoothing
        )
        logits = seen.logits.detach()
        known = (logits.softmax(1) * shares(seen.y, logits)).sum(1)
        kept = known <= self._threshold(logits.shape[1])
        return torch.where(kept, each, 0.0).sum() / kept.sum().clamp_min(1)

    def _threshold(self, classes: int) -> Tensor:
        if self.tsa == "linear":
            share = self.progress
        elif self.tsa == "exp":
            share = (5 * (self.progress - 1)).exp()
        else:
            share = -(-5 * self.progress).expm1()
        return share * (1 - 1 / classes) + 1 / classes
