"""Losses between a clean and an attacked view, and the penalty on input gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional as F

from trainables.core.batch import Outputs
from trainables.core.errors import SettingError

from .loss_inputs import logits, loss_of, seen

Y = torch.tensor([0, 1, 2, 3, 0, 1])


def value(name: str, p: Tensor, q: Tensor, y: Tensor = Y, **settings: Any) -> Tensor:
    found: Tensor = loss_of(name, **settings)({"clean": seen(p, y), "adv": seen(q, y)})
    return found


# --- TRADES ---------------------------------------------------------------------------------


def test_trades_is_the_divergence_from_clean_to_adversarial() -> None:
    p, q = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])
    assert float(value("TRADES", p, q)) == pytest.approx(1.1504208, abs=1e-6)
    p, q = logits(seed=1), logits(seed=2)
    expected = kl_divergence(Categorical(logits=p), Categorical(logits=q)).mean()
    torch.testing.assert_close(value("TRADES", p, q), expected)
    assert float(value("TRADES", p, p + 3)) == pytest.approx(0, abs=1e-12)


def test_trades_gradient_flows_through_both_sides() -> None:
    p, q = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    clean, adv = torch.autograd.grad(value("TRADES", p, q), (p, q))
    with torch.no_grad():
        a, b = p.softmax(1), q.softmax(1)
        surplus = a.log() - b.log()
        each = (a * surplus).sum(1, keepdim=True)
        torch.testing.assert_close(clean, a * (surplus - each) / 6)
        torch.testing.assert_close(adv, (b - a) / 6)


# --- MART -----------------------------------------------------------------------------------


def test_boosted_cross_entropy_by_hand() -> None:
    q = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3]], dtype=torch.float64).log()
    expected = [-math.log(0.5) - math.log(1 - 0.3), -math.log(0.1) - math.log(1 - 0.6)]
    found = value("MART", q, q + 7, torch.tensor([0, 1]), term="boosted")
    assert float(found) == pytest.approx(sum(expected) / 2)


def test_boosted_cross_entropy_is_the_published_one_up_to_its_constants() -> None:
    q = logits(seed=2)
    p = q.softmax(1)
    rival = (p - 2 * F.one_hot(Y, 4)).amax(1)
    published = F.cross_entropy(q, Y) - (1.0001 - rival + 1e-12).log().mean()
    assert float(value("MART", q, q)) == pytest.approx(float(published), abs=1e-3)


def test_boosted_cross_entropy_of_two_classes_is_twice_cross_entropy() -> None:
    q, y = logits(6, 2).requires_grad_(), Y % 2
    found, expected = value("MART", q, q, y), 2 * F.cross_entropy(q, y)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, q)[0], torch.autograd.grad(expected, q)[0]
    )


def test_boosted_cross_entropy_far_in_the_wrong() -> None:
    q = torch.tensor([[0.0, 1e4, 0.0]], requires_grad=True)
    found = value("MART", q, q, torch.tensor([0]))
    # -log p_0 = 1e4, and the others hold 2 exp(-1e4).
    assert float(found.detach()) == pytest.approx(2e4 - math.log(2))
    torch.testing.assert_close(
        torch.autograd.grad(found, q)[0], torch.tensor([[-1.5, 2.0, -0.5]]), rtol=1e-5, atol=1e-6
    )


def test_divergence_is_weighted_by_the_doubt_on_the_clean_view() -> None:
    p, q = logits(seed=1), logits(seed=2)
    each = kl_divergence(Categorical(logits=p), Categorical(logits=q))
    doubt = 1 - p.softmax(1)[range(6), Y]
    found = value("MART", p, q, term="weighted-kl")
    torch.testing.assert_close(found, (each * doubt).mean())
    sure = 1e4 * F.one_hot(Y, 4).double()
    assert float(value("MART", sure, q, term="weighted-kl")) == 0


@pytest.mark.parametrize("term", ["boosted", "weighted-kl"])
def test_mart_gradients_are_those_of_its_values(term: str) -> None:
    # The factor of the weighted divergence is differentiated, too: else these would differ.
    p, q = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: value("MART", a, b, term=term), (p, q))


def test_mart_reads_what_its_term_needs() -> None:
    assert loss_of("MART").reads == ("adv",)
    assert loss_of("MART", term="weighted-kl").reads == ("clean", "adv")
    with pytest.raises(SettingError, match="MART needs class numbers, found mixed labels"):
        value("MART", logits(), logits(), torch.full((6, 4), 0.25))
    with pytest.raises(SettingError, match=r"term cannot be 'boost'. Did you mean 'boosted'"):
        loss_of("MART", term="boost")


# --- logit pairing --------------------------------------------------------------------------


def test_logit_pairing_is_the_mean_square_over_examples_and_classes() -> None:
    p, q = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[1.0, 4.0], [3.0, 0.0]])
    assert float(value("LogitPairing", p, q)) == pytest.approx((0 + 4 + 9 + 1) / 4)
    # Unlike a divergence it sees a constant added to all logits.
    assert float(value("LogitPairing", p, p + 3)) == pytest.approx(9)
    assert float(value("LogitPairing", p, p)) == 0


def test_logit_pairing_pulls_both_sides() -> None:
    p, q = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    clean, adv = torch.autograd.grad(value("LogitPairing", p, q), (p, q))
    torch.testing.assert_close(adv, (2 * (q - p) / 24).detach())
    torch.testing.assert_close(clean, -adv)


# --- input gradients ------------------------------------------------------------------------


def penalty(weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Of the linear model x W^T."""
    found: Tensor = loss_of("InputGradientPenalty")(
        {"clean": Outputs(x.flatten(1) @ weight.T, x, x, y)}
    )
    return found


