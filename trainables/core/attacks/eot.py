"""Expectation over transformation (arXiv 1707.07397)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .. import catalog
from ..quantities import whole
from ..randomness import Draws
from ..tasks import Classification, Goal
from ..threat import Box
from ..views import Attacked, describe


class EOT(nn.Module):
    """An attack on the mean of several calls of a randomised model (arXiv 1707.07397).

    `attack` is another attack's config or short form; whenever it calls the model, the model is
    called `samples` times. What it climbs is the mean of the calls' losses, E_t[L(f_t(x), y)] as in
    the paper, so its gradient is the mean of the calls' gradients; this is not the loss of the mean
    logits. What it reads as logits, to judge a point or for a loss of its own (DeepFool, margins,
    climbs: kl), is the mean of the calls' predictions. A model that is not random is attacked as if
    the attack were not wrapped, at `samples` times the cost; the graphs of all calls are held at
    once. The randomness is the model's own: dropout is off while a model is attacked.

    norm, eps, box, steps, step_size and restarts are those of the attack; `box` and `seed` are
    passed on to it unless its config has them.

    Raises `SettingError` for samples below 1 and for what the attack does not accept.
    """

    family = "adversarial"
    short = ("eot", "attack", "samples")

    def __init__(
        self,
        *,
        attack: Mapping[str, Any] | str = "PGD",
        samples: int = 20,
        seed: int = 0,
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.samples = whole("samples", samples, low=1)
        config = catalog.expand("attacks", attack)
        self.inner: Any = catalog.build("attacks", config, box=box, seed=whole("seed", seed))
        # How tables name the attack within.
        self.attack: str = describe(Attacked(self.inner))["name"]
        for trait in ("tasks", "minimal", "stops", "black_box", "thorough"):
            if hasattr(self.inner, trait):
                setattr(self, trait, getattr(self.inner, trait))

    @property
    def norm(self) -> str:
        """The attack's norm."""
        found: str = self.inner.norm
        return found

    @property
    def eps(self) -> Tensor:
        """The attack's radius."""
        found: Tensor = self.inner.eps
        return found

    @property
    def box(self) -> Box:
        """The attack's box."""
        found: Box = self.inner.box
        return found

    @property
    def steps(self) -> int | None:
        """The attack's number of steps, where it has one."""
        return getattr(self.inner, "steps", None)

    @steps.setter
    def steps(self, value: int) -> None:
        self.inner.steps = value

    @property
    def step_size(self) -> Tensor:
        """The attack's step size; an `AttributeError` where it has none."""
        found: Tensor = self.inner.step_size
        return found

    @property
    def restarts(self) -> int | None:
        """The attack's number of restarts, where it has one."""
        return getattr(self.inner, "restarts", None)

    def forward(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        *,
        goal: Goal | None = None,
        draws: Draws | None = None,
    ) -> Tensor:
        """What the attack makes of x [b, ...], the model and the goal being means."""
        mean = _Mean(model, goal or Classification(), self.samples)
        found: Tensor = self.inner(mean, x, y, goal=mean, draws=draws)
        return found


class _Mean:
    """A model and a goal whose prediction and loss are means over several calls of the model."""

    def __init__(self, model: Callable[[Tensor], Tensor], goal: Goal, samples: int) -> None:
        self.model = model
        self.goal = goal
        self.samples = samples
        self.calls: list[Tensor] = []
        self.prediction: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        self.calls = [self.model(x) for _ in range(self.samples)]
        first = self.calls[0]
        # Written about the first call, so that equal calls have exactly that mean.
        self.prediction = first + torch.stack([one - first for one in self.calls]).mean(0)
        return self.prediction

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """The mean loss [b] of the calls behind the prediction; of any other, its own loss."""
        if prediction is not self.prediction:
            return self.goal.loss(prediction, y)
        return torch.stack([self.goal.loss(one, y) for one in self.calls]).mean(0)

    def fooled(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Whether the mean prediction reaches the goal, bool [b]."""
        return self.goal.fooled(prediction, y)
