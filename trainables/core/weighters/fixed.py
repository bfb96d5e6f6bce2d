"""Constant weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients


class Fixed(nn.Module):
    """Weight 1 for every loss: the coefficients alone decide (scalarisation).

    The baseline that adaptive weighters must beat with tuned coefficients (arXiv 2201.04122).
    """

    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Ones, [k]."""
        return torch.ones_like(losses)
