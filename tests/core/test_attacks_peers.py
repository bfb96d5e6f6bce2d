"""Attacks against those of foolbox, example by example."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog

from ..contracts.toys import digits, trained

foolbox = pytest.importorskip("foolbox", reason="needs foolbox, which the tests alone use")

BOX = (0.0, 1.0)


def some_digits(n: int = 500) -> tuple[Tensor, Tensor]:
    """The last digits, of which the model has seen some."""
    return digits().x[-n:], digits().y[-n:]


def ours(name: str, x: Tensor, y: Tensor, **settings: Any) -> Tensor:
    made: nn.Module = catalog.build("attacks", {"name": name, "box": BOX} | settings)
    found: Tensor = made(trained(), x, y)
    return found


def theirs(made: Any, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
    model = foolbox.PyTorchModel(trained(), bounds=BOX, device="cpu")
    _, found, _ = made(model, x, y, epsilons=eps)
    # It leaves gradients in a model's parameters, which other tests look at.
    trained().zero_grad(set_to_none=True)
    return found  # type: ignore[no-any-return]


def fooled(x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = trained()(x).argmax(1) != y
    return found


def lengths(x: Tensor, x_adv: Tensor, norm: str) -> Tensor:
    flat = (x_adv - x).flatten(1)
    return flat.norm(dim=1) if norm == "l2" else flat.abs().amax(1)


@pytest.mark.parametrize("eps", [0.03, 0.06, 0.1])
def test_pgd_linf_fools_the_same_examples(eps: float) -> None:
    x, y = some_digits()
    step = eps / 30
    peer = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=40, random_start=False)
    settings = {"eps": eps, "steps": 40, "step_size": step, "random_start": False}
    one, other = ours("PGD", x, y, **settings), theirs(peer, x, y, eps)
    assert torch.equal(fooled(one, y), fooled(other, y))
    assert 0.1 < float(fooled(one, y).double().mean()) < 0.99


@pytest.mark.parametrize("eps", [0.2, 0.4, 0.6])
def test_pgd_l2_fools_the_same_examples_but_one_of_500(eps: float) -> None:
    x, y = some_digits()
    step = eps / 20
    peer = foolbox.attacks.L2PGD(abs_stepsize=step, steps=40, random_start=False)
    settings = {"eps": eps, "steps": 40, "step_size": step, "random_start": False}
    one = ours("PGD", x, y, norm="l2", **settings)
    other = theirs(peer, x, y, eps)
    assert int((fooled(one, y) != fooled(other, y)).sum()) <= 1
    assert 0.1 < float(fooled(one, y).double().mean()) < 0.99


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fast_and_basic_methods_give_the_same_points(norm: str) -> None:
    (x, y), eps = some_digits(), {"linf": 0.05, "l2": 0.3}[norm]
    attacks = foolbox.attacks
    fast, basic = (
        (attacks.LinfFastGradientAttack, attacks.LinfBasicIterativeAttack)
        if norm == "linf"
        else (attacks.L2FastGradientAttack, attacks.L2BasicIterativeAttack)
    )
    pairs = [
        (ours("FGSM", x, y, norm=norm, eps=eps), theirs(fast(), x, y, eps)),
        (
            ours("BIM", x, y, norm=norm, eps=eps, steps=10, step_size=eps / 5),
            theirs(basic(rel_stepsize=0.2, steps=10), x, y, eps),
        ),
    ]
    for one, other in pairs:
        same = (one - other).abs().flatten(1).amax(1) < 1e-5
        # A gradient of almost nothing has a sign by rounding alone.
        assert float(same.double().mean()) > 0.98
        assert int((fooled(one, y) != fooled(other, y)).sum()) <= 1


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_goes_as_far(norm: str) -> None:
    x, y = some_digits(300)
    kind = foolbox.attacks.L2DeepFoolAttack if norm == "l2" else foolbox.attacks.LinfDeepFoolAttack
    other = theirs(kind(steps=50, candidates=10, overshoot=0.02), x, y, None)
    one = ours("DeepFool", x, y, norm=norm, eps=1000)
    assert bool(fooled(one, y).all())
    both = ~fooled(x, y) & fooled(other, y)
    short, long = lengths(x, one, norm)[both], lengths(x, other, norm)[both]
    assert float(short.mean()) == pytest.approx(float(long.mean()), rel=0.02)
    assert float(((short - long).abs() <= 0.02 * long).double().mean()) > 0.8
    assert float(((short - long).abs() <= 0.15 * long).double().mean()) > 0.98


def test_carlini_wagner_goes_as_far() -> None:
    x, y = some_digits(40)
    settings: dict[str, Any] = {"steps": 100}
    peer = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=6, stepsize=0.05, initial_const=0.1, abort_early=False, **settings
    )
    other = theirs(peer, x, y, None)
    one = ours("CarliniWagner", x, y, eps=1000, searches=6, rate=0.05, c=0.1, **settings)
    clean = ~fooled(x, y)
    assert torch.equal(fooled(one, y), fooled(other, y))
    short, long = lengths(x, one, "l2")[clean], lengths(x, other, "l2")[clean]
    assert float(((short - long).abs() <= 0.01 * long + 1e-3).double().mean()) > 0.95
