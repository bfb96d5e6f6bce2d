"""Auxiliary losses weighed by how their gradient agrees with the main loss's (arXiv 1812.02224)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..gradients import Gradients, cosines_of, norms_of
from ..quantities import number, one_of, whole
from ._numbers import hold


class GradientSimilarity(nn.Module):
    """Uses an auxiliary gradient as far as it agrees with the main one (arXiv 1812.02224).

    With g the main loss's gradient, a an auxiliary loss's and c = g.a / (|g| |a|), the main weight
    is 1 and the auxiliary weight, by `form`, is

    - "weighted": max(0, c)
    - "unweighted": 1 where c >= 0, else 0
    - "projection": 1, while the main weight becomes 1 - sum_a min(0, g.a) / |g|^2, which takes from
      each auxiliary gradient its part against g (a one-sided PCGrad; a variant of the paper's rule)

    Each auxiliary loss is gated by itself. Where either gradient is 0 its cosine is taken as 0 and
    the auxiliary loss is dropped (projection: kept as it is). The promise to follow descent on the
    main loss holds for plain gradient steps; momentum and Adam weaken it.

    `ema` in [0, 1) smooths the cosine over steps, c <- ema c + (1 - ema) c_now with the first c as
    it is, because the cosine of single batches is noisy; with "projection" it smooths g.a / |g|^2.
    The promise then holds only on average. It is an addition to the paper (0: none). Needs at least
    two losses.
    """

    per_loss = True
    least = 2

    def __init__(self, *, k: int, form: str = "weighted", ema: float = 0.0) -> None:
        super().__init__()
        whole("losses", k, low=self.least)
        self.form = one_of("form", form, ("weighted", "unweighted", "projection"))
        share = number("ema", ema, low=0, high=1)
        if share == 1:
            raise SettingError(f"ema must be below 1, found {ema!r}")
        self.smooths = share > 0
        hold(self, "ema", share)
        self.register_buffer("smooth", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.ema: Tensor
        self.smooth: Tensor
        self.step: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]."""
        gramian = gradients.gramian
        if self.form == "projection":
            return self._projected(losses, gramian)
        norms = norms_of(gramian)
        agreement = gramian[0]
        if self.smooths:
            agreement = self._smoothed(cosines_of(gramian, norms))
        if self.form == "unweighted":
            weights = ((agreement >= 0) & (norms * norms[0] > 0)).to(losses.dtype)
        elif self.smooths:
            weights = torch.where(norms * norms[0] > 0, agreement.clamp(min=0), 0.0)
        else:
            weights = cosines_of(gramian, norms).clamp(min=0)
        weights = weights.to(losses.dtype)
        weights[0] = 1
        return weights

    def _smoothed(self, cosines: Tensor) -> Tensor:
        cosines = cosines.double()
        mixed = self.smooth + (1 - self.ema) * (cosines - self.smooth)
        self.smooth.copy_(torch.where(self.step > 0, mixed, cosines))
        self.step += 1
        return self.smooth.clone()

    def _projected(self, losses: Tensor, gramian: Tensor) -> Tensor:
        share = gramian[0] / gramian[0, 0]
        # A main gradient that is all but 0 would leave the dtype's range.
        share = torch.nan_to_num(share, nan=0.0, posinf=0.0, neginf=0.0).clamp(min=-1e30)
        if self.smooths:
            share = self._smoothed(share)
        weights = torch.ones_like(losses)
        weights[0] -= share.clamp(max=0).sum()
        return weights
