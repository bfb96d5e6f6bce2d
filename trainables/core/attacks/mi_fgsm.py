"""The momentum iterative fast gradient sign method (arXiv 1710.06081)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..quantities import number
from ..threat import Box, per_example, size
from ._iterated import Iterated


class MIFGSM(Iterated):
    """Steps along a running sum of normalised gradients (momentum iterative, arXiv 1710.06081).

    g <- mu g + gradient / ||gradient||_1, x <- P(x + step_size u), from g = 0 and x itself on,
    where u is g's sign (norm linf) or direction (l2) and P projects onto the eps ball and then the
    box. mu, at least 0, is 1 in the paper; 0 is BIM. eps and step_size are in the units of the
    input ("16/255" is accepted); step_size "auto" is the paper's eps / steps. The length is that of
    an example's whole gradient; implementations that divide by the mean of the absolute values
    instead scale g by one number, which no step depends on. counts "last": the last iterate counts;
    "any": the first one that fools the model, x itself included, which waits for the device in
    every step (for evaluation).

    Raises `SettingError` for eps or mu below 0 and steps below 1.
    """

    norms = ("linf", "l2")
    short = ("mifgsm", "norm", "eps", "steps")

    def __init__(
        self,
        *,
        norm: str = "linf",
        eps: float | str = "16/255",
        steps: int = 10,
        step_size: float | str = "auto",
        mu: float = 1.0,
        counts: str = "last",
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__(
            norm=norm, eps=eps, steps=steps, step_size=step_size, radii=1.0, counts=counts, box=box
        )
        self.register_buffer("mu", torch.tensor(number("mu", mu, low=0)), persistent=False)
        self.mu: Tensor

    def _blend(self, memory: Tensor, climb: Tensor) -> Tensor:
        # The smallest normal number: a gradient may be far below any fixed bound and still point.
        length = size(climb, "l1").clamp_min(torch.finfo(climb.dtype).tiny)
        return self.mu * memory + climb / per_example(length, climb)
