"""The network that writes augmentation policies, and how it learns from rewards."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from ..weighters._adam import Adam
from ..weighters._numbers import hold
from ._operations import STEPS

# A sub-policy is two operations with a magnitude each.
PER_SUBPOLICY = 4
_EMBEDDED, _HIDDEN, _SPREAD = 32, 100, 0.1


class Scores(NamedTuple):
    """What the controller says of policies [m]: log-probability, entropy, and entropy in [0, 1].

    The first two are sums over a policy's choices, the last is the mean of every choice's entropy
    over the largest that it may have.
    """

    log_probability: Tensor
    entropy: Tensor
    relative: Tensor


class Controller(nn.Module):
    """An LSTM that writes policies choice by choice, trained by REINFORCE (arXiv 1912.11188).

    A policy is a sequence of 4 `subpolicies` choices: operation, magnitude, operation, magnitude,
    and so on. Every choice goes through an embedding of 32 (one for every operation and every
    magnitude) into an LSTM cell of 100 and from there, by one of two heads, to the logits of the
    next one; the first input is 0. All weights begin in U(-0.1, 0.1), the heads' biases at 0. With
    `carry` the cell's state goes on over the sub-policies, else each begins anew. Logits are
    divided by `temperature` and then bounded to `tanh` tanh(logits), each unless it is 0 (arXiv
    1802.03268).
    """

    def __init__(
        self,
        *,
        operations: int,
        subpolicies: int,
        carry: bool,
        lr: float,
        entropy: float,
        temperature: float,
        tanh: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.operations = operations
        self.subpolicies = subpolicies
        self.carry = carry
        self.tempered, self.bounded = temperature > 0, tanh > 0
        hold(self, "entropy", entropy)
        hold(self, "temperature", temperature)
        hold(self, "tanh", tanh)
        self.entropy: Tensor
        self.temperature: Tensor
        self.tanh: Tensor
        # Their own initialisation would draw from the global generator.
        self.embedding = skip_init(nn.Embedding, operations + STEPS, _EMBEDDED)
        self.cell = skip_init(nn.LSTMCell, _EMBEDDED, _HIDDEN)
        heads = [skip_init(nn.Linear, _HIDDEN, choices) for choices in (operations, STEPS)]
        self.heads = nn.ModuleList(heads)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-_SPREAD, _SPREAD, generator=generator)
            for head in heads:
                head.bias.zero_()
        self.adam = Adam(sum(one.numel() for one in self.parameters()), lr=lr)

    @torch.no_grad()
    def sample(self, uniform: Tensor) -> Tensor:
        """Policies [m, s, 4] of choices, by inversion from numbers of U[0, 1) of that shape."""
        flat = uniform.flatten(1)

        def pick(log_p: Tensor, place: int) -> Tensor:
            below = log_p.exp().cumsum(1) <= flat[:, place, None]
            # The sum of all may be rounded to less than 1.
            return below.sum(1).clamp(max=log_p.shape[1] - 1)

        _, chosen = self._run(len(uniform), pick)
        return chosen.view(uniform.shape)

    def score(self, policies: Tensor) -> Scores:
        """How likely the policies [m, s, 4] are, and how open the choices on their way were."""
        flat = policies.flatten(1)
        every, _ = self._run(len(flat), lambda log_p, place: flat[:, place])
        likely = [
            log_p.gather(1, flat[:, place, None]).squeeze(1) for place, log_p in enumerate(every)
        ]
        entropies = torch.stack([-(log_p.exp() * log_p).sum(1) for log_p in every], 1)
        most = entropies.new_tensor([self.operations, STEPS]).log().repeat(len(every) // 2)
        return Scores(torch.stack(likely, 1).sum(1), entropies.sum(1), (entropies / most).mean(1))

    def gradient(self, policies: Tensor, advantages: Tensor) -> list[Tensor]:
        """The gradient of mean(-log p_m A_m) - entropy mean(H_m), by parameter."""
        with torch.enable_grad():
            found = self.score(policies)
            loss = -(found.log_probability * advantages.to(found.entropy.dtype)).mean()
            loss = loss - self.entropy * found.entropy.mean()
            return list(torch.autograd.grad(loss, list(self.parameters())))

    def learn(self, policies: Tensor, advantages: Tensor) -> None:
        """One step of Adam that makes policies [m, s, 4] with a high advantage [m] likelier."""
        gradient = self.gradient(policies, advantages)
        step = self.adam.step(torch.cat([one.flatten() for one in gradient]))
        with torch.no_grad():
            parts = step.split([one.numel() for one in gradient])
            for parameter, part in zip(self.parameters(), parts, strict=True):
                parameter.add_(part.view_as(parameter))

    def _run(
        self, count: int, pick: Callable[[Tensor, int], Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        """Log-probabilities of every choice on the way, and what was picked, [count, 4 s]."""
        nothing = self.embedding.weight.new_zeros(count, _HIDDEN)
        every, picked = [], []
        for place in range(PER_SUBPOLICY * self.subpolicies):
            if place == 0 or (place % PER_SUBPOLICY == 0 and not self.carry):
                hidden, memory, given = nothing, nothing, nothing[:, :_EMBEDDED]
            magnitude = place % 2
            hidden, memory = self.cell(given, (hidden, memory))
            logits = self.heads[magnitude](hidden)
            if self.tempered:
                logits = logits / self.temperature
            if self.bounded:
                logits = self.tanh * logits.tanh()
            every.append(logits.log_softmax(1))
            picked.append(pick(every[-1], place))
            given = self.embedding(picked[-1] + magnitude * self.operations)
        return every, torch.stack(picked, 1)
