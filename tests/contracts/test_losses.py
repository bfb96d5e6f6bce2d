"""Every loss is a pure scalar function of what the model made of the views that it reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog
from trainables.core.batch import Batch

from .toys import outputs, random_batch, same, seeded, snapshot, toy

LOSSES = catalog.names("losses")


def loss_of(name: str, **settings: Any) -> nn.Module:
    found: nn.Module = catalog.build("losses", {"name": name} | settings)
    return found


def views_for(loss: Any, order: Tensor | None = None) -> dict[str, Batch]:
    """One batch, seen with another noise under every label that the loss reads."""
    clean = random_batch(20)
    found = {}
    for i, label in enumerate(loss.reads):
        noise = 0.2 * torch.randn(clean.x.shape, generator=seeded(i))
        batch = Batch(clean.x + noise, clean.y)
        found[label] = batch if order is None else Batch(batch.x[order], batch.y[order])
    return found


@pytest.mark.parametrize("name", LOSSES)
def test_finite_scalar_whose_gradient_reaches_every_layer(name: str) -> None:
    loss, model = loss_of(name), toy(plain=True)
    value = loss(outputs(model, views_for(loss)))
    assert value.shape == ()
    assert torch.isfinite(value)
    found = torch.autograd.grad(value, list(model.parameters()))
    assert all(torch.isfinite(one).all() and one.abs().sum() > 0 for one in found)


@pytest.mark.parametrize("name", LOSSES)
def test_order_of_the_batch_is_irrelevant(name: str) -> None:
    loss, model = loss_of(name), toy(plain=True)
    mixed = views_for(loss, torch.randperm(20, generator=seeded(5)))
    torch.testing.assert_close(
        loss(outputs(model, mixed)), loss(outputs(model, views_for(loss))), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", LOSSES)
def test_deterministic_and_without_side_effects(name: str) -> None:
    loss, model = loss_of(name), toy(plain=True).train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    seen = outputs(model, views_for(loss))
    before, own, random = snapshot(model), snapshot(loss), torch.get_rng_state()
    held = {label: (one.logits.clone(), one.features.clone()) for label, one in seen.items()}
    first, second = loss(seen), loss(seen)
    assert torch.equal(first, second)
    assert same(snapshot(model), before)
    assert same(snapshot(loss), own)
    assert torch.equal(torch.get_rng_state(), random)
    assert same({label: (one.logits, one.features) for label, one in seen.items()}, held)


@pytest.mark.parametrize("name", LOSSES)
def test_reads_the_views_that_its_settings_name(name: str) -> None:
    reads = loss_of(name).reads
    renaming = {
        key: f"other-{value}"
        for key, value in catalog.settings("losses", name).items()
        if value in reads
    }
    loss = loss_of(name, **renaming)
    assert set(loss.reads) == set(renaming.values())
    usual, model = loss_of(name), toy(plain=True)
    batches = views_for(usual)
    renamed = {f"other-{label}": batch for label, batch in batches.items()}
    assert torch.equal(loss(outputs(model, renamed)), usual(outputs(model, batches)))


@pytest.mark.parametrize("name", LOSSES)
def test_settings_a_search_varies_change_no_state(name: str) -> None:
    # Buffers of settings are not persistent: a checkpoint holds what was learned, no config.
    assert set(loss_of(name).state_dict()) <= {key for key, _ in loss_of(name).named_parameters()}
