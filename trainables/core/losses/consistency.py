"""Kullback-Leibler consistency between two views."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ..quantities import flag, number, one_of


class Consistency(nn.Module):
    """Mean Kullback-Leibler divergence between the predictions on two views of the same batch.

    "forward" is KL(p_target || p_view), "reverse" is KL(p_view || p_target), "symmetric" their
    mean. With `stop_gradient` no gradient flows through the target's side, and its logits are
    divided by `temperature` (above 0; below 1 sharpens). Unsupervised data augmentation (UDA, arXiv
    1904.12848) is the default: forward, gradient stopped, target sharpened if asked. The Gaussian
    KL of the auxiliary-loss experiments lets the gradient flow through both sides
    (`stop_gradient: false`). The mean is over the batch (batchmean), sums are over classes. Both
    views must hold the same examples in the same order.
    """

    task = "classification"

    def __init__(
        self,
        *,
        target: str = "clean",
        view: str = "noisy",
        direction: str = "forward",
        stop_gradient: bool = True,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.reads = (target, view)
        self.direction = one_of("direction", direction, ("forward", "reverse", "symmetric"))
        self.stop_gradient = flag("stop_gradient", stop_gradient)
        self.register_buffer(
            "temperature",
            torch.tensor(number("temperature", temperature, low=0, above=True)),
            persistent=False,
        )
        self.temperature: Tensor

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar divergence, at least 0 and 0 for equal predictions."""
        target, view = (outputs[label].logits for label in self.reads)
        if self.stop_gradient:
            target = target.detach()
        p = F.log_softmax(target / self.temperature, 1)
        q = F.log_softmax(view, 1)
        if self.direction == "forward":
            return _divergence(p, q)
        if self.direction == "reverse":
            return _divergence(q, p)
        return (_divergence(p, q) + _divergence(q, p)) / 2


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(P || Q) of two log-probabilities [b, c], mean over b."""
    return F.kl_div(q, p, reduction="batchmean", log_target=True)
