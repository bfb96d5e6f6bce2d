"""Squared error, for regression and as a classification loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ..quantities import number
from ._targets import shares, values


class MSE(nn.Module):
    """Mean squared error of the outputs; for classification the square loss of arXiv 2006.07322.

    Regression: (1/b) sum_i (z_i - y_i)^2 of outputs z [b, 1] and values y [b]. Classification: the
    logits z [b, c] themselves, without a softmax, are fitted to the classes:

        (1/b) sum_i (1/C) (k (z_iy - M)^2 + sum_{c != y} z_ic^2),

    the mean over examples and over classes, as in the paper (a sum over classes would be C times
    it). `k` >= 1 and `height` M > 0 are the paper's rescaling for many classes (42 and more; 1 and
    1 below); regression knows neither. Labels [b, c] that an augmentation mixed are taken as
    (1 + (k - 1) y_c) (z_c - M y_c)^2, which is the formula above where y is one-hot. Raises
    `SettingError` for a setting out of range.
    """

    tasks = ("classification", "regression")
    targets = ("task",)

    def __init__(self, *, view: str = "clean", k: float = 1.0, height: float = 1.0) -> None:
        super().__init__()
        self.reads = (view,)
        self.register_buffer("k", torch.tensor(number("k", k, low=1)), persistent=False)
        self.k: Tensor
        self.register_buffer(
            "height",
            torch.tensor(number("height", height, low=0, above=True)),
            persistent=False,
        )
        self.height: Tensor

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss, at least 0."""
        seen = outputs[self.reads[0]]
        if seen.logits.shape[1] == 1:
            return F.mse_loss(seen.logits, values(seen.y, seen.logits))
        share = shares(seen.y, seen.logits)
        weight = 1 + (self.k - 1) * share
        return (weight * (seen.logits - self.height * share).square()).mean()
