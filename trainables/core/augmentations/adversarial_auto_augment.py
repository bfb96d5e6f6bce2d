"""Policies of a controller that is rewarded for the model's losses."""

from __future__ import annotations

import torch
from torch import Tensor

from ..quantities import flag, number, one_of, whole
from ..randomness import derive
from ..weighters._numbers import hold
from ._controller import Controller
from ._policies import EPOCH, Policies, counted, lasting, uniform

BASELINES = ("normalised", "ema")


class AdversarialAutoAugment(Policies):
    """M copies of a batch by policies that learn to raise the model's loss (arXiv 1912.11188).

    An LSTM controller writes M policies of `subpolicies` times two operations with a magnitude of
    0 ... 9 each; every image of every copy gets one of the policy's sub-policies, all equally
    likely. The model is trained on all M b rows; the policy's reward L_m is its mean loss over the
    steps in which it was in force. Then the controller takes one step of Adam (`lr`, no weight
    decay) on

        mean_m(-log p_m A_m) - entropy mean_m(H_m),

    log p_m and H_m being sums over a policy's choices, and writes the next M policies. With
    `baseline` "normalised" A_m = (L_m - mean L) / (deviation L + 1e-5), unbiased, as in the paper;
    "ema" takes A_m = L_m - B with a running mean B of mean L that forgets by `decay` (arXiv
    1802.03268; B begins at the first mean, not at 0, where every policy would look good).

    x [b, c, h, w] in [0, 1] becomes [M b, c, h, w], policy by policy, and y is repeated. `policies`
    is M, at least 2 for a normalised baseline. `operations` is 15 as in the authors' code, or 16
    with SamplePairing as in the paper. `update_every` is "epoch" as in the paper or a number of
    steps, which may cross epochs: one update per epoch needs some hundred epochs to change
    anything. `carry` keeps the controller's state over the sub-policies, as in the paper and the
    authors' first version; without it they are independent draws, as in their last. `temperature`
    divides logits and `tanh` bounds them (0: off). The paper's `entropy` of 1e-5 does not keep
    policies from becoming all alike; 0.05 to 0.5 does. Crops and mirrors come before this view (in
    `training/augment`), as the paper has them.

    The main loss, or another one, must read this view itself. Raises `SettingError` for settings
    out of range and inputs that are no images of 1 or 3 channels.
    """

    short = ("advaa", "policies")

    def __init__(
        self,
        *,
        seed: int,
        policies: int = 8,
        subpolicies: int = 5,
        operations: int = 15,
        update_every: int | str = EPOCH,
        lr: float | str = 3.5e-4,
        entropy: float | str = 1e-5,
        baseline: str = "normalised",
        decay: float | str = 0.95,
        temperature: float | str = 0.0,
        tanh: float | str = 0.0,
        carry: bool = True,
    ) -> None:
        one_of("baseline", baseline, BASELINES)
        super().__init__(
            policies=whole("policies", policies, low=2 if baseline == "normalised" else 1),
            subpolicies=whole("subpolicies", subpolicies, low=1),
            operations=counted(operations),
        )
        self.baseline = baseline
        self.seed = seed
        self.update_every = lasting(update_every)
        hold(self, "decay", number("decay", decay, low=0, high=1))
        self.decay: Tensor
        self.register_buffer("running", torch.zeros((), dtype=torch.float64))
        self.running: Tensor
        self.controller = Controller(
            operations=self.operations,
            subpolicies=self.subpolicies,
            carry=flag("carry", carry),
            lr=number("lr", lr, low=0, above=True),
            entropy=number("entropy", entropy, low=0),
            temperature=number("temperature", temperature, low=0),
            tanh=number("tanh", tanh, low=0),
            generator=torch.Generator().manual_seed(derive(seed, "controller")),
        )
        self._adopt(self._written())

    @property
    def lasts(self) -> int:
        """As set."""
        return self.update_every

    def advantages(self, losses: Tensor) -> Tensor:
        """How much better than expected each policy did, [m], from mean losses [m]."""
        if self.baseline == "normalised":
            return (losses - losses.mean()) / (losses.std() + 1e-5)
        return losses - self.running

    def _next(self, losses: Tensor, epoch_over: bool) -> Tensor:
        if self.steps:
            mean = losses.mean()
            moved = self.decay * self.running + (1 - self.decay) * mean
            self.running = torch.where(self.controller.adam.steps > 0, moved, mean)
            self.controller.learn(self.chosen, self.advantages(losses))
        return self._written()

    def _scores(self) -> Tensor:
        with torch.no_grad():
            found = self.controller.score(self.chosen)
        return torch.stack([found.log_probability, found.relative])

    def _written(self) -> Tensor:
        return self.controller.sample(uniform(self.seed, self.updates, self.chosen))
