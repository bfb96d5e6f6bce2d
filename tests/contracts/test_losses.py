"""Every loss is a pure scalar function of what the model made of the views that it reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog
from trainables.core.batch import Batch

from ..core.loss_inputs import loss_of
from ..core.test_objective import NoSync
from .toys import outputs, random_batch, same, seeded, snapshot, toy

# What a settings file may ask of a loss beyond its defaults and changes what is computed.
FORMS: dict[str, list[dict[str, Any]]] = {
    "Consistency": [
        {"form": "mse"},
        {"direction": "symmetric", "confidence": 0.15, "entropy": 0.1, "temperature": 0.5},
    ],
    "CrossEntropy": [{"tsa": "exp", "label_smoothing": 0.1}, {"tsa": "linear"}, {"tsa": "log"}],
    "Focal": [{"alpha": [0.1 * i for i in range(1, 11)], "gamma": 0.5}],
    "Hinge": [{"form": "weston-watkins", "power": 2}, {"form": "multi-margin"}],
    "MART": [{"term": "weighted-kl"}],
    "SupervisedContrastive": [{"views": ["clean"], "hidden": 0}],
    "MaskedReconstruction": [{"hidden": 5}],
}
# Views whose targets are class numbers whatever the model's own task is.
NUMBERED = {"rotated", "auxiliary"}

# What a detector makes is another thing; its loss has tests of its own.
NAMES = [
    name for name in catalog.names("losses") if catalog.find("losses", name).tasks != ("detection",)
]


def facts(task: str) -> dict[str, Any]:
    return {
        "width": 12,
        "outputs": 1 if task == "regression" else 10,
        "shape": (1, 8, 8),
        "classes_of": {"auxiliary": 4},
    }


def cases() -> list[Any]:
    """Every loss in each of its forms with each of its tasks."""
    return [
        pytest.param(name, form, task, id=f"{name}-{i}-{task}")
        for name in NAMES
        for i, form in enumerate([{}, *FORMS.get(name, [])])
        for task in loss_of(name, facts("classification"), **form).tasks
    ]


each = pytest.mark.parametrize(("name", "form", "task"), cases())


def views_for(loss: Any, task: str, order: Tensor | None = None) -> dict[str, Batch]:
    """One batch, seen with another noise under every label that the loss reads."""
    clean = random_batch(20, classes=4)
    values = torch.randn(20, generator=seeded(9))
    found = {}
    for i, label in enumerate(loss.reads):
        x = clean.x + 0.2 * torch.randn(clean.x.shape, generator=seeded(i))
        y = values if task == "regression" and label not in NUMBERED else clean.y
        x, y = (x, y) if order is None else (x[order], y[order])
        found[label] = Batch(x.requires_grad_(getattr(loss, "input_gradient", False)), y)
    return found


def model_for(task: str) -> nn.Module:
    return toy(classes=1 if task == "regression" else 10, plain=True)


@each
def test_finite_scalar_whose_gradient_reaches_every_layer(
    name: str, form: dict[str, Any], task: str
) -> None:
    loss, model = loss_of(name, facts(task), **form), model_for(task)
    value = loss(outputs(model, views_for(loss, task)))
    assert value.shape == ()
    assert torch.isfinite(value)
    trunk = [one for stage in model.stages() for one in stage.parameters()]
    # A loss with a head of its own does not use the model's, whose bias cancels in differences.
    own = list(loss.parameters()) or [model.head.weight]
    found = torch.autograd.grad(value, [*trunk, *own])
    assert all(torch.isfinite(one).all() and one.abs().sum() > 0 for one in found)


@each
def test_finite_for_extreme_logits(name: str, form: dict[str, Any], task: str) -> None:
    loss, model = loss_of(name, facts(task), **form), model_for(task)
    with torch.no_grad():
        for parameter in [*model.head.parameters(), *loss.parameters()]:
            parameter.mul_(1e4)
    value = loss(outputs(model, views_for(loss, task)))
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    assert torch.isfinite(value)
    assert all(one is None or torch.isfinite(one).all() for one in found)


@each
def test_order_of_the_batch_is_irrelevant(name: str, form: dict[str, Any], task: str) -> None:
    loss, model = loss_of(name, facts(task), **form), model_for(task)
    mixed = views_for(loss, task, torch.randperm(20, generator=seeded(5)))
    torch.testing.assert_close(
        loss(outputs(model, mixed)),
        loss(outputs(model, views_for(loss, task))),
        rtol=1e-5,
        atol=1e-6,
    )


@each
def test_deterministic_and_without_side_effects(name: str, form: dict[str, Any], task: str) -> None:
    loss, model = loss_of(name, facts(task), **form), model_for(task).train()
    for parameter in [*model.parameters(), *loss.parameters()]:
        parameter.grad = torch.ones_like(parameter)
    seen = outputs(model, views_for(loss, task))
    before, own, random = snapshot(model), snapshot(loss), torch.get_rng_state()

    def held() -> dict[str, Any]:
        return {
            label: [part.detach().clone() for part in (one.logits, one.features, one.x, one.y)]
            for label, one in seen.items()
        }

    found = held()
    first, second = loss(seen), loss(seen)
    assert torch.equal(first, second)
    assert same(snapshot(model), before)
    assert same(snapshot(loss), own)
    assert torch.equal(torch.get_rng_state(), random)
    assert same(held(), found)
    assert all(one.x.grad is None for one in seen.values())


@each
def test_never_waits_for_the_device(name: str, form: dict[str, Any], task: str) -> None:
    loss, model = loss_of(name, facts(task), **form), model_for(task)
    seen = outputs(model, views_for(loss, task))
    with NoSync() as guard:
        loss(seen).backward()
    assert guard.count > 0


@each
def test_reads_the_views_that_its_settings_name(name: str, form: dict[str, Any], task: str) -> None:
    usual = loss_of(name, facts(task), **form)
    assert usual.reads
    renaming: dict[str, Any] = {}
    for key, value in (catalog.settings("losses", name) | form).items():
        if isinstance(value, str) and value in usual.reads:
            renaming[key] = f"other-{value}"
        elif isinstance(value, list | tuple) and set(value) <= set(usual.reads):
            renaming[key] = [f"other-{one}" for one in value]
    # The number of classes of a view goes by its label.
    known = facts(task)
    known["classes_of"] |= {f"other-{k}": n for k, n in known["classes_of"].items()}
    loss, model = loss_of(name, known, **form | renaming), model_for(task)
    assert set(loss.reads) == {f"other-{label}" for label in usual.reads}
    batches = views_for(usual, task)
    renamed = {f"other-{label}": batch for label, batch in batches.items()}
    assert torch.equal(loss(outputs(model, renamed)), usual(outputs(model, batches)))


@each
def test_settings_a_search_varies_change_no_state(
    name: str, form: dict[str, Any], task: str
) -> None:
    # Buffers of settings are not persistent: a checkpoint holds what was learned, no config.
    loss = loss_of(name, facts(task), **form)
    assert set(loss.state_dict()) <= {key for key, _ in loss.named_parameters()}


@each
def test_weights_of_its_own_come_from_the_global_generator(
    name: str, form: dict[str, Any], task: str
) -> None:
    first, again = (loss_of(name, facts(task), **form) for _ in range(2))
    assert same(snapshot(first), snapshot(again))


@pytest.mark.parametrize("name", NAMES)
def test_can_be_built_before_the_data_is_known(name: str) -> None:
    # A recipe is checked without its data: the shape is empty, the numbers stand for any.
    found = loss_of(name, {"width": 1, "outputs": 1, "shape": (), "classes_of": {}})
    assert all(isinstance(label, str) for label in found.reads)
    assert set(found.tasks) <= {"classification", "regression", "detection"}
