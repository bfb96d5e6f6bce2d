"""APGD against a second implementation, on models whose worst case is known, and at its limits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.core import catalog, views
from trainables.core.attacks._climb import Points
from trainables.core.attacks._halving import Halving, checkpoints
from trainables.core.attacks._sparse import within
from trainables.core.batch import Batch
from trainables.core.errors import SettingError
from trainables.core.facts import Facts
from trainables.core.randomness import ExampleStreams, Stream
from trainables.core.tasks import Detection, Regression
from trainables.core.threat import project, size

from ..contracts.toys import digits, seeded, toy, trained
from .linear_worst import LinearSoftmax, case, slack
from .test_detectors import detector, images


def apgd(**settings: Any) -> Any:
    return catalog.build("attacks", {"name": "APGD"} | settings)


def streams(n: int) -> ExampleStreams:
    return ExampleStreams(0, torch.arange(n))


def right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1) == y


def known(n: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in double precision and digits that it knows."""
    model = toy(plain=True).double()
    model.load_state_dict(trained().state_dict())
    x, y = digits().x[1000:1400].double(), digits().y[1000:1400]
    rows = right(model, x, y).nonzero().squeeze(1)[:n]
    return model.eval(), x[rows], y[rows]


def test_checkpoints_of_100_steps() -> None:
    assert checkpoints(100) == {22: 22, 41: 19, 57: 16, 70: 13, 80: 10, 87: 7, 93: 6, 99: 6}
    assert list(checkpoints(10)) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == {1: 1}


def test_when_a_step_is_halved_by_hand() -> None:
    # Of 10 steps the first checkpoints are 2 (of a window of 2) and 3 (of 1).
    rule = Halving("linf", torch.tensor(1.0), None, torch.tensor(0.75), 10)
    x = torch.zeros(4, 2)
    points = Points(
        row=torch.arange(4),
        x=x,
        y=torch.zeros(4, dtype=torch.int64),
        target=torch.zeros(4, dtype=torch.int64),
        at=x + 1,
        before=x,
        gradient=x + 1,
        best=x + 2,
        best_gradient=x + 3,
        best_loss=torch.full((4,), 5.0),
        size=torch.full((4, 1), 2.0),
        memory={},
    )
    points.memory = rule.memory(points)
    # The first loss counts as a rise if above 0, though all are below the start's 5; 1 rise of 2
    # is too few.
    for step, losses in enumerate([[1.0, 1.0, -1.0, 1.0], [2.0, 0.5, 2.0, 2.0]], start=1):
        rule.adapt(points, torch.tensor(losses), step)
    assert points.size.flatten().tolist() == [2, 1, 1, 2]
    assert points.at[:, 0].tolist() == [1, 2, 2, 1]
    assert points.gradient[:, 0].tolist() == [1, 3, 3, 1]
    # All rise; where nothing was halved just now and the best is still that of then, it is now.
    points.best_loss = torch.tensor([5.0, 5.0, 5.0, 6.0])
    rule.adapt(points, torch.tensor([3.0, 3.0, 3.0, 6.0]), 3)
    assert points.size.flatten().tolist() == [1, 1, 1, 2]


# --- a second implementation: one example at a time, tables of everything, nobody leaves ---------


def loss_of(kind: str, z: Tensor, y: int) -> Tensor:
    if kind == "ce":
        return F.cross_entropy(z.unsqueeze(0), torch.tensor([y]))
    ranked = sorted(range(len(z)), key=lambda i: -z[i].item())
    other = ranked[1] if ranked[0] == y else ranked[0]
    return -(z[y] - z[other]) / (z[ranked[0]] - z[ranked[2]] + 1e-12)


def clipped(x: Tensor, x_adv: Tensor, norm: str, eps: float) -> Tensor:
    delta = x_adv - x
    if norm == "linf":
        delta = delta.clamp(-eps, eps)
    elif float(delta.norm()) > eps:
        delta = delta * eps / delta.norm()
    return (x + delta).clamp(0, 1)


