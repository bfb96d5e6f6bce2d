"""Small real models, data and problems that the tests of the core are run on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog
from trainables.core.batch import Batch, Outputs
from trainables.core.data._source import Examples
from trainables.core.gradients import Gradients


def components(*kinds: str) -> Any:
    """Every component of the kinds as pytest parameters with readable ids."""
    found = [(kind, name) for kind in kinds for name in catalog.names(kind)]
    return [pytest.param(kind, name, id=f"{kind}-{name}") for kind, name in found]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Toy(nn.Module):
    """A trunk with batch normalisation and dropout behind the interface of an architecture."""

    def __init__(self, values: int, classes: int, *, width: int = 12, plain: bool = False) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(values, 16), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(16, width), nn.Tanh())
        if not plain:
            self.first.append(nn.BatchNorm1d(16)).append(nn.Dropout(0.3))
            self.second.append(nn.BatchNorm1d(width))
        self.head = nn.Linear(width, classes)

    def stages(self) -> list[nn.Module]:
        return [self.first, self.second]

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(x))
        return found

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.features(x))
        return found


def toy(
    shape: tuple[int, ...] = (1, 8, 8), classes: int = 10, *, plain: bool = False, seed: int = 0
) -> Toy:
    """A Toy whose weights, and whose statistics where it has some, come from the seed."""
    model = Toy(int(torch.tensor(shape).prod()), classes, plain=plain)
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model


def random_batch(
    n: int = 12, shape: tuple[int, ...] = (1, 8, 8), classes: int = 10, *, seed: int = 1
) -> Batch:
    """Uniform inputs in [0, 1] with every class among the targets."""
    x = torch.rand(n, *shape, generator=seeded(seed))
    return Batch(x, torch.arange(n) % classes)


@lru_cache(maxsize=1)
def digits() -> Examples:
    """The training digits in a fixed shuffled order."""
    found: Examples = catalog.build("data", {"name": "Digits"}).load(Path()).train
    return found.take(torch.randperm(len(found), generator=seeded()))


@lru_cache(maxsize=1)
def trained() -> nn.Module:
    """A small network that knows the digits, in evaluation mode; not to be changed."""
    model = toy(plain=True)
    data = digits()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(200):
        rows = slice(step % 10 * 100, step % 10 * 100 + 100)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data.x[rows]), data.y[rows]).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model.eval()


def outputs(model: nn.Module, batches: dict[str, Batch]) -> dict[str, Outputs]:
    """What the model makes of every view, one after another."""
    found = {}
    for label, batch in batches.items():
        features = model.features(batch.x)
        found[label] = Outputs(model.head(features), features, batch.x, batch.y)
    return found


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything of a model that a pure function must leave alone."""
    parameters = dict(model.named_parameters())
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "flags": {name: one.requires_grad for name, one in parameters.items()},
        "grads": {
            name: None if one.grad is None else one.grad.clone() for name, one in parameters.items()
        },
    }


def same(a: Any, b: Any) -> bool:
    """Whether two nests of dicts, lists, tensors and numbers are equal bit for bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    return bool(a == b)


def losses_of(values: Iterable[float], directions: Tensor) -> tuple[Gradients, nn.Parameter]:
    """Scalar losses that have these values, and value times direction as their gradients."""
    theta = nn.Parameter(torch.zeros(directions.shape[1]))
    found = [value * (1 + row @ theta) for value, row in zip(values, directions, strict=False)]
    return Gradients(found, [theta]), theta
