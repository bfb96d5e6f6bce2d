"""Independent component alignment (arXiv 2305.19000)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import one_of
from ._gramian import noise, scaled, settled, spectrum


class AlignedMTL(nn.Module):
    """Sums gradients after their matrix was made orthogonal (Aligned-MTL, arXiv 2305.19000).

    With G = V diag(l) V^T the Gramian and r its rank, w = B 1 with
    B = s V diag(l)^(-1/2) V^T over the r eigenvalues that are not rounding, where s^2 is by `scale`

    - "min": the smallest of them
    - "median": their (lower) median
    - "rmse": their mean

    Aligned gradients have equal length s and right angles between them, and span the same space.
    They are summed, as plain training sums gradients; TorchJD takes their mean. Coefficients act
    before the alignment. Weights may be negative. Where the Gramian is not finite or 0 they are 1.
    """

    per_loss = True
    signed = True

    def __init__(self, *, scale: str = "min") -> None:
        super().__init__()
        self.scale = one_of("scale", scale, ("min", "median", "rmse"))

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]."""
        gramian = gradients.gramian
        g, _, ok = scaled(gramian)
        values, vectors = spectrum(g)
        kept = values > noise(gramian) * values.max()
        rooted = torch.where(kept, values, 1.0).rsqrt() * kept
        weights = self._length(values, kept) * (vectors @ (rooted * vectors.sum(0)))
        return settled(weights, ok, 1.0, losses)

    def _length(self, values: Tensor, kept: Tensor) -> Tensor:
        rank = kept.sum()
        if self.scale == "rmse":
            return (torch.where(kept, values, 0.0).sum() / rank).sqrt()
        rising = torch.where(kept, values, torch.inf).sort().values
        if self.scale == "min":
            return rising[0].sqrt()
        return rising.gather(0, (rank - 1).view(1) // 2).sqrt()
