"""A smooth version of the largest loss (arXiv 2402.19078)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number
from ._numbers import Each, each, hold


class SmoothTchebycheff(nn.Module):
    """Descends on a smooth maximum of the losses: STCH (arXiv 2402.19078).

    The gradient of mu log sum_i exp(lambda_i (L_i - z_i) / mu) is sum_i w_i g_i with
    w_i = lambda_i softmax_i(lambda (L - z) / mu).

    - `mu` > 0: small values single the largest loss out, large ones give the weights lambda_i / k
    - `preference` > 0: what lambda is in proportion to; lambda sums to 1, as in the paper
    - `ideal`: the point z, a value that each loss may reach

    The last two are a number for all losses or a list of k. Equal preferences give weights that sum
    to 1/k. The paper tries mu of 0.01 to 1 and names no best one; 1 is the usual choice. A known
    library takes log(L_i / nadir) in place of L_i - z_i and multiplies by k: another function.
    Negative and zero losses are allowed.
    """

    def __init__(
        self, *, k: int, mu: float = 1.0, preference: Each = 1.0, ideal: Each = 0.0
    ) -> None:
        super().__init__()
        wanted = each("preference", preference, k, low=0, above=True)
        hold(self, "mu", number("mu", mu, low=0, above=True))
        hold(self, "preference", [one / math.fsum(wanted) for one in wanted])
        hold(self, "ideal", each("ideal", ideal, k))
        self.mu: Tensor
        self.preference: Tensor
        self.ideal: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] for this step's losses [k]."""
        heights = self.preference * (losses.double() - self.ideal)
        # The largest is taken away first, so that a small mu divides nothing large that counts.
        shares = ((heights - heights.max()) / self.mu).softmax(0)
        return (self.preference * shares).to(losses.dtype)