def one_by_one(
    model: nn.Module, x: Tensor, y: int, start: Tensor, norm: str, eps: float, kind: str, steps: int
) -> tuple[Tensor | None, Tensor]:
    """The first adversarial iterate, if any, and the one of the highest loss."""

    def look(point: Tensor) -> tuple[float, Tensor, bool]:
        point = point.clone().requires_grad_()
        z = model(point.unsqueeze(0))[0]
        loss = loss_of(kind, z, y)
        (g,) = torch.autograd.grad(loss, point)
        return loss.item(), g, int(z.argmax()) != y

    places, table, fooled = [start], [0.0] * steps, []
    loss, g, wrong = look(start)
    fooled.append(wrong)
    best, best_at, best_g = loss, start, g
    bests = [best]
    eta, last_check, halved_before = 2 * eps, 0, True
    at = before = start
    marks = [22, 41, 57, 70, 80, 87, 93, 99] if steps == 100 else list(checkpoints(steps))
    for i in range(steps):
        direction = g.sign() if norm == "linf" else g / (g.norm() + 1e-12)
        z = clipped(x, at + eta * direction, norm, eps)
        a = 1.0 if i == 0 else 0.75
        after = clipped(x, at + a * (z - at) + (1 - a) * (at - before), norm, eps)
        before, at = at, after
        loss, g, wrong = look(at)
        places.append(at)
        fooled.append(wrong)
        table[i] = loss
        if loss > best:
            best, best_at, best_g = loss, at, g
        bests.append(best)
        if i + 1 in marks:
            window = i + 1 - last_check
            # The entry before the first one is the last of the table, which is still 0.
            rises = sum(table[j] > table[j - 1] for j in range(last_check, i + 1))
            halve = rises <= 0.75 * window
            halve = halve or (not halved_before and bests[last_check] >= best)
            halved_before, last_check = halve, i + 1
            if halve:
                eta, at, g = eta / 2, best_at, best_g
    first = fooled.index(True) if any(fooled) else None
    return (None if first is None else places[first]), best_at


@pytest.mark.parametrize(
    ("norm", "eps", "kind", "steps"),
    [
        ("linf", 0.07, "ce", 25),
        ("linf", 0.07, "dlr", 30),
        ("l2", 0.5, "ce", 30),
        ("l2", 0.5, "dlr", 100),
    ],
)
def test_by_a_second_implementation_in_which_nobody_leaves(
    norm: str, eps: float, kind: str, steps: int
) -> None:
    n = 12
    model, x, y = known(n)
    draws = streams(n)
    drawn = 2 * draws.uniform(x) - 1 if norm == "linf" else draws.normal(x)
    found = apgd(norm=norm, eps=eps, loss=kind, steps=steps)(model, x, y, draws=streams(n))
    stood = 0
    for i in range(n):
        u = drawn[i]
        start = clipped(x[i], x[i] + eps * u / size(u.unsqueeze(0), norm), norm, eps)
        first, best = one_by_one(model, x[i], int(y[i]), start, norm, eps, kind, steps)
        stood += first is None
        torch.testing.assert_close(found[i], best if first is None else first, rtol=0, atol=1e-6)
    assert 0 < stood < n


