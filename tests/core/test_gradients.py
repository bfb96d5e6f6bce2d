"""Gradients of several losses against naive computations in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainables.core import weighing
from trainables.core.gradients import Gradients

from ..contracts.toys import Toy, random_batch, seeded, toy

SCOPES = weighing.SCOPES
WEIGHTS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)


def model_and_losses(heads: nn.ModuleList | None = None) -> tuple[Toy, list[Tensor]]:
    """Three losses; the second does not reach the head of the model, the third has its own."""
    model = toy(plain=True).double()
    x, y = random_batch(7)
    features = model.features(x.double())
    first = nn.functional.cross_entropy(model.head(features), y)
    second = features.square().mean()
    third = (features if heads is None else heads[0](features)).sin().sum()
    return model, [first, second, third]


def private() -> nn.ModuleList:
    heads = nn.ModuleList([nn.Linear(12, 3), nn.Linear(2, 2)]).double()
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(4)))
    return heads


def rows_of(losses: list[Tensor], parameters: list[nn.Parameter]) -> list[list[Tensor]]:
    """Every loss's gradient by itself, with zeros where it does not reach."""
    rows = []
    for loss in losses:
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(found, parameters, strict=True)
        rows.append([torch.zeros_like(p) if g is None else g for g, p in pairs])
    return rows


def scope_of(model: nn.Module, scope: str) -> list[nn.Parameter] | None:
    return weighing.make({"name": "Fixed", "scope": scope}, 3).parameters_of(model)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("order", [1, -1], ids=["main-first", "main-last"])
def test_gramian_is_that_of_the_flattened_gradients(scope: str, order: int) -> None:
    model, losses = model_and_losses()
    losses = losses[::order]
    chosen = scope_of(model, scope) or list(model.parameters())
    flat = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows_of(losses, chosen)])
    found = Gradients(losses, list(model.parameters()), (), scope_of(model, scope)).gramian
    torch.testing.assert_close(found, flat @ flat.T)


def test_scopes_hold_what_their_names_say() -> None:
    model = toy(plain=True)
    expected = {
        "trunk": [*model.first.parameters(), *model.second.parameters()],
        "last-stage": [*model.second.parameters()],
        "last-layer": [*model.head.parameters()],
    }
    assert scope_of(model, "all") is None
    for scope, parameters in expected.items():
        found = scope_of(model, scope)
        assert found is not None
        assert [id(one) for one in found] == [id(one) for one in parameters]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("measured", [True, False])
def test_descend_leaves_the_weighed_gradient(scope: str, measured: bool) -> None:
    model, losses = model_and_losses()
    shared = list(model.parameters())
    rows = rows_of(losses, shared)
    gradients = Gradients(losses, shared, (), scope_of(model, scope))
    if measured:
        assert gradients.gramian.shape == (3, 3)
    gradients.descend(WEIGHTS)
    for i, parameter in enumerate(shared):
        expected = sum(w * row[i] for w, row in zip(WEIGHTS, rows, strict=True))
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("weight", [2.0, -0.5, 0.0])
def test_private_parameters_take_their_own_gradient(
    scope: str, measured: bool, weight: float
) -> None:
    heads = private()
    model, losses = model_and_losses(heads)
    weights = torch.cat([WEIGHTS[:2], torch.tensor([weight])])
    shared, own = list(model.parameters()), list(heads.parameters())
    (_, _, third), rows = rows_of(losses, own), rows_of(losses, shared)
    gradients = Gradients(losses, shared, [(), (), own], scope_of(model, scope))
    if measured:
        assert gradients.gramian.shape == (3, 3)
    gradients.descend(weights)
    for expected, parameter in zip(third[:2], own[:2], strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected)
    # No loss reads the second head.
    assert own[2].grad is own[3].grad is None
    for i, parameter in enumerate(shared):
        assert parameter.grad is not None
        expected = sum(w * row[i] for w, row in zip(weights, rows, strict=True))
        torch.testing.assert_close(parameter.grad, expected)


def test_frozen_parameters_are_left_out() -> None:
    model, losses = model_and_losses(private())
    next(iter(model.parameters())).requires_grad_(False)
    model.zero_grad()
    gradients = Gradients(losses, model.parameters())
    assert gradients.gramian.shape == (3, 3)
    gradients.descend(WEIGHTS)
    found = [one.grad is None for one in model.parameters()]
    assert found[0]
    assert not all(found)


@pytest.mark.parametrize("measured", [True, False])
def test_unreached_parameters_and_losses_without_a_gradient(measured: bool) -> None:
    used, unused = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([3.0]))
    gradients = Gradients([used.square().sum(), torch.tensor(5.0)], [used, unused])
    if measured:
        assert gradients.gramian.tolist() == [[16.0, 0.0], [0.0, 0.0]]
    gradients.descend(torch.tensor([0.5, 1.0]))
    assert used.grad is not None
    assert used.grad.tolist() == [2.0]
    assert unused.grad is None


def test_no_gradient_is_shared_between_parameters() -> None:
    # The gradient of a sum is one tensor for both; scaling it in place would scale it twice.
    a, b = (nn.Parameter(torch.ones(3)) for _ in range(2))
    gradients = Gradients([(a + b).sum(), (a + b).sum()], [a, b])
    assert gradients.gramian.tolist() == [[6.0, 6.0], [6.0, 6.0]]
    gradients.descend(torch.tensor([2.0, 1.0]))
    assert a.grad is not None
    assert a.grad.tolist() == [3.0] * 3
    assert b.grad is not None
    assert b.grad.tolist() == [3.0] * 3
    assert a.grad.data_ptr() != b.grad.data_ptr()


def test_each_loss_goes_backward_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, losses = model_and_losses()
    passes: list[int] = []
    for loss in losses:
        loss.register_hook(lambda gradient: passes.append(1))
    gradients = Gradients(losses, list(model.parameters()))
    assert not gradients.measured
    assert gradients.gramian is gradients.gramian
    assert gradients.measured
    gradients.descend(WEIGHTS)
    assert gradients.norms.shape == gradients.cosines.shape
    assert len(passes) == 3


def test_report_gives_norms_and_cosines_to_the_main_loss() -> None:
    theta = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    directions = torch.tensor([[3.0, 4.0], [0.0, 2.0], [-3.0, -4.0], [0.0, 0.0]]).double()
    found = Gradients([row @ theta for row in directions], [theta])
    norms, cosines = found.norms, found.cosines
    assert norms.tolist() == pytest.approx([5, 2, 5, 0])
    assert cosines.tolist() == pytest.approx([1, 0.8, -1, 0])
