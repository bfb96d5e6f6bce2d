"""Steps of few values at once that are shortened as the best point settles: APGD for l1."""

from __future__ import annotations

import torch
from torch import Tensor

from ..randomness import Draws
from ..threat import Box, per_example, project
from ._climb import Points

SHARE = 0.2  # of the values that the first steps change
SHRINK = 1.5
LEAST = 0.1  # the shortest step in units of eps
SETTLED = 0.95


def within(x: Tensor, delta: Tensor, eps: Tensor, box: Box) -> Tensor:
    """The nearest perturbation to `delta` that is in the l1 ball and keeps x in the box.

    It is |delta_i| less one number, not below 0 and not above the room u_i up to the box, with the
    sign of delta_i. The mass of all, as that number falls, has a slope that grows by 1 at every
    |delta_i| and falls by 1 at every |delta_i| - u_i, where the room is used up: the number that
    leaves a mass of eps lies below the last of these points at which it is not above eps.
    """
    if box is None:
        return project(delta, "l1", eps)
    flat, centre = delta.flatten(1), x.flatten(1)
    n, length = flat.shape[1], flat.abs()
    room = torch.where(flat > 0, box[1] - centre, centre - box[0]).clamp_min(0)
    bends, order = torch.cat([length, length - room], 1).sort(dim=1, descending=True)
    slope = (1 - 2 * (order >= n).to(flat.dtype)).cumsum(1)
    rise = (bends[:, :-1] - bends[:, 1:]) * slope[:, :-1]
    mass = torch.cat([torch.zeros_like(rise[:, :1]), rise.cumsum(1)], 1)
    last = (mass <= eps).sum(1, keepdim=True).clamp_min(1) - 1
    short = (eps - mass.gather(1, last)) / slope.gather(1, last).clamp_min(1)
    less = (bends.gather(1, last) - short).clamp_min(0)
    kept = torch.minimum((length - less).clamp_min(0), room)
    return (flat.sign() * kept).view_as(delta)


class Sparse:
    """The rule of one run in an l1 ball of radius eps.

    `fresh` says that the run starts at random; otherwise it goes on from a point whose number of
    changed values says how many are to be changed at once.
    """

    def __init__(self, eps: Tensor, box: Box, steps: int, *, fresh: bool) -> None:
        self.eps, self.box, self.fresh = eps, box, fresh
        self.size = eps
        self.window = max(4 * steps // 100, 1)

    def start(self, x: Tensor, draws: Draws) -> Tensor:
        """Standard normal numbers, projected."""
        return self.inside(x, x + draws.normal(x))

    def inside(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """The nearest point in ball and box."""
        moved = x + within(x, x_adv - x, self.eps, self.box)
        return moved if self.box is None else moved.clamp(*self.box)

    def memory(self, points: Points) -> dict[str, Tensor]:
        """How many values the best point has changed, and the share that a step changes."""
        count = _changed(points.at, points.x)
        if self.fresh:
            n = points.x[0].numel()
            return {
                "changed": torch.full_like(count, n),
                "share": torch.full_like(count, SHARE),
            }
        return {"changed": count, "share": _share(count, points.x)}

    def move(self, points: Points, first: bool) -> Tensor:
        """Equal steps along the signs of the largest values of the gradient, then projected."""
        flat = points.gradient.flatten(1)
        n = flat.shape[1]
        place = ((1 - points.memory["share"]) * n).clamp(0, n - 1).long().unsqueeze(1)
        least = flat.abs().sort(dim=1).values.gather(1, place)
        signs = torch.where(flat.abs() >= least, flat.sign(), 0)
        count = signs.abs().sum(1, keepdim=True).clamp_min(1)
        return self.inside(points.x, points.at + points.size * (signs / count).view_as(points.at))

    def adapt(self, points: Points, loss: Tensor, step: int) -> None:
        """At a checkpoint, full steps from the best point if that is sparser, else shorter ones."""
        if step % self.window:
            return
        count = _changed(points.best, points.x)
        sparser = count < SETTLED * points.memory["changed"]
        shorter = (points.size / SHRINK).clamp_min(LEAST * self.eps)
        points.size = torch.where(per_example(sparser, points.x), self.eps.to(shorter), shorter)
        points.return_to_best(sparser)
        points.memory["changed"], points.memory["share"] = count, _share(count, points.x)


def _changed(x_adv: Tensor, x: Tensor) -> Tensor:
    return (x_adv != x).flatten(1).sum(1).to(x.dtype)


def _share(count: Tensor, x: Tensor) -> Tensor:
    return count / x[0].numel() / SHRINK