def images() -> Tensor:
    return logits(6, 5, seed=4).reshape(6, 1, 5).requires_grad_()


def test_penalty_of_a_linear_classifier_in_closed_form() -> None:
    weight, x = logits(4, 5, seed=3), images()
    p = (x.flatten(1) @ weight.T).softmax(1)
    gradient = (p - F.one_hot(Y, 4)) @ weight
    torch.testing.assert_close(penalty(weight, x, Y), gradient.square().sum(1).mean())
    mixed = torch.full((6, 4), 0.25, dtype=torch.float64)
    expected = ((p - mixed) @ weight).square().sum(1).mean()
    torch.testing.assert_close(penalty(weight, x, mixed), expected)


def test_penalty_of_a_linear_regression_in_closed_form() -> None:
    weight, x, y = logits(1, 5, seed=3), images(), logits(6, 1, seed=5)[:, 0]
    error = (x.flatten(1) @ weight.T)[:, 0] - y
    expected = (4 * error.square() * weight.square().sum()).mean()
    torch.testing.assert_close(penalty(weight, x, y), expected)


@pytest.mark.parametrize("outputs", [1, 4])
def test_penalty_is_differentiated_through_the_first_gradient(outputs: int) -> None:
    weight, x = logits(outputs, 5, seed=3).requires_grad_(), images()
    y = Y if outputs > 1 else logits(6, 1, seed=5)[:, 0]
    assert torch.autograd.gradcheck(lambda one: penalty(one, x, y), (weight,))
    assert x.grad is None


def test_penalty_asks_for_gradients_of_the_input() -> None:
    assert loss_of("InputGradientPenalty", view="noisy").reads == ("noisy",)
    assert loss_of("InputGradientPenalty").input_gradient is True


# --- half precision -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("TRADES", {}),
        ("MART", {}),
        ("MART", {"term": "weighted-kl"}),
        ("Consistency", {"target": "clean", "view": "adv", "entropy": 0.1}),
        ("JensenShannon", {"views": ["clean", "adv"]}),
        ("CrossEntropy", {"view": "adv", "tsa": "linear"}),
        ("Focal", {"view": "adv"}),
    ],
)
def test_finite_in_half_precision(name: str, settings: dict[str, Any], dtype: torch.dtype) -> None:
    p, q = (300 * logits(seed=i).to(dtype) for i in (1, 2))
    p, q = p.requires_grad_(), q.requires_grad_()
    found = value(name, p, q, **settings)
    gradients = torch.autograd.grad(found, (p, q), allow_unused=True)
    assert torch.isfinite(found)
    assert all(one is None or torch.isfinite(one).all() for one in gradients)