# --- models whose worst case is known ------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 5, 10])
@pytest.mark.parametrize(("norm", "box"), [("linf", (0, 1)), ("l2", None), ("l1", (0, 1))])
def test_targeted_reaches_the_worst_case_of_a_linear_model(
    classes: int, norm: str, box: Any
) -> None:
    model, x, y, eps, stands = case(classes, norm, box)
    one = apgd(norm=norm, eps=eps, loss="dlr-targeted", box=box, large_eps=norm == "l1")
    found = one(model, x, y, draws=streams(len(x)))
    assert torch.equal(right(model, found, y), stands)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_worst_case_of_a_linear_regression(norm: str) -> None:
    w = torch.randn(20, generator=seeded(1), dtype=torch.float64)
    x = torch.randn(12, 4, 5, generator=seeded(2), dtype=torch.float64)
    # So far off that the start cannot be on the other side of the target.
    y = x.flatten(1) @ w + 9 * (1 - 2 * (torch.arange(12) % 2))
    dual = {"linf": w.abs().sum(), "l2": w.norm()}[norm]
    found = apgd(norm=norm, eps=0.3, box=None)(
        lambda x: (x.flatten(1) @ w).unsqueeze(1), x, y, goal=Regression()
    )
    after = (found.flatten(1) @ w - y).abs()
    assert float((size(found - x, norm)).max()) <= 0.3 + 1e-6
    torch.testing.assert_close(after, (9 + 0.3 * dual).expand(12), rtol=1e-5, atol=0)


# --- the exact projection of l1 ------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.05, 0.7, 3.0, 500.0])
@pytest.mark.parametrize("box", [(0.0, 1.0), (-2.0, 0.5)])
def test_l1_projection_by_bisection(eps: float, box: tuple[float, float]) -> None:
    low, high = box
    x = low + (high - low) * torch.rand(40, 3, 4, generator=seeded(1), dtype=torch.float64)
    x[:10] = x[:10].round().clamp(low, high)
    delta = torch.randn(40, 3, 4, generator=seeded(2), dtype=torch.float64)
    found = within(x, delta, torch.tensor(eps, dtype=torch.float64), box)
    for centre, moved, ours in zip(x, delta, found, strict=True):

        def kept(less: float, centre: Tensor = centre, moved: Tensor = moved) -> Tensor:
            soft = moved.sign() * (moved.abs() - less).clamp_min(0)
            return (centre + soft).clamp(low, high) - centre

        bottom, top = 0.0, float(moved.abs().max())
        if float(kept(0.0).abs().sum()) <= eps:
            top = 0.0
        for _ in range(80):
            middle = (bottom + top) / 2
            if float(kept(middle).abs().sum()) > eps:
                bottom = middle
            else:
                top = middle
        torch.testing.assert_close(ours, kept(top), rtol=0, atol=1e-9)


def test_l1_projection_without_a_box_is_the_plain_one() -> None:
    x = torch.rand(6, 10, generator=seeded(1), dtype=torch.float64)
    delta = torch.randn(6, 10, generator=seeded(2), dtype=torch.float64)
    eps = torch.tensor(0.8, dtype=torch.float64)
    plain = project(delta, "l1", eps)
    assert torch.equal(within(x, delta, eps, None), plain)
    torch.testing.assert_close(within(x, delta, eps, (-99.0, 99.0)), plain)


def test_l1_keeps_what_it_does_not_change_bit_for_bit() -> None:
    model, x, y = known(20)
    found = apgd(norm="l1", eps=0.5)(model, x, y, draws=streams(20))
    assert float((found == x).double().mean()) > 0.5


# --- limits and invariances ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dlr", "dlr-targeted"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.08), ("l2", 0.6), ("l1", 1.5)])
def test_a_common_factor_of_logits_changes_no_mask(kind: str, norm: str, eps: float) -> None:
    model, x, y = known(40)
    masks = []
    for factor in (1, 30, 1000):
        found = apgd(norm=norm, eps=eps, loss=kind, steps=20)(
            lambda x, factor=factor: factor * model(x), x, y, draws=streams(40)
        )
        masks.append(right(model, found, y))
    assert 0 < int(masks[0].sum()) < 40
    assert torch.equal(masks[1], masks[0])
    assert torch.equal(masks[2], masks[0])


def test_cross_entropy_fades_where_logits_are_large() -> None:
    # The definition's weakness, which is why nobody should report this loss alone.
    x, y = digits().x[1000:1200], digits().y[1000:1200]
    stood = []
    for factor in (1, 1000):
        found = apgd(eps=0.08)(lambda x, factor=factor: factor * trained()(x), x, y)
        stood.append(int(right(trained(), found, y).sum()))
    assert stood[1] > stood[0] + 20


