"""Weighters that look at loss values only: other libraries, closed forms, hand-computed values.

Where another library has the method as a function of the losses, our weights must be that
function's gradient with respect to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog
from trainables.core.errors import SettingError
from trainables.core.weighters import _random
from trainables.core.weighters._adam import Adam
from trainables.core.weighters.cov import CoV
from trainables.core.weighters.dynamic_weight_average import DynamicWeightAverage
from trainables.core.weighters.famo import FAMO
from trainables.core.weighters.geometric_mean import GeometricMean
from trainables.core.weighters.imtll import IMTLL
from trainables.core.weighters.lagrangian import Lagrangian
from trainables.core.weighters.loss_tracker import LossTracker
from trainables.core.weighters.re_lo_bra_lo import ReLoBRaLo
from trainables.core.weighters.smooth_tchebycheff import SmoothTchebycheff
from trainables.core.weighters.soft_adapt import SoftAdapt
from trainables.core.weighters.uncertainty import Uncertainty

from ..contracts.toys import losses_of, seeded

LOSSES = [(1.0, 10.0), (0.8, 9.0), (0.9, 7.0), (0.5, 8.0), (0.4, 4.0), (0.45, 4.5)]
RATIOS = [(1, 1), (0.8, 0.9), (1, 0.736842), (0.555556, 0.923077), (0.5, 0.470588)]
RATIOS += [(0.625, 0.592105)]


@pytest.fixture
def scalarization() -> Any:
    return pytest.importorskip("torchjd.scalarization")


def weigh(one: nn.Module, losses: Sequence[float] | Tensor) -> Tensor:
    """The weights of one step; no gradient of a single loss may be asked for."""
    values = torch.as_tensor(losses, dtype=torch.float32)
    gradients, _ = losses_of(values.tolist(), torch.eye(len(values)))
    found: Tensor = one(values, gradients)
    assert not gradients.measured
    assert found.dtype == values.dtype
    return found.clone()


def weighed(one: nn.Module, steps: Iterable[Sequence[float] | Tensor]) -> Tensor:
    return torch.stack([weigh(one, losses) for losses in steps])


def random_losses(steps: int, k: int, seed: int = 0) -> Tensor:
    return torch.rand(steps, k, generator=seeded(seed)) * 3 + 0.1


def gradient(function: Callable[[Tensor], Tensor], losses: Sequence[float] | Tensor) -> Tensor:
    values = torch.as_tensor(losses).clone().requires_grad_()
    return torch.autograd.grad(function(values), values)[0]


def make(name: str, k: int, **settings: Any) -> nn.Module:
    found: nn.Module = catalog.build("weighters", {"name": name} | settings, k=k)
    return found


# --- Adam -----------------------------------------------------------------------------------


def test_adam_takes_the_steps_of_torchs_own() -> None:
    numbers = nn.Parameter(torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64))
    theirs = torch.optim.Adam([numbers], lr=0.05, betas=(0.8, 0.99), weight_decay=0.01)
    ours, mine = Adam(3, lr=0.05, betas=(0.8, 0.99)), numbers.detach().clone()
    for row in torch.randn(20, 3, generator=seeded(), dtype=torch.float64):
        numbers.grad = row.clone()
        theirs.step()
        mine += ours.step(row + 0.01 * mine)
        torch.testing.assert_close(mine, numbers.detach(), rtol=1e-12, atol=1e-12)


def test_adam_takes_what_is_not_finite_as_0() -> None:
    one, other = Adam(3, lr=0.1), Adam(3, lr=0.1)
    found = one.step(torch.tensor([math.inf, math.nan, 1.0]))
    assert torch.equal(found, other.step(torch.tensor([0.0, 0.0, 1.0])))
    assert found[:2].tolist() == [0, 0]


# --- coefficient of variation, decaying -----------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_cov_in_decay_mode_has_exponential_mean_and_variance(decay: float) -> None:
    one = CoV(k=2, mode="decay", decay=decay)
    found = weighed(one, LOSSES).double()
    values = np.array(LOSSES)

    def mean(x: np.ndarray, t: int) -> np.ndarray:
        # Of the steps before t: the first one keeps all the weight that the later ones leave.
        share = np.array(
            [decay ** (t - 1)] + [(1 - decay) * decay ** (t - 1 - j) for j in range(1, t)]
        )
        assert share.sum() == pytest.approx(1)
        return np.asarray((share[:, None] * x[:t]).sum(0))

    ratios = np.array([np.ones(2)] + [values[t] / mean(values, t) for t in range(1, 6)])
    for t in range(2, 6):
        centre = mean(ratios, t)
        deviation = np.sqrt(mean(ratios**2, t) - centre**2 + 1e-8)
        variation = deviation / centre
        assert found[t].tolist() == pytest.approx(variation / variation.sum(), rel=1e-5)
    assert found[:2].tolist() == [[0.5, 0.5]] * 2


def test_cov_in_decay_mode_forgets_a_spike() -> None:
    steps = [(1.0 + 0.2 * (t % 2), 1.0 + 0.2 * (t % 3)) for t in range(60)]
    steps[3] = (40.0, 1.0)
    full = weighed(CoV(k=2), steps)
    decaying = weighed(CoV(k=2, mode="decay", decay=0.8), steps)
    assert float(full[-1, 0]) > 0.9
    assert float(decaying[-1, 0]) < 0.6


# --- loss tracker ---------------------------------------------------------------------------


def tracker(**settings: Any) -> LossTracker:
    return LossTracker(k=2, **({"warmup": 0} | settings))


@pytest.mark.parametrize("block", [2, 3, 100])
def test_tracker_is_deviation_over_ratio_of_the_last_ratios(block: int) -> None:
    found = weighed(tracker(block_size=block), LOSSES)
    assert found[:2].tolist() == [[1, 1]] * 2
    for t in range(2, 6):
        window = np.array(RATIOS[max(0, t - block) : t])
        assert found[t].tolist() == pytest.approx(window.std(0) / window[-1], rel=2e-5)


def test_tracker_by_hand() -> None:
    found = weighed(tracker(), LOSSES[:4])
    # Ratios 1 and 0.8 deviate by 0.1; 1 and 0.9 by 0.05; 1, 0.8, 1 by sqrt(0.08) / 3.
    assert found[2].tolist() == pytest.approx([0.1 / 0.8, 0.05 / 0.9])
    assert float(found[3, 0]) == pytest.approx(math.sqrt(0.08) / 3)


def test_tracker_keeps_its_constant_weights_while_it_warms_up() -> None:
    steps = random_losses(8, 2)
    found = weighed(tracker(weight=[0.1, 2.0], warmup=[3, 6]), steps)
    free = weighed(tracker(weight=[0.1, 2.0]), steps)
    torch.testing.assert_close(found[:3, 0], torch.full((3,), 0.1))
    torch.testing.assert_close(found[:6, 1], torch.full((6,), 2.0))
    # What it learns meanwhile is the same.
    assert torch.equal(found[3:, 0], free[3:, 0])
    assert torch.equal(found[6:, 1], free[6:, 1])


def test_tracker_with_defaults_does_adapt() -> None:
    found = weighed(LossTracker(k=2), random_losses(34, 2))
    assert torch.equal(found[:30], torch.ones(30, 2))
    assert (found[30:] != 1).all()


def test_tracker_limits_a_loss_and_keeps_its_gradient() -> None:
    one = tracker(weight=[0.5, 2.0], max_loss=[100.0, 3.0])
    losses = [1000.0, 1.0]
    found = weigh(one, losses)
    # 0.5 * 1000 is above 100; 2 * 1 is not above 3.
    assert found.tolist() == pytest.approx([0.1, 2.0])
    gradients, theta = losses_of(losses, torch.eye(2))
    gradients.descend(found)
    assert theta.grad is not None
    assert theta.grad.tolist() == pytest.approx([100.0, 2.0])


def test_tracker_learns_from_raw_losses() -> None:
    # Neither its weights nor its limit feed back into the statistics; nor does a coefficient.
    steps = random_losses(9, 2)
    expected = weighed(tracker(), steps)[2:]
    torch.testing.assert_close(weighed(tracker(weight=7.0), steps)[2:], expected)
    torch.testing.assert_close(weighed(tracker(), steps * 40)[2:], expected)
    limited = tracker(max_loss=0.01)
    weighed(limited, steps)
    free = tracker()
    weighed(free, steps)
    assert torch.equal(limited.ratios, free.ratios)


def test_tracker_does_not_change_what_it_is_given() -> None:
    losses = torch.tensor([200.0, 300.0])
    gradients, _ = losses_of(losses.tolist(), torch.eye(2))
    tracker(max_loss=1.0)(losses, gradients)
    assert losses.tolist() == [200.0, 300.0]


# --- uncertainty and IMTL-L -----------------------------------------------------------------

TOTALS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "full": lambda losses, s: (torch.exp(-s) * losses + s).sum(),
    "half": lambda losses, s: (torch.exp(-s) * losses / 2 + s / 2).sum(),
    "classification": lambda losses, s: (torch.exp(-s) * losses + s / 2).sum(),
    "positive": lambda losses, s: (losses / (2 * s.exp()) + torch.log(1 + s.exp())).sum(),
}
# exp(-s) at rest for a loss L; "positive": L exp(-s) / 2 = exp(s) / (1 + exp(s)).
AT_REST: dict[str, Callable[[float], float]] = {
    "full": lambda loss: 1 / loss,
    "half": lambda loss: 1 / loss,
    "classification": lambda loss: 0.5 / loss,
    "positive": lambda loss: (math.sqrt(1 + 8 / loss) - 1) / 2,
}


@pytest.mark.parametrize("form", TOTALS)
def test_uncertainty_has_the_gradients_of_its_sum(form: str) -> None:
    one = Uncertainty(k=3, form=form, start=0.4)
    losses = torch.tensor([0.3, 2.0, 50.0])
    s = torch.full((3,), 0.4, requires_grad=True)
    total = losses.clone().requires_grad_()
    weights, slope = torch.autograd.grad(TOTALS[form](total, s), [total, s])
    torch.testing.assert_close(weigh(one, losses), weights)
    # What is trained is -s.
    torch.testing.assert_close(one.inverse_variance.value.grad, -slope)


@pytest.mark.parametrize("form", TOTALS)
def test_uncertainty_comes_to_rest_where_it_should(form: str) -> None:
    one = Uncertainty(k=2, form=form)
    optimizer = torch.optim.Adam(one.parameters(), lr=0.05)
    for _ in range(400):
        weigh(one, [4.0, 0.25])
        optimizer.step()
    expected = [AT_REST[form](4.0), AT_REST[form](0.25)]
    assert one.inverse_variance().tolist() == pytest.approx(expected, rel=1e-3)


def test_uncertainty_in_half_form_is_trained_as_another_library_trains_it(
    scalarization: Any,
) -> None:
    ours, theirs = Uncertainty(k=3, form="half"), scalarization.UW(3)
    follow_training(ours, theirs)


def test_imtll_is_trained_as_another_library_trains_it(scalarization: Any) -> None:
    follow_training(IMTLL(k=3), scalarization.IMTLL(3))


def follow_training(ours: nn.Module, theirs: nn.Module) -> None:
    optimizers = [torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9) for one in (ours, theirs)]
    for losses in random_losses(20, 3):
        values = losses.clone().requires_grad_()
        for optimizer in optimizers:
            optimizer.zero_grad()
        theirs(values).backward()
        torch.testing.assert_close(weigh(ours, losses), values.grad)
        for optimizer in optimizers:
            optimizer.step()


def test_imtll_is_uncertainty_with_the_other_sign() -> None:
    ours, theirs = IMTLL(k=3, start=-0.7), Uncertainty(k=3, start=0.7)
    losses = [0.1, 1.0, 20.0]
    assert torch.equal(weigh(ours, losses), weigh(theirs, losses))
    assert torch.equal(ours.scale.value.grad, theirs.inverse_variance.value.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Uncertainty", "IMTLL"])
@pytest.mark.parametrize(("loss", "end"), [(0.0, 50.0), (-3.0, 50.0), (1e30, 0.02)])
def test_learned_weights_are_bounded_and_come_back(name: str, loss: float, end: float) -> None:
    one = make(name, 1, most=50.0)
    optimizer = torch.optim.SGD(one.parameters(), lr=1.0)
    for _ in range(10):
        weights = weigh(one, [loss])
        (value,) = one.parameters()
        assert value.grad is not None
        assert float(value.grad.abs()) <= 50
        optimizer.step()
    assert float(weights) == pytest.approx(end)
    for _ in range(300):
        weigh(one, [0.5])
        for group in optimizer.param_groups:
            group["lr"] = 0.05
        optimizer.step()
    assert float(weigh(one, [0.5])) == pytest.approx(2.0, rel=1e-2)


# --- dynamic weight average -----------------------------------------------------------------


def test_dynamic_weight_average_follows_another_library(scalarization: Any) -> None:
    ours, theirs = DynamicWeightAverage(k=3, temperature=1.5), scalarization.DWA(temperature=1.5)
    epochs = random_losses(20, 3).view(5, 4, 3)
    for number, epoch in enumerate(epochs):
        for losses in epoch:
            found = weigh(ours, losses)
            torch.testing.assert_close(found, gradient(theirs, losses))
            assert torch.equal(found, torch.ones(3)) == (number < 2)
        ours.end_epoch()
        theirs.step()


def after_epochs(means: Sequence[Sequence[float]], **settings: Any) -> list[float]:
    one = DynamicWeightAverage(k=len(means[0]), **settings)
    for epoch in means:
        # Two steps whose mean is the epoch's.
        weigh(one, [0.5 * value for value in epoch])
        weigh(one, [1.5 * value for value in epoch])
        one.end_epoch()
    found: list[float] = weigh(one, means[-1]).tolist()
    return found


@pytest.mark.parametrize(
    ("means", "logits"),
    [
        ([(4, 1), (2, 1)], (0.25, 0.5)),
        ([(1, 1), (3, 1), (6, 3)], (1, 1.5)),
        ([(2, 2), (2, 2)], (0.5, 0.5)),
        # 0 to 0 and 0 to 5 count as standing still; a loss that vanished has ratio 0.
        ([(0, 0), (0, 5)], (0.5, 0.5)),
        ([(1, 1), (0, 1)], (0, 0.5)),
        ([(-1, 1), (-2, 1)], (0.5, 0.5)),
        ([(1, 1), (1e30, 1)], (1000, 0)),
    ],
)
def test_dynamic_weight_average_by_hand(
    means: list[tuple[float, float]], logits: tuple[float, float]
) -> None:
    first = 1 / (1 + math.exp(logits[1] - logits[0]))
    assert after_epochs(means) == pytest.approx([2 * first, 2 - 2 * first], rel=1e-6)


def test_dynamic_weight_average_of_a_high_temperature_is_even() -> None:
    assert after_epochs([(4, 1), (2, 3)], temperature=1e6) == pytest.approx([1, 1], abs=1e-5)


def test_dynamic_weight_average_passes_over_an_epoch_without_a_step() -> None:
    one, other = DynamicWeightAverage(k=2), DynamicWeightAverage(k=2)
    other.end_epoch()
    for losses in random_losses(4, 2):
        assert torch.equal(weigh(one, losses), weigh(other, losses))
        one.end_epoch()
        other.end_epoch()
        other.end_epoch()
    assert not torch.equal(one.weights, torch.ones_like(one.weights))
    assert torch.equal(one.weights, other.weights)


# --- geometric mean -------------------------------------------------------------------------


def test_geometric_mean_follows_another_library(scalarization: Any) -> None:
    for losses in random_losses(5, 4):
        expected = gradient(scalarization.GeometricMean(), losses)
        torch.testing.assert_close(weigh(GeometricMean(), losses), expected)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((1, 4), (1, 0.25)),
        ((7,), (1,)),
        ((1e30, 1e30), (0.5, 0.5)),
        ((1e-30, 4e-30), (1, 0.25)),
        # A loss counts as 1e-8 of the largest at least: sqrt(1e-8) / (2e-8) and sqrt(1e-8) / 2.
        ((0, 1), (5000, 5e-5)),
        ((-3, 1), (5000, 5e-5)),
        ((0, 0, 0, 0), (0.25,) * 4),
        ((-1, -2), (0.5, 0.5)),
    ],
)
def test_geometric_mean_by_hand(losses: Sequence[float], expected: Sequence[float]) -> None:
    found = weigh(GeometricMean(), losses)
    assert found.tolist() == pytest.approx(list(expected), rel=1e-5)
    assert torch.equal(found, weigh(GeometricMean(), [float(one) for one in losses]))


def test_geometric_mean_weighs_all_losses_to_the_same_value() -> None:
    losses = torch.tensor([1e-6, 3.0, 2e9])
    mean = float(losses.double().log().mean().exp())
    found = weigh(GeometricMean(eps=1e-30), losses) * losses
    assert found.tolist() == pytest.approx([mean / 3] * 3, rel=1e-5)


# --- SoftAdapt ------------------------------------------------------------------------------


def softmax(logits: Sequence[float], factors: Sequence[float] = (1, 1)) -> list[float]:
    found = [f * math.exp(x) for f, x in zip(factors, logits, strict=True)]
    return [one / sum(found) for one in found]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # The slopes are 0.5 and -1, the means 1.25 and 1.5.
        ("plain", softmax([0.05, -0.1])),
        ("normalised", softmax([0.1 / 3, -0.2 / 3])),
        ("loss-weighted", softmax([0.05, -0.1], [1.25, 1.5])),
    ],
)
def test_soft_adapt_by_hand(form: str, expected: list[float]) -> None:
    found = weighed(SoftAdapt(k=2, form=form), [(1.0, 2.0), (1.5, 1.0)])
    assert found[0].tolist() == [0.5, 0.5]
    assert found[1].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("history", [2, 3, 4, 5])
def test_soft_adapts_slope_is_exact_at_the_newest_step(history: int) -> None:
    # A polynomial of degree history - 1 has the slope of its derivative.
    one = SoftAdapt(k=2, beta=0.5, history=history)
    line = np.polynomial.Polynomial([3.0, -1.0, 0.4, -0.1, 0.02][:history])
    flat = np.polynomial.Polynomial([1.0, 0.2])
    found = weighed(one, [(float(line(t)), float(flat(t))) for t in range(7)])
    assert found[: history - 1].tolist() == [[0.5, 0.5]] * (history - 1)
    for t in range(history - 1, 7):
        expected = softmax([0.5 * line.deriv()(t), 0.5 * 0.2])
        assert found[t].tolist() == pytest.approx(expected, abs=1e-5)


def test_soft_adapt_of_a_negative_beta_favours_what_falls() -> None:
    found = weighed(SoftAdapt(k=2, beta=-1.0), [(2.0, 1.0), (1.0, 1.0)])[1]
    assert found.tolist() == pytest.approx(softmax([1, 0]))


def test_soft_adapt_normalised_does_not_know_the_scale() -> None:
    steps = random_losses(5, 3)
    found = [weighed(SoftAdapt(k=3, form="normalised", beta=2.0), c * steps) for c in (1, 1e-3)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


# --- ReLoBRaLo ------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "rho"), [(0.999, 0.9999), (0.6, 0.5), (0.0, 0.5), (1.0, 0.0)])
def test_relobralo_follows_its_equation(alpha: float, rho: float) -> None:
    steps = random_losses(25, 3).double().numpy()
    found = weighed(ReLoBRaLo(k=3, alpha=alpha, rho=rho, tau=0.5, seed=4), steps.tolist())

    def balance(now: np.ndarray, then: np.ndarray) -> np.ndarray:
        powers = np.exp(now / (0.5 * then))
        return np.asarray(3 * powers / powers.sum())

    weights = np.ones(3)
    for t, losses in enumerate(steps):
        bit = float(_random.uniform(4, torch.tensor(t), 1)) < rho
        kept = weights if bit else balance(losses, steps[0])
        weights = alpha * kept + (1 - alpha) * balance(losses, steps[max(t - 1, 0)])
        assert found[t].tolist() == pytest.approx(weights, rel=1e-5)
        assert float(found[t].sum()) == pytest.approx(3)


def test_relobralo_that_never_looks_anywhere_stays_at_1() -> None:
    found = weighed(ReLoBRaLo(k=2, alpha=1.0, rho=1.0), random_losses(10, 2))
    assert torch.equal(found, torch.ones(10, 2))


# --- smooth Tchebycheff ---------------------------------------------------------------------


@pytest.mark.parametrize("mu", [0.01, 0.1, 1.0, 30.0])
def test_smooth_tchebycheff_follows_another_library(mu: float, scalarization: Any) -> None:
    preference, ideal = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.0, -1.0])
    ours = SmoothTchebycheff(k=3, mu=mu, preference=[5, 3, 2], ideal=ideal.tolist())
    theirs = scalarization.STCH(mu, preference, ideal)
    even = SmoothTchebycheff(k=3, mu=mu)
    for losses in random_losses(5, 3):
        torch.testing.assert_close(
            weigh(ours, losses), gradient(theirs, losses), rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(
            weigh(even, losses), gradient(scalarization.STCH(mu), losses), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize(
    ("losses", "mu", "expected"),
    [
        ((1, 3, 2), 1e-6, (0, 1 / 3, 0)),
        ((1, 3, 2), 1e9, (1 / 9,) * 3),
        ((1e30, 1, 2), 1, (1 / 3, 0, 0)),
        ((-1, -3, -2), 1e-6, (1 / 3, 0, 0)),
        ((0, 0, 0), 1, (1 / 9,) * 3),
    ],
)
def test_smooth_tchebycheff_at_its_limits(
    losses: Sequence[float], mu: float, expected: Sequence[float]
) -> None:
    found = weigh(SmoothTchebycheff(k=3, mu=mu), losses)
    assert found.tolist() == pytest.approx(list(expected), rel=1e-5)


# --- FAMO -----------------------------------------------------------------------------------


def test_famo_follows_another_library(scalarization: Any) -> None:
    floor = [0.0, 0.05, -1.0]
    ours = FAMO(k=3, lr=0.1, decay=0.02, floor=floor)
    theirs = scalarization.FAMO(3, torch.tensor(floor), lr=0.1, weight_decay=0.02)
    for losses, after in random_losses(60, 3).view(30, 2, 3):
        torch.testing.assert_close(
            weigh(ours, losses), gradient(theirs, losses), rtol=1e-4, atol=1e-6
        )
        ours.observe(after)
        theirs.update(after)


def test_famo_begins_with_the_slope_of_the_mean_logarithm() -> None:
    # 1/1 : 1/4 : 1/5, normalised.
    found = weigh(FAMO(k=3), [1.0, 4.0, 5.0])
    assert found.tolist() == pytest.approx([20 / 29, 5 / 29, 4 / 29])


def test_famo_takes_weight_from_the_loss_that_fell_more() -> None:
    one = FAMO(k=2, decay=0.0)
    before = weigh(one, [1.0, 1.0])
    one.observe(torch.tensor([0.5, 1.0]))
    # Adam's first step is lr, whatever the gradient: z = softmax(-0.025, 0.025).
    after = weigh(one, [1.0, 1.0])
    assert before.tolist() == [0.5, 0.5]
    assert after.tolist() == pytest.approx(softmax([-0.025, 0.025]), rel=1e-6)


def test_famo_goes_back_to_even_by_its_decay() -> None:
    one = FAMO(k=2, lr=0.05, decay=1.0)
    one.logits.copy_(torch.tensor([1.0, -1.0]))
    for _ in range(200):
        weigh(one, [1.0, 1.0])
        one.observe(torch.ones(2))
    assert weigh(one, [1.0, 1.0]).tolist() == pytest.approx([0.5, 0.5], abs=0.01)


# --- Lagrange multipliers -------------------------------------------------------------------


def test_lagrangian_by_hand() -> None:
    one = Lagrangian(k=3, bounds=[1.0, 0.5], rate=0.1, start=0.0, most=0.35)
    steps = [(9, 2, 1.0), (9, 4, 0.25), (9, 0, -9.0), (9, 1, 0.5)]
    found = weighed(one, steps)
    # Above by 1 and 0.5; by 3, cut at 0.35, and -0.25; by -1 and -9.5, which stops at 0.
    expected = [[1, 0, 0], [1, 0.1, 0.05], [1, 0.35, 0.025], [1, 0.25, 0]]
    assert [row.tolist() for row in found] == [pytest.approx(row) for row in expected]


def test_lagrangian_keeps_the_main_loss() -> None:
    one = Lagrangian(k=3, keep="main", bounds=1.0, rate=0.5)
    found = weighed(one, [(2, 7, 7), (0.5, 7, 7), (0, 7, 7), (0, 7, 7)])
    assert found[:, 0].tolist() == pytest.approx([1, 1.5, 1.25, 0.75])
    assert torch.equal(found[:, 1:], torch.ones(4, 2))


@pytest.mark.parametrize(("keep", "end"), [("auxiliary", 1.0), ("main", 1.0)])
def test_lagrangian_ends_where_the_bound_is_met(keep: str, end: float) -> None:
    # Minimise (x - 2)^2 with x^2 <= 1, and the other way round; both multipliers are 1.
    one = Lagrangian(k=2, keep=keep, bounds=1.0, rate=0.05, start=0.0)
    x = torch.tensor(3.0)
    for _ in range(600):
        weights = weigh(one, torch.stack([(x - 2).square(), x.square()]))
        slopes = torch.stack([2 * (x - 2), 2 * x])
        x = x - 0.05 * (weights @ slopes)
    assert float(x) == pytest.approx(end, abs=1e-3)
    assert one.multipliers.tolist() == pytest.approx([1.0], abs=1e-2)


# --- what every docstring says of hostile losses --------------------------------------------

ZERO, STILL = [(0.0, 0.0)] * 5, [(2.0, 0.5)] * 5
HOSTILE = [
    ("CoV", {}, ZERO, (0.5, 0.5)),
    ("CoV", {}, STILL, (0.5, 0.5)),
    ("CoV", {"mode": "decay"}, ZERO, (0.5, 0.5)),
    ("CoV", {"mode": "decay"}, STILL, (0.5, 0.5)),
    # Ratios 1, 1, 1e30 have variation sqrt(2), ratios 1, 1, 1 have 1e-4.
    ("CoV", {}, [(1, 1), (1, 1), (1e30, 1), (1, 1)], (0.9999293, 7.07057e-5)),
    ("LossTracker", {"warmup": 0, "weight": 0.3}, ZERO, (0.3, 0.3)),
    ("LossTracker", {"warmup": 0, "weight": 0.3}, STILL, (0.3, 0.3)),
    # One of them stands still: only the other one counts. Ratios 1, 2 deviate by 1/2.
    ("LossTracker", {"warmup": 0}, [(1, 1), (2, 1), (1, 1)], (0.25, 0)),
    # A loss that was 0 in the step before keeps its constant weight; so does a negative one.
    ("LossTracker", {"warmup": 0, "weight": 0.3}, [(1, 1), (0, 3), (1, 1)], (0.3, 1 / 3)),
    ("LossTracker", {"warmup": 0, "weight": 0.3}, [(1, 1), (-2, 3), (1, 1)], (0.3, 1 / 3)),
    ("LossTracker", {"warmup": 0, "most": 9}, [(1, 1), (1e-6, 3), (1, 1)], (9, 1 / 3)),
    ("LossTracker", {"warmup": 0}, [(1, 1), (1e30, 3), (1, 1)], (0.5, 1 / 3)),
    ("LossTracker", {"max_loss": 4}, [(1e30, -1)], (4e-30, 1)),
    ("Uncertainty", {}, ZERO, (1, 1)),
    ("Uncertainty", {"form": "half"}, STILL, (0.5, 0.5)),
    ("IMTLL", {}, [(1e30, -1)] * 3, (1, 1)),
    ("DynamicWeightAverage", {}, ZERO, (1, 1)),
    ("SoftAdapt", {}, ZERO, (0.5, 0.5)),
    ("SoftAdapt", {}, STILL, (0.5, 0.5)),
    ("SoftAdapt", {}, [(-1, -1), (-3, -2)], softmax([-0.2, -0.1])),
    ("SoftAdapt", {}, [(1, 1), (1e30, 1)], (1, 0)),
    ("SoftAdapt", {"form": "normalised"}, STILL, (0.5, 0.5)),
    ("SoftAdapt", {"form": "normalised"}, [(1, 1), (1e30, 1)], softmax([0.1, 0])),
    ("SoftAdapt", {"form": "loss-weighted"}, ZERO, (0.5, 0.5)),
    ("SoftAdapt", {"form": "loss-weighted"}, STILL, (0.8, 0.2)),
    ("SoftAdapt", {"form": "loss-weighted"}, [(-1, 1), (-1, 1)], (0, 1)),
    ("SoftAdapt", {"form": "loss-weighted"}, [(-1, -1), (-2, -1)], (0.5, 0.5)),
    ("ReLoBRaLo", {}, ZERO, (1, 1)),
    ("ReLoBRaLo", {}, STILL, (1, 1)),
    # Quotients 1 for both, and 0 and 3.
    ("ReLoBRaLo", {"alpha": 0.0}, [(0, -1), (5, 7)], (1, 1)),
    ("ReLoBRaLo", {"alpha": 0.0}, [(1, 1), (0, 3)], [2 * one for one in softmax([0, 3])]),
    ("ReLoBRaLo", {"alpha": 0.0}, [(1, 1), (1e30, 1)], (2, 0)),
    ("FAMO", {}, ZERO, (0.5, 0.5)),
    ("FAMO", {}, STILL, (0.2, 0.8)),
    ("FAMO", {}, [(0, 1)], (1, 1e-8)),
    ("FAMO", {}, [(-5, 1)], (1, 1e-8)),
    ("FAMO", {}, [(1e30, 1)], (1e-30, 1)),
    ("Lagrangian", {}, [(1, 1e30), (1, 1)], (1, 100)),
    ("Lagrangian", {}, [(1, -1e30), (1, 1)], (1, 0)),
]


@pytest.mark.parametrize(("name", "settings", "steps", "expected"), HOSTILE)
def test_hostile_losses(
    name: str,
    settings: dict[str, Any],
    steps: list[tuple[float, float]],
    expected: Sequence[float],
) -> None:
    found = weighed(make(name, 2, **settings), steps)[-1]
    assert found.tolist() == pytest.approx(list(expected), rel=1e-5, abs=1e-9 * max(expected))


NAMES = [
    "CoV",
    "DynamicWeightAverage",
    "FAMO",
    "GeometricMean",
    "IMTLL",
    "Lagrangian",
    "LossTracker",
    "RandomWeights",
    "ReLoBRaLo",
    "SmoothTchebycheff",
    "SoftAdapt",
    "Uncertainty",
]
LONG: dict[str, dict[str, Any]] = {
    "CoV": {"mode": "decay"},
    "LossTracker": {"warmup": 0, "block_size": 3},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [2, 5])
def test_losses_of_any_sign_and_size_leave_all_finite(name: str, k: int) -> None:
    one = make(name, k, **LONG.get(name, {}))
    power = torch.randint(-30, 31, (24, k), generator=seeded(k))
    sign = torch.randint(-1, 2, (24, k), generator=seeded(k + 1))
    for step, losses in enumerate(sign * 10.0**power):
        weights = weigh(one, losses)
        assert torch.isfinite(weights).all()
        assert (weights >= 0).all()
        for hook in ("observe", "end_epoch"):
            if hasattr(one, hook) and (hook == "observe" or step % 4 == 3):
                getattr(one, hook)(*[losses.flip(0)][: hook == "observe"])
    state = one.state_dict()
    assert all(torch.isfinite(value).all() for value in state.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_the_same_in_float64(name: str) -> None:
    if name == "Lagrangian" or name in ("Uncertainty", "IMTLL"):
        one, other = make(name, 2, start=0.5), make(name, 2, start=0.5)
    else:
        one, other = make(name, 2), make(name, 2)
    for losses in random_losses(3, 2):
        gradients, _ = losses_of(losses.tolist(), torch.eye(2))
        found = other(losses.double(), gradients)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found.float(), weigh(one, losses))


# --- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("CoV", {"mode": "ful"}, "mode cannot be 'ful'. Did you mean 'full'"),
        ("CoV", {"decay": 1.0}, "decay must be below 1, which freezes the means, found 1.0"),
        ("CoV", {"decay": -0.1}, "decay must be at least 0, found -0.1"),
        ("LossTracker", {"weight": [1, 0]}, r"weight\[1\] must be above 0, found 0"),
        ("LossTracker", {"weight": [1]}, r"weight must have 2 entries, found \[1\]"),
        ("LossTracker", {"max_loss": -1}, "max_loss must be at least 0, found -1"),
        ("LossTracker", {"warmup": 1.5}, "warmup must be a whole number, found 1.5"),
        ("LossTracker", {"block_size": 1}, "block_size must be at least 2, found 1"),
        ("LossTracker", {"most": 0}, "most must be above 0, found 0"),
        ("Uncertainty", {"form": "hafl"}, "Did you mean 'half'"),
        ("Uncertainty", {"most": 1}, "most must be above 1, found 1"),
        ("IMTLL", {"start": "x"}, "start must be a number or a quotient, found 'x'"),
        ("DynamicWeightAverage", {"temperature": 0}, "temperature must be above 0, found 0"),
        ("GeometricMean", {"eps": 0}, "eps must be above 0, found 0"),
        ("GeometricMean", {"eps": 2}, "eps must be at most 1, found 2"),
        ("SoftAdapt", {"form": "normalized"}, "Did you mean 'normalised'"),
        ("SoftAdapt", {"history": 1}, "history must be at least 2, found 1"),
        ("ReLoBRaLo", {"alpha": 1.1}, "alpha must be at most 1, found 1.1"),
        ("ReLoBRaLo", {"rho": -1}, "rho must be at least 0, found -1"),
        ("ReLoBRaLo", {"tau": 0}, "tau must be above 0, found 0"),
        ("SmoothTchebycheff", {"mu": 0}, "mu must be above 0, found 0"),
        ("SmoothTchebycheff", {"preference": [1, -1]}, r"preference\[1\] must be above 0"),
        ("SmoothTchebycheff", {"ideal": [1, 2, 3]}, "ideal must have 2 entries"),
        ("FAMO", {"lr": -1}, "lr must be at least 0, found -1"),
        ("FAMO", {"decay": -1}, "decay must be at least 0, found -1"),
        ("FAMO", {"eps": 0}, "eps must be above 0, found 0"),
        ("FAMO", {"floor": "low"}, "floor must be a number or a quotient, found 'low'"),
        ("Lagrangian", {"keep": "mian"}, "Did you mean 'main'"),
        ("Lagrangian", {"bounds": [1, 2]}, "bounds must have 1 entries"),
        ("Lagrangian", {"rate": -1}, "rate must be at least 0, found -1"),
        ("Lagrangian", {"start": 200}, "start must be at most 100, found 200"),
    ],
)
def test_wrong_settings(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"{name}: .*{message}"):
        make(name, 2, **settings)


def test_quotients_are_numbers_everywhere() -> None:
    one = make("SmoothTchebycheff", 2, mu="1/2", preference=["1/3", "2/3"], ideal="8/255")
    assert isinstance(one, SmoothTchebycheff)
    assert float(one.mu) == 0.5
    assert one.preference.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert one.ideal.tolist() == [8 / 255] * 2


def test_lagrangian_needs_an_auxiliary_loss() -> None:
    with pytest.raises(SettingError, match="k must be at least 2, found 1"):
        Lagrangian(k=1)
