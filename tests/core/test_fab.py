"""FAB: exact projections onto a hyperplane in a box, and the known distances of linear models."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

from trainables.core import catalog
from trainables.core.attacks._hyperplane import to_hyperplane
from trainables.core.errors import SettingError
from trainables.core.randomness import ExampleStreams
from trainables.core.threat import size

from ..contracts.toys import digits, random_batch, seeded, trained
from .linear_worst import LinearSoftmax, case

NORMS = ("linf", "l2", "l1")
DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}
each_norm = pytest.mark.parametrize("norm", NORMS)


def fab(**settings: Any) -> nn.Module:
    found: nn.Module = catalog.build("attacks", {"name": "FAB"} | settings)
    return found


def least_norm(x: Tensor, w: Tensor, gap: float, norm: str) -> float:
    """The least norm of d with w . d = gap and x + d in [0, 1], by scipy's solvers."""
    n, a = len(x), w.tolist()
    rooms = [(-one, 1 - one) for one in x.tolist()]
    if norm == "linf":
        eye, ones = np.eye(n), np.ones((n, 1))
        rows = np.block([[eye, -ones], [-eye, -ones]])
        found = linprog([0] * n + [1], rows, np.zeros(2 * n), [[*a, 0]], [gap], [*rooms, (0, None)])
    elif norm == "l1":
        ups, downs = [(0, high) for _, high in rooms], [(0, -low) for low, _ in rooms]
        found = linprog([1] * 2 * n, A_eq=[[*a, *(-w).tolist()]], b_eq=[gap], bounds=[*ups, *downs])
    else:
        on_plane = {"type": "eq", "fun": lambda d: w.numpy() @ d - gap, "jac": lambda d: w.numpy()}
        found = minimize(
            lambda d: d @ d,
            np.zeros(n),
            jac=lambda d: 2 * d,
            constraints=on_plane,
            bounds=rooms,
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
    assert found.success
    return float(found.fun) ** (0.5 if norm == "l2" else 1)


def planes(n: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points of the unit box, some at its walls, normals with zeros, gaps that can be reached."""
    generator = seeded(5)
    x = torch.rand(count, n, generator=generator, dtype=torch.float64)
    w = torch.randn(count, n, generator=generator, dtype=torch.float64)
    x[::4, 0], x[1::4, 1], w[::3, 2] = 0, 1, 0
    most = (w.abs() * torch.where(w > 0, 1 - x, x)).sum(1)
    # From nearly nothing to nearly all that the box allows: many values then are at its walls.
    gap = most * torch.linspace(0.01, 0.99, count, dtype=torch.float64)
    sign = 1 - 2 * (torch.arange(count) % 2)
    return x, w * sign[:, None], gap * sign


# --- projections ----------------------------------------------------------------------------


@each_norm
def test_projection_is_that_of_an_optimiser(norm: str) -> None:
    x, w, gap = planes(6, 40)
    d = to_hyperplane(x, w, gap, norm, (0.0, 1.0))
    torch.testing.assert_close((w * d).sum(1), gap, rtol=0, atol=1e-12)
    assert float((x + d).min()) >= 0
    assert float((x + d).max()) <= 1 + 1e-15
    walls = ((x + d < 1e-9) | (x + d > 1 - 1e-9)) & (d != 0)
    assert 20 < int(walls.sum()) < 200
    expected = torch.tensor(
        [least_norm(*row, norm) for row in zip(x, w, gap.tolist(), strict=True)]
    )
    torch.testing.assert_close(size(d, norm), expected.double(), rtol=0, atol=2e-7)


@each_norm
def test_projection_without_a_box_is_the_distance_to_the_plane(norm: str) -> None:
    x, w, gap = planes(6, 40)
    d = to_hyperplane(x, w, gap, norm, None)
    torch.testing.assert_close((w * d).sum(1), gap)
    dual = torch.linalg.vector_norm(w, DUAL[norm], dim=1)
    torch.testing.assert_close(size(d, norm), gap.abs() / dual)
    # A box that is nowhere near gives the same.
    torch.testing.assert_close(to_hyperplane(x, w, gap, norm, (-1e6, 1e6)), d)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [("linf", [0.2, 0.25, -0.25]), ("l2", [0.2, 0.25, -0.5]), ("l1", [0.0, 0.0, -0.5])],
)
def test_projection_by_hand(norm: str, expected: list[float]) -> None:
    # The first value has room for 0.2 only; the others gain 1 and 2 for each unit.
    x, w = torch.tensor([[0.8, 0.2, 0.7]]), torch.tensor([[1.0, 1.0, -2.0]])
    d = torch.tensor([expected])
    found = to_hyperplane(x, w, (w * d).sum(1), norm, (0.0, 1.0))
    torch.testing.assert_close(found, d)


@each_norm
def test_projection_onto_a_plane_out_of_reach_is_the_corner(norm: str) -> None:
    x, w, gap = planes(6, 40)
    d = to_hyperplane(x, w, gap * 1000, norm, (0.0, 1.0))
    uphill = w * gap.sign()[:, None]
    corner = torch.where(uphill > 0, 1.0, torch.where(uphill < 0, 0.0, x))
    torch.testing.assert_close(x + d, corner)


@each_norm
@pytest.mark.parametrize("box", [(0.0, 1.0), None], ids=["box", "no-box"])
def test_projection_of_nothing_and_of_tiny_normals(norm: str, box: Any) -> None:
    x, w, gap = (one.float() for one in planes(6, 40))
    still = to_hyperplane(x, 0 * w, gap, norm, box)
    assert torch.equal(still, torch.zeros_like(x))
    assert torch.equal(to_hyperplane(x, w, 0 * gap, norm, box), torch.zeros_like(x))
    # Squares of 1e-30 are 0 in float32.
    tiny = to_hyperplane(x, w * 1e-30, gap * 1e-30, norm, box)
    torch.testing.assert_close(tiny, to_hyperplane(x, w, gap, norm, box))


# --- linear models --------------------------------------------------------------------------


def nearest(model: LinearSoftmax, x: Tensor, y: Tensor, norm: str, box: Any) -> Tensor:
    """The distance of the nearest other class's side, [b]."""
    found = torch.full((len(x),), torch.inf, dtype=torch.float64)
    weight, logits, flat = model.weight.detach(), model(x).detach(), x.flatten(1)
    for i, own in enumerate(y.tolist()):
        for other in range(len(weight)):
            if other == own:
                continue
            w, gap = weight[other] - weight[own], float(logits[i, own] - logits[i, other])
            if box is None:
                length = gap / float(torch.linalg.vector_norm(w, DUAL[norm]))
            elif gap < (w.abs() * torch.where(w > 0, 1 - flat[i], flat[i])).sum():
                length = least_norm(flat[i], w, gap, norm)
            else:
                length = torch.inf
            found[i] = min(float(found[i]), length)
    return found


@each_norm
@pytest.mark.parametrize("box", [(0.0, 1.0), None], ids=["box", "no-box"])
def test_smallest_perturbation_of_a_linear_model(norm: str, box: Any) -> None:
    model = LinearSoftmax((1, 2, 3), 4, seed=1)
    x = torch.rand(10, 1, 2, 3, generator=seeded(2), dtype=torch.float64)
    y = model(x).argmax(1)
    found = fab(norm=norm, eps=100, minimise=True, box=box, steps=60)(model, x, y)
    moved, least = size(found - x, norm), nearest(model, x, y, norm, box)
    reached = least.isfinite()
    assert int(reached.sum()) >= 8
    assert (model(found)[reached].argmax(1) != y[reached]).all()
    assert torch.equal(found[~reached], x[~reached])
    ratio = moved[reached] / least[reached]
    assert float(ratio.min()) >= 1 - 1e-6
    assert float(ratio.max()) <= 1.01


@pytest.mark.parametrize(
    ("norm", "box"),
    [("linf", (0.0, 1.0)), ("linf", None), ("l2", None), ("l1", (0.0, 1.0)), ("l1", None)],
)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_robust_points_of_a_linear_model(norm: str, box: Any, classes: int) -> None:
    model, x, y, eps, stands = case(classes, norm, box)
    for scale in (1.0, 1000.0):
        model.scale = scale
        found = fab(norm=norm, eps=eps, box=box, steps=40)(model, x, y)
        assert torch.equal(model(found).argmax(1) == y, stands)


@each_norm
def test_first_step_overshoots_the_boundary(norm: str) -> None:
    # At the clean point both moves are the same one, so one step is eta times the projection.
    model = LinearSoftmax((7,), 2, seed=4)
    x = torch.rand(12, 7, generator=seeded(1), dtype=torch.float64)
    logits = model(x).detach()
    y = logits.argmax(1)
    found = fab(norm=norm, eps=100, steps=1, eta=1.2, box=None)(model, x, y)
    w = model.weight.detach()[1 - y] - model.weight.detach()[y]
    gap = (logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])).squeeze(1)
    torch.testing.assert_close(found, x + 1.2 * to_hyperplane(x, w, gap, norm, None))


