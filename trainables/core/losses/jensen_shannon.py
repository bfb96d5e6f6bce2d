"""Jensen-Shannon consistency between several views."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ._divergence import divergence
from ._views import labels


class JensenShannon(nn.Module):
    """Mean Jensen-Shannon divergence of predictions on n views, as in AugMix (arXiv 1912.02781).

    (1/n) sum_v KL(p_v || m) with m = (1/n) sum_v p_v, mean over the batch, sums over classes; it is
    in [0, ln n]. The gradient flows through all views and through m. The paper's coefficient in
    front is 12. Known code clamps m at 1e-7; here log m comes from the log-probabilities, exact and
    finite without it. All views must hold the same examples in the same order. Raises
    `SettingError` unless `views` names at least two different views.
    """

    tasks = ("classification",)
    pairs = True

    def __init__(self, *, views: Sequence[str] = ("clean", "augmented1", "augmented2")) -> None:
        super().__init__()
        self.reads = labels("views", views, least=2)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar divergence, 0 for equal predictions."""
        p = [F.log_softmax(outputs[label].logits, 1) for label in self.reads]
        m = torch.stack(p).logsumexp(0) - math.log(len(p))
        return torch.stack([divergence(one, m) for one in p]).mean()
