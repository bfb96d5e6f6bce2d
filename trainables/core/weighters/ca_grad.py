"""The direction near the mean gradient that is best for the worst loss (arXiv 2110.14048)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number, one_of
from ._gramian import scaled, settled
from ._quadratic import all_sets, chosen, cosines_and_norms, few


class CAGrad(nn.Module):
    """The direction near the mean gradient that is best for the worst loss (arXiv 2110.14048).

    d = argmax min_i g_i . d over |d - g_0| <= c |g_0|, with g_0 the mean gradient. By duality
    d = g_0 + c |g_0| g_w / |g_w| with g_w = sum_i w_i g_i and w the minimiser over the simplex of
    g_w . g_0 + c |g_0| |g_w|. The weights returned are those of d: 1/k plus c |g_0| w_i / |g_w|.

    c is at least 0 (0: the mean gradient; below 1 the mean loss still converges; large: towards
    MGDA's direction). `rescale` divides d by "square": 1 + c^2 (the authors' default), "linear":
    1 + c, "none": 1 (the paper's algorithm, and TorchJD). So a single loss has (1 + c) / (1 + c^2).

    The small problem has a closed form for every set of losses with w_i > 0; all are tried, at most
    16 losses, else `SettingError`. Where |g_w| = 0 the formula does not say where g_w points; we
    take that from gradients pulled apart by no more than rounding, so that d stays in its ball
    (TorchJD gives 0 there). A gradient of 0 leaves d at g_0. Weights are 1/k where the Gramian is 0
    or not finite.
    """

    per_loss = True

    def __init__(self, *, k: int, c: Any = 0.5, rescale: str = "square") -> None:
        super().__init__()
        few("CAGrad", k)
        found = torch.tensor(number("c", c, low=0), dtype=torch.float64)
        self.register_buffer("c", found, persistent=False)
        self.rescale = one_of("rescale", rescale, ("square", "linear", "none"))
        self.c: Tensor

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k]."""
        g, _, ok = scaled(gradients.gramian)
        cosines, norms = cosines_and_norms(g, gradients.gramian)
        length = norms.clamp_min(1e-15)
        mean = length / len(losses)
        radius = self.c * (mean @ cosines @ mean).sqrt()
        towards = _towards(cosines, cosines @ mean, 1 / length, radius)
        weights = (mean + torch.where(norms > 0, towards, 0.0)) / length
        if self.rescale == "square":
            weights = weights / (1 + self.c.square())
        elif self.rescale == "linear":
            weights = weights / (1 + self.c)
        return settled(weights, ok, 1 / len(losses), losses)


def _towards(cosines: Tensor, slopes: Tensor, ones: Tensor, radius: Tensor) -> Tensor:
    """The weights [k] on unit gradients of radius g_w / |g_w|.

    `slopes` [k] are the products of unit gradients and mean gradient, `ones` the inverse norms.
    """
    # On the set of w_i > 0 every g_i . d is the same number, the worst loss's gain. So the weights
    # are gain a - b with M a = ones and M b = slopes, and their length is the radius.
    values, sides = all_sets(cosines, torch.stack([ones, slopes], 1))
    a, b = torch.where(sides > 0, values, 0.0).unbind(-1)
    aa, even = a @ ones, a @ slopes / (a @ ones)
    # What of b is at right angles to a, as a length: differences of squares would lose half the
    # digits. The root is not a number, and the set never chosen, where that alone is too long.
    rest = b - even[:, None] * a
    rest = ((rest @ cosines) * rest).sum(1)
    gain = even + ((radius.square() - rest) / aa).sqrt()
    return chosen(gain[:, None, None] * values[..., :1] - values[..., 1:], sides)[:, 0]