@pytest.mark.parametrize("kind", ["ce", "dlr", "dlr-targeted"])
@pytest.mark.parametrize(
    ("norm", "radii"),
    [("linf", (0, 0.05, 0.1, 1)), ("l2", (0, 0.3, 0.8, 9)), ("l1", (0, 1, 3, 64))],
)
def test_falls_with_eps_to_nothing_and_stays_in_ball_and_box(
    kind: str, norm: str, radii: tuple[float, ...]
) -> None:
    x, y = digits().x[1000:1060], digits().y[1000:1060]
    stood = []
    for eps in radii:
        found = apgd(norm=norm, eps=eps, loss=kind, steps=20)(trained(), x, y)
        assert float(size(found - x, norm).max()) <= eps + 1e-6 * max(1, eps)
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        stood.append(int(right(trained(), found, y).sum()))
    assert stood[0] == int(right(trained(), x, y).sum())
    assert all(later <= before for before, later in pairwise(stood))
    assert stood[-1] == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "dlr-targeted", "restarts": 2, "targets": 3, "eps": 0.08},
        {"norm": "l1", "large_eps": True, "restarts": 2, "eps": 1.5},
    ],
    ids=["targeted", "large-eps"],
)
def test_a_batch_may_be_split(settings: dict[str, Any]) -> None:
    model, x, y = known(12)
    one = apgd(steps=10, **settings)
    whole = one(model, x, y, draws=streams(12))
    parts = [
        one(model, x[rows], y[rows], draws=ExampleStreams(0, rows))
        for rows in torch.arange(12).split([5, 1, 6])
    ]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_restarts_find_at_least_as_much() -> None:
    model, x, y = known(60)
    stood = [
        right(model, apgd(eps=0.09, steps=2, restarts=k)(model, x, y, draws=streams(60)), y)
        for k in (1, 4)
    ]
    assert bool((stood[0] | ~stood[1]).all())
    assert int(stood[1].sum()) < int(stood[0].sum())


def test_whom_it_fools_leaves_the_batch() -> None:
    model, x, y = known(40)
    rows = []

    def counted(x: Tensor) -> Tensor:
        rows.append(len(x))
        logits: Tensor = model(x)
        return logits

    found = apgd(eps=0.1, steps=30)(counted, x, y, draws=streams(40))
    stood = int(right(model, found, y).sum())
    assert rows[0] == 40
    assert rows[-1] <= stood + 5
    assert all(later <= before for before, later in pairwise(rows))
    assert sum(rows) < 0.8 * 40 * 31


def test_samples_change_nothing_of_a_model_that_always_answers_the_same() -> None:
    model, x, y = known(10)
    found = [apgd(eps=0.07, steps=5, samples=k)(model, x, y, draws=streams(10)) for k in (1, 4)]
    torch.testing.assert_close(found[1], found[0])


def test_samples_average_the_gradients_of_a_model_that_answers_at_random() -> None:
    # z_1 - z_0 = (w + noise) x with noise far larger than w: one gradient's signs are noise.
    generator, w = seeded(4), torch.ones(30, dtype=torch.float64)

    def noisy(x: Tensor) -> Tensor:
        noise = 5 * torch.randn(30, generator=generator, dtype=torch.float64)
        score = x.flatten(1) @ (w + noise) - 100
        return torch.stack([torch.zeros_like(score), score], 1)

    x = torch.full((20, 30), 0.5, dtype=torch.float64)
    y = torch.zeros(20, dtype=torch.int64)
    gain = []
    for samples in (1, 200):
        one = apgd(eps=0.1, steps=3, loss="dlr", samples=samples)
        gain.append(float((one(noisy, x, y, draws=streams(20)) - x).sum(1).mean()))
    assert gain[1] > gain[0] + 0.5


