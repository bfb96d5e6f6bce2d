"""Values of the losses against numbers from papers, formulas by hand and torch.distributions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from trainables.core import catalog
from trainables.core.batch import Outputs
from trainables.core.errors import SettingError

from ..contracts.toys import seeded


def seen(logits: Tensor, y: Tensor | None = None) -> Outputs:
    targets = torch.zeros(len(logits), dtype=torch.int64) if y is None else y
    return Outputs(logits, logits, targets)


def consistency(p: Tensor, q: Tensor, **settings: Any) -> Tensor:
    loss = catalog.build("losses", {"name": "Consistency"} | settings)
    found: Tensor = loss({"clean": seen(p), "noisy": seen(q)})
    return found


def logits(n: int = 6, classes: int = 4, seed: int = 0) -> Tensor:
    return 2 * torch.randn(n, classes, generator=seeded(seed), dtype=torch.float64)


# --- consistency ----------------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 1.1504208), (0.4, 2.0153301)])
def test_value_of_unsupervised_data_augmentation(temperature: float, expected: float) -> None:
    p, q = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])
    assert float(consistency(p, q, temperature=temperature)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_directions_against_an_independent_divergence(temperature: float) -> None:
    p, q = logits(seed=1), logits(seed=2)
    target, view = Categorical(logits=p / temperature), Categorical(logits=q)
    forward, reverse = kl_divergence(target, view).mean(), kl_divergence(view, target).mean()
    expected = {"forward": forward, "reverse": reverse, "symmetric": (forward + reverse) / 2}
    for direction, value in expected.items():
        found = consistency(p, q, direction=direction, temperature=temperature)
        torch.testing.assert_close(found, value)
    assert abs(float(forward - reverse)) > 0.01


@pytest.mark.parametrize("direction", ["forward", "reverse", "symmetric"])
def test_equal_predictions_cost_nothing_and_others_do(direction: str) -> None:
    p = logits()
    # A constant added to all logits of an example changes no probability.
    assert float(consistency(p, p + 5, direction=direction)) == pytest.approx(0, abs=1e-12)
    assert float(consistency(p, p.flip(1), direction=direction)) > 0.01


@pytest.mark.parametrize("direction", ["forward", "reverse", "symmetric"])
@pytest.mark.parametrize("stop", [True, False])
def test_gradient_stops_at_the_target_if_asked(direction: str, stop: bool) -> None:
    p, q = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    consistency(p, q, direction=direction, stop_gradient=stop).backward()
    assert (p.grad is None) == stop
    assert q.grad is not None
    assert float(q.grad.abs().sum()) > 0


def test_forward_gradient_is_the_difference_of_probabilities() -> None:
    p, q = logits(seed=1), logits(seed=2).requires_grad_()
    consistency(p, q).backward()
    torch.testing.assert_close(q.grad, (q.softmax(1) - p.softmax(1)).detach() / len(p))


def test_far_apart_predictions_stay_finite() -> None:
    p, q = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    for direction in ("forward", "reverse", "symmetric"):
        assert float(consistency(p, q, direction=direction)) == pytest.approx(1e4)


# --- cross-entropy --------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_by_its_formula(smoothing: float) -> None:
    z, y = logits(), torch.tensor([0, 1, 2, 3, 0, 1])
    q = torch.full_like(z, smoothing / 4)
    q[range(6), y] += 1 - smoothing
    expected = -(q * (z - z.exp().sum(1, keepdim=True).log())).sum() / 6
    loss = catalog.build("losses", {"name": "CrossEntropy", "label_smoothing": smoothing})
    torch.testing.assert_close(loss({"clean": seen(z, y)}), expected)


def test_cross_entropy_of_even_odds() -> None:
    loss = catalog.build("losses", {"name": "CrossEntropy"})
    assert float(loss({"clean": seen(torch.zeros(3, 10))})) == pytest.approx(2.302585)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "CrossEntropy", "label_smoothing": 1}, "label_smoothing must be at most"),
        ({"name": "Consistency", "temperature": 0}, "temperature must be above 0, found 0"),
        ({"name": "Consistency", "direction": "foward"}, "'foward'. Did you mean 'forward'"),
        ({"name": "Consistency", "stop_gradient": "no"}, "stop_gradient must be true or false"),
    ],
)
def test_settings_out_of_range(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        catalog.build("losses", config)
