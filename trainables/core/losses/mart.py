"""The two terms of MART."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ..quantities import one_of
from ._divergence import divergence
from ._targets import class_numbers, membership


class MART(nn.Module):
    """One of the two terms of MART, misclassification-aware training (Wang et al., ICLR 2020).

    "boosted": cross-entropy with a margin on the adversarial view alone, probabilities p':

        (1/b) sum_i -log p'_iy - log(1 - max_{k != y} p'_ik).

    "weighted-kl": (1/b) sum_i KL(p_i || p'_i) (1 - p_iy), p on the clean view; the gradient flows
    through both sides of the divergence and through the factor, as in the authors' code.

    The method is boosted + lambda weighted-kl, two losses, the second with lambda (5 or 6) as its
    coefficient. The authors' code adds 1e-4 inside the logarithm and 1e-7 to the factor; here
    log(1 - p_k) is the logarithm of the sum of all other probabilities, exact and finite without
    it. Two classes make "boosted" twice the cross-entropy. Reads logits [b, c] and class numbers y;
    both views must hold the same examples in the same order. Raises `SettingError` for an unknown
    term and for mixed labels.
    """

    tasks = ("classification",)
    targets = ("task",)
    pairs = True

    def __init__(self, *, target: str = "clean", view: str = "adv", term: str = "boosted") -> None:
        super().__init__()
        self.term = one_of("term", term, ("boosted", "weighted-kl"))
        self.reads = (view,) if self.term == "boosted" else (target, view)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar term, at least 0."""
        seen = [outputs[label] for label in self.reads]
        y = class_numbers(self, seen[0].y)
        if self.term == "boosted":
            return _boosted(seen[0].logits, y).mean()
        p, q = (F.log_softmax(one.logits, 1) for one in seen)
        doubt = -p.gather(1, y.unsqueeze(1)).squeeze(1).expm1()
        return (divergence(p, q) * doubt).mean()


def _boosted(logits: Tensor, y: Tensor) -> Tensor:
    """-log p_y - log(1 - max_{k != y} p_k) per example, [b]."""
    least = torch.finfo(logits.dtype).min
    rival = logits.detach().masked_fill(membership(y, logits.shape[1]), least).argmax(1)
    rest = logits.masked_fill(membership(rival, logits.shape[1]), least)
    margin = logits.logsumexp(1) - rest.logsumexp(1)
    return F.cross_entropy(logits, y, reduction="none") + margin
