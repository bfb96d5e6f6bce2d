"""Conflict-free inverse gradients (arXiv 2408.11104)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ._gramian import impartial, settled


class ConFIG(nn.Module):
    """Follows the direction that all gradients agree with alike (ConFIG, arXiv 2408.11104).

    With u_i = g_i / |g_i|, d = pinv([u_1 ... u_k]^T) 1 has the same product with every u_i; the
    update is (sum_i g_i . v) v with v = d / |d|. From the Gramian U of the u_i alone:
    d = sum_i x_i u_i with x = pinv(U) 1, so w_i = x_i / |g_i| sum_j |g_j| (U x)_j / (x . U x).

    Weights may be negative. A gradient of 0 has weight 0. Where there is no such direction
    (opposite gradients) all weights are 0, and where the Gramian is not finite or 0 they are 1.
    """

    per_loss = True
    signed = True
    absorbs = True

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]."""
        weights, factor, ok = impartial(gradients.gramian)
        return settled(weights * factor, ok, 1.0, losses)
