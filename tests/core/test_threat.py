"""Balls, boxes, projections and uniform starting points by their closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch

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
