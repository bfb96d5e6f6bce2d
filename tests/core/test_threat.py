"""Balls, boxes, projections and uniform starting points by their closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainables.core import threat
from trainables.core.errors import SettingError
from trainables.core.randomness import Stream
from trainables.core.threat import (
    box_of,
    enforce,
    norm_name,
    project,
    size,
    steepest,
    uniform_in_ball,
)

DELTA = torch.tensor([[3.0, -4.0], [0.3, 0.4], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("given", "name"),
    [("linf", "linf"), ("inf", "linf"), ("LINF", "linf"), ("l2", "l2"), ("2", "l2"), (2, "l2")],
)
def test_norm_names(given: Any, name: str) -> None:
    assert norm_name(given) == name


def test_unknown_norm_names_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"norm cannot be 'l3'\. Did you mean 'l2'"):
        norm_name("l3")


def test_sizes_and_steepest_steps() -> None:
    torch.testing.assert_close(size(DELTA, "linf"), torch.tensor([4.0, 0.4, 0.0]))
    torch.testing.assert_close(size(DELTA, "l2"), torch.tensor([5.0, 0.5, 0.0]))
    assert steepest(DELTA, "linf").tolist() == [[1, -1], [1, 1], [0, 0]]
    torch.testing.assert_close(
        steepest(DELTA, "l2"), torch.tensor([[0.6, -0.8], [0.6, 0.8], [0.0, 0.0]])
    )


def test_projection_is_the_nearest_point() -> None:
    assert project(DELTA, "linf", 1.0).tolist() == [[1.0, -1.0], DELTA[1].tolist(), [0.0, 0.0]]
    torch.testing.assert_close(
        project(DELTA, "l2", 1.0), torch.tensor([[0.6, -0.8], [0.3, 0.4], [0.0, 0.0]])
    )
    assert torch.equal(project(DELTA, "l2", 0.0), torch.zeros(3, 2))


def test_enforce_holds_whatever_an_attack_returned() -> None:
    x = torch.tensor([[0.1, 0.9]])
    far = torch.tensor([[-50.0, 50.0]])
    assert torch.equal(enforce(x, far, "linf", 0.5, (0.0, 1.0)), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(enforce(x, far, "linf", 0.5, None), torch.tensor([[-0.4, 1.4]]))
    moved = enforce(x, far, "l2", 0.5, (0.0, 1.0)) - x
    assert float(size(moved, "l2")) <= 0.5


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_start_is_uniform_in_the_ball(norm: str) -> None:
    like = torch.zeros(4000, 1, 2, 2)
    radius = size(uniform_in_ball(like, norm, 0.5, Stream(0)), norm) / 0.5
    assert float(radius.max()) <= 1 + 1e-6
    # In n = 4 dimensions the share within radius r is r^4; standard error at most 0.008.
    for part in (0.5, 0.7, 0.9):
        assert float((radius <= part).double().mean()) == pytest.approx(part**4, abs=0.03)


def test_boxes() -> None:
    assert box_of(None) is None
    assert box_of([0, 1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([1, 0], r"box must rise, found \[1, 0\]"),
        ([0], "box must have 2 entries"),
        (3, "box must be a list, found 3"),
        ([0, "one"], "box must be a number or a quotient, found 'one'"),
    ],
)
def test_boxes_that_are_none(box: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        box_of(box)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_the_steepest_step_has_length_1_whatever_the_gradients_size(
    scale: float, norm: str
) -> None:
    gradient = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    step = threat.steepest(scale * gradient, norm)
    torch.testing.assert_close(threat.size(step, norm), torch.ones(5))
    torch.testing.assert_close(step, threat.steepest(gradient, norm))
    assert torch.equal(threat.steepest(0 * gradient, norm), 0 * gradient)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_what_is_no_number_stays_where_it_was(norm: str) -> None:
    x = torch.rand(3, 2, 4)
    x_adv = x.clone()
    x_adv[0], x_adv[1, 0], x_adv[2, 1, 0] = torch.nan, torch.inf, 0.5
    found = threat.enforce(x, x_adv, norm, torch.tensor(0.1), (0.0, 1.0))
    assert torch.isfinite(found).all()
    assert torch.equal(found[0], x[0])
    assert (threat.size(found - x, norm) <= 0.1 + 1e-6).all()