# --- a trained network ----------------------------------------------------------------------


def part(n: int) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    model, x, y = trained(), digits().x[1000 : 1000 + n], digits().y[1000 : 1000 + n]
    with torch.no_grad():
        return model, x, y, model(x).argmax(1) == y


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_nearer_than_deep_fool(norm: str) -> None:
    model, x, y, right = part(60)
    near = fab(norm=norm, eps=100, minimise=True, steps=30)(model, x, y)
    other = catalog.build("attacks", {"name": "DeepFool", "norm": norm, "eps": 100})(model, x, y)
    assert (model(near)[right].argmax(1) != y[right]).all()
    assert (model(other)[right].argmax(1) != y[right]).all()
    lengths, others = size(near - x, norm)[right], size(other - x, norm)[right]
    assert float(lengths.mean()) < 0.97 * float(others.mean())
    assert float((lengths <= others).double().mean()) > 0.9


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.08), ("l2", 0.45), ("l1", 1.0)])
def test_stopping_early_changes_no_verdict(norm: str, eps: float) -> None:
    model, x, y, right = part(60)
    found = [
        fab(norm=norm, eps=eps, steps=30, targets=4, minimise=minimise)(model, x, y)
        for minimise in (False, True)
    ]
    early, least = (model(one).argmax(1) == y for one in found)
    assert torch.equal(early, least)
    assert 0.1 < float(early[right].double().mean()) < 0.95
    first, smallest = (size(one - x, norm) for one in found)
    assert (smallest <= first + 1e-6).all()
    assert float(smallest.sum()) < 0.95 * float(first.sum())


