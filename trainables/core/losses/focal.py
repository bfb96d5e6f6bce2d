"""Focal loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ..errors import SettingError
from ..quantities import number, several
from ._targets import class_numbers


class Focal(nn.Module):
    """Cross-entropy that fades for examples that are already right (arXiv 1708.02002).

    (1/b) sum_i -alpha_y (1 - p_iy)^gamma log p_iy with p = softmax(z), logits z [b, c]. `gamma` is
    at least 0, and 0 is cross-entropy. `alpha` is one factor for all classes or a list with one per
    class, each at least 0. The paper's formula is for two classes and a sigmoid; this is the usual
    form for a softmax, with the plain mean over examples (not divided by the alphas that occur).
    The paper's alpha of 0.25 balances foreground and background boxes; between many classes there
    is no such pair, so it is 1.
    Raises `SettingError` for a setting out of range, a list of another length than there are
    classes, and mixed labels.
    """

    tasks = ("classification",)
    targets = ("task",)

    def __init__(
        self,
        *,
        view: str = "clean",
        gamma: float = 2.0,
        alpha: float | str | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        self.reads = (view,)
        self.register_buffer("gamma", torch.tensor(number("gamma", gamma, low=0)), persistent=False)
        self.gamma: Tensor
        factors: float | list[float]
        if isinstance(alpha, Sequence) and not isinstance(alpha, str):
            factors = [number("alpha", one, low=0) for one in several("alpha", alpha)]
        else:
            factors = number("alpha", alpha, low=0)
        self.register_buffer("alpha", torch.tensor(factors), persistent=False)
        self.alpha: Tensor

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss, at least 0."""
        seen = outputs[self.reads[0]]
        y, classes = class_numbers(self, seen.y), seen.logits.shape[1]
        if self.alpha.dim() and len(self.alpha) != classes:
            raise SettingError(
                f"alpha of Focal must have one entry per class ({classes}), found {len(self.alpha)}"
            )
        surprise = F.cross_entropy(seen.logits, y, reduction="none")
        # 1 - p without cancellation; above 0, where a power below 1 has no gradient.
        wrong = (-(-surprise).expm1()).clamp_min(torch.finfo(surprise.dtype).tiny)
        factor = self.alpha[y] if self.alpha.dim() else self.alpha
        return (factor * wrong.pow(self.gamma) * surprise).mean()
