"""Random scaling of every channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..quantities import number
from ..randomness import Draws


class Scaling(nn.Module):
    """Multiplies every channel of every example by a random factor (arXiv 1706.00527).

    x (1 + sigma z) with one z ~ N(0, 1) per example and channel; sigma, a share of the values, is
    at least 0. A factor below 0, which turns a channel over, has probability Phi(-1 / sigma). For
    series (c, t) and images (c, h, w); the result is not clipped to the data's box. The paper's
    jitter is `GaussianNoise`. Raises `SettingError` for a negative sigma.
    """

    family = "augmentation"
    short = ("scaling", "sigma")

    def __init__(self, *, sigma: float | str = 0.1) -> None:
        super().__init__()
        self.register_buffer("sigma", torch.tensor(number("sigma", sigma, low=0)), persistent=False)
        self.sigma: Tensor

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, ...] scaled; y as it is."""
        one = x.flatten(2)[:, :, :1]
        z = draws.normal(one).view(one.shape[:2] + (1,) * (x.dim() - 2))
        return torch.addcmul(x, x * z, self.sigma), y
