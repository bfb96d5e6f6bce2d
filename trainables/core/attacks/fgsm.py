"""The fast gradient sign method (arXiv 1412.6572)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..quantities import number
from ..randomness import Draws
from ..tasks import Classification, Goal
from ..threat import Box, box_of, enforce, norm_name, steepest
from ._ascent import gradient


class FGSM(nn.Module):
    """One full step along the gradient (fast gradient sign method, arXiv 1412.6572).

    x_adv = x + eps u, where u is the gradient's sign (norm linf), its direction (l2) or its largest
    value alone (l1), clipped to the box. eps is in the units of the input ("8/255" is accepted), at
    least 0; no random start.
    """

    family = "adversarial"
    norms = ("linf", "l2", "l1")
    short = ("fgsm", "norm", "eps")
    steps = 1
    restarts = 1

    def __init__(
        self, *, norm: str = "linf", eps: float | str = "8/255", box: Box = (0.0, 1.0)
    ) -> None:
        super().__init__()
        self.norm = norm_name(norm, self.norms)
        self.box = box_of(box)
        self.register_buffer("eps", torch.tensor(number("eps", eps, low=0)), persistent=False)
        self.eps: Tensor

    def forward(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        *,
        goal: Goal | None = None,
        draws: Draws | None = None,
    ) -> Tensor:
        """Adversarial examples of x [b, ...]; deterministic, so `draws` is not used."""
        climb = gradient(model, x, y, goal or Classification())
        return enforce(x, x + self.eps * steepest(climb, self.norm), self.norm, self.eps, self.box)
