"""The weighters' numbers: published sequences, toy problems with known ends, hand values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import weighing
from trainables.core.errors import SettingError
from trainables.core.gradients import Gradients
from trainables.core.weighters.cov import CoV

from ..contracts.toys import losses_of

# --- coefficient of variation ---------------------------------------------------------------

LOSSES = [(1.0, 10.0), (0.8, 9.0), (0.9, 7.0), (0.5, 8.0), (0.4, 4.0), (0.45, 4.5)]
WEIGHTS = [(0.5, 0.5)] * 2 + [
    (0.678571, 0.321429),
    (0.450131, 0.549869),
    (0.669261, 0.330739),
    (0.540991, 0.459009),
]
RATIOS = [(1, 1), (0.8, 0.9), (1, 0.736842), (0.555556, 0.923077), (0.5, 0.470588)]
RATIOS += [(0.625, 0.592105)]
TOTALS = [5.5, 4.9, 2.860716, 4.624019, 1.590660, 2.308985]


def test_cov_follows_the_authors_sequence() -> None:
    weighter = CoV(k=2)
    before = torch.zeros(2, dtype=torch.float64)
    for step, losses in enumerate(LOSSES):
        gradients, _ = losses_of(losses, torch.eye(2))
        weights = weighter(torch.tensor(losses), gradients)
        assert weights.tolist() == pytest.approx(WEIGHTS[step], abs=2e-6)
        assert float(weights @ torch.tensor(losses)) == pytest.approx(TOTALS[step], abs=1e-5)
        # The ratio of this step from the running means around it.
        ratio = weighter.mean_ratio * (step + 1) - before * step
        assert ratio.tolist() == pytest.approx(RATIOS[step], abs=1e-6)
        before = weighter.mean_ratio.clone()
        assert not gradients.measured
    deviation = (weighter.squares / 6 + 1e-8).sqrt()
    assert weighter.mean_ratio.tolist() == pytest.approx((0.746759, 0.770435), abs=1e-6)
    assert deviation.tolist() == pytest.approx((0.201400, 0.189572), abs=1e-6)


def test_cov_gives_a_constant_loss_next_to_nothing() -> None:
    weighter = CoV(k=2)
    for value in (1.0, 3.0, 0.5, 2.0, 1.5):
        gradients, _ = losses_of((value, 1.0), torch.eye(2))
        weights = weighter(torch.tensor([value, 1.0]), gradients)
    assert float(weights[1]) < 1e-3


def test_cov_of_losses_that_never_varied_is_even() -> None:
    weighter = CoV(k=3)
    for _ in range(6):
        gradients, _ = losses_of((2.0, 2.0, 2.0), torch.eye(3))
        weights = weighter(torch.full((3,), 2.0), gradients)
        assert weights.tolist() == pytest.approx([1 / 3] * 3)


# --- gradient similarity --------------------------------------------------------------------


def weigh(form: str, directions: list[list[float]]) -> list[float]:
    rows = torch.tensor(directions, dtype=torch.float32)
    gradients, _ = losses_of([1.0] * len(rows), rows)
    one = weighing.make({"name": "GradientSimilarity", "form": form}, len(rows))
    found: list[float] = one(torch.ones(len(rows)), gradients).tolist()
    return found


SIMILARITY = [
    # g = (3, 4): the cosines of the others are 0.8, -0.6, 0 and 1.
    ([[3, 4], [0, 2], [-1, 0], [4, -3], [6, 8]], "weighted", [1, 0.8, 0, 0, 1]),
    ([[3, 4], [0, 2], [-1, 0], [4, -3], [6, 8]], "unweighted", [1, 1, 0, 1, 1]),
    # 1 + 3/25 takes (-1, 0)'s part against g away.
    ([[3, 4], [0, 2], [-1, 0], [4, -3], [6, 8]], "projection", [1.12, 1, 1, 1, 1]),
    ([[3, 4], [0, 0]], "weighted", [1, 0]),
    ([[3, 4], [0, 0]], "unweighted", [1, 0]),
    ([[3, 4], [0, 0]], "projection", [1, 1]),
    ([[0, 0], [3, 4]], "weighted", [1, 0]),
    ([[0, 0], [3, 4]], "unweighted", [1, 0]),
    ([[0, 0], [3, 4]], "projection", [1, 1]),
    ([[-4, 1, 1], [6, 1, 1]], "weighted", [1, 0]),
    ([[-4, 1, 1], [6, 1, 1]], "projection", [1 + 22 / 18, 1]),
    # Gradients whose squares' product is below float32's least number.
    ([[3e-12, 4e-12], [0, 2e-12]], "weighted", [1, 0.8]),
    ([[3e-12, 4e-12], [0, 2e-12]], "unweighted", [1, 1]),
]


@pytest.mark.parametrize(("directions", "form", "expected"), SIMILARITY)
def test_similarity_by_hand(
    directions: list[list[float]], form: str, expected: list[float]
) -> None:
    assert weigh(form, directions) == pytest.approx(expected, abs=1e-6)


def test_projection_takes_only_the_part_against_the_main_gradient() -> None:
    g, a = torch.tensor([-4.0, 1.0, 1.0]), torch.tensor([6.0, 1.0, 1.0])
    main, aux = weigh("projection", [g.tolist(), a.tolist()])
    expected = g + a - (g @ a) / (g @ g) * g
    torch.testing.assert_close(main * g + aux * a, expected)
    assert float((main - 1) * g @ g + aux * a @ g) == pytest.approx(0, abs=1e-5)


Problem = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
LINE: Problem = (lambda x: (x - 10).square().sum(), lambda x: x.square().sum())
PLANE: Problem = (
    lambda x: (x.norm() - 1).square(),
    lambda x: 0.1 * (x - torch.tensor([2.0, 0.0], dtype=torch.float64)).square().sum(),
)
RULES: dict[str, dict[str, Any] | None] = {
    "single": None,
    "multi": {"name": "Fixed"},
    "unweighted": {"name": "GradientSimilarity", "form": "unweighted"},
    "weighted": {"name": "GradientSimilarity", "form": "weighted"},
    "projection": {"name": "GradientSimilarity", "form": "projection"},
}


def descend(
    problem: Problem, start: list[float], rule: str, steps: int, until: float = 0.0
) -> tuple[list[float], int | None]:
    """Where plain descent ends, and its first step at which the main loss is below `until`."""
    x = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    config = RULES[rule]
    one = weighing.make(config or {"name": "Fixed"}, 2 if config else 1)
    reached = None
    for step in range(steps):
        losses = [loss(x) for loss in (problem if config else problem[:1])]
        if reached is None and float(losses[0].detach()) < until:
            reached = step
        x.grad = None
        gradients = Gradients(losses, [x])
        gradients.descend(one(torch.stack(losses).detach(), gradients))
        with torch.no_grad():
            assert x.grad is not None
            x -= 0.01 * x.grad
    return x.tolist(), reached


LINE_ENDS = [
    (-20, "single", 226, 9.9998),
    (-20, "multi", None, 5.0),
    (-20, "unweighted", 211, 9.9999),
    (-20, "weighted", 211, 9.9999),
    (5, "single", 137, 10.0),
    (5, "multi", None, 5.0),
    (5, "unweighted", 137, 10.0),
    (5, "weighted", 137, 10.0),
    (30, "single", 206, 10.0),
    (30, "multi", 38, 5.0),
    (30, "unweighted", 38, 10.0),
    (30, "weighted", 38, 10.0),
]


@pytest.mark.parametrize(("start", "rule", "reached", "end"), LINE_ENDS)
def test_on_a_line(start: float, rule: str, reached: int | None, end: float) -> None:
    found, step = descend(LINE, [start], rule, 600, until=0.1)
    assert step == reached
    assert found == pytest.approx([end], abs=2e-4)


PLANE_ENDS = [
    ("single", (0.0, 1.0)),
    ("multi", (1.0909, 0.0)),
    ("unweighted", (0.5028, 0.8644)),
    ("weighted", (0.2502, 0.9682)),
    ("projection", (1.0, 0.0)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "end"), PLANE_ENDS)
def test_on_a_plane(rule: str, end: tuple[float, float]) -> None:
    found, _ = descend(PLANE, [0.0, 2.0], rule, 5000)
    assert found == pytest.approx(end, abs=1e-4)
    main = (math.hypot(*found) - 1) ** 2
    assert main == pytest.approx(0.008264 if rule == "multi" else 0, abs=1e-6)


# --- options of all -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "CoV", "normalise": "two"}, "normalise cannot be 'two'"),
        ({"name": "CoV", "scope": "last-lyer"}, "Did you mean 'last-layer'"),
        ({"name": "GradientSimilarity", "form": "projecton"}, "Did you mean 'projection'"),
        ({"name": "CoV", "decy": 1}, "CoV has no setting 'decy'"),
    ],
)
def test_wrong_options(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        weighing.make(config, 2)
