"""Impartial multi-task learning, the gradients' half (Liu et al., ICLR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ._gramian import impartial, noise, settled


class IMTLG(nn.Module):
    """Makes the update's projections on all gradients equal (IMTL-G, Liu et al., ICLR 2021).

    The weights sum to 1 and u_i . d is the same for all i, where d = sum_i w_i g_i is the update
    and u_i = g_i / |g_i|. In closed form w_i = x_i / |g_i| over their sum, with x = pinv(U) 1 and
    U the Gramian of the u_i; for independent gradients this is pinv(G) |g| over its sum. We invert
    U instead of G, because rounding in float32 makes G drop a gradient that is 3000 times smaller
    than another.

    Weights may be negative, and with three or more gradients of unlike length the update may point
    uphill for every loss (in a tenth of random cases), because the paper fixes the sum of the
    weights and not their sign; ConFIG takes the same line, always downhill. A gradient of 0 has
    weight 0. Where no direction is impartial (opposite gradients) or the weights cannot be made to
    sum to 1, all are 0; where the Gramian is not finite or 0, they are 1/k.
    """

    per_loss = True
    signed = True
    absorbs = True

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]."""
        gramian = gradients.gramian
        weights, _, ok = impartial(gramian)
        total = weights.sum()
        sums = total.abs() > noise(gramian) * weights.abs().sum()
        weights = torch.where(sums, weights / total, 0.0)
        return settled(weights, ok, 1 / len(losses), losses)
