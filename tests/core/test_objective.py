"""The step: what it reads, what it leaves in `.grad`, and that it never waits for the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.core import catalog
from trainables.core.batch import Batch
from trainables.core.facts import Facts
from trainables.core.objective import Objective, Step
from trainables.core.randomness import Stream
from trainables.core.recipe import objective, resolve
from trainables.core.tasks import Classification
from trainables.core.training import Training

from ..contracts.toys import Toy, random_batch, toy

KL = {
    "views": {"noisy": {"name": "GaussianNoise", "sigma": 0.2}},
    "losses": {"main": {}, "kl": {"name": "Consistency", "coefficient": 0.5}},
}
ADVERSARIAL = {
    "views": {"adv": {"name": "PGD", "eps": 0.1, "steps": 3}},
    "losses": {"main": {}, "adv": {"name": "CrossEntropy", "view": "adv"}},
}
ALL = {
    "views": KL["views"] | ADVERSARIAL["views"],
    "losses": KL["losses"] | ADVERSARIAL["losses"],
}


def made(config: Mapping[str, Any], **training: Any) -> Objective:
    return objective(
        resolve({"training": training, **config}), Classification(), Facts(box=(0.0, 1.0))
    )


def step(model: Toy, config: Mapping[str, Any], **training: Any) -> Step:
    """One step from fixed random numbers, with clean gradients before it."""
    model.zero_grad()
    return made(config, **training).backward(model, random_batch(), Stream(0))


def grads(model: nn.Module) -> list[torch.Tensor]:
    return [one.grad.clone() for one in model.parameters() if one.grad is not None]


# --- values ---------------------------------------------------------------------------------


def test_plain_step_is_the_gradient_of_cross_entropy() -> None:
    model, batch = toy(plain=True), random_batch()
    found = step(model, {})
    loss = nn.functional.cross_entropy(model(batch.x), batch.y)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(grads(model), list(expected))
    torch.testing.assert_close(found.losses, loss.detach().view(1))
    assert found.weights.tolist() == [1.0]
    assert found.norms is found.cosines is None


def test_fixed_weights_leave_the_coefficients_to_decide() -> None:
    model, batch = toy(plain=True), random_batch()
    found = step(model, KL)
    noise = torch.randn(batch.x.shape, generator=torch.Generator().manual_seed(0))
    clean, noisy = model(batch.x), model(batch.x + 0.2 * noise)
    main = nn.functional.cross_entropy(clean, batch.y)
    p, q = clean.detach().log_softmax(1), noisy.log_softmax(1)
    kl = (p.exp() * (p - q)).sum(1).mean()
    expected = torch.autograd.grad(main + 0.5 * kl, list(model.parameters()))
    torch.testing.assert_close(grads(model), list(expected), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.losses, torch.stack([main, kl]).detach())
    torch.testing.assert_close(found.weighted, torch.stack([main, 0.5 * kl]).detach())


def test_similarity_that_accepts_equals_the_plain_sum() -> None:
    # Two cross-entropies on nearly the same view have a cosine near 1.
    config = {
        "views": {"noisy": {"name": "GaussianNoise", "sigma": 0.01}},
        "losses": {"main": {}, "aux": {"name": "CrossEntropy", "view": "noisy"}},
    }
    model = toy(plain=True)
    step(model, config)
    expected = grads(model)
    gate = {"name": "GradientSimilarity", "form": "unweighted"}
    found = step(model, config | {"weighter": gate})
    assert found.cosines is not None
    assert found.cosines.min() > 0.9
    assert found.weights.tolist() == [1.0, 1.0]
    torch.testing.assert_close(grads(model), expected)


def test_coefficient_does_not_change_a_cosine_and_scales_a_norm() -> None:
    model = toy(plain=True)
    found = []
    for coefficient in (0.5, 5.0):
        losses = {"main": {}, "kl": {"name": "Consistency", "coefficient": coefficient}}
        config = {"views": KL["views"], "losses": losses, "weighter": "GradientSimilarity"}
        found.append(step(model, config))
    one, other = found
    assert one.norms is not None
    assert other.norms is not None
    torch.testing.assert_close(one.cosines, other.cosines)
    torch.testing.assert_close(one.norms[1] * 10, other.norms[1])
    torch.testing.assert_close(one.losses, other.losses)


@pytest.mark.parametrize("config", [KL, ADVERSARIAL, ALL], ids=["kl", "adversarial", "all"])
def test_joint_and_separate_agree_where_no_layer_sees_the_batch(config: Any) -> None:
    model = toy(plain=True)
    joint = step(model, config, forward="joint")
    first = grads(model)
    separate = step(model, config, forward="separate")
    torch.testing.assert_close(joint, separate)
    torch.testing.assert_close(first, grads(model))


def test_joint_and_separate_differ_with_batch_normalisation() -> None:
    found = [step(toy().train(), KL, forward=forward) for forward in ("joint", "separate")]
    assert not torch.allclose(found[0].losses, found[1].losses)


def test_views_are_made_without_moving_statistics() -> None:
    model, other = toy().train(), toy().train()
    step(model, ADVERSARIAL, forward="separate")
    counted = int(model.first[3].num_batches_tracked)
    step(other, {})
    # Two views, two passes; the attack's own passes count for nothing.
    assert counted == int(other.first[3].num_batches_tracked) + 1


# --- cost -----------------------------------------------------------------------------------


@contextmanager
def passes(model: Toy) -> Iterator[list[int]]:
    """Sizes of the batches that went through the trunk."""
    found: list[int] = []
    handle = model.first.register_forward_hook(lambda module, given, out: found.append(len(out)))
    yield found
    handle.remove()


@pytest.mark.parametrize(
    ("config", "forward", "expected"),
    [
        ({}, "joint", [12]),
        (KL, "joint", [24]),
        (KL, "separate", [12, 12]),
        (KL | {"weighter": "GradientSimilarity"}, "joint", [24]),
        (ADVERSARIAL, "joint", [12] * 3 + [24]),
        (ALL, "joint", [12] * 3 + [36]),
        (ALL, "separate", [12] * 3 + [12] * 3),
        # The clean view that no loss reads is not made.
        (
            {"views": ADVERSARIAL["views"], "losses": {"main": {"view": "adv"}}},
            "joint",
            [12] * 3 + [12],
        ),
    ],
)
def test_forward_passes_per_step(config: Any, forward: str, expected: list[int]) -> None:
    model = toy().train()
    with passes(model) as found:
        step(model, config, forward=forward)
    assert found == expected


class NoSync(TorchDispatchMode):
    """Fails at any operation that would make the host wait for a value on the device."""

    WAITING = (
        "_local_scalar_dense",
        "item",
        "is_nonzero",
        "nonzero",
        "equal",
        "masked_select",
        "unique_consecutive",
        "_unique2",
        "allclose",
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = args[1] if name in ("index", "index_put", "index_put_") else []
        if name in self.WAITING or any(
            one is not None and one.dtype == torch.bool for one in masks
        ):
            raise RuntimeError(f"the step waits for the device at {func}")
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_the_guard_against_waiting_works() -> None:
    x = torch.ones(3)
    for wait in (x.sum().item, x.nonzero, lambda: bool(x[0] > 0), lambda: x[x > 0]):
        with pytest.raises(RuntimeError, match="waits for the device"), NoSync():
            wait()


RECIPES = {
    "plain": {},
    "kl": KL,
    "adversarial": ADVERSARIAL,
    "pgd-restarts": {
        "views": {"adv": {"name": "PGD", "norm": "l2", "eps": 0.5, "steps": 2, "restarts": 2}},
        "losses": {"main": {"view": "adv"}},
    },
    "cov": KL | {"weighter": "CoV"},
    "cov-normalised": KL | {"weighter": {"name": "CoV", "normalise": "k"}},
    "similarity": ALL | {"weighter": "GradientSimilarity"},
    "projection": ALL | {"weighter": {"name": "GradientSimilarity", "form": "projection"}},
    "last-stage": KL | {"weighter": {"name": "GradientSimilarity", "scope": "last-stage"}},
    "smoothing": {"losses": {"main": {"label_smoothing": 0.1}}},
    "clipping": KL | {"training": {"clip_norm": 1.0}},
    "separate": KL | {"training": {"forward": "separate"}},
    "adam": {"training": {"optimizer": "Adam"}},
    "adamw": {"training": {"optimizer": "AdamW"}},
    **{name: ALL | {"weighter": name} for name in catalog.names("weighters")},
    "convolutions": KL | {"architecture": {"name": "ConvNet", "hidden": 8}},
}


def trainer(config: Mapping[str, Any], device: str) -> Training:
    small = {"data": {"name": "Digits", "limit": 60}, "architecture": {"name": "MLP"}}
    return Training(small | dict(config), device=device)


def first_batch(training: Training) -> Batch:
    (found,) = training.parts.train.batches([torch.arange(16)], device=training.device)
    return found


@pytest.mark.parametrize("config", RECIPES.values(), ids=RECIPES)
def test_no_step_waits_for_the_device(config: Any) -> None:
    training = trainer(config, "cpu")
    batch, draws = first_batch(training), Stream(0)
    training._step(batch, draws)  # the first step makes the optimizer's state
    with NoSync() as seen:
        training._step(batch, draws)
        training.objective.at(0.5)
        training.objective.end_epoch()
    assert seen.count > 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("config", RECIPES.values(), ids=RECIPES)
def test_no_step_waits_for_a_gpu(config: Any) -> None:
    training = trainer(config, "cuda")
    batch, draws = first_batch(training), Stream(0, "cuda")
    training._step(batch, draws)
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        training._step(batch, draws)
    finally:
        torch.cuda.set_sync_debug_mode("default")
