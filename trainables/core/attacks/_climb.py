"""One run of APGD: points climb a loss by steps that a rule adapts to how they fare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..threat import per_example


@dataclass
class Points:
    """What is known of every point that still climbs; points come first in every tensor."""

    row: Tensor  # its place in the run
    x: Tensor
    y: Tensor
    target: Tensor  # the class that it is to be taken for, where the loss asks for one
    at: Tensor
    before: Tensor  # the iterate before
    gradient: Tensor
    best: Tensor  # the iterate of the highest loss
    best_gradient: Tensor
    best_loss: Tensor
    size: Tensor  # of a step
    memory: dict[str, Tensor]  # the rule's own, [b] each

    def keep(self, which: Tensor) -> Points:
        """The points where `which` is true."""
        kept = {one.name: getattr(self, one.name) for one in fields(self)}
        memory = {name: value[which] for name, value in kept.pop("memory").items()}
        return Points(**{name: value[which] for name, value in kept.items()}, memory=memory)

    def return_to_best(self, where: Tensor) -> None:
        """Go on from the best iterate and its gradient where `where` [b] is true."""
        where = per_example(where, self.x)
        self.at = torch.where(where, self.best, self.at)
        self.gradient = torch.where(where, self.best_gradient, self.gradient)


class Rule(Protocol):
    """How points step, and what makes their steps shorter."""

    @property
    def size(self) -> Tensor:
        """The size of the first step."""

    def memory(self, points: Points) -> dict[str, Tensor]:
        """What is remembered of every point at the start."""

    def move(self, points: Points, first: bool) -> Tensor:
        """Where the points go next."""

    def adapt(self, points: Points, loss: Tensor, step: int) -> None:
        """Look at the loss after a step (counted from 1)."""


class Seen(NamedTuple):
    """The model's verdict on an iterate: loss [b], whether it is fooled [b], gradient of x."""

    loss: Tensor
    fooled: Tensor
    gradient: Tensor


@dataclass
class Climbed:
    """The outcome of a run: per example the point, its loss, and whether it fools the model."""

    point: Tensor
    loss: Tensor
    fooled: Tensor


@dataclass
class Hill:
    """What is climbed: `loss(prediction, y, target)`, over when `fooled(prediction, y)`.

    The gradient is the mean over `samples` calls of a model that may answer at random; loss and
    verdict are those of the last call.
    """

    model: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    fooled: Callable[[Tensor, Tensor], Tensor]
    samples: int

    def look(self, points: Points) -> Seen:
        """The verdict on where the points are, with the gradient there."""
        total = torch.zeros_like(points.at)
        for _ in range(self.samples):
            with torch.enable_grad():
                at = points.at.detach().requires_grad_()
                prediction = self.model(at)
                loss = self.loss(prediction, points.y, points.target)
                total = total + torch.autograd.grad(loss, at, torch.ones_like(loss))[0]
        with torch.no_grad():
            return Seen(loss.detach(), self.fooled(prediction, points.y), total / self.samples)

    @torch.no_grad()
    def glance(self, points: Points) -> Seen:
        """The verdict alone, for the last iterate."""
        prediction = self.model(points.at)
        loss = self.loss(prediction, points.y, points.target)
        return Seen(loss, self.fooled(prediction, points.y), points.gradient)


def climb(
    hill: Hill,
    rule: Rule,
    x: Tensor,
    y: Tensor,
    target: Tensor,
    start: Tensor,
    *,
    steps: int,
    stop: bool,
) -> Climbed:
    """Climb from `start`; with `stop`, a point that fools the model leaves and stays there."""
    none = x.new_full((len(x),), -torch.inf)
    found = Climbed(start.clone(), none.clone(), torch.zeros_like(none, dtype=torch.bool))
    points = Points(
        row=torch.arange(len(x), device=x.device),
        x=x,
        y=y,
        target=target,
        at=start,
        before=start,
        gradient=start,
        best=start,
        best_gradient=start,
        best_loss=none,
        size=per_example(rule.size.to(x).expand(len(x)), x),
        memory={},
    )
    points.memory = rule.memory(points)
    for step in range(steps + 1):
        if step > 0:
            points.before, points.at = points.at, rule.move(points, step == 1)
        # Nothing steps on from the last iterate.
        seen = hill.look(points) if step < steps else hill.glance(points)
        points.gradient = seen.gradient
        _note_best(points, seen)
        over = seen.fooled if stop else torch.zeros_like(seen.fooled)
        rows = points.row[over]
        found.point[rows], found.loss[rows] = points.at[over], seen.loss[over]
        found.fooled[rows] = True
        if step > 0:
            rule.adapt(points, seen.loss, step)
        if bool(over.any()):
            points = points.keep(~over)
        if len(points.row) == 0:
            return found
    found.point[points.row], found.loss[points.row] = points.best, points.best_loss
    return found


def _note_best(points: Points, seen: Seen) -> None:
    better = seen.loss > points.best_loss
    points.best_loss = torch.where(better, seen.loss, points.best_loss)
    wide = per_example(better, points.x)
    points.best = torch.where(wide, points.at, points.best)
    points.best_gradient = torch.where(wide, seen.gradient, points.best_gradient)
