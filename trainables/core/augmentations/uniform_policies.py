"""Policies that are drawn at random and learn nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..quantities import whole
from ._controller import PER_SUBPOLICY
from ._images import place
from ._operations import STEPS
from ._policies import EPOCH, Policies, counted, lasting, uniform


class UniformPolicies(Policies):
    """M copies of a batch by policies drawn uniformly, the control for AdversarialAutoAugment.

    The same search space, copies and schedule as arXiv 1912.11188, but every operation and every
    magnitude of 0 ... 9 is equally likely, always: what a learned policy gains beyond this, its
    learning gains, since M copies of a batch are an advantage by themselves.

    x [b, c, h, w] in [0, 1] becomes [M b, c, h, w], policy by policy, and y is repeated. `policies`
    is M, at least 1; each has `subpolicies` of two operations, of which an image gets one.
    `operations` is 15, or 16 with SamplePairing. `update_every` is "epoch" or a number of steps.
    The records and figures are those of a learned policy. Raises `SettingError` for settings out of
    range and inputs that are no images of 1 or 3 channels.
    """

    short = ("uniform", "policies")

    def __init__(
        self,
        *,
        seed: int,
        policies: int = 8,
        subpolicies: int = 5,
        operations: int = 15,
        update_every: int | str = EPOCH,
    ) -> None:
        super().__init__(
            policies=whole("policies", policies, low=1),
            subpolicies=whole("subpolicies", subpolicies, low=1),
            operations=counted(operations),
        )
        self.seed = seed
        self.update_every = lasting(update_every)
        self._adopt(self._drawn())

    @property
    def lasts(self) -> int:
        """As set."""
        return self.update_every

    def _next(self, losses: Tensor, epoch_over: bool) -> Tensor:
        return self._drawn()

    def _scores(self) -> Tensor:
        choices = self.subpolicies * PER_SUBPOLICY / 2
        likely = -choices * math.log(self.operations * STEPS)
        return torch.tensor([[likely], [1.0]], device=self.chosen.device).repeat(1, self.copies)

    def _drawn(self) -> Tensor:
        drawn = uniform(self.seed, self.updates, self.chosen)
        chosen = place(drawn, STEPS)
        chosen[..., 0::2] = place(drawn[..., 0::2], self.operations)
        return chosen
