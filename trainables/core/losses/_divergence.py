"""The Kullback-Leibler divergence that consistency and robust losses share."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(P || Q) per example, [b], of log-probabilities [b, c]; the sum is over classes.

    The gradient flows through both sides. A class with P = 0 adds 0, however small Q is.
    """
    return F.kl_div(q, p, reduction="none", log_target=True).sum(1)
