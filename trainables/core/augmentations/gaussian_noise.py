"""White Gaussian noise on the input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..quantities import number
from ..randomness import Draws


class GaussianNoise(nn.Module):
    """Adds white Gaussian noise of standard deviation sigma: x + sigma z, z ~ N(0, I).

    sigma is in the units of the input, at least 0 (pixels in [0, 1] for images, standard deviations
    for z-normalised series). The result is not clipped to the data's box: a clipped Gaussian is no
    longer one. Raises `SettingError` for a negative sigma.
    """

    family = "noise"
    short = ("gaussian", "sigma")

    def __init__(self, *, sigma: float | str = 0.1) -> None:
        super().__init__()
        self.register_buffer("sigma", torch.tensor(number("sigma", sigma, low=0)), persistent=False)
        self.sigma: Tensor

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, ...] with noise; y as it is."""
        return torch.addcmul(x, draws.normal(x), self.sigma), y
