"""Values of the losses against numbers from papers, formulas by hand and torch.distributions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional as F

from trainables.core.errors import SettingError

from .loss_inputs import logits, loss_of, seen


def consistency(p: Tensor, q: Tensor, **settings: Any) -> Tensor:
    found: Tensor = loss_of("Consistency", **settings)({"clean": seen(p), "noisy": seen(q)})
    return found


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


@pytest.mark.parametrize("form", ["kl", "mse"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "symmetric"])
@pytest.mark.parametrize("stop", [True, False])
def test_gradient_stops_at_the_target_if_asked(form: str, direction: str, stop: bool) -> None:
    p, q = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    consistency(p, q, form=form, direction=direction, stop_gradient=stop).backward()
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
    assert float(consistency(p, q, form="mse")) == pytest.approx(1)


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_squares_of_probabilities_are_averaged_over_classes(temperature: float) -> None:
    p, q = logits(seed=1), logits(seed=2)
    total = 0.0
    for one, other in zip(p, q, strict=True):
        target, view = (one / temperature).exp(), other.exp()
        total += sum(
            (float(target[c] / target.sum()) - float(view[c] / view.sum())) ** 2 for c in range(4)
        )
    found = consistency(p, q, form="mse", temperature=temperature)
    assert float(found) == pytest.approx(total / (6 * 4))


def test_squares_of_single_outputs_are_of_the_outputs_themselves() -> None:
    p, q = torch.tensor([[1.0], [2.0]]), torch.tensor([[4.0], [2.5]])
    settings = {"form": "mse", "temperature": 0.5, "confidence": 0.9, "entropy": 3.0}
    assert float(consistency(p, q, **settings)) == pytest.approx((9 + 0.25) / 2)
    assert loss_of("Consistency", form="mse").tasks == ("classification", "regression")
    assert loss_of("Consistency").tasks == ("classification",)
    with pytest.raises(SettingError, match="must be 'mse' where the model has one output"):
        consistency(p, q)


def test_doubtful_examples_count_as_0_in_the_mean_over_the_whole_batch() -> None:
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.15, 0.85]], dtype=torch.float64).log()
    q = logits(3, 2)
    each = kl_divergence(Categorical(logits=p / 0.4), Categorical(logits=q))
    found = consistency(p, q, confidence=0.8, temperature=0.4)
    torch.testing.assert_close(found, (each[0] + each[2]) / 3)
    # Sharpening makes 0.6 a 0.73; the mask looks at 0.6.
    found = consistency(p, q, confidence=0.65, temperature=0.4)
    torch.testing.assert_close(found, (each[0] + each[2]) / 3)
    torch.testing.assert_close(consistency(p, q, confidence=0.5, temperature=0.4), each.mean())
    assert float(consistency(p, q, confidence=0.95)) == 0


@pytest.mark.parametrize("form", ["kl", "mse"])
def test_entropy_of_the_target_is_added_and_its_gradient_flows(form: str) -> None:
    p, q = logits(seed=1).requires_grad_(), logits(seed=2)
    plain = consistency(p, q, form=form, temperature=0.5)
    found = consistency(p, q, form=form, temperature=0.5, entropy=0.3)
    entropy = Categorical(logits=p).entropy().mean()
    torch.testing.assert_close(found, plain + 0.3 * entropy)
    (gradient,) = torch.autograd.grad(found, p)
    torch.testing.assert_close(gradient, torch.autograd.grad(0.3 * entropy, p)[0])


# --- Jensen-Shannon -------------------------------------------------------------------------

CHAINS = ((0.7, 0.2, 0.1), (0.5, 0.3, 0.2), (0.1, 0.6, 0.3))


def jensen_shannon(*predictions: Tensor) -> Tensor:
    labels = [f"v{i}" for i in range(len(predictions))]
    views = {label: seen(one) for label, one in zip(labels, predictions, strict=True)}
    found: Tensor = loss_of("JensenShannon", views=labels)(views)
    return found


def test_value_of_augmix() -> None:
    p = [torch.tensor([row], dtype=torch.float64).log() for row in CHAINS]
    assert float(jensen_shannon(*p)) == pytest.approx(0.1423334, abs=1e-7)
    assert 12 * float(jensen_shannon(*p)) == pytest.approx(1.7080008, abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_divergence_of_n_views_in_its_bounds(n: int) -> None:
    p = [logits(seed=i) for i in range(n)]
    m = Categorical(probs=torch.stack([one.softmax(1) for one in p]).mean(0))
    expected = sum(kl_divergence(Categorical(logits=one), m).mean() for one in p) / n
    torch.testing.assert_close(jensen_shannon(*p), torch.as_tensor(expected))
    torch.testing.assert_close(jensen_shannon(*reversed(p)), jensen_shannon(*p))
    assert float(jensen_shannon(*[p[0] + i for i in range(n)])) == pytest.approx(0, abs=1e-12)
    apart = [1e4 * F.one_hot(torch.tensor([i]), 6).double() for i in range(n)]
    assert float(jensen_shannon(*apart)) == pytest.approx(math.log(n))


def test_gradient_reaches_all_views() -> None:
    p = [logits(seed=i).requires_grad_() for i in range(3)]
    found = torch.autograd.grad(jensen_shannon(*p), p)
    assert all(one.abs().sum() > 0 for one in found)
    assert torch.autograd.gradcheck(jensen_shannon, p)


# --- cross-entropy --------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_by_its_formula(smoothing: float) -> None:
    z, y = logits(), torch.tensor([0, 1, 2, 3, 0, 1])
    q = torch.full_like(z, smoothing / 4)
    q[range(6), y] += 1 - smoothing
    expected = -(q * (z - z.exp().sum(1, keepdim=True).log())).sum() / 6
    loss = loss_of("CrossEntropy", label_smoothing=smoothing)
    torch.testing.assert_close(loss({"clean": seen(z, y)}), expected)


@pytest.mark.parametrize(("classes", "expected"), [(5, 1.6094379), (10, 2.302585)])
def test_cross_entropy_of_even_odds(classes: int, expected: float) -> None:
    value = loss_of("CrossEntropy")({"clean": seen(torch.zeros(3, classes))})
    assert float(value) == pytest.approx(expected)


def test_mixed_labels_are_the_mixture_of_the_losses() -> None:
    z, loss = logits(), loss_of("CrossEntropy")
    first, second = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([3, 1, 0, 2, 2, 1])
    mixed = 0.3 * F.one_hot(first, 4).double() + 0.7 * F.one_hot(second, 4).double()
    expected = 0.3 * loss({"clean": seen(z, first)}) + 0.7 * loss({"clean": seen(z, second)})
    torch.testing.assert_close(loss({"clean": seen(z, mixed)}), expected)


# --- training-signal annealing --------------------------------------------------------------

PROGRESS = (0.0, 0.25, 0.5, 0.75, 1.0)
THRESHOLDS = {  # of 10 classes
    "linear": (0.1, 0.325, 0.55, 0.775, 1.0),
    "log": (0.1, 0.742146, 0.926124, 0.978834, 0.993936),
    "exp": (0.106064, 0.121166, 0.173876, 0.357854, 1.0),
}


def with_target(p: float) -> Tensor:
    """Logits [10] whose softmax is p for class 0 and the rest shared."""
    return torch.tensor([p] + [(1 - p) / 9] * 9, dtype=torch.float64).log()


def annealed(tsa: str, progress: float, z: Tensor, y: Tensor | None = None) -> Tensor:
    loss = loss_of("CrossEntropy", tsa=tsa)
    loss.progress.fill_(progress)
    found: Tensor = loss({"clean": seen(z, y)})
    return found


@pytest.mark.parametrize("tsa", list(THRESHOLDS))
@pytest.mark.parametrize("step", range(5))
def test_examples_known_better_than_the_threshold_are_left_out(tsa: str, step: int) -> None:
    threshold, r = THRESHOLDS[tsa][step], PROGRESS[step]
    below, above = threshold - 2e-6, threshold + 2e-6
    if threshold == 1:
        z = torch.stack([with_target(0.5), with_target(below)])
        expected = -(math.log(0.5) + math.log(below)) / 2
    else:
        z = torch.stack([with_target(above), with_target(below), with_target(0.05)])
        expected = -(math.log(below) + math.log(0.05)) / 2
    assert float(annealed(tsa, r, z)) == pytest.approx(expected, rel=1e-9)


def test_nothing_kept_is_0_without_gradient() -> None:
    z = torch.stack([with_target(0.9), with_target(0.99)]).requires_grad_()
    value = annealed("linear", 0.1, z)
    assert float(value.detach()) == 0
    assert torch.equal(torch.autograd.grad(value, z)[0], torch.zeros_like(z))


def test_annealing_of_mixed_labels_goes_by_the_probability_of_the_mixture() -> None:
    z = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]], dtype=torch.float64).log()
    y = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    # Probabilities 0.45 and 0.2; thresholds at progress 0.1 and 0.5 are 0.4 and 2/3.
    expected = [-0.5 * (math.log(0.6) + math.log(0.3)), -math.log(0.2)]
    assert float(annealed("linear", 0.1, z, y)) == pytest.approx(expected[1])
    assert float(annealed("linear", 0.5, z, y)) == pytest.approx(sum(expected) / 2)


def test_only_an_annealed_loss_asks_for_the_progress() -> None:
    assert not hasattr(loss_of("CrossEntropy"), "progress")
    annealed_loss = loss_of("CrossEntropy", tsa="log")
    assert float(annealed_loss.progress) == 0
    assert annealed_loss.state_dict() == {}


# --- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "CrossEntropy", "label_smoothing": 1}, "label_smoothing must be at most"),
        ({"name": "CrossEntropy", "tsa": "lin"}, "tsa cannot be 'lin'. Did you mean 'linear'"),
        ({"name": "Consistency", "temperature": 0}, "temperature must be above 0, found 0"),
        ({"name": "Consistency", "direction": "foward"}, "'foward'. Did you mean 'forward'"),
        ({"name": "Consistency", "stop_gradient": "no"}, "stop_gradient must be true or false"),
        ({"name": "Consistency", "confidence": 1}, "confidence must be at most 0.999999, found 1"),
        ({"name": "Consistency", "confidence": -1}, "confidence must be at least 0, found -1"),
        ({"name": "Consistency", "entropy": -0.1}, "entropy must be at least 0, found -0.1"),
        ({"name": "Consistency", "form": "l2"}, "form cannot be 'l2'"),
        ({"name": "JensenShannon", "views": ["a"]}, "views must name at least 2 views, each once"),
        ({"name": "JensenShannon", "views": ["a", "a"]}, r"each once, found \['a', 'a'\]"),
        ({"name": "JensenShannon", "views": "clean"}, "views must be a list, found 'clean'"),
    ],
)
def test_settings_out_of_range(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        loss_of(**config)
