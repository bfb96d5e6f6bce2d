"""Logit pairing between two views."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs


class LogitPairing(nn.Module):
    """Mean squared difference of the logits on two views of the same batch (arXiv 1803.06373).

    (1/(b C)) sum_i sum_c (z_ic - z'_ic)^2 of logits z [b, c] of `target` and z' of `view`. With an
    attacked view this is adversarial logit pairing; the paper pairs with an "L2 loss" and leaves
    open whether it is summed over classes: as in its authors' code, it is the mean. The gradient
    flows through both sides. Unlike a divergence of probabilities it sees a constant added to all
    logits. Both views must hold the same examples in the same order.
    """

    tasks = ("classification", "regression")
    pairs = True

    def __init__(self, *, target: str = "clean", view: str = "adv") -> None:
        super().__init__()
        self.reads = (target, view)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss, 0 for equal logits."""
        target, view = (outputs[label].logits for label in self.reads)
        return F.mse_loss(view, target)
