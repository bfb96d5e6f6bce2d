"""Every optimizer goes downhill, every schedule is a factor of the learning rate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from trainables.core import catalog
from trainables.core.errors import SettingError


@pytest.mark.parametrize("name", catalog.names("optimizers"))
def test_lowers_a_quadratic_and_leaves_what_has_no_gradient(name: str) -> None:
    used = nn.Parameter(torch.tensor([5.0, -4.0]))
    unused = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = catalog.build("optimizers", {"name": name, "lr": 0.05})([used, unused])
    assert isinstance(optimizer, torch.optim.Optimizer)
    values = []
    for _ in range(100):
        optimizer.zero_grad()
        value = (used - 1).square().sum()
        value.backward()
        values.append(value.item())
        optimizer.step()
    assert values[-1] < 0.2 * values[0]
    assert torch.equal(unused, torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("name", catalog.names("optimizers"))
@pytest.mark.parametrize("lr", [0, -1, "fast", None, float("nan"), True])
def test_learning_rate_is_checked(name: str, lr: object) -> None:
    with pytest.raises(SettingError, match=f"{name}: lr must be"):
        catalog.build("optimizers", {"name": name, "lr": lr})


@pytest.mark.parametrize("name", catalog.names("schedules"))
def test_factor_starts_at_1_and_stays_within_0_and_1(name: str) -> None:
    schedule: Callable[[float], float] = catalog.build("schedules", {"name": name})
    assert schedule(0.0) == 1.0
    found = [schedule(step / 200) for step in range(201)]
    assert all(isinstance(one, float) and 0 <= one <= 1 for one in found)
    assert found == [schedule(step / 200) for step in range(201)]
