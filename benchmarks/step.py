"""What a training step costs against the loop that a good PyTorch user would write by hand.

    python benchmarks/step.py [--part methods] [--rounds N] [--steps N] [--threads 1] [--size small]

Part "methods" measures whole methods by hand; part "weighters" measures every weighter of the
catalogue: those that read only the losses' values against our step with fixed weights, those that
tell the gradients apart against a step by hand that does the same passes and knows its weights.

Both sides train the same model class on the same tensors with the same batches per epoch, the same
fused optimizer, a learning rate set anew for every step, and the mean losses of the epoch at its
end. Ours is `Training.epoch` without its validation. Epochs of the two alternate in one process,
and the ratio is the median over rounds of the ratio within a round. On the CPU the clock is the
processor time of this process, so that other programs on the machine disturb it little; on a GPU
it is the wall clock between two synchronisations. Before anything is timed, both sides compute the
gradient of one batch from the same random numbers, and the largest difference is printed.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.core import catalog
from trainables.core import training as module
from trainables.core.batch import Batch
from trainables.core.data._source import Examples, Source
from trainables.core.randomness import Stream
from trainables.core.training import Training
from trainables.core.weighters.fixed import Fixed

CLASSES = 10
LR, MOMENTUM = 0.01, 0.9
SIGMA, COEFFICIENT = 0.1, 0.5
EPS, STEP_SIZE = 8 / 255, 2 / 255

# --- by hand ----------------------------------------------------------------------------------
# Each leaves the gradient in `.grad` and returns what it would log.


def plain(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Cross-entropy."""
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    return loss.detach()


def noise_losses(
    model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator, k: int = 2
) -> list[Tensor]:
    """In one pass, the first k of cross-entropy, divergence of the noisy view and logit pairing."""
    noisy = x + SIGMA * torch.randn(x.shape, generator=generator, device=x.device)
    clean_logits, noisy_logits = model(torch.cat([x, noisy])).chunk(2)
    target = F.log_softmax(clean_logits.detach(), 1)
    kl = F.kl_div(F.log_softmax(noisy_logits, 1), target, reduction="batchmean", log_target=True)
    found = [F.cross_entropy(clean_logits, y), kl]
    return [*found, F.mse_loss(noisy_logits, clean_logits)] if k == 3 else found


