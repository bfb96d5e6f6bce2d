"""The Newton steps of the bargain and of fair gradients: each lowers the cost, few are enough."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainables.core.weighters import fair_grad, nash_mtl
from trainables.core.weighters._fairness import balanced
from trainables.core.weighters._gramian import scaled
from trainables.core.weighters._quadratic import cosines_and_norms

from ..contracts.toys import seeded


def problem(found: Tensor) -> tuple[Tensor, Tensor]:
    gramian = found @ found.T
    return cosines_and_norms(scaled(gramian)[0], gramian)


def cost(cosines: Tensor, norms: Tensor, weights: Tensor, power: float) -> float:
    """w^T G w / 2 - sum w^(1 - p) / (1 - p), for the Gramian of these cosines and norms."""
    u = weights * norms
    gain = weights.log() if power == 1 else weights ** (1 - power) / (1 - power)
    return float(u @ cosines @ u / 2 - gain.sum())


def steps_of(power: float) -> int:
    return nash_mtl.STEPS if power == 1 else fair_grad.STEPS


@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(1, 5),
    n=st.integers(1, 7),
    seed=st.integers(0, 10**6),
    power=st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0]),
    spread=st.floats(0, 1.5),
)
def test_every_step_lowers_the_cost(k: int, n: int, seed: int, power: float, spread: float) -> None:
    generator = seeded(seed)
    sizes = 10 ** (spread * (2 * torch.rand(k, 1, generator=generator) - 1))
    cosines, norms = problem(torch.randn(k, n, generator=generator) * sizes)
    found = [
        balanced(cosines, norms, torch.tensor(power, dtype=torch.float64), i) for i in range(12)
    ]
    assert all(bool((weights > 0).all()) for weights in found)
    costs = [cost(cosines, norms, weights, power) for weights in found]
    size = max(1.0, *map(abs, costs))
    assert all(after <= before + 1e-9 * size for before, after in pairwise(costs))


@pytest.mark.parametrize("power", [0.1, 1.0, 4.0])
def test_one_step_solves_for_one_gradient(power: float) -> None:
    cosines, norms = torch.tensor([[1.5]]).double(), torch.tensor([3.0]).double()
    found = balanced(cosines, norms, torch.tensor(power, dtype=torch.float64), 1)
    # 9 * 1.5 w = w^-p.
    assert found.tolist() == [pytest.approx(13.5 ** (-1 / (1 + power)), rel=1e-12)]


@pytest.mark.parametrize("power", [0.1, 0.2, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("k", [2, 3, 5, 16])
def test_the_steps_taken_are_enough_where_gradients_cancel(k: int, power: float) -> None:
    found = torch.randn(k, 2 * k, generator=seeded(k))
    found[1] = -found[0]
    cosines, norms = problem(found)
    exponent = torch.tensor(power, dtype=torch.float64)
    few = balanced(cosines, norms, exponent, steps_of(power))
    torch.testing.assert_close(few, balanced(cosines, norms, exponent, 100), atol=0, rtol=1e-5)