@pytest.mark.parametrize("kind", ["ce", "dlr", "dlr-targeted"])
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_series_of_few_classes_without_a_box(kind: str, classes: int, norm: str) -> None:
    shape = (2, 30)
    model = LinearSoftmax(shape, classes)
    # With logits as large as W x the gradient of the cross-entropy has all but vanished.
    model.scale = 0.1
    x = torch.randn(12, *shape, generator=seeded(1), dtype=torch.float64)
    with torch.no_grad():
        y = model(x).argmax(1)
    eps = {"linf": 1.0, "l2": 6.0, "l1": 60.0}[norm]
    assert float(slack(model, x, y, norm, eps, None).max()) < -0.5
    assert float(slack(model, x, y, norm, eps / 60, None).max()) > 0.5
    found = apgd(norm=norm, eps=eps, loss=kind, steps=15, box=None)(model, x, y)
    assert found.shape == x.shape
    assert float(size(found - x, norm).max()) <= eps + 1e-4
    assert not right(model, found, y).any()


def test_mixed_targets_count_as_their_largest_class() -> None:
    model, x, y = known(10)
    mixed = 0.9 * F.one_hot(y, 10).double() + 0.01
    for kind in ("dlr", "dlr-targeted"):
        one = apgd(eps=0.07, steps=5, loss=kind)
        plain = one(model, x, y, draws=streams(10))
        assert torch.equal(one(model, x, mixed, draws=streams(10)), plain)


def test_examples_that_are_wrong_anyway_are_aimed_away_from_their_target() -> None:
    model, x, y = known(10)
    wrong = (y + 1) % 10
    found = apgd(eps=0.05, steps=5, loss="dlr-targeted")(model, x, wrong, draws=streams(10))
    assert torch.isfinite(found).all()
    assert not right(model, found, wrong).any()


def test_protocol() -> None:
    assert apgd().protocol == "apgd-ce: the task's loss, 1 x 100 steps"
    assert apgd(loss="dlr-targeted").protocol == (
        "apgd-t: targeted difference of logits ratio (2 or 3 classes: margin) to min(9, classes - "
        "1) classes, 1 x 100 steps"
    )
    assert "radii 3, 2 and 1 eps" in apgd(norm="l1", large_eps=True).protocol
    assert "gradients of 20 calls" in apgd(loss="dlr", samples=20).protocol


def test_which_tasks() -> None:
    assert not hasattr(apgd(), "tasks")
    assert apgd(loss="dlr").tasks == ("classification",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -1}, "APGD: eps must be at least 0, found -1"),
        ({"norm": "l0"}, "norm cannot be 'l0'"),
        ({"loss": "cw"}, "loss cannot be 'cw'"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"targets": 0}, "targets must be at least 1"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"rho": 1.5}, "rho must be at most 1, found 1.5"),
        ({"large_eps": True}, "large_eps is for norm l1, found norm linf"),
        ({"large_eps": True, "norm": "l1", "steps": 4}, "at least 5 steps, found steps=4"),
        ({"large_eps": "yes"}, "large_eps must be true or false"),
        ({"box": [1, 1]}, "box must rise"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        apgd(**settings)


@pytest.mark.parametrize("kind", ["dlr", "dlr-targeted"])
def test_outputs_that_are_no_logits(kind: str) -> None:
    x, y = torch.rand(3, 8, generator=seeded()), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(SettingError, match=r"found outputs of shape \(3, 1\)"):
        apgd(loss=kind)(lambda x: x[:, :1], x, y, draws=Stream(0))


def test_a_detectors_inner_losses_rise() -> None:
    model = detector("RetinaNetResNet50")
    x, y = images()
    view = views.make({"name": "APGD", "eps": 0.02, "steps": 3}, Facts(box=(0.0, 1.0)))
    seen = view(model, Batch(x, y), Detection(), streams(len(x)))
    assert float((seen.x - x).abs().max()) <= 0.02 + 1e-6
    _, goal = Detection().aimed(model.eval())
    with torch.no_grad():
        assert bool((goal.loss(seen.x, y) > goal.loss(x, y)).all())
