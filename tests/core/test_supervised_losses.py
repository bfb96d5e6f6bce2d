"""Losses on labels: golden values, naive loops, torch's and torchvision's own functions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from trainables.core.errors import SettingError

from .loss_inputs import logits, loss_of, seen

Y = torch.tensor([0, 1, 2, 3, 0, 1])


def value(name: str, z: Tensor, y: Tensor, **settings: Any) -> Tensor:
    found: Tensor = loss_of(name, **settings)({"clean": seen(z, y)})
    return found


# --- squared error --------------------------------------------------------------------------


def test_squared_error_of_plain_tensors() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, y = torch.zeros(10, 3, 32, 32).normal_(), torch.zeros(10, 3, 32, 32).normal_()
    assert float(value("MSE", x, y)) == pytest.approx(1.9919476509, abs=1e-6)


def test_squared_error_of_values() -> None:
    z, y = torch.tensor([[1.0], [2.0], [-1.0]]), torch.tensor([0.0, 4.0, -1.0])
    assert float(value("MSE", z, y)) == pytest.approx((1 + 4 + 0) / 3)
    # Rescaling is of classes, not of values.
    assert float(value("MSE", z, y, k=5, height=7)) == pytest.approx(5 / 3)


@pytest.mark.parametrize(("k", "height"), [(1.0, 1.0), (15.0, 30.0), (2.0, 0.5)])
def test_square_loss_by_its_formula(k: float, height: float) -> None:
    z = logits()
    total = 0.0
    for row, y in zip(z.tolist(), Y.tolist(), strict=True):
        target = row.pop(y)
        total += (k * (target - height) ** 2 + sum(one**2 for one in row)) / 4
    assert float(value("MSE", z, Y, k=k, height=height)) == pytest.approx(total / 6)
    mixed = F.one_hot(Y, 4).double()
    torch.testing.assert_close(
        value("MSE", z, mixed, k=k, height=height), value("MSE", z, Y, k=k, height=height)
    )


def test_square_loss_is_0_at_its_own_targets_alone() -> None:
    z = 3 * F.one_hot(Y, 4).double()
    assert float(value("MSE", z, Y, height=3)) == 0
    assert float(value("MSE", z, Y)) == pytest.approx(4 / 4)


# --- absolute error, Huber ------------------------------------------------------------------


def test_absolute_error_is_least_at_the_median() -> None:
    y = torch.tensor([0.0, 1.0, 2.0, 50.0, 3.0])
    found = [float(value("MAE", torch.full((5, 1), at), y)) for at in (1.0, 2.0, 3.0, 11.2)]
    assert found[1] == min(found) == pytest.approx((2 + 1 + 0 + 48 + 1) / 5)


@pytest.mark.parametrize("delta", [0.1, 1.0, 5.0])
def test_huber_and_its_gradient_against_torch(delta: float) -> None:
    z, y = logits(20, 1).requires_grad_(), logits(20, 1, seed=3)[:, 0]
    found, expected = value("Huber", z, y, delta=delta), F.huber_loss(z[:, 0], y, delta=delta)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, z)[0], torch.autograd.grad(expected, z)[0]
    )


def test_huber_lies_between_squares_and_absolute_values() -> None:
    z, y = logits(20, 1), logits(20, 1, seed=3)[:, 0]
    torch.testing.assert_close(value("Huber", z, y, delta=1e3), value("MSE", z, y) / 2)
    small = value("Huber", z, y, delta=1e-6) / 1e-6
    torch.testing.assert_close(small, value("MAE", z, y), rtol=1e-5, atol=1e-5)
    edge = torch.tensor([[0.5], [1.0], [3.0]], dtype=torch.float64)
    zero = torch.zeros(3, dtype=torch.float64)
    assert float(value("Huber", edge, zero)) == pytest.approx((0.125 + 0.5 + 2.5) / 3)


# --- hinge ----------------------------------------------------------------------------------

SCORES = torch.tensor([[2.0, 0.5, 1.5], [0.2, 0.1, 0.0]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"form": "crammer-singer"}, 0.85),
        ({"form": "weston-watkins"}, 1.4),
        ({"form": "multi-margin"}, 0.466667),
        ({"form": "multi-margin", "power": 2}, 0.483333),
    ],
)
def test_hinge_of_three_classes(settings: dict[str, Any], expected: float) -> None:
    assert float(value("Hinge", SCORES, torch.tensor([0, 2]), **settings)) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize(("y", "f", "expected"), [(1, 0.3, 0.7), (0, 0.3, 1.3), (1, 2.0, 0.0)])
@pytest.mark.parametrize("form", ["binary", "crammer-singer", "weston-watkins"])
def test_hinge_of_two_classes(form: str, y: int, f: float, expected: float) -> None:
    # The same whatever the logits' common part is.
    z, target = torch.tensor([[4.0, 4.0 + f]]), torch.tensor([y])
    assert float(value("Hinge", z, target, form=form)) == pytest.approx(expected, abs=1e-6)
    squared = value("Hinge", z, target, form=form, power=2)
    assert float(squared) == pytest.approx(expected**2, abs=1e-6)


@pytest.mark.parametrize("margin", [0.5, 2.0])
@pytest.mark.parametrize("power", [1, 2])
def test_hinge_against_torch_and_loops(margin: float, power: int) -> None:
    z = logits()
    expected = F.multi_margin_loss(z, Y, p=power, margin=margin)
    found = value("Hinge", z, Y, form="multi-margin", margin=margin, power=power)
    torch.testing.assert_close(found, expected)
    worst, total = 0.0, 0.0
    for row, y in zip(z.tolist(), Y.tolist(), strict=True):
        target = row.pop(y)
        h = [max(0.0, margin - target + one) ** power for one in row]
        worst, total = worst + max(h) / 6, total + sum(h) / 6
    for form, number in {"crammer-singer": worst, "weston-watkins": total}.items():
        found = value("Hinge", z, Y, form=form, margin=margin, power=power)
        assert float(found) == pytest.approx(number)


def test_binary_hinge_needs_two_outputs() -> None:
    with pytest.raises(SettingError, match="needs two outputs, found 4"):
        value("Hinge", logits(), Y, form="binary")


# --- focal ----------------------------------------------------------------------------------


def test_focal_without_focus_is_cross_entropy() -> None:
    z = logits().requires_grad_()
    found, expected = value("Focal", z, Y, gamma=0), value("CrossEntropy", z, Y)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, z)[0], torch.autograd.grad(expected, z)[0]
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_of_two_classes_against_torchvision(gamma: float) -> None:
    z, y = logits(12, 2), torch.arange(12) % 2
    expected = sigmoid_focal_loss(
        z[:, 1] - z[:, 0], y.double(), alpha=0.25, gamma=gamma, reduction="mean"
    )
    found = value("Focal", z, y, gamma=gamma, alpha=[0.75, 0.25])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_focal_by_hand() -> None:
    z = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], dtype=torch.float64).log()
    y = torch.tensor([0, 1])
    expected = [-(0.5**2) * math.log(0.5), -(0.2**2) * math.log(0.8)]
    assert float(value("Focal", z, y)) == pytest.approx(sum(expected) / 2)
    weighted = value("Focal", z, y, alpha=[1, "1/4", 9])
    assert float(weighted) == pytest.approx((expected[0] + expected[1] / 4) / 2)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_is_finite_where_the_probability_is_1_or_0(gamma: float) -> None:
    z = torch.tensor([[1e4, 0.0], [0.0, 1e4], [50.0, 0.0], [0.0, 0.0]], requires_grad=True)
    found = value("Focal", z, torch.zeros(4, dtype=torch.int64), gamma=gamma)
    (gradient,) = torch.autograd.grad(found, z)
    assert torch.isfinite(found)
    assert torch.isfinite(gradient).all()
    # Far in the wrong the focus is all there, and the gradient that of cross-entropy.
    torch.testing.assert_close(gradient[1], torch.tensor([-0.25, 0.25]))


def test_focal_needs_a_factor_for_every_class() -> None:
    with pytest.raises(SettingError, match=r"one entry per class \(4\), found 2"):
        value("Focal", logits(), Y, alpha=[1, 2])


# --- all ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Hinge", "Focal"])
def test_mixed_labels_are_refused_where_they_mean_nothing(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name} needs class numbers, found mixed labels"):
        value(name, logits(), torch.full((6, 4), 0.25))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "MSE", "k": 0.5}, "k must be at least 1, found 0.5"),
        ({"name": "MSE", "height": 0}, "height must be above 0, found 0"),
        ({"name": "Huber", "delta": 0}, "delta must be above 0, found 0"),
        ({"name": "Hinge", "margin": 0}, "margin must be above 0, found 0"),
        ({"name": "Hinge", "power": 3}, "power must be 1 or 2, found 3"),
        ({"name": "Hinge", "power": 0}, "power must be at least 1, found 0"),
        ({"name": "Hinge", "form": "multi"}, "'multi'. Did you mean 'multi-margin'"),
        ({"name": "Focal", "gamma": -1}, "gamma must be at least 0, found -1"),
        ({"name": "Focal", "alpha": [1, -1]}, "alpha must be at least 0, found -1"),
    ],
)
def test_settings_out_of_range(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        loss_of(**config)
