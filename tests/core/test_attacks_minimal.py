"""Attacks that look for the smallest perturbation, on models whose borders are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog
from trainables.core.errors import SettingError

from ..contracts.toys import digits, seeded, trained

# A search long enough to end on the border, of inputs whose borders are about 0.1 to 1 away.
LONG: dict[str, Any] = {"steps": 150, "searches": 7, "c": 0.3, "rate": 0.02}
DUAL = {"l2": 2, "linf": 1}


def attack(name: str, **settings: Any) -> nn.Module:
    found: nn.Module = catalog.build("attacks", {"name": name} | settings)
    return found


class Linear(nn.Module):
    """Logits W x + b in float64."""

    def __init__(self, classes: int, values: int = 12) -> None:
        super().__init__()
        draws = seeded(6)
        self.w = nn.Parameter(torch.randn(classes, values, generator=draws, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(classes, generator=draws, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w.T + self.b


def linear_case(classes: int) -> tuple[Linear, Tensor, Tensor]:
    """A linear model and inputs that it has right."""
    model = Linear(classes)
    x = torch.randn(8, 1, 3, 4, generator=seeded(7), dtype=torch.float64) / 2
    with torch.no_grad():
        return model, x, model(x).argmax(1)


def to_the_borders(model: Linear, x: Tensor, y: Tensor, norm: str) -> Tensor:
    """The distance to the nearest of all hyperplanes, from |f| / ||w||_q."""
    found = []
    with torch.no_grad():
        for z, own in zip(model(x), y.tolist(), strict=True):
            w = model.w - model.w[own]
            away = (z[own] - z) / w.norm(p=DUAL[norm], dim=1)
            found.append(torch.cat([away[:own], away[own + 1 :]]).min())
    return torch.stack(found)


def lengths(x: Tensor, x_adv: Tensor, norm: str) -> Tensor:
    flat = (x_adv - x).flatten(1)
    return flat.norm(p=2, dim=1) if norm == "l2" else flat.abs().amax(1)


@pytest.mark.parametrize("overshoot", [0.02, 0.5])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_goes_past_the_nearest_of_the_hyperplanes(
    norm: str, classes: int, overshoot: float
) -> None:
    model, x, y = linear_case(classes)
    made = attack("DeepFool", norm=norm, eps=100, box=None, overshoot=overshoot)
    found = made(model, x, y)
    # With a large overshoot several classes may be passed; the way is still the nearest one's.
    expected = (1 + overshoot) * to_the_borders(model, x, y, norm)
    torch.testing.assert_close(lengths(x, found, norm), expected, rtol=1e-6, atol=1e-9)
    with torch.no_grad():
        assert bool((model(found).argmax(1) != y).all())


@pytest.mark.parametrize("box", [None, (-9.0, 7.0)], ids=["no-box", "box"])
def test_carlini_wagner_ends_on_the_hyperplane(box: Any) -> None:
    model, x, y = linear_case(2)
    # The box is wide, and a step in the variable within the tangent is a long one.
    settings = LONG | ({} if box is None else {"steps": 400, "rate": 0.005})
    found = attack("CarliniWagner", eps=100, box=box, **settings)(model, x, y)
    expected = to_the_borders(model, x, y, "l2")
    moved = lengths(x, found, "l2")
    assert bool((moved >= expected - 1e-9).all())
    assert bool((moved <= 1.02 * expected).all())
    with torch.no_grad():
        assert bool((model(found).argmax(1) != y).all())


def test_carlini_wagner_ends_near_the_nearest_of_several_hyperplanes() -> None:
    # It climbs towards the highest other logit, whose border need not be the nearest.
    model, x, y = linear_case(5)
    moved = lengths(x, attack("CarliniWagner", eps=100, box=None, **LONG)(model, x, y), "l2")
    expected = to_the_borders(model, x, y, "l2")
    assert bool((moved >= expected - 1e-9).all())
    assert float((moved / expected).mean()) < 1.1


def test_carlini_wagner_with_kappa_keeps_the_margin() -> None:
    model, x, y = linear_case(5)
    made = attack("CarliniWagner", eps=100, box=None, kappa=2.0, **LONG)
    found = made(model, x, y)
    with torch.no_grad():
        z = model(found)
    own = z.gather(1, y[:, None]).squeeze(1)
    others = z.scatter(1, y[:, None], -torch.inf).amax(1)
    assert bool((others - own >= 2.0).all())
    assert float((others - own).max()) < 2.1


@pytest.mark.parametrize(("name", "settings"), [("DeepFool", {}), ("CarliniWagner", LONG)])
@pytest.mark.parametrize("share", [0.5, 1.5])
def test_what_lies_outside_the_ball_is_not_returned(
    name: str, settings: dict[str, Any], share: float
) -> None:
    model, x, y = linear_case(2)
    needed = to_the_borders(model, x, y, "l2")
    eps = share * float(needed.median())
    found = attack(name, norm="l2", eps=eps, box=None, **settings)(model, x, y)
    moved = lengths(x, found, "l2")
    inside = 1.02 * needed <= eps
    assert 0 < int(inside.sum()) < len(x)
    assert bool((moved[inside] > 0).all())
    assert bool((moved[needed > eps] == 0).all())
    assert torch.equal(found[needed > eps], x[needed > eps])


@pytest.mark.parametrize(("name", "settings"), [("DeepFool", {}), ("CarliniWagner", LONG)])
def test_what_is_wrong_already_stays_where_it_is(name: str, settings: dict[str, Any]) -> None:
    model, x, y = linear_case(2)
    found = attack(name, norm="l2", eps=100, box=None, **settings)(model, x, 1 - y)
    assert torch.equal(found, x)


@pytest.mark.parametrize(("name", "settings"), [("DeepFool", {}), ("CarliniWagner", LONG)])
def test_mixed_targets_count_as_their_largest(name: str, settings: dict[str, Any]) -> None:
    model, x, y = linear_case(5)
    mixed = 0.1 + 0.5 * nn.functional.one_hot(y, 5).double()
    made = attack(name, norm="l2", eps=100, box=None, **settings)
    assert torch.equal(made(model, x, mixed), made(model, x, y))


def test_candidates_are_the_highest_logits() -> None:
    model, x, y = linear_case(5)
    pairs = attack("DeepFool", norm="l2", eps=100, box=None, candidates=2)
    found = pairs(model, x, y)
    with torch.no_grad():
        second = model(x).topk(2).indices[:, 1]
        w = model.w[second] - model.w[y]
        gap = (model(x).gather(1, y[:, None]) - model(x).gather(1, second[:, None])).squeeze(1)
    # The way to the second class, cut short where it meets another one before.
    direction = (found - x).flatten(1)
    cosine = nn.functional.cosine_similarity(direction, w, dim=1)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
    reach = 1.02 * gap / w.norm(dim=1)
    torch.testing.assert_close(lengths(x, found, "l2"), reach, rtol=1e-6, atol=1e-9)
    every = attack("DeepFool", norm="l2", eps=100, box=None, candidates=0)
    assert torch.equal(every(model, x, y), attack("DeepFool", eps=100, box=None)(model, x, y))


def test_the_box_is_kept_on_the_way() -> None:
    # The model reads one value that the box holds fast and another one that is free.
    weight = torch.tensor([[0.0, 0.0], [2.0, 1.0]])
    x, y = torch.tensor([[1.0, 0.2]]), torch.tensor([0])

    def model(x: Tensor) -> Tensor:
        return x @ weight.T - torch.tensor([0.0, 2.7])

    for name, settings in (("DeepFool", {}), ("CarliniWagner", LONG)):
        found = attack(name, norm="l2", eps=100, **settings)(model, x, y)
        assert float(found[0, 0]) == pytest.approx(1.0, abs=1e-3)
        assert 0.7 < float(found[0, 1]) <= 1.0
        assert int(model(found).argmax(1)) == 1


def test_small_perturbations_of_digits() -> None:
    x, y = digits().x[1000:1040], digits().y[1000:1040]
    model = trained()
    with torch.no_grad():
        right = model(x).argmax(1) == y
    found = {
        "DeepFool": attack("DeepFool", eps=100)(model, x, y),
        # From black a value is far away in the variable that the box is kept by.
        "CarliniWagner": attack("CarliniWagner", eps=100, **LONG | {"rate": 0.1})(model, x, y),
    }
    for x_adv in found.values():
        with torch.no_grad():
            assert bool((model(x_adv).argmax(1) != y).all())
        assert 0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1
    short, long = (lengths(x, found[name], "l2")[right] for name in ("CarliniWagner", "DeepFool"))
    # A short search, but optimised, against the first border that was passed.
    assert float((short <= long).double().mean()) > 0.8
    assert 0.1 < float(short.mean()) < float(long.mean()) < 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "DeepFool", "norm": "l1"}, "DeepFool: norm cannot be 'l1'"),
        ({"name": "DeepFool", "eps": -1}, "eps must be at least 0, found -1"),
        ({"name": "DeepFool", "steps": 0}, "steps must be at least 1, found 0"),
        ({"name": "DeepFool", "candidates": 1}, "candidates must be at least 2, found 1"),
        ({"name": "DeepFool", "overshoot": -0.1}, "overshoot must be at least 0"),
        ({"name": "CarliniWagner", "norm": "linf"}, "CarliniWagner: norm cannot be 'linf'"),
        ({"name": "CarliniWagner", "searches": 0}, "searches must be at least 1"),
        ({"name": "CarliniWagner", "rate": 0}, "rate must be above 0, found 0"),
        ({"name": "CarliniWagner", "c": 0}, "c must be above 0, found 0"),
        ({"name": "CarliniWagner", "kappa": -1}, "kappa must be at least 0, found -1"),
        ({"name": "CarliniWagner", "box": [1, 0]}, "box must rise"),
    ],
)
def test_settings_out_of_range(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        catalog.build("attacks", config)
