"""What attacks by steps within a ball share: their settings, their loop, and what counts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..quantities import number, one_of, whole
from ..randomness import Draws
from ..tasks import Classification, Goal
from ..threat import Box, box_of, enforce, norm_name, steepest
from ._ascent import gradient, slope


class Iterated(nn.Module):
    """Steps up a goal's gradient, each one followed by the projection onto ball and box.

    An attack that begins at x itself has all it needs here; others override `forward`. `radii` is
    the length of all steps together, in radii of the ball, that step_size "auto" stands for.
    """

    family = "adversarial"
    norms: tuple[str, ...] = ("linf", "l2", "l1")
    restarts = 1

    def __init__(
        self,
        *,
        norm: str,
        eps: float | str,
        steps: int,
        step_size: float | str,
        radii: float,
        counts: str,
        box: Box,
    ) -> None:
        super().__init__()
        self.norm = norm_name(norm, self.norms)
        self.box = box_of(box)
        self.steps = whole("steps", steps, low=1)
        self.counts = one_of("counts", counts, ("last", "any"))
        # Whether points that are fooled, or were wrong from the start, are left where they are.
        self.stops = self.counts == "any"
        radius = number("eps", eps, low=0)
        automatic = step_size == "auto"
        step = radii * radius / self.steps if automatic else number("step_size", step_size)
        if step < 0 or (step == 0 and radius > 0):
            raise SettingError(f"step_size must be above 0, found {step_size!r}")
        self.register_buffer("eps", torch.tensor(radius), persistent=False)
        self.register_buffer("step_size", torch.tensor(step), persistent=False)
        self.eps: Tensor
        self.step_size: Tensor

    def forward(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        *,
        goal: Goal | None = None,
        draws: Draws | None = None,
    ) -> Tensor:
        """Adversarial examples of x [b, ...] in the ball and the box; `draws` is not used."""
        goal = goal or Classification()
        if self.counts == "any":
            return self._until_fooled(model, x, y, goal, x)[0]
        return self._to_the_end(model, x, y, goal, x)

    def _blend(self, memory: Tensor, climb: Tensor) -> Tensor:
        """What a step follows, from what the last one followed and the gradient now."""
        return climb

    def _to_the_end(
        self, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, goal: Goal, x_adv: Tensor
    ) -> Tensor:
        """The last iterate, from x_adv on."""
        memory = torch.zeros_like(x)
        for _ in range(self.steps):
            memory = self._blend(memory, gradient(model, x_adv, y, goal))
            x_adv = self._step(x, x_adv, memory)
        return x_adv

    def _until_fooled(
        self, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, goal: Goal, x_adv: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The first iterate that fools the model, x_adv being the first one to be looked at.

        Gives per example that iterate, or the last one where none does; whether it fools; and its
        loss where it does not, else infinity. Whoever is fooled leaves the batch, so that the model
        sees ever fewer rows; how many is asked of the device in every step.
        """
        found = x_adv.detach().clone()
        fooled = torch.ones(len(x), dtype=torch.bool, device=x.device)
        losses = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        rows, memory = torch.arange(len(x), device=x.device), torch.zeros_like(x)
        for _ in range(self.steps):
            prediction, climb = slope(model, x_adv, y, goal)
            left = (~goal.fooled(prediction, y)).nonzero().squeeze(1)
            found[rows] = x_adv
            rows, x, y, x_adv = rows[left], x[left], y[left], x_adv[left]
            if len(rows) == 0:
                return found, fooled, losses
            memory = self._blend(memory[left], climb[left])
            x_adv = self._step(x, x_adv, memory)
        with torch.no_grad():
            prediction = model(x_adv)
            found[rows] = x_adv
            fooled[rows] = goal.fooled(prediction, y)
            losses[rows] = goal.loss(prediction, y).to(losses.dtype)
        return found, fooled, losses

    def _step(self, x: Tensor, x_adv: Tensor, uphill: Tensor) -> Tensor:
        step = self.step_size * steepest(uphill, self.norm)
        return enforce(x, x_adv + step, self.norm, self.eps, self.box)
