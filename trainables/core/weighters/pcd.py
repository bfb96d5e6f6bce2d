"""The main gradient, turned until every auxiliary loss has its share (arXiv 2606.29521)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..gradients import Gradients
from ..quantities import number
from ._gramian import scaled
from ._quadratic import cosines_and_norms, few, nonnegative


class PCD(nn.Module):
    """The main gradient, turned until every auxiliary loss has its share (arXiv 2606.29521).

    Priority-constrained descent: with u_i = g_i / sqrt(v_i + eps), where v_i is the running mean of
    |g_i|^2 with decay `beta`, corrected for its start at 0, and u_0 the main loss's,

        d = argmin |d - u_0|^2 with u_j . d >= tau |u_j|^2 for every auxiliary loss j,

    and the update is d |g_0| / |d|. `tau` in [0, 1] is the share of what a step along u_j alone
    would gain (0: no auxiliary loss is opposed), `beta` in [0, 1), `eps` at least 0. A constant
    coefficient of an auxiliary loss cancels, up to eps.

    As in the paper the update is g_0 where the constraints contradict each other or g_0 is 0
    (weights 1, 0, ...), and 0 where d is 0 up to rounding (all weights are 0). Solved exactly; at
    most 16 losses, else `SettingError`. Where the Gramian is not finite the update is g_0 as well,
    and the running means stay.
    """

    per_loss = True
    absorbs = True

    def __init__(self, *, k: int, tau: Any = 0.02, beta: Any = 0.999, eps: Any = 1e-8) -> None:
        super().__init__()
        few("PCD", k)
        decay = number("beta", beta, low=0, high=1)
        if decay == 1:
            raise SettingError(f"beta must be below 1, found {beta!r}")
        for name, value in (
            ("tau", number("tau", tau, low=0, high=1)),
            ("beta", decay),
            ("eps", number("eps", eps, low=0)),
        ):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)
        self.register_buffer("squares", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.tau: Tensor
        self.beta: Tensor
        self.eps: Tensor
        self.squares: Tensor
        self.step: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k], which the running means then hold as well."""
        gramian = gradients.gramian
        g, _, ok = scaled(gramian)
        cosines, norms = cosines_and_norms(g, gramian)
        sizes = self._sizes(gramian.double())
        # How far d goes along every unit gradient, and how much of it is only rounding.
        along = torch.cat([sizes[:1], _pulls(cosines, sizes, self.tau)])
        square = along @ cosines @ along
        lost = 10 * torch.finfo(gramian.dtype).eps * along.sum().square()
        weights = torch.where(along > 0, along / norms * (norms[0] / square.sqrt()), 0.0)
        weights = torch.where(square > lost, weights, 0.0).to(losses.dtype)
        alone = torch.zeros_like(losses)
        alone[0] = 1
        return torch.where(ok & (norms[0] > 0) & torch.isfinite(weights).all(), weights, alone)

    def _sizes(self, gramian: Tensor) -> Tensor:
        """The norms [k] of the normalised gradients, after the running means have learned."""
        finite = torch.isfinite(gramian.abs().sum())
        squares = torch.where(finite, gramian.diagonal(), 0.0)
        self.step += finite
        mean = self.beta * self.squares + (1 - self.beta) * squares
        self.squares = torch.where(finite, mean, self.squares)
        usual = self.squares / (1 - self.beta**self.step) + self.eps
        return torch.where(usual > 0, squares / usual, 0.0).sqrt()


def _pulls(cosines: Tensor, sizes: Tensor, tau: Tensor) -> Tensor:
    """How far d has to go along the auxiliary unit gradients [k - 1]; 0 if nothing fulfils all."""
    if len(sizes) == 1:
        return sizes[1:]
    shares = tau * sizes[1:]
    pulls = nonnegative(cosines[1:, 1:], (shares - cosines[1:, 0] * sizes[0])[:, None])[:, 0]
    # Constraints that contradict each other miss a whole share in the end; others miss next to
    # nothing: what the cosines were made definite by. Shares below that contradict nothing.
    little = cosines[0, 0] - 1
    missed = (shares / 2).clamp_min(100 * little * sizes[0])
    contradiction = (tau > 0) & (little * pulls > missed).any()
    return torch.where(contradiction, 0.0, pulls)
