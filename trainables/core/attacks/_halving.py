"""Steps with momentum that are halved at checkpoints: APGD for linf and l2 (arXiv 2003.01690)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..randomness import Draws
from ..threat import Box, enforce, per_example, size, steepest
from ._climb import Points

MOMENTUM = 0.25


def checkpoints(steps: int) -> dict[int, int]:
    """The steps, counted from 1, after which step sizes are looked at, and each window's length.

    The first window is 22 % of the steps, each one 3 % of them shorter than the one before, but
    none below 6 %: of 100 steps 22, 41, 57, 70, 80, 87, 93 and 99.
    """
    found: dict[int, int] = {}
    window, shrink, least = (max(percent * steps // 100, 1) for percent in (22, 3, 6))
    step = window
    while step <= steps:
        found[step] = window
        window = max(window - shrink, least)
        step += window
    return found


class Halving:
    """The rule of one run in a ball of radius eps, in norm linf or l2."""

    def __init__(self, norm: str, eps: Tensor, box: Box, rho: Tensor, steps: int) -> None:
        self.norm, self.eps, self.box, self.rho = norm, eps, box, rho
        self.size = 2 * eps
        self.windows = checkpoints(steps)

    def start(self, x: Tensor, draws: Draws) -> Tensor:
        """A point whose distance is eps: the cube's surface or the sphere, before the box."""
        drawn = 2 * draws.uniform(x) - 1 if self.norm == "linf" else draws.normal(x)
        length = per_example(size(drawn, self.norm).clamp_min(1e-12), x)
        return enforce(x, x + self.eps * drawn / length, self.norm, self.eps, self.box)

    def memory(self, points: Points) -> dict[str, Tensor]:
        """Rises of the loss in the window, its last value, and the state at the last checkpoint."""
        zero = torch.zeros_like(points.best_loss)
        return {
            "rises": zero,
            # As in the published code: the first step has risen if the loss is above 0 then.
            "last": zero,
            "checked": points.best_loss,
            "halved": torch.ones_like(zero, dtype=torch.bool),
        }

    def move(self, points: Points, first: bool) -> Tensor:
        """A projected step up, then a part of it and a part of the move before, projected."""
        at, share = points.at, 1.0 if first else 1 - MOMENTUM
        ahead = self._inside(points.x, at + points.size * steepest(points.gradient, self.norm))
        moved = at + share * (ahead - at) + (1 - share) * (at - points.before)
        return self._inside(points.x, moved)

    def _inside(self, x: Tensor, x_adv: Tensor) -> Tensor:
        return enforce(x, x_adv, self.norm, self.eps, self.box)

    def adapt(self, points: Points, loss: Tensor, step: int) -> None:
        """At a checkpoint, halve where the loss rarely rose or the best one has not for long."""
        memory = points.memory
        memory["rises"] = memory["rises"] + (loss > memory["last"])
        memory["last"] = loss
        if step not in self.windows:
            return
        rarely = memory["rises"] <= self.rho * self.windows[step]
        stuck = ~memory["halved"] & (memory["checked"] >= points.best_loss)
        halve = rarely | stuck
        points.size = torch.where(per_example(halve, points.x), points.size / 2, points.size)
        points.return_to_best(halve)
        memory["rises"] = torch.zeros_like(memory["rises"])
        memory["checked"], memory["halved"] = points.best_loss, halve
