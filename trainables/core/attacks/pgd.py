"""Projected gradient descent on the input (arXiv 1706.06083)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import SettingError
from ..quantities import flag, number, one_of, whole
from ..randomness import Draws, Stream
from ..tasks import Classification, Goal
from ..threat import Box, enforce, per_example, uniform_in_ball
from ._ascent import Divergence
from ._iterated import Iterated


class PGD(Iterated):
    """Projected gradient ascent of the loss within a ball (arXiv 1706.06083).

    x <- P(x + step_size u), where u is the gradient's sign (norm linf), its direction (l2) or its
    largest value alone (l1), and P projects onto the eps ball and then the box. An l1 step changes
    one value, so that l1 needs many steps and APGD is the strong attack there. eps and step_size
    are in the units of the input ("8/255" is accepted). step_size "auto" is 2.5 eps / steps. With
    `random_start` the first point is uniform in the ball. `seed` is used when no `draws` are given.

    counts "last": the last iterate counts, and of several restarts, per example, one that fooled
    the model, else the one with the highest loss. "any": the first iterate that fools the model
    counts, x itself being the first of all, and the example is not attacked any more; restarts are
    for those that are left. "any" is for evaluation: it waits for the device in every step.

    `climbs` says what is climbed: "task", the task's loss against the targets, or "kl", the
    divergence from the prediction on x itself, which needs no targets (TRADES, arXiv 1901.08573).
    That divergence has no gradient at x, so it needs a random start; with `start_sigma` above 0 the
    start is x plus Gaussian noise of that deviation (TRADES: 0.001) instead of uniform in the ball.

    Raises `SettingError` for eps below 0, steps or restarts below 1, several restarts without a
    random start, which would all be the same, and "kl" without one.
    """

    short: tuple[str, ...] = ("pgd", "norm", "eps", "steps", "restarts", "counts")

    def __init__(
        self,
        *,
        norm: str = "linf",
        eps: float | str = "8/255",
        steps: int = 20,
        step_size: float | str = "auto",
        random_start: bool = True,
        restarts: int = 1,
        counts: str = "last",
        climbs: str = "task",
        start_sigma: float = 0.0,
        seed: int = 0,
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__(
            norm=norm, eps=eps, steps=steps, step_size=step_size, radii=2.5, counts=counts, box=box
        )
        self.restarts = whole("restarts", restarts, low=1)
        self.random_start = flag("random_start", random_start)
        self.climbs = one_of("climbs", climbs, ("task", "kl"))
        self.start_sigma = number("start_sigma", start_sigma, low=0)
        self.seed = whole("seed", seed)
        # The usual settings have a short name.
        told = 6 if counts != "last" else 5 if self.restarts > 1 else 4
        self.short = type(self).short[:told]
        if self.restarts > 1 and not self.random_start:
            raise SettingError(f"restarts needs random_start: true, found restarts={restarts}")
        if self.climbs == "kl" and not self.random_start:
            raise SettingError("climbs: kl needs random_start: true, since it is flat at x itself")

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
                goal, y = Divergence(), model(x)
        draws = draws or Stream(self.seed, x.device)
        search = self._any if self.counts == "any" else self._last
        return search(model, x, y, goal, draws)

    def _last(
        self, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, goal: Goal, draws: Draws
    ) -> Tensor:
        found = self._to_the_end(model, x, y, goal, self._start(x, draws))
        if self.restarts == 1:
            return found
        rank = self._rank(model, found, y, goal)
        for _ in range(self.restarts - 1):
            again = self._to_the_end(model, x, y, goal, self._start(x, draws))
            rank_again = self._rank(model, again, y, goal)
            found = torch.where(per_example(rank_again > rank, x), again, found)
            rank = torch.maximum(rank, rank_again)
        return found

    def _any(
        self, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, goal: Goal, draws: Draws
    ) -> Tensor:
        found, rows = x.detach().clone(), torch.arange(len(x), device=x.device)
        highest = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
        if self.random_start:  # otherwise x is the first iterate anyway
            with torch.no_grad():
                rows = rows[~goal.fooled(model(x), y)]
        for _ in range(self.restarts):
            if len(rows) == 0:
                break
            start = self._start(x[rows], draws.rows(rows))
            points, fooled, loss = self._until_fooled(model, x[rows], y[rows], goal, start)
            better = fooled | (loss > highest[rows])
            found[rows[better]], highest[rows[better]] = points[better], loss[better]
            rows = rows[~fooled]
        return found

    def _start(self, x: Tensor, draws: Draws) -> Tensor:
        if not self.random_start:
            return x
        if self.start_sigma:
            moved = self.start_sigma * draws.normal(x)
        else:
            moved = uniform_in_ball(x, self.norm, self.eps, draws)
        return enforce(x, x + moved, self.norm, self.eps, self.box)

    @torch.no_grad()
    def _rank(
        self, model: Callable[[Tensor], Tensor], x_adv: Tensor, y: Tensor, goal: Goal
    ) -> Tensor:
        """Fooled examples before all others, then by loss; the loss is squashed below 1."""
        prediction = model(x_adv)
        loss = goal.loss(prediction, y)
        return goal.fooled(prediction, y) + loss / (1 + loss.abs())