@each_norm
def test_more_runs_and_more_classes_find_more(norm: str) -> None:
    model, x, y, _ = part(60)
    eps = {"linf": 0.08, "l2": 0.45, "l1": 1.0}[norm]

    def fooled(**settings: int) -> Tensor:
        streams = ExampleStreams(1, torch.arange(60))
        found = fab(norm=norm, eps=eps, steps=6, **settings)(model, x, y, draws=streams)
        assert float(size(found - x, norm).max()) <= eps
        return model(found).argmax(1) != y

    one, runs, classes = fooled(targets=1), fooled(targets=1, restarts=6), fooled(targets=9)
    assert (runs >= one).all()
    assert (classes >= one).all()
    assert int(runs.sum()) + int(classes.sum()) > 2 * int(one.sum())


def test_runs_draw_from_the_seed_and_from_each_example() -> None:
    model, x, y, _ = part(40)
    settings: dict[str, Any] = {"eps": 1, "steps": 4, "targets": 2, "restarts": 3, "minimise": True}
    first, again, other = (fab(seed=seed, **settings)(model, x, y) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    model, x = trained_double(), x.double()
    whole = fab(**settings)(model, x, y, draws=ExampleStreams(3, torch.arange(40)))
    parts = [
        fab(**settings)(model, x[rows], y[rows], draws=ExampleStreams(3, rows))
        for rows in torch.arange(40).split(7)
    ]
    torch.testing.assert_close(torch.cat(parts), whole)


def trained_double() -> nn.Module:
    return deepcopy(trained()).double()


# --- edges ----------------------------------------------------------------------------------


def test_what_is_wrong_or_out_of_reach_stays() -> None:
    model, x, y, right = part(60)
    wrong = (y + 1) % 10
    assert torch.equal(fab(eps=0.1, steps=2)(model, x[right], wrong[right]), x[right])
    assert torch.equal(fab(eps=1e-4, steps=3, targets=1)(model, x, y)[right], x[right])


def test_mixed_targets_count_as_their_largest_class() -> None:
    model, x, y, _ = part(20)
    mixed = 0.7 * nn.functional.one_hot(y, 10) + 0.3 / 10
    one, other = (fab(eps=0.1, steps=5, targets=2)(model, x, target) for target in (y, mixed))
    assert torch.equal(one, other)


@pytest.mark.parametrize("shape", [(12, 1), (12,), (12, 5, 4)])
def test_outputs_that_are_no_logits(shape: tuple[int, ...]) -> None:
    batch = random_batch()
    with pytest.raises(SettingError, match=r"needs logits \[b, c\].*found outputs of shape \(12,"):
        fab()(lambda x: torch.zeros(shape), batch.x, batch.y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "l3"}, "norm cannot be 'l3'"),
        ({"eps": -0.1}, "eps must be at least 0, found -0.1"),
        ({"steps": 0}, "steps must be at least 1, found 0"),
        ({"targets": 0}, "targets must be at least 1, found 0"),
        ({"restarts": 1.5}, "restarts must be a whole number, found 1.5"),
        ({"minimise": "no"}, "minimise must be true or false, found 'no'"),
        ({"alpha_max": 1.1}, "alpha_max must be at most 1, found 1.1"),
        ({"eta": 0.9}, "eta must be at least 1, found 0.9"),
        ({"beta": 0}, "beta must be above 0, found 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        fab(**settings)
