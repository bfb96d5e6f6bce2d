"""The l2 attack of Carlini and Wagner (arXiv 1608.04644)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..quantities import number, whole
from ..randomness import Draws
from ..tasks import Classification, Goal
from ..threat import Box, box_of, norm_name, per_example, size
from ._logits import label, logits_of, margin
from ._minimal import within

# Keeps the arctangent of inputs on the border of the box finite, as in the authors' code.
INSIDE = 0.999999


class CarliniWagner(nn.Module):
    """Small l2 perturbations by optimisation (Carlini and Wagner, arXiv 1608.04644).

    Minimises ||x' - x||_2^2 + c max(z_y - max_{i != y} z_i + kappa, 0) over w by `steps` steps of
    Adam with learning rate `rate`, where z are the logits of x' and x' = m + h tanh(w) with m the
    middle and h half the width of the box, or x' = w without a box. c begins at `c` and is searched
    `searches` times per example: ten times larger until an adversarial example is found, then
    halfway between the largest c without and the smallest with one. Every search begins at x. Of
    all iterates the nearest one counts that is misclassified with z_y + kappa <= max_{i != y} z_i.

    Settings are those of the authors' code (9 searches from c = 0.001, rate 0.01, kappa 0), but for
    1000 steps instead of 10000; the paper speaks of 20 searches. There is no early end, so a batch
    costs searches x steps forward and backward passes and never waits for the device. Distances are
    to x itself; in that code they are to x moved a little into the box.

    A minimal-norm attack: what it finds does not depend on eps. Where that lies outside the eps
    ball, or nothing was found, x itself is returned, as it is for an x that is misclassified. eps
    is in the units of the input ("128/255" is accepted).

    Raises `SettingError` for a norm other than l2, eps or kappa below 0, steps or searches below 1,
    rate or c not above 0, and a model whose prediction is not logits [b, c] with c >= 2.
    """

    family = "adversarial"
    norms = ("l2",)
    tasks = ("classification",)
    short = ("cw", "norm", "eps", "steps")
    minimal = True
    thorough = True
    restarts = 1

    def __init__(
        self,
        *,
        norm: str = "l2",
        eps: float | str = "128/255",
        steps: int = 1000,
        searches: int = 9,
        rate: float = 0.01,
        c: float = 0.001,
        kappa: float = 0.0,
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.norm = norm_name(norm, self.norms)
        self.box = box_of(box)
        self.steps = whole("steps", steps, low=1)
        self.searches = whole("searches", searches, low=1)
        for setting, value in {
            "eps": number("eps", eps, low=0),
            "rate": number("rate", rate, low=0, above=True),
            "c": number("c", c, low=0, above=True),
            "kappa": number("kappa", kappa, low=0),
        }.items():
            self.register_buffer(setting, torch.tensor(value), persistent=False)
        self.eps: Tensor
        self.rate: Tensor
        self.c: Tensor
        self.kappa: Tensor

    def forward(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        *,
        goal: Goal | None = None,
        draws: Draws | None = None,
    ) -> Tensor:
        """Adversarial examples of x [b, ...], or x; deterministic, so `draws` is not used."""
        goal, x = goal or Classification(), x.detach()
        with torch.no_grad():
            wrong = goal.fooled(logits_of(model, x), y)
        best, least = x, torch.where(wrong, 0.0, torch.inf).to(x.dtype)
        c, low = self.c.to(x).expand(len(x)), x.new_zeros(len(x))
        high = torch.full_like(low, torch.inf)
        for _ in range(self.searches):
            reached = torch.zeros_like(wrong)
            w, first, second = self._inward(x), torch.zeros_like(x), torch.zeros_like(x)
            for step in range(1, self.steps + 1):
                point, hit, climb = self._look(model, x, y, goal, w, c)
                length = size(point - x, "l2")
                closer = hit & (length < least)
                best = torch.where(per_example(closer, x), point, best)
                least = torch.where(closer, length, least)
                reached = reached | hit
                first = 0.9 * first + 0.1 * climb
                second = 0.999 * second + 0.001 * climb.square()
                down = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
                w = w - self.rate * down
            high, low = torch.where(reached, c, high), torch.where(reached, low, c)
            c = torch.where(high.isinf(), 10 * c, (low + high) / 2)
        return within(x, best, self.norm, self.eps)

    def _look(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        goal: Goal,
        w: Tensor,
        c: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The point that w stands for, whether it counts, and the slope of the sum minimised."""
        with torch.enable_grad():
            w = w.detach().requires_grad_()
            point = self._outward(w)
            z = model(point)
            gap = margin(z, label(y)) + self.kappa
            loss = (point - x).square().flatten(1).sum(1) + c * gap.clamp_min(0)
            (climb,) = torch.autograd.grad(loss, w, torch.ones_like(loss))
        hit = goal.fooled(z.detach(), y) & (gap.detach() <= 0)
        return point.detach(), hit, climb

    def _inward(self, x: Tensor) -> Tensor:
        if self.box is None:
            return x
        low, high = self.box
        return ((2 * x - (high + low)) / (high - low)).clamp(-1, 1).mul(INSIDE).atanh()

    def _outward(self, w: Tensor) -> Tensor:
        if self.box is None:
            return w
        low, high = self.box
        return (high + low) / 2 + (high - low) / 2 * w.tanh()
