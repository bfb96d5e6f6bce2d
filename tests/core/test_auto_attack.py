"""AutoAttack: its members, its early stops, and models whose worst case is known."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog, views
from trainables.core.errors import SettingError
from trainables.core.facts import Facts
from trainables.core.randomness import ExampleStreams
from trainables.core.threat import size

from ..contracts.toys import digits, seeded, trained
from .linear_worst import LinearSoftmax, case, slack


def auto(**settings: Any) -> Any:
    return catalog.build("attacks", {"name": "AutoAttack"} | settings)


def streams(n: int) -> ExampleStreams:
    return ExampleStreams(0, torch.arange(n))


def right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1) == y


def few(n: int = 60) -> tuple[Tensor, Tensor]:
    return digits().x[1000 : 1000 + n], digits().y[1000 : 1000 + n]


def told(one: nn.Module, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in names)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_members_of_the_standard_version(norm: str) -> None:
    (ce, first), (t, second), (fab, third), (square, fourth) = auto(norm=norm).members()
    assert (ce, t, fab, square) == ("apgd-ce", "apgd-t", "fab-t", "square")
    assert told(first, "loss", "steps", "restarts", "samples") == ("ce", 100, 1, 1)
    assert told(second, "loss", "steps", "restarts", "targets") == ("dlr-targeted", 100, 1, 9)
    assert told(third, "steps", "restarts", "targets") == (100, 1, 9)
    assert told(fourth, "queries", "p_init", "restarts", "schedule") == (5000, 0.8, 1, "fixed")
    assert not first.large_eps
    assert not second.large_eps


def test_members_of_the_standard_version_for_l1() -> None:
    (_, ce), (_, t), (_, fab), (_, square) = auto(norm="l1", eps=12).members()
    assert told(ce, "loss", "restarts", "steps", "large_eps") == ("ce", 5, 100, True)
    assert told(t, "loss", "restarts", "targets", "large_eps") == ("dlr-targeted", 1, 5, True)
    assert told(fab, "targets", "steps") == (9, 100)
    assert square.queries == 5000


def test_members_of_the_other_versions() -> None:
    plus = dict(auto(version="plus").members())
    assert list(plus) == ["apgd-ce", "apgd-dlr", "fab-t", "square", "apgd-t"]
    assert [plus[name].restarts for name in plus] == [5, 5, 5, 1, 1]
    rand = dict(auto(version="rand").members())
    assert list(rand) == ["apgd-ce", "apgd-dlr"]
    assert [told(one, "loss", "samples") for one in rand.values()] == [("ce", 20), ("dlr", 20)]


def test_members_have_the_threat_model_of_the_whole() -> None:
    for _, one in auto(norm="l2", eps="128/255", box=(-1, 2)).members():
        assert told(one, "norm", "box") == ("l2", (-1.0, 2.0))
        assert float(one.eps) == pytest.approx(128 / 255)


def test_only_the_published_settings_are_called_standard() -> None:
    assert auto().protocol == "aa-standard"
    assert auto(norm="l1").protocol == "aa-standard"
    assert auto(version="rand").protocol == "aa-rand"
    assert auto(version="plus").protocol == "aa-plus with targeted FAB alone, 5 restarts"
    cheap = auto(budget=0.1)
    assert cheap.protocol == "0.1 of the steps and queries of AutoAttack standard"
    members = dict(cheap.members())
    assert (members["apgd-t"].steps, members["fab-t"].steps) == (10, 10)
    assert members["square"].queries == 500


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "autoattack_linf_8/255"),
        ({"norm": 2, "eps": 0.5}, "autoattack_l2_0.5"),
        ({"version": "plus"}, "autoattack_linf_8/255_plus"),
        ({"budget": 0.1}, "autoattack_linf_8/255_standard_0.1"),
    ],
)
def test_tables_name_what_is_not_standard(settings: dict[str, Any], name: str) -> None:
    view = views.make({"name": "AutoAttack"} | settings, Facts())
    assert views.describe(view)["name"] == name
    again = views.make(name, Facts()).component
    assert told(again, "norm", "version", "budget") == told(
        view.component, "norm", "version", "budget"
    )
    assert torch.equal(again.eps, view.component.eps)


@pytest.mark.parametrize(
    ("classes", "norm", "box"),
    [
        (2, "linf", (0, 1)),
        (3, "linf", (0, 1)),
        (5, "linf", (0, 1)),
        (10, "linf", (0, 1)),
        (2, "l2", None),
        (10, "l2", None),
        (3, "l1", (0, 1)),
        (10, "l1", (0, 1)),
    ],
)
def test_reaches_the_worst_case_of_a_linear_model(classes: int, norm: str, box: Any) -> None:
    model, x, y, eps, stands = case(classes, norm, box, n=20)
    one = auto(norm=norm, eps=eps, box=box, budget=0.2)
    assert torch.equal(right(model, one(model, x, y, draws=streams(20)), y), stands)


def test_all_of_it_on_a_linear_model() -> None:
    model, x, y, eps, stands = case(5, "linf", (0, 1), n=20)
    found = auto(eps=eps)(model, x, y, draws=streams(20))
    assert torch.equal(right(model, found, y), stands)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_series_without_a_box(classes: int) -> None:
    shape = (2, 15)
    model = LinearSoftmax(shape, classes, seed=1)
    x = torch.randn(20, *shape, generator=seeded(1), dtype=torch.float64)
    with torch.no_grad():
        y = model(x).argmax(1)
    left = slack(model, x, y, "linf", 0.1, None)
    clear = left.abs() > 0.05
    found = auto(eps=0.1, box=None, budget=0.2)(model, x[clear], y[clear])
    assert torch.equal(right(model, found, y[clear]), left[clear] > 0)


def test_a_common_factor_of_logits_changes_no_mask() -> None:
    (x, y), model = few(40), trained()
    masks = []
    for factor in (1, 1000):
        found = auto(eps=0.07, budget=0.1)(
            lambda x, factor=factor: factor * model(x), x, y, draws=streams(40)
        )
        masks.append(right(model, found, y))
    assert 0 < int(masks[0].sum()) < 40
    assert torch.equal(masks[1], masks[0])


@pytest.mark.parametrize(
    ("norm", "radii"),
    [("linf", (0, 0.05, 0.1, 1)), ("l2", (0, 0.3, 0.8, 9)), ("l1", (0, 1, 3, 64))],
)
def test_falls_with_eps_to_nothing_and_stays_in_ball_and_box(
    norm: str, radii: tuple[float, ...]
) -> None:
    x, y = few(30)
    masks = [right(trained(), x, y)]
    for eps in radii:
        found = auto(norm=norm, eps=eps, budget=0.05)(trained(), x, y, draws=streams(30))
        assert float(size(found - x, norm).max()) <= eps + 1e-6 * max(1, eps)
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        masks.append(right(trained(), found, y))
    assert torch.equal(masks[1], masks[0])
    assert all(bool((before | ~later).all()) for before, later in pairwise(masks))
    assert int(masks[-1].sum()) == 0


def test_x_itself_where_nothing_was_found_or_to_be_found() -> None:
    x, y = few()
    model = trained()
    found = auto(eps=0.06, budget=0.1)(model, x, y, draws=streams(60))
    clean, after = right(model, x, y), right(model, found, y)
    moved = (found != x).flatten(1).any(1)
    assert torch.equal(moved, clean & ~after)
    assert 0 < int(after.sum()) < int(clean.sum()) < 60


def test_what_one_member_finds_alone_is_found_by_all_together() -> None:
    x, y = few()
    model, one = trained(), auto(eps=0.06, budget=0.1)
    together = right(model, one(model, x, y, draws=streams(60)), y)
    alone = [right(model, part(model, x, y, draws=streams(60)), y) for _, part in one.members()]
    # The first member draws the same numbers in both; the others go on where it had come to.
    assert not bool((together & ~alone[0]).any())
    worst = torch.stack(alone).all(0) & right(model, x, y)
    assert int((together != worst).sum()) <= 3


def test_each_attack_sees_what_is_left() -> None:
    (x, y), model = few(), trained()
    sizes: list[int] = []

    def counted(x: Tensor) -> Tensor:
        sizes.append(len(x))
        logits: Tensor = model(x)
        return logits

    found = auto(eps=0.05, budget=0.1)(counted, x, y, draws=streams(60))
    clean, stood = int(right(model, x, y).sum()), int(right(model, found, y).sum())
    assert sizes[:2] == [60, clean]
    assert sizes[-1] == stood
    sizes.clear()
    wrong = (model(x).argmax(1) + 1) % 10
    assert torch.equal(auto()(counted, x, wrong), x)
    assert sizes == [60]


def test_a_batch_may_be_split() -> None:
    x, y = few(12)
    model = LinearSoftmax((1, 8, 8), 10)
    y = model(x.double()).argmax(1)
    one = auto(eps=0.03, budget=0.05)
    whole = one(model, x.double(), y, draws=streams(12))
    parts = [
        one(model, x[rows].double(), y[rows], draws=ExampleStreams(0, rows))
        for rows in torch.arange(12).split([5, 1, 6])
    ]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_the_random_version_meets_a_model_that_answers_at_random() -> None:
    generator, model = seeded(3), trained()

    def noisy(x: Tensor) -> Tensor:
        logits: Tensor = model(x + 0.05 * torch.randn(x.shape, generator=generator))
        return logits

    x, y = few(20)
    found = auto(version="rand", eps=0.2, budget=0.1)(noisy, x, y, draws=streams(20))
    assert int(right(model, found, y).sum()) <= 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -1}, "AutoAttack: eps must be at least 0, found -1"),
        ({"norm": "l0"}, "norm cannot be 'l0'"),
        ({"version": "cheap"}, "version cannot be 'cheap'"),
        ({"budget": 0}, "budget must be above 0, found 0"),
        ({"budget": 2}, "budget must be at most 1, found 2"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"box": [1, 0]}, "box must rise"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        auto(**settings)


def test_outputs_that_are_no_logits() -> None:
    x, y = few(3)
    with pytest.raises(SettingError, match=r"found outputs of shape \(3,\)"):
        auto()(lambda x: x.flatten(1).sum(1), x, y)
