"""Signs that an attack's figures flatter a model: gradients that say nothing, and attacks too weak.

The checks are those of Carlini et al. (arXiv 1902.06705) and AutoAttack's warnings, on a few
examples. Each says in words what was seen; none of them proves a model robust.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .batch import Batch
from .evaluation import Sample
from .randomness import ExampleStreams
from .tasks import Task
from .views import Attacked

# Examples that the checks look at.
FEW = 100
# What counts: shares of these examples.
NO_GRADIENT, MORE_STEPS, UNBOUNDED = 0.1, 0.04, 0.05


def concerns(view: Attacked, model: nn.Module, sample: Sample, task: Task) -> list[str]:
    """What speaks against the figures of an attack, in words; [] where nothing was found.

    Six checks, on at most 100 evenly spaced examples of a classification, [] for other tasks:
    outputs that are no finite numbers; outputs that are probabilities instead of logits; a
    randomised model (five passes differ); exact zero gradients at more than 10 % of the examples;
    five times as many steps that lower accuracy by more than 4 points; and, for attacks of several
    steps, a ball that grows to the whole box, or where there is none to the range of the examples
    and 64 times its eps at least, without accuracy falling below 5 %.
    """
    if task.name != "classification":
        return []
    total = len(sample)
    few = torch.arange(min(FEW, total)) * total // min(FEW, total)
    part = sample.examples.take(few.to(sample.examples.y.device))
    batch = next(part.batches([torch.arange(len(few))], device=part.y.device))
    probe = _Probe(view, model, task, batch, sample.seed, sample.numbers[few])
    checks: tuple[Callable[[], str], ...] = (
        probe.infinite,
        probe.probabilities,
        probe.randomised,
        probe.flat,
        probe.steps,
        probe.unbounded,
    )
    return [found for check in checks if (found := check())]


class _Probe:
    def __init__(
        self,
        view: Attacked,
        model: nn.Module,
        task: Task,
        batch: Batch,
        seed: int,
        numbers: Tensor,
    ) -> None:
        self.view, self.model, self.task = view, model, task
        self.x, self.y = batch
        self.seed, self.numbers = seed, numbers
        with torch.no_grad():
            self.logits: Tensor = model(self.x)

    def infinite(self) -> str:
        share = (~self.logits.isfinite().all(1)).double().mean().item()
        return f"outputs are no finite numbers at {100 * share:.0f} % of the examples" * (share > 0)

    def probabilities(self) -> str:
        inside = (self.logits >= 0).all() and (self.logits <= 1).all()
        if inside and ((self.logits.sum(1) - 1).abs() < 1e-5).all():
            return "outputs are probabilities, not logits: their gradients vanish"
        return ""

    def randomised(self) -> str:
        normal = self._normalised(self.logits)
        with torch.no_grad():
            for _ in range(4):
                again: Tensor = self.model(self.x)
                changed = (again.argmax(1) != self.logits.argmax(1)).any()
                if changed or (self._normalised(again) - normal).norm(dim=1).max() > 1e-4:
                    return "outputs are random: average gradients over passes (EOT)"
        return ""

    def flat(self) -> str:
        if getattr(self.view.component, "black_box", False):
            return ""
        x = self.x.detach().requires_grad_()
        with torch.enable_grad():
            loss = self.task.loss(self.model(x), self.y)
            if not loss.requires_grad:
                return "outputs do not depend on the input by any gradient"
            (found,) = torch.autograd.grad(loss, x, torch.ones_like(loss))
        share = (found.flatten(1) == 0).all(1).double().mean().item()
        if share > NO_GRADIENT:
            return f"zero gradients at {100 * share:.0f} % of the examples"
        return ""

    def steps(self) -> str:
        attack = self.view.component
        if not isinstance(getattr(attack, "step_size", None), Tensor):
            return ""
        longer = copy.deepcopy(self.view)
        # Of the same size, so that the attack can only go further.
        longer.component.steps = 5 * attack.steps
        now, more = self._accuracy(self.view), self._accuracy(longer)
        if now - more > MORE_STEPS:
            return (
                f"{5 * attack.steps} steps instead of {attack.steps} lower accuracy from "
                f"{100 * now:.0f} to {100 * more:.0f} % of {len(self.y)} examples"
            )
        return ""

    def unbounded(self) -> str:
        attack = self.view.component
        # An ensemble's members have radii of their own, and are tested where they are benchmarks.
        # One huge step may jump over all that it should find.
        if hasattr(attack, "members") or float(attack.eps) <= 0 or attack.steps == 1:
            return ""
        n = self.x[0].numel()
        wide = {"linf": 1.0, "l2": n**0.5, "l1": float(n)}[attack.norm]
        if attack.box is not None:
            largest = wide * (attack.box[1] - attack.box[0])
        else:
            span = (self.x.amax() - self.x.amin()).item()
            largest = max(wide * span, 64 * float(attack.eps))
        wider = copy.deepcopy(self.view)
        left, radius = 1.0, float(attack.eps)
        while radius < largest and left > UNBOUNDED:
            factor = min(4 * radius, largest) / radius
            radius *= factor
            for name in ("eps", "step_size"):
                value = getattr(wider.component, name, None)
                if isinstance(value, Tensor):
                    value.mul_(factor)
            left = self._accuracy(wider)
        if left > UNBOUNDED:
            return (
                f"{100 * left:.0f} % of {len(self.y)} examples stand even a ball of radius "
                f"{radius:g}"
            )
        return ""

    def _accuracy(self, view: Attacked) -> float:
        streams = ExampleStreams(self.seed, self.numbers)
        seen = view(self.model, Batch(self.x, self.y), self.task, streams)
        with torch.no_grad():
            right = ~self.task.fooled(self.model(seen.x), self.y)
            right &= ~self.task.fooled(self.logits, self.y)
        return right.double().mean().item()

    @staticmethod
    def _normalised(logits: Tensor) -> Tensor:
        found: Tensor = logits / logits.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return found