def gaussian_kl(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Cross-entropy + 0.5 KL(clean || noisy)."""
    main, kl = noise_losses(model, x, y, generator)
    (main + COEFFICIENT * kl).backward()
    return torch.stack([main.detach(), kl.detach()])


def adversarial(steps: int) -> ByHand:
    """Training on PGD examples (arXiv 1706.06083), climbed in evaluation mode."""

    def method(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        model.eval().requires_grad_(False)
        uniform = torch.rand(x.shape, generator=generator, device=x.device)
        x_adv = (x + (2 * uniform - 1) * EPS).clamp(0, 1)
        for _ in range(steps):
            x_adv.requires_grad_()
            loss = F.cross_entropy(model(x_adv), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x_adv)
            moved = x_adv.detach() + STEP_SIZE * gradient.sign()
            x_adv = (x + (moved - x).clamp(-EPS, EPS)).clamp(0, 1)
        model.train().requires_grad_(True)
        return plain(model, x_adv, y, generator)

    return method


def gradient_similarity(
    model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator
) -> Tensor:
    """The consistency gradient weighed by max(0, its cosine to the main one): two backwards."""
    main, kl = noise_losses(model, x, y, generator)
    auxiliary = COEFFICIENT * kl
    parameters = list(model.parameters())
    first = torch.autograd.grad(main, parameters, retain_graph=True)
    second = torch.autograd.grad(auxiliary, parameters)

    def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        parts = [torch.dot(p.flatten(), q.flatten()) for p, q in zip(a, b, strict=True)]
        return torch.stack(parts).sum()

    cosine = dot(first, second) / (dot(first, first) * dot(second, second)).sqrt()
    weight = cosine.clamp(min=0)
    for parameter, one, other in zip(parameters, first, second, strict=True):
        parameter.grad = torch.addcmul(one, other, weight)
    return torch.stack([main.detach(), kl.detach(), cosine])


def per_loss(k: int) -> ByHand:
    """One backward pass for each of k losses; the rows are combined with weights known before.

    What a gradient weighter cannot do without. The products of the rows, and finding weights from
    them, come on top.
    """
    weights = (1.0, COEFFICIENT, COEFFICIENT)[:k]

    def method(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        losses = noise_losses(model, x, y, generator, k)
        parameters = list(model.parameters())
        rows = [
            torch.autograd.grad(loss, parameters, retain_graph=i < k - 1)
            for i, loss in enumerate(losses)
        ]
        total = torch._foreach_mul(rows[0], weights[0])
        for row, weight in zip(rows[1:], weights[1:], strict=True):
            torch._foreach_add_(total, row, alpha=weight)
        for parameter, gradient in zip(parameters, total, strict=True):
            parameter.grad = gradient
        return torch.stack([loss.detach() for loss in losses])

    return method


ByHand = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]


class Loop:
    """The loop around a method by hand, with a model, data and optimizer of its own."""

    def __init__(self, like: Training, method: ByHand) -> None:
        self.model = copy.deepcopy(like.model)
        self.x, self.y = examples(like)
        self.batch_size, self.epochs = like.settings["batch_size"], like.epochs
        self.method = method
        self.done = 0
        # Fused, as ours is: torch's default is slower for small networks.
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=LR, momentum=MOMENTUM, fused=True
        )
        self.order = torch.Generator().manual_seed(0)
        self.generator = torch.Generator(self.x.device).manual_seed(0)

    def epoch(self) -> list[float] | float:
        """Train one epoch; the means of what the method logs."""
        self.model.train()
        order = torch.randperm(len(self.x), generator=self.order).to(self.x.device)
        batches = order.split(self.batch_size)
        total: Tensor | float = 0.0
        for i, index in enumerate(batches):
            progress = (self.done + i / len(batches)) / self.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = LR * (1 + math.cos(math.pi * progress)) / 2
            self.optimizer.zero_grad()
            total = total + self.method(self.model, self.x[index], self.y[index], self.generator)
            self.optimizer.step()
        self.done += 1
        assert isinstance(total, Tensor)
        found: list[float] | float = (total / len(batches)).tolist()
        return found


# --- ours -------------------------------------------------------------------------------------

NOISY = {"noisy": {"name": "GaussianNoise", "sigma": SIGMA}}
KL = {"main": {}, "kl": {"name": "Consistency", "coefficient": COEFFICIENT}}
CONSISTENCY: dict[str, Any] = {"views": NOISY, "losses": KL}
PAIRING = {"pairing": {"name": "LogitPairing", "view": "noisy", "coefficient": COEFFICIENT}}
# By the number of losses.
RECIPES = {2: CONSISTENCY, 3: CONSISTENCY | {"losses": KL | PAIRING}}


class LooksBack(Fixed):
    """Fixed weights, and the losses after the step, which nothing is done with.

    What a weighter that looks back cannot do without: one more forward pass.
    """

    def observe(self, losses: Tensor) -> None:
        """Ask for the pass, and for nothing else."""


def attacked(steps: int) -> dict[str, Any]:
    """The recipe of training on PGD examples."""
    pgd = {"name": "PGD", "eps": EPS, "step_size": STEP_SIZE, "steps": steps}
    return {"views": {"adv": pgd}, "losses": {"main": {"view": "adv"}}}


def methods(attack_steps: int) -> dict[str, tuple[dict[str, Any], ByHand]]:
    """Each method as a recipe of ours and by hand."""
    similarity = CONSISTENCY | {"weighter": "GradientSimilarity"}
    return {
        "cross-entropy": ({}, plain),
        "gaussian-kl": (CONSISTENCY, gaussian_kl),
        f"PGD-{attack_steps} adversarial": (attacked(attack_steps), adversarial(attack_steps)),
        "gradient-similarity": (similarity, gradient_similarity),
    }


@dataclass(frozen=True)
class Case:
    """A network and the inputs that it is measured on."""

    architecture: str
    shape: tuple[int, ...]
    batch_size: int
    steps: int
    rounds: int
    attack_steps: int
    settings: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "small": (Case("MLP", (1, 8, 8), 64, 100, 15, 10), Case("ConvNet", (1, 28, 28), 64, 6, 9, 10)),
    "medium": (Case("WideResNet", (3, 32, 32), 32, 2, 5, 3, {"depth": 16}),),
    "large": (Case("ResNet18", (3, 32, 32), 32, 2, 5, 3),),
}


def source(shape: tuple[int, ...], n: int) -> Source:
    """Random images with random classes, every class equally often."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(n, generator=generator)
    examples = Examples(torch.rand(n, *shape, generator=generator), order % CLASSES)
    names = tuple(str(one) for one in range(CLASSES))
    return Source(examples, examples, names, (0.0, 1.0), "pixel [0, 1]", "random numbers")


def training(case: Case, recipe: dict[str, Any], steps: int, epochs: int, device: str) -> Training:
    """A training on random images instead of the data set that the recipe names."""
    held_out = 2 * CLASSES
    n = steps * case.batch_size + held_out
    settings = {
        "epochs": epochs,
        "batch_size": case.batch_size,
        "optimizer": {"name": "SGD", "lr": LR, "momentum": MOMENTUM},
    }
    whole = recipe | {
        "data": {"name": "Digits", "validation": held_out / n},
        "architecture": {"name": case.architecture, **case.settings},
        "training": settings,
    }
    images = source(case.shape, n)
    with mock.patch.object(module, "load_source", lambda config, root="": images):
        # The root is part of the key under which the split is kept in memory.
        return Training(whole, root=f"random/{case.shape}/{n}", device=device)


def examples(one: Training) -> tuple[Tensor, Tensor]:
    """All inputs and targets that it trains on, which lie in memory."""
    found = one.parts.train
    if not isinstance(found.x, Tensor):
        raise TypeError("the data is in files")
    return found.x, found.y


def difference(ours: Training, by_hand: ByHand) -> float:
    """The largest difference between the gradients of one batch, from the same random numbers."""
    x, y = (one[: ours.settings["batch_size"]] for one in examples(ours))
    one, other = copy.deepcopy(ours.model).train(), copy.deepcopy(ours.model).train()
    objective = copy.deepcopy(ours.objective)
    devices = [ours.device] if ours.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)  # dropout
        objective.backward(one, Batch(x, y), Stream(0, ours.device))
        torch.manual_seed(0)
        by_hand(other, x, y, torch.Generator(ours.device).manual_seed(0))
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max((_grad(p) - _grad(q)).abs().max().item() for p, q in pairs)


