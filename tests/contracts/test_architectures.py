"""Every architecture: features then head, normalisation inside, and it can learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trainables.core import catalog
from trainables.core.errors import SettingError

from .small import SMALL
from .toys import digits, random_batch, seeded

ARCHITECTURES = [
    name
    for name in catalog.names("architectures")
    if "classification" in catalog.find("architectures", name).tasks
]
IMAGES = [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 20, 30)]
SERIES = [(1, 24), (3, 40)]
each = pytest.mark.parametrize("name", ARCHITECTURES)


def architecture(name: str, shape: tuple[int, ...], outputs: int = 4, **facts: Any) -> nn.Module:
    channels = shape[0]
    found = {"mean": [0.4] * channels, "deviation": [0.3] * channels} | facts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = catalog.build(
            "architectures",
            {"name": name} | SMALL.get(name, {}),
            shape=shape,
            outputs=outputs,
            **found,
        )
    return model


def takes_series(name: str) -> bool:
    """Whether it is for series only."""
    try:
        architecture(name, (3, 16, 16))
    except SettingError as error:
        assert "needs series (c, t), found inputs of shape (3, 16, 16)" in str(error)
        return True
    return False


def fitting(name: str, channels: int = 3) -> tuple[int, ...]:
    """A shape that the architecture takes."""
    return (channels, 40) if takes_series(name) else (channels, 16, 16)


@each
@pytest.mark.parametrize("shape", [*IMAGES, *SERIES], ids=lambda shape: "x".join(map(str, shape)))
def test_forward_is_head_of_features(name: str, shape: tuple[int, ...]) -> None:
    try:
        model = architecture(name, shape).eval()
    except SettingError as error:
        assert shape in (IMAGES if takes_series(name) else SERIES)
        assert f"found inputs of shape {shape}" in str(error)
        return
    x = random_batch(3, shape).x
    with torch.no_grad():
        features, found = model.features(x), model(x)
        assert features.shape == (3, model.width)
        assert found.shape == (3, 4)
        assert torch.equal(model.head(features), found)
        assert torch.equal(model(x), found)


@each
def test_stages_are_parts_of_the_trunk_that_learn(name: str) -> None:
    model = architecture(name, fitting(name))
    stages, parts = model.stages(), list(model.modules())
    assert stages
    assert all(any(stage is part for part in parts) for stage in stages)
    owned = [id(one) for stage in stages for one in stage.parameters()]
    assert all(list(stage.parameters()) for stage in stages)
    assert len(owned) == len(set(owned))
    head = {id(one) for one in model.head.parameters()}
    assert head
    assert not head & set(owned)
    assert set(owned) | head == {id(one) for one in model.parameters()}


@each
def test_normalisation_is_the_first_layer(name: str) -> None:
    shape, mean, deviation = fitting(name), [0.1, 0.5, 0.9], [0.2, 0.5, 2.0]
    inside = architecture(name, shape, mean=mean, deviation=deviation).eval()
    outside = architecture(name, shape, mean=[0.0] * 3, deviation=[1.0] * 3).eval()
    x = random_batch(4, shape).x
    wide = (3, *[1] * (len(shape) - 1))
    scaled = (x - torch.tensor(mean).view(wide)) / torch.tensor(deviation).view(wide)
    with torch.no_grad():
        torch.testing.assert_close(inside(x), outside(scaled), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(inside(x), inside(scaled), atol=1e-2)


@each
def test_channel_without_spread_is_no_division_by_0(name: str) -> None:
    model = architecture(name, fitting(name), deviation=[0.0, 0.3, 0.3]).eval()
    with torch.no_grad():
        assert torch.isfinite(model(random_batch(2, fitting(name)).x)).all()


@each
def test_every_parameter_learns_and_initial_values_come_from_the_seed(name: str) -> None:
    shape = fitting(name, 1)
    model, twin = (architecture(name, shape, 10) for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )
    batch = random_batch(8, shape)
    nn.functional.cross_entropy(model.train()(batch.x), batch.y).backward()
    assert [key for key, one in model.named_parameters() if one.grad is None] == []


@each
@pytest.mark.slow
def test_overfits_16_examples(name: str) -> None:
    data = digits()
    x, y = data.x[:16], data.y[:16]
    if takes_series(name):
        x = x.flatten(2)
    model = architecture(name, tuple(x.shape[1:]), 10).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(40):
        for _ in range(4):
            optimizer.zero_grad()
            # The noise keeps statistics of batch normalisation from fitting 16 points alone.
            noise = 0.01 * torch.randn(x.shape, generator=seeded())
            nn.functional.cross_entropy(model(x + noise), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = int((model(x).argmax(1) == y).sum())
        model.train()
        if right == 16:
            return
    assert right == 16
