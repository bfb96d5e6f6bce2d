"""The robust term of TRADES."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ._divergence import divergence


class TRADES(nn.Module):
    """Mean KL(p(clean) || p(adversarial)), the robust term of TRADES (arXiv 1901.08573).

    The whole objective is cross-entropy on the clean view plus beta times this; beta, 6 for
    CIFAR-10 (1 to 10), is the coefficient in front. The gradient flows through both sides, sums are
    over classes, the mean is over the batch. The paper's adversarial view climbs this same
    divergence from a start of 0.001 N(0, I) around the input; that is a matter of the view. Reads
    logits [b, c] of both views, which must hold the same examples in the same order.
    """

    tasks = ("classification",)
    pairs = True

    def __init__(self, *, target: str = "clean", view: str = "adv") -> None:
        super().__init__()
        self.reads = (target, view)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar divergence, 0 for equal predictions."""
        p, q = (F.log_softmax(outputs[label].logits, 1) for label in self.reads)
        return divergence(p, q).mean()
