"""Every view leaves model, input and random state alone; every attack stays where it may be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog, views
from trainables.core.batch import Batch
from trainables.core.errors import SettingError
from trainables.core.facts import Facts, Part
from trainables.core.randomness import ExampleStreams, Stream
from trainables.core.tasks import Classification, Regression
from trainables.core.threat import Box

from .needed import NEEDED
from .small import SMALL
from .toys import digits, random_batch, same, seeded, snapshot, toy, trained

VIEWS = catalog.names("views")
ATTACKS = catalog.names("attacks")
COMPANIONS = catalog.names("companions")
TASK = Classification()
SHAPES = {
    "image": ((1, 8, 8), 10, (0.0, 1.0)),
    "two-classes": ((3, 5, 7), 2, (0.0, 1.0)),
    "signed-box": ((2, 6, 4), 3, (-1.0, 1.0)),
    "series": ((2, 30), 4, None),
}
each = pytest.mark.parametrize("name", VIEWS)
each_attack = pytest.mark.parametrize("name", ATTACKS)


IMAGE, SERIES = (1, 8, 8), (1, 24)


def view_of(name: str, box: Box = (0.0, 1.0), *, classes: int = 10, **settings: Any) -> views.View:
    """The view with all that it may be told; a companion has the digits, or noise for series."""
    part = Part(digits(), 10)
    facts = Facts(box=box, shape=IMAGE, outputs=classes, load=lambda config: part, unlabelled=part)
    own = NEEDED.get(name, {}) | SMALL.get(name, {}) | settings
    return views.make({"name": name} | own, facts)


def refusal(name: str, shape: tuple[int, ...], classes: int = 10) -> str:
    """What the view says of inputs of this shape if it cannot take them, else nothing."""
    try:
        view_of(name, None, classes=classes)(
            toy(shape, classes), random_batch(4, shape, classes), TASK, Stream(0)
        )
    except SettingError as error:
        assert "needs " in str(error)
        assert f"found inputs of shape {shape}" in str(error)
        return str(error)
    return ""


def fitting(name: str) -> tuple[int, ...]:
    """A shape that the view takes."""
    return SERIES if refusal(name, IMAGE) else IMAGE


def trainable(shape: tuple[int, ...] = (1, 8, 8), classes: int = 10) -> nn.Module:
    """In training mode but for one frozen normalisation, one frozen weight, gradients in place."""
    model = toy(shape, classes).train()
    model.second[2].eval()
    model.first[1].bias.requires_grad_(False)
    for i, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, float(i)) if i % 2 else None
    return model


@each
@pytest.mark.parametrize(("shape", "classes", "box"), SHAPES.values(), ids=SHAPES)
def test_keeps_form_and_input(name: str, shape: tuple[int, ...], classes: int, box: Box) -> None:
    if name in COMPANIONS or refusal(name, shape, classes):
        return
    batch = random_batch(6, shape, classes)
    given = Batch(batch.x.clone(), batch.y.clone())
    view = view_of(name, box, classes=classes)
    found = view(trainable(shape, classes), batch, TASK, Stream(0))
    assert same(list(batch), list(given))
    rows = getattr(view.component, "copies", 1) * len(batch.x)
    assert (found.x.shape, found.x.dtype) == ((rows, *shape), batch.x.dtype)
    assert torch.isfinite(found.x).all()
    if getattr(view.component, "mixes", False):
        torch.testing.assert_close(found.y.sum(1), torch.ones(rows))
        assert (found.y >= 0).all()
    elif getattr(view.component, "relabels", False):
        assert found.y.dtype == batch.y.dtype
    else:
        assert torch.equal(found.y, batch.y.repeat(rows // len(batch.x)))
    assert not found.x.requires_grad


@each
def test_leaves_model_and_random_state_as_found(name: str) -> None:
    shape = fitting(name)
    model, view = trainable(shape), view_of(name)
    before, own, random = snapshot(model), snapshot(view), torch.get_rng_state()
    view(model, random_batch(shape=shape), TASK, Stream(0))
    assert same(snapshot(model), before)
    assert same(snapshot(view), own)
    assert torch.equal(torch.get_rng_state(), random)


@each
def test_leaves_the_model_as_found_when_it_fails(name: str) -> None:
    model, view = trainable(), view_of(name)
    before = snapshot(model)
    if name in ATTACKS:
        with pytest.raises(RuntimeError):
            view(model, random_batch(shape=(1, 3, 3)), TASK, Stream(0))
    assert same(snapshot(model), before)


@each
def test_same_seed_same_result(name: str) -> None:
    shape = fitting(name)
    model, batch, view = trainable(shape), random_batch(shape=shape), view_of(name)
    first, again = (view(model, batch, TASK, Stream(4)) for _ in range(2))
    fresh = view_of(name)(model, batch, TASK, Stream(4))
    for other in (again, fresh):
        assert torch.equal(first.x, other.x)
        # Hidden targets are NaN.
        torch.testing.assert_close(first.y, other.y, rtol=0, atol=0, equal_nan=True)


@each
@pytest.mark.parametrize("sizes", [[12], [5, 7], [1] * 12], ids=["whole", "two", "single"])
def test_split_of_a_batch_is_irrelevant_with_example_streams(name: str, sizes: list[int]) -> None:
    view, shape = view_of(name), fitting(name)
    if not views.judgeable(view):
        return
    model, batch = trainable(shape).double(), random_batch(12, shape)
    x, index = batch.x.double(), torch.arange(12)
    whole = view(model, Batch(x, batch.y), TASK, ExampleStreams(3, index))
    parts = [
        view(model, Batch(*pair), TASK, ExampleStreams(3, numbers))
        for *pair, numbers in zip(
            x.split(sizes), batch.y.split(sizes), index.split(sizes), strict=True
        )
    ]
    torch.testing.assert_close(torch.cat([one.x for one in parts]), whole.x)
    assert torch.equal(torch.cat([one.y for one in parts]), whole.y)


@each
def test_examples_have_their_own_random_numbers(name: str) -> None:
    view, shape = view_of(name), fitting(name)
    if not views.judgeable(view):
        return
    model = toy(shape, plain=True).double()
    x = torch.rand(1, *shape, dtype=torch.float64, generator=seeded()).repeat(3, *[1] * len(shape))
    y = torch.zeros(3, dtype=torch.int64)
    found = view(model, Batch(x, y), TASK, ExampleStreams(3, torch.tensor([4, 9, 4])))
    torch.testing.assert_close(found.x[0], found.x[2])


@each
def test_a_view_takes_images_or_series(name: str) -> None:
    assert not refusal(name, fitting(name))


@pytest.mark.parametrize("name", COMPANIONS)
def test_a_companion_shows_other_examples(name: str) -> None:
    found = view_of(name)(trainable(), random_batch(8), TASK, Stream(0))
    assert found.x.shape == (8, *IMAGE)
    assert len(found.y) == 8
    rows = digits().x.flatten(1)
    assert all((rows == one).all(1).any() for one in found.x.flatten(1))


# --- attacks --------------------------------------------------------------------------------


RADII = {"linf": (0.05, 0.1, 0.2, 0.4), "l2": (0.3, 1.0, 3.0), "l1": (1.0, 3.0, 10.0, 30.0)}


def threat(name: str, norm: str, eps: float) -> dict[str, Any]:
    """The settings that give an attack, or the attack within it, this norm and radius."""
    settings: dict[str, Any] = {"norm": norm, "eps": eps}
    inner = catalog.settings("attacks", name).get("attack")
    return {"attack": {"name": inner} | settings} if inner else settings


def norms(name: str) -> tuple[str, ...]:
    """The norms that an attack, or the attack within it, is for."""
    inner = catalog.settings("attacks", name).get("attack")
    found: tuple[str, ...] = catalog.find("attacks", inner or name).norms
    return found


def one_value(name: str) -> bool:
    """Whether every step of an attack is the steepest one, of a size that is fixed beforehand."""
    attack = view_of(name).component
    return attack.steps == 1 or hasattr(attack, "step_size")


each_threat = pytest.mark.parametrize(
    ("name", "norm"), [(name, norm) for name in ATTACKS for norm in norms(name)]
)


def robust(model: nn.Module, batch: Batch, attacked: Batch) -> Tensor:
    """Which examples are right before and after an attack."""
    with torch.no_grad():
        right = [model(one.x).argmax(1) == one.y for one in (batch, attacked)]
    return right[0] & right[1]


def distance(x: Tensor, x_adv: Tensor, norm: str) -> Tensor:
    flat = (x_adv.double() - x.double()).flatten(1).abs()
    if norm == "l1":
        return flat.sum(1)
    return flat.max(1).values if norm == "linf" else flat.square().sum(1).sqrt()


@each_threat
@pytest.mark.parametrize("eps", [0.03, 2.0])
@pytest.mark.parametrize(("shape", "classes", "box"), SHAPES.values(), ids=SHAPES)
def test_in_ball_and_box(
    name: str, norm: str, eps: float, shape: tuple[int, ...], classes: int, box: Box
) -> None:
    batch = random_batch(6, shape, classes)
    view = view_of(name, box, **threat(name, norm, eps))
    found = view(trainable(shape, classes), batch, TASK, Stream(0))
    moved = distance(batch.x, found.x, norm)
    assert (moved <= eps + 1e-6).all()
    # Some attacks leave alone what is wrong already, or what they do not succeed with.
    attack = view.component
    if not (getattr(attack, "minimal", False) or getattr(attack, "stops", False)):
        assert (moved > 0).all()
    if box is not None:
        assert box[0] <= float(found.x.min()) <= float(found.x.max()) <= box[1]


@each_threat
@pytest.mark.parametrize("box", [(0.0, 1.0), None], ids=["box", "no-box"])
def test_eps_0_is_identity(name: str, norm: str, box: Box) -> None:
    batch = random_batch()
    view = view_of(name, box, **threat(name, norm, 0))
    assert torch.equal(view(trainable(), batch, TASK, Stream(0)).x, batch.x)


@each_attack
def test_eps_below_0_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="eps must be at least 0, found -1"):
        view_of(name, **threat(name, norms(name)[0], -1))


@each_threat
def test_a_larger_ball_never_helps_the_model(name: str, norm: str) -> None:
    batch = Batch(*(part[1000:1200] for part in (digits().x, digits().y)))
    model = trained()
    left = robust(model, batch, batch)
    clean = float(left.double().mean())
    assert clean > 0.85
    # The steepest l1 step changes one value, and the box takes the more of it the longer it is.
    weak = norm == "l1" and one_value(name)
    for eps in RADII[norm]:
        view = view_of(name, **threat(name, norm, eps))
        later = robust(model, batch, view(model, batch, TASK, ExampleStreams(0, torch.arange(200))))
        assert float((later & ~left).double().mean()) <= (0.05 if weak else 0.01)
        left = later
    assert float(left.double().mean()) < (clean - 0.05 if weak else 0.3)


@each_attack
def test_any_callable_will_do(name: str) -> None:
    batch, weight = random_batch(), torch.randn(10, 64, generator=seeded(8))
    attack = view_of(name).component
    found = attack(lambda x: x.flatten(1) @ weight.T, batch.x, batch.y)
    assert distance(batch.x, found, "linf").max() <= float(attack.eps) + 1e-6
    assert not found.requires_grad


@each_threat
def test_without_a_model_gradient_it_stays_in_the_ball(name: str, norm: str) -> None:
    # A constant model: its gradient is 0, which must not become NaN in a direction.
    batch = random_batch()
    attack = view_of(name, **threat(name, norm, 0.5)).component
    found = attack(lambda x: 0 * x.flatten(1)[:, :10], batch.x, batch.y)
    assert torch.isfinite(found).all()
    assert distance(batch.x, found, norm).max() <= 0.5 + 1e-6


@each_threat
def test_numbers_are_attacked_where_an_attack_is_for_them(name: str, norm: str) -> None:
    view, task = view_of(name, **threat(name, norm, 0.2)), Regression()
    if "regression" not in getattr(view.component, "tasks", (task.name,)):
        with pytest.raises(SettingError, match=f"{name} is for classification, .* regression"):
            views.fits_task(view, task.name)
        return
    model, x = toy(classes=1, plain=True).eval(), random_batch().x
    y = torch.randn(12, generator=seeded(4))
    found = view(model, Batch(x, y), task, Stream(0))
    assert distance(x, found.x, norm).max() <= 0.2 + 1e-6
    with torch.no_grad():
        before, after = (task.loss(model(one), y) for one in (x, found.x))
    assert float(after.mean()) > float(before.mean())


@pytest.mark.parametrize("width", [1, 0], ids=["one-output", "no-vector"])
@each_attack
def test_who_needs_logits_names_what_there_is_instead(name: str, width: int) -> None:
    attack, batch = view_of(name).component, random_batch()
    if "tasks" not in vars(type(attack)):
        return
    with pytest.raises(SettingError, match=r"needs logits .*found .* shape [(\[]12"):
        attack(lambda x: x.flatten(1)[:, :1] if width else x.flatten(1).sum(1), batch.x, batch.y)
