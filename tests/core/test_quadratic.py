"""Small quadratic programs: against other solvers, the conditions of the optimum, and limits."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor

from trainables.core.errors import SettingError
from trainables.core.weighters._quadratic import (
    all_sets,
    cosines_and_norms,
    few,
    lifted,
    nonnegative,
    smallest,
)

from ..contracts.toys import seeded


def rows(k: int, n: int, seed: int = 0) -> Tensor:
    return torch.randn(k, n, generator=seeded(seed), dtype=torch.float64)


def unit(found: Tensor) -> tuple[Tensor, Tensor]:
    return cosines_and_norms(found @ found.T, found)


def test_every_set_of_unknowns_is_solved() -> None:
    matrix, right = unit(rows(3, 4))[0], rows(3, 2, 1)
    values, sides = all_sets(matrix, right)
    assert sorted(map(tuple, sides[..., 0].tolist())) == sorted(product((-1.0, 1.0), repeat=3))
    for value, side in zip(values, sides[..., 0], strict=True):
        inside = side > 0
        z = torch.zeros_like(right)
        z[inside] = torch.linalg.solve(matrix[inside][:, inside], right[inside])
        torch.testing.assert_close(value, torch.where(inside[:, None], z, right - matrix @ z))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 10**6))
def test_nonnegative_fulfils_the_conditions_of_the_optimum(k: int, n: int, seed: int) -> None:
    matrix, _ = unit(rows(k, n, seed))
    right = matrix @ rows(k, 3, seed + 1)
    z = nonnegative(matrix, right)
    slope = matrix @ z - right
    assert float(z.min()) >= 0
    assert float(slope.min()) > -1e-6
    assert float((z * slope).abs().max()) < 1e-6


@pytest.mark.parametrize(("k", "n"), [(2, 3), (5, 9), (9, 4), (16, 20)])
def test_nonnegative_agrees_with_least_squares(k: int, n: int) -> None:
    found, target = rows(k, n), rows(n, 1, 1)
    matrix, norms = unit(found)
    z = nonnegative(matrix, found @ target / norms[:, None])[:, 0] / norms
    expected, _ = optimize.nnls(found.T.numpy(), target[:, 0].numpy())
    torch.testing.assert_close(z @ found, torch.from_numpy(expected) @ found, atol=1e-7, rtol=1e-7)


def test_many_right_sides_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, right = unit(rows(4, 6))[0], rows(4, 5, 1)
    whole = nonnegative(matrix, right)
    monkeypatch.setattr("trainables.core.weighters._quadratic.LARGEST", 2 * (4 << 4))
    assert torch.equal(nonnegative(matrix, right), whole)
    monkeypatch.setattr("trainables.core.weighters._quadratic.LARGEST", 1)
    assert torch.equal(nonnegative(matrix, right), whole)


def shortest(found: Tensor) -> Tensor:
    """The shortest convex combination by non-negative least squares, an independent solver."""
    lowest = torch.cat([found.T, torch.ones(1, len(found), dtype=found.dtype)]).numpy()
    z, _ = optimize.nnls(lowest, [0.0] * found.shape[1] + [1.0])
    return torch.from_numpy(z / z.sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 10**6))
def test_smallest_is_the_shortest_convex_combination(k: int, n: int, seed: int) -> None:
    # With more gradients than dimensions 0 is often in their hull.
    found = rows(k, n, seed) * 10 ** (2 * torch.rand(k, 1, generator=seeded(seed)) - 1).double()
    w = smallest(*unit(found))
    assert float(w.min()) >= 0
    assert float(w.sum()) == pytest.approx(1, abs=1e-12)
    size = float(found.norm(dim=1).max())
    assert float((w @ found).norm()) <= float((shortest(found) @ found).norm()) + 1e-6 * size


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([[1.0, 0.0], [-3.0, 0.0]], [0.75, 0.25]),
        ([[1.0, 0.0], [1.0, 0.0]], [0.5, 0.5]),
        ([[1.0, 0.0], [0.0, 2.0]], [0.8, 0.2]),
        ([[1.0, 0.0], [0.0, 0.0]], [0.0, 1.0]),
        ([[1.0, 0.0], [3.0, 0.1]], [1.0, 0.0]),
        ([[2.0, 0.0]], [1.0]),
        ([[0.0, 1e-7], [1e7, 0.0]], [1.0, 0.0]),
    ],
)
def test_smallest_by_hand(found: list[list[float]], expected: list[float]) -> None:
    w = smallest(*unit(torch.tensor(found, dtype=torch.float64)))
    assert w.tolist() == pytest.approx(expected, abs=1e-11)


def projected(found: Tensor, target: Tensor) -> Tensor:
    """The projection of a direction on the dual cone of the rows, by Moreau's decomposition."""
    z, _ = optimize.nnls(found.T.numpy(), (-target).numpy())
    return target + torch.from_numpy(z) @ found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 10**6))
def test_lifted_weights_project_on_the_dual_cone(k: int, n: int, seed: int) -> None:
    found = rows(k, n, seed) * 10 ** (2 * torch.rand(k, 1, generator=seeded(seed)) - 1).double()
    wanted = torch.rand(k, 2, generator=seeded(seed), dtype=torch.float64)
    lifts = lifted(*unit(found), wanted)
    size = float(found.norm(dim=1).sum())
    assert bool((lifts >= wanted).all())
    for u, v in zip(wanted.T, lifts.T, strict=True):
        torch.testing.assert_close(v @ found, projected(found, u @ found), atol=1e-6 * size, rtol=0)


def test_cosines_of_duplicates_are_definite_in_the_gradients_own_precision() -> None:
    found = torch.randn(1, 50, generator=seeded()).repeat(5, 1)
    found[2] *= -1e-3
    found[4] = 0
    for like in (found, found.double()):
        cosines, norms = cosines_and_norms((like @ like.T).double(), like)
        assert float(torch.linalg.eigvalsh(cosines).min()) > 0
        off = cosines[:4, :4].abs() - torch.eye(4) * (cosines[0, 0] - 1)
        torch.testing.assert_close(off, torch.ones_like(off), atol=1e-5, rtol=0)
        assert float(cosines[4, :4].abs().max()) == 0
        torch.testing.assert_close(norms, like.double().norm(dim=1), atol=1e-5, rtol=1e-5)


def test_more_losses_than_can_be_enumerated_are_refused() -> None:
    assert few("Some", 16) == 16
    with pytest.raises(SettingError, match=r"Some .* at most 16 losses, found 17"):
        few("Some", 17)
