"""Projected gradient descent on the input (arXiv 1706.06083)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..quantities import flag, number, one_of, whole
from ..randomness import Draws, Stream
from ..tasks import Classification, Goal
from ..threat import Box, box_of, enforce, norm_name, steepest, uniform_in_ball
from ._ascent import Divergence, gradient


class PGD(nn.Module):
    """Projected gradient ascent of the loss within a ball (arXiv 1706.06083).

    x <- P(x + step_size u), where u is the gradient's sign (norm linf) or its direction (l2) and P
    projects onto the eps ball and then the box. eps and step_size are in the units of the input
    ("8/255" is accepted). step_size "auto" is 2.5 eps / steps. With `random_start` the first point
    is uniform in the ball. The last iterate counts; of several restarts, per example, one that
    fooled the model, else the one with the highest loss. `seed` is used when no `draws` are given.

    `climbs` says what is climbed: "task", the task's loss against the targets, or "kl", the
    divergence from the prediction on x itself, which needs no targets (TRADES, arXiv 1901.08573).
    That divergence has no gradient at x, so it needs a random start; with `start_sigma` above 0 the
    start is x plus Gaussian noise of that deviation (TRADES: 0.001) instead of uniform in the ball.

    Raises `SettingError` for eps below 0, steps or restarts below 1, several restarts without a
    random start, which would all be the same, and "kl" without one.
    """

    family = "adversarial"
    short = ("pgd", "norm", "eps", "steps")

    def __init__(
        self,
        *,
        norm: str = "linf",
        eps: float | str = "8/255",
        steps: int = 20,
        step_size: float | str = "auto",
        random_start: bool = True,
        restarts: int = 1,
        climbs: str = "task",
        start_sigma: float = 0.0,
        seed: int = 0,
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.norm = norm_name(norm)
        self.box = box_of(box)
        self.steps = whole("steps", steps, low=1)
        self.restarts = whole("restarts", restarts, low=1)
        self.random_start = flag("random_start", random_start)
        self.climbs = one_of("climbs", climbs, ("task", "kl"))
        self.start_sigma = number("start_sigma", start_sigma, low=0)
        self.seed = whole("seed", seed)
        radius = number("eps", eps, low=0)
        step = 2.5 * radius / self.steps if step_size == "auto" else number("step_size", step_size)
        if step < 0 or (step == 0 and radius > 0):
            raise SettingError(f"step_size must be above 0, found {step_size!r}")
        if self.restarts > 1 and not self.random_start:
            raise SettingError(f"restarts needs random_start: true, found restarts={restarts}")
        if self.climbs == "kl" and not self.random_start:
            raise SettingError("climbs: kl needs random_start: true, since it is flat at x itself")
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
        """Adversarial examples of x [b, ...] in the ball and the box."""
        goal = goal or Classification()
        if self.climbs == "kl":
            with torch.no_grad():
                goal = Divergence(model(x))
        draws = draws or Stream(self.seed, x.device)
        found = self._climb(model, x, y, goal, draws)
        if self.restarts == 1:
            return found
        rank = self._rank(model, found, y, goal)
        for _ in range(self.restarts - 1):
            again = self._climb(model, x, y, goal, draws)
            rank_again = self._rank(model, again, y, goal)
            better = rank_again > rank
            found = torch.where(better.view(-1, *[1] * (x.dim() - 1)), again, found)
            rank = torch.maximum(rank, rank_again)
        return found

    def _climb(
        self, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, goal: Goal, draws: Draws
    ) -> Tensor:
        x_adv = x
        if self.random_start:
            start = x + self._start(x, draws)
            x_adv = enforce(x, start, self.norm, self.eps, self.box)
        for _ in range(self.steps):
            step = self.step_size * steepest(gradient(model, x_adv, y, goal), self.norm)
            x_adv = enforce(x, x_adv + step, self.norm, self.eps, self.box)
        return x_adv

    def _start(self, x: Tensor, draws: Draws) -> Tensor:
        if self.start_sigma:
            return self.start_sigma * draws.normal(x)
        return uniform_in_ball(x, self.norm, self.eps, draws)

    @torch.no_grad()
    def _rank(
        self, model: Callable[[Tensor], Tensor], x_adv: Tensor, y: Tensor, goal: Goal
    ) -> Tensor:
        """Fooled examples before all others, then by loss; the loss is squashed below 1."""
        prediction = model(x_adv)
        loss = goal.loss(prediction, y)
        return goal.fooled(prediction, y) + loss / (1 + loss.abs())