def _grad(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError("a parameter was left without a gradient")
    return parameter.grad


# --- measuring --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A and B in microseconds per step, their ratio A / B and its quartiles over the rounds.

    `method` is the method by hand or the weighter, `against` says what B is.
    """

    method: str
    losses: int
    architecture: str
    against: str
    a_us: float
    b_us: float
    ratio: float
    low: float
    high: float
    difference: float | None


def clock(device: str) -> Callable[[], float]:
    """Seconds: processor time on the CPU, wall time after a synchronisation on a GPU."""
    if device == "cpu":
        return time.process_time

    def synchronised() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronised


def compare(
    a: Callable[[], float], b: Callable[[], float], rounds: int
) -> tuple[float, float, float, float, float]:
    """Median seconds of a and b, and median and quartiles of a / b; a round has both, in turn."""
    a(), b()  # caches, allocator and the choice of algorithms
    pairs = []
    for i in range(rounds):
        if i % 2:
            second = b()
            pairs.append((a(), second))
        else:
            pairs.append((a(), b()))
    ratios = [one / other for one, other in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    first, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return first, other, middle, low, high


def ours(one: Training, now: Callable[[], float]) -> Callable[[], float]:
    """Seconds of an epoch's training part, as it reports them itself, by the given clock."""

    def epoch() -> float:
        with mock.patch.object(module, "perf_counter", now):
            return one.epoch().train_s

    return epoch


def theirs(loop: Loop, now: Callable[[], float]) -> Callable[[], float]:
    """Seconds of an epoch by hand."""

    def epoch() -> float:
        with torch.random.fork_rng(devices=[loop.x.device] if loop.x.is_cuda else []):
            began = now()
            loop.epoch()
            return now() - began

    return epoch


def methods_of(
    case: Case, *, steps: int, rounds: int, device: str, only: str = ""
) -> Iterator[Figure]:
    """All methods against their loops by hand."""
    now = clock(device)
    for name, (recipe, by_hand) in methods(case.attack_steps).items():
        if only and only not in name:
            continue
        # An attack of n steps costs n more passes; fewer steps keep the round short.
        count = max(1, steps // (case.attack_steps + 1)) if name.startswith("PGD") else steps
        one = training(case, recipe, count, rounds + 1, device)
        gap = difference(one, by_hand)
        timed = compare(ours(one, now), theirs(Loop(one, by_hand), now), rounds)
        yield _figure(name, one, case, "by hand", count, timed, gap)


def weighters_of(
    case: Case, *, steps: int, rounds: int, device: str, only: str = ""
) -> Iterator[Figure]:
    """Every weighter with two and with three losses, Fixed against itself among them."""
    now = clock(device)
    for k, recipe in RECIPES.items():
        for name in catalog.names("weighters"):
            if only and only not in name:
                continue
            one = training(case, recipe | {"weighter": name}, steps, rounds + 1, device)
            fixed = training(case, recipe, steps, rounds + 1, device)
            extra = one.objective.weighing.extra_passes(k)
            gap = None
            if extra["extra_backwards"]:
                against = f"forward + {k} backwards"
                gap = difference(fixed, per_loss(k))
                other = theirs(Loop(one, per_loss(k)), now)
            else:
                against = "Fixed"
                if extra["extra_forwards"]:
                    against = "Fixed + forward"
                    fixed.objective.weighing.weighter = LooksBack()
                other = ours(fixed, now)
            timed = compare(ours(one, now), other, rounds)
            yield _figure(name, one, case, against, steps, timed, gap)


def _figure(
    name: str,
    one: Training,
    case: Case,
    against: str,
    steps: int,
    timed: tuple[float, float, float, float, float],
    gap: float | None,
) -> Figure:
    a, b, ratio, low, high = timed
    return Figure(
        name,
        len(one.objective.labels),
        case.architecture,
        against,
        1e6 * a / steps,
        1e6 * b / steps,
        ratio,
        low,
        high,
        gap,
    )


def table(found: Sequence[Figure]) -> str:
    """The figures as text; A is ours, B what stands under "against"."""
    head = (
        "method",
        "losses",
        "network",
        "against",
        "A us/step",
        "B us/step",
        "A / B",
        "quartiles",
        "gradients differ",
    )
    rows = [
        (
            one.method,
            str(one.losses),
            one.architecture,
            one.against,
            f"{one.a_us:.0f}",
            f"{one.b_us:.0f}",
            f"{one.ratio:.3f}",
            f"{one.low:.3f} to {one.high:.3f}",
            "" if one.difference is None else f"{one.difference:.1e}",
        )
        for one in found
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )


PARTS = {"methods": methods_of, "weighters": weighters_of}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=0, help="rounds of A and B (0: by size)")
    parser.add_argument("--steps", type=int, default=0, help="steps per round (0: by size)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads on the CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", choices=tuple(CASES), default="small")
    parser.add_argument(
        "--only", default="", help="only methods and weighters whose name holds this"
    )
    parser.add_argument("--network", default="", help="only this network")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    asked = parser.parse_args(arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(asked.threads)
    try:
        found: list[Figure] = []
        for case in CASES[asked.size]:
            if asked.network in ("", case.architecture):
                for part in asked.part:
                    for one in PARTS[part](
                        case,
                        steps=asked.steps or case.steps,
                        rounds=asked.rounds or case.rounds,
                        device=asked.device,
                        only=asked.only,
                    ):
                        # The whole takes minutes: each as soon as it is known.
                        print(table([one]).splitlines()[-1], file=sys.stderr, flush=True)
                        found.append(one)
    finally:
        torch.set_num_threads(before)
    print(json.dumps([asdict(one) for one in found]) if asked.json else table(found))


if __name__ == "__main__":
    main()
