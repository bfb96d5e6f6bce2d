"""Every weighter gives k finite weights, changes no gradient, and resumes where it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.core import catalog, weighing
from trainables.core.errors import SettingError

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


COUNTS = (1, 2, 3, 5)


def weigher(name: str, k: int, **settings: Any) -> weighing.Weighing:
    return weighing.make({"name": name} | settings, k)


def counts(name: str) -> list[int]:
    """The numbers of losses that the weighter takes."""
    return [k for k in COUNTS if k >= getattr(catalog.find("weighters", name), "least", 1)]


WITH_COUNTS = [pytest.param(name, k, id=f"{name}-{k}") for name in WEIGHTERS for k in counts(name)]
each_count = pytest.mark.parametrize(("name", "k"), WITH_COUNTS)


def run(one: weighing.Weighing, steps: list[list[float]], k: int, seed: int = 0) -> list[Tensor]:
    directions = torch.randn(k, 6, generator=seeded(seed))
    found = []
    for values in steps:
        # A sequence of three losses serves five: they repeat.
        gradients, _ = losses_of((values * 2)[:k], directions)
        losses = torch.stack(gradients.losses).detach()
        found.append(one(losses, gradients).clone())
        if one.looks_back:
            one.observe(losses)
        if len(found) % 2 == 0:
            one.end_epoch()
    return found


def finite(state: dict[str, Any]) -> bool:
    return all(torch.isfinite(value).all() for value in state.values())


@each_count
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_k_finite_weights_of_any_losses(name: str, k: int, sequence: str) -> None:
    one = weigher(name, k)
    signed = getattr(one.weighter, "signed", False)
    for weights in run(one, SEQUENCES[sequence], k):
        assert weights.shape == (k,)
        assert weights.dtype == torch.float32
        assert torch.isfinite(weights).all()
        assert signed or (weights >= 0).all()
    assert finite(one.state_dict())


@each_count
def test_negative_losses_give_finite_weights(name: str, k: int) -> None:
    one = weigher(name, k)
    steps = torch.randn(6, 3, generator=seeded(4)).tolist()
    assert all(torch.isfinite(weights).all() for weights in run(one, steps, k))
    assert finite(one.state_dict())


@each_count
def test_any_object_with_a_gramian_will_do(name: str, k: int) -> None:
    class Only:
        def __init__(self, gramian: Tensor) -> None:
            self.gramian = gramian

    rows = torch.randn(k, 4, generator=seeded(6))
    losses = torch.rand(k, generator=seeded(7)) + 0.1
    assert weigher(name, k)(losses, Only(rows @ rows.T)).shape == (k,)


@each
def test_too_few_losses_are_refused_by_name(name: str) -> None:
    least = getattr(catalog.find("weighters", name), "least", 1)
    if least == 1:
        assert weigher(name, 1)(torch.ones(1), losses_of([1.0], torch.ones(1, 3))[0]).shape == (1,)
    else:
        with pytest.raises(SettingError, match=f"{name} .* needs at least {least} losses, found 1"):
            weigher(name, least - 1)


@each
def test_what_it_declares_is_what_it_does(name: str) -> None:
    gradients, _ = losses_of([2.0, 1.0, 0.5], torch.randn(3, 6, generator=seeded()))
    one = weigher(name, 3)
    one(torch.stack(gradients.losses).detach(), gradients)
    assert gradients.measured == (one.extra_passes(3)["extra_backwards"] > 0)
    assert one.extra_passes(3)["extra_forwards"] == float(one.looks_back)


@each_count
@pytest.mark.parametrize("normalise", ["one", "k"])
@pytest.mark.parametrize("protect", [False, True], ids=["", "main-protected"])
def test_weights_sum_to_what_was_asked(name: str, k: int, normalise: str, protect: bool) -> None:
    steps = torch.rand(5, 3, generator=seeded(2)).add(0.1).tolist()
    if getattr(catalog.find("weighters", name), "signed", False):
        with pytest.raises(SettingError, match=f"normalise must be none with {name}"):
            weigher(name, k, normalise=normalise)
        return
    free = k - 1 if protect else k
    wanted = min(1.0, free) if normalise == "one" else float(free)
    one = weigher(name, k, normalise=normalise, protect_main=protect)
    for weights in run(one, steps, k):
        part = weights[1:] if protect else weights
        if protect:
            assert float(weights[0]) == 1
        # Weights that sum to 0 or less are left as the method gives them.
        if float(part.sum()) > 0 and free:
            assert float(part.sum()) == pytest.approx(wanted, abs=1e-4)


@each
def test_state_moves_to_another_weighter_mid_run(name: str) -> None:
    steps = torch.rand(9, 3, generator=seeded(3)).add(0.1).tolist()
    whole, first, second = (weigher(name, 3, refresh=3, warmup=5) for _ in range(3))
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


# --- options that all weighters share ---------------------------------------------------------


def test_warm_up_weights_are_1_while_the_weighter_learns() -> None:
    steps = torch.rand(8, 3, generator=seeded(3)).add(0.1).tolist()
    warmed, plain = (run(weigher("CoV", 3, warmup=n), steps, 3) for n in (4, 0))
    assert same(warmed[:4], [torch.ones(3)] * 4)
    assert same(warmed[4:], plain[4:])


def test_weights_are_held_between_refreshes() -> None:
    steps = torch.rand(7, 3, generator=seeded(3)).add(0.1).tolist()
    one = weigher("MGDA", 3, refresh=3)
    found = run(one, steps, 3)
    assert same(found[1:3], [found[0]] * 2)
    assert not torch.equal(found[3], found[0])
    assert one.extra_passes(3)["extra_backwards"] == pytest.approx(2 / 3)


def test_an_exploding_loss_keeps_a_gradient_that_is_scaled_down() -> None:
    gradients, theta = losses_of([50.0, 1.0], torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    losses = torch.stack(gradients.losses).detach()
    weights = weigher("Fixed", 2, max_loss=5.0)(losses, gradients)
    torch.testing.assert_close(weights, torch.tensor([0.1, 1.0]))
    gradients.descend(weights)
    torch.testing.assert_close(theta.grad, torch.tensor([5.0, 1.0]))


def test_a_gradient_weighter_sees_the_clipped_losses() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    one = weigher("MGDA", 2, max_loss=1.0)
    gradients, _ = losses_of([10.0, 1.0], rows)
    clipped, _ = losses_of([1.0, 1.0], rows)
    losses = torch.stack(gradients.losses).detach()
    found = one(losses, gradients) * torch.tensor([10.0, 1.0])
    torch.testing.assert_close(found, weigher("MGDA", 2)(torch.ones(2), clipped))


def test_a_scope_of_its_own_costs_a_backward_pass_more() -> None:
    whole, part = (weigher("PCGrad", 3, scope=scope) for scope in ("all", "last-stage"))
    assert whole.extra_passes(3)["extra_backwards"] == 2
    assert part.extra_passes(3)["extra_backwards"] == 3
