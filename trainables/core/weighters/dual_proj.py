"""The mean gradient, projected so that it opposes no loss (arXiv 1706.08840)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ._gramian import scaled, settled
from ._quadratic import cosines_and_norms, few, lifted


class DualProj(nn.Module):
    """The mean gradient, projected so that it opposes no loss (arXiv 1706.08840).

    w = argmin v^T G v over v >= 1/k, with the Gramian G: sum_i w_i g_i is the direction nearest to
    the mean gradient with g_j . d >= 0 for all j. The paper (GEM, equation 11) projects the current
    task's gradient against those of earlier tasks; with losses of one task the mean is projected,
    as TorchJD does.

    Solved exactly; at most 16 losses, else `SettingError`. Weights are 1/k where no gradients
    conflict, and where the Gramian is 0 or not finite.
    """

    per_loss = True

    def __init__(self, *, k: int) -> None:
        super().__init__()
        few("DualProj", k)

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]."""
        g, _, ok = scaled(gradients.gramian)
        cosines, norms = cosines_and_norms(g, gradients.gramian)
        mean = torch.full_like(norms, 1 / len(losses))[:, None]
        return settled(lifted(cosines, norms, mean)[:, 0], ok, 1 / len(losses), losses)
