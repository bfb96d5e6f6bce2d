"""Every weighter gives k finite weights, changes no gradient, and resumes where it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog, weighing

from .toys import losses_of, same, seeded

WEIGHTERS = catalog.names("weighters")
each = pytest.mark.parametrize("name", WEIGHTERS)

SEQUENCES = {
    "zero": [[0.0, 0.0, 0.0]] * 5,
    "huge": [[1e30, 1e30, 1e30]] * 5,
    "tiny": [[1e-30, 1e-30, 1e-30]] * 5,
    "constant": [[2.0, 0.5, 1.0]] * 5,
    "zero-then-not": [[0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [1.0, 0.0, 3.0], [0.5, 0.1, 0.0]] * 2,
    "unlike": [[1e30, 1e-30, 1.0], [1e29, 1e-29, 0.0], [1e30, 1e-31, 2.0]] * 2,
    "exploding": [[1.0, 1.0, 1.0], [0.9, 1.0, 1.0], [1e30, 1.0, 1.0], [1e30, 1e30, 1.0]] * 2,
    "vanishing": [[1e-6, 1.0, 1.0], [1e-30, 1.0, 1.0], [0.0, 1e-20, 1.0]] * 2,
}


def weigher(name: str, k: int, **settings: Any) -> weighing.Weighing:
    return weighing.make({"name": name} | settings, k)


def run(one: nn.Module, steps: list[list[float]], k: int, seed: int = 0) -> list[Tensor]:
    directions = torch.randn(k, 6, generator=seeded(seed))
    found = []
    for values in steps:
        gradients, _ = losses_of(values[:k], directions)
        losses = torch.stack(gradients.losses).detach()
        found.append(one(losses, gradients).clone())
    return found


@each
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_k_finite_weights_of_any_losses(name: str, k: int, sequence: str) -> None:
    one = weigher(name, k)
    for weights in run(one, SEQUENCES[sequence], k):
        assert weights.shape == (k,)
        assert torch.isfinite(weights).all()
        assert (weights >= 0).all()
    assert all(torch.isfinite(value).all() for value in one.state_dict().values())


@each
@pytest.mark.parametrize("normalise", ["one", "k"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_weights_sum_to_what_was_asked(name: str, normalise: str, k: int) -> None:
    steps = torch.rand(5, k, generator=seeded(2)).add(0.1).tolist()
    wanted = 1.0 if normalise == "one" else float(k)
    for weights in run(weigher(name, k, normalise=normalise), steps, k):
        assert float(weights.sum()) == pytest.approx(wanted, abs=1e-5)


@each
def test_state_moves_to_another_weighter_mid_run(name: str) -> None:
    steps = torch.rand(9, 3, generator=seeded(3)).add(0.1).tolist()
    whole, first, second = (weigher(name, 3) for _ in range(3))
    expected = run(whole, steps, 3)[4:]
    run(first, steps[:4], 3)
    second.load_state_dict(first.state_dict())
    assert same(run(second, steps[4:], 3), expected)
    assert same(second.state_dict(), whole.state_dict())


@each
def test_calling_it_changes_no_gradient_no_loss_and_no_random_state(name: str) -> None:
    gradients, theta = losses_of([2.0, 1.0], torch.randn(2, 6, generator=seeded()))
    theta.grad = torch.full_like(theta, 7.0)
    losses = torch.stack(gradients.losses).detach()
    before, random = losses.clone(), torch.get_rng_state()
    weights = weigher(name, 2)(losses, gradients)
    assert torch.equal(theta.grad, torch.full_like(theta, 7.0))
    assert torch.equal(losses, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert not weights.requires_grad


@each
def test_constructor_is_the_only_way_to_state(name: str) -> None:
    # Two weighters of one config share nothing.
    one, other = weigher(name, 2), weigher(name, 2)
    run(one, [[1.0, 2.0], [2.0, 1.0], [0.5, 3.0]], 2)
    assert same(other.state_dict(), weigher(name, 2).state_dict())
