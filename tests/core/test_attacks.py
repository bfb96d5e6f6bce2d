"""Attacks on models whose worst case is known, and the norms that a published config reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog, evaluation
from trainables.core.data._source import Examples
from trainables.core.errors import SettingError
from trainables.core.randomness import Stream
from trainables.core.tasks import Classification

from ..contracts.toys import digits, random_batch, seeded, trained


class Linear(nn.Module):
    """Two classes, logits (0, w x + b): the attack's best move is known."""

    def __init__(self, values: int, bias: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(values, generator=seeded(2), dtype=torch.float64))
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1) @ self.w + self.bias
        return torch.stack([torch.zeros_like(score), score], 1)


def attack(name: str, **settings: Any) -> nn.Module:
    found: nn.Module = catalog.build("attacks", {"name": name} | settings)
    return found


def linear_case() -> tuple[Linear, Tensor, Tensor, Tensor]:
    """The model, inputs inside the box, targets, and the direction that hurts each example."""
    model = Linear(12)
    x = torch.rand(10, 1, 3, 4, generator=seeded(3), dtype=torch.float64)
    y = torch.arange(10) % 2
    worst = (1 - 2 * y).view(-1, 1, 1, 1) * model.w.detach().view(1, 1, 3, 4)
    return model, x, y, worst


@pytest.mark.parametrize(
    "settings",
    [{"name": "FGSM"}, {"name": "PGD"}, {"name": "PGD", "random_start": False}],
    ids=["FGSM", "PGD", "PGD-no-start"],
)
@pytest.mark.parametrize("box", [(0.0, 1.0), None], ids=["box", "no-box"])
def test_linf_on_a_linear_model_is_the_corner(settings: dict[str, Any], box: Any) -> None:
    model, x, y, worst = linear_case()
    found = attack(eps=0.1, norm="linf", box=box, **settings)(model, x, y)
    expected = x + 0.1 * worst.sign()
    expected = expected if box is None else expected.clamp(*box)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"name": "FGSM"}, 1e-6),
        ({"name": "PGD", "random_start": False}, 1e-6),
        # Steps of the size of the ball turn any start towards the worst direction.
        ({"name": "PGD", "steps": 40, "step_size": 0.5}, 1e-6),
    ],
    ids=["FGSM", "PGD-no-start", "PGD"],
)
def test_l2_on_a_linear_model_is_the_direction(settings: dict[str, Any], tolerance: float) -> None:
    model, x, y, worst = linear_case()
    found = attack(eps=0.5, norm="l2", box=None, **settings)(model, x, y)
    expected = x + 0.5 * worst / model.w.detach().norm()
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("norm", "dual", "eps"), [("linf", 1, 0.05), ("l2", 2, 0.2)])
@pytest.mark.parametrize("name", ["FGSM", "PGD"])
def test_robust_accuracy_of_a_linear_model(name: str, norm: str, dual: int, eps: float) -> None:
    model = Linear(12, bias=0.2)
    x = torch.randn(400, 1, 3, 4, generator=seeded(4), dtype=torch.float64) / 3
    y = (torch.rand(400, generator=seeded(5)) < 0.5).long()
    with torch.no_grad():
        margin = (2 * y - 1) * model(x)[:, 1]
        needed = eps * model.w.norm(p=dual)
    robust = int((margin > needed).sum())
    # No example so near to the border that rounding decides.
    assert float((margin - needed).abs().min()) > 1e-4
    assert 0 < robust < int((margin > 0).sum()) < 400
    # Steps of the size of the ball: with the usual small ones a random l2 start leaves a remainder.
    step = {"step_size": eps} if name == "PGD" else {}
    config = {"name": name, "norm": norm, "eps": eps, "box": None} | step
    benchmark = evaluation.benchmark(config, None)
    rows = evaluation.evaluate(
        model, [benchmark], Examples(x, y), Classification(), split="test", seed=0
    )
    assert rows[0]["n_correct"] == robust
    assert rows[0]["value"] == robust / 400


SEED_CONFIG = {"norm": 2, "eps": 0.5, "step_size": 1.5, "steps": 20}


def perturbations(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    found = attack("PGD", **SEED_CONFIG)(model, x, y, draws=Stream(0))
    return (found - x).flatten(1).norm(dim=1)


def conv_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = catalog.build(
            "architectures",
            {"name": "ConvNet"},
            shape=(1, 28, 28),
            outputs=10,
            mean=[0.1307],
            deviation=[0.3081],
        )
    return model.eval()


def test_published_l2_config_ends_on_the_sphere() -> None:
    # A step of 1.5 leaves a ball of radius 0.5 from any point of it; only the box takes some back,
    # and next to nothing from images that are rarely black or white.
    batch = random_batch(8, (1, 28, 28))
    found = perturbations(conv_net(), batch.x, batch.y)
    assert float(found.min()) >= 0.49
    assert float(found.max()) <= 0.5 + 1e-6
    free = attack("PGD", **SEED_CONFIG, box=None)(conv_net(), batch.x, batch.y)
    lengths = (free - batch.x).flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((8,), 0.5), rtol=0, atol=1e-5)


def test_published_l2_config_on_mnist_loses_to_the_box_what_is_black(mnist_root: Path) -> None:
    test = catalog.build("data", {"name": "MNIST"}).load(mnist_root).test
    x, y = test.x[:16], test.y[:16]
    model = conv_net()
    found = perturbations(model, x, y)
    assert float(found.min()) >= 0.3
    assert float(found.max()) <= 0.5 + 1e-6
    # In the middle of the box nothing is lost.
    inside = perturbations(model, 0.25 + x / 2, y)
    assert float(inside.min()) >= 0.49


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steps_by_a_second_implementation(norm: str) -> None:
    model = trained()
    x, y = digits().x[:20], digits().y[:20]
    point = x.clone()
    for _ in range(5):
        point.requires_grad_()
        loss = nn.functional.cross_entropy(model(point), y, reduction="sum")
        (climb,) = torch.autograd.grad(loss, point)
        rows = []
        for start, now, g in zip(x, point.detach(), climb, strict=True):
            if norm == "linf":
                moved = (now + 0.03 * g.sign() - start).clamp(-0.1, 0.1)
            else:
                moved = now + 0.3 * g / g.norm() - start
                moved = moved * min(1.0, 0.5 / float(moved.norm()))
            rows.append((start + moved).clamp(0, 1))
        point = torch.stack(rows)
    sizes = {"linf": {"eps": 0.1, "step_size": 0.03}, "l2": {"eps": 0.5, "step_size": 0.3}}
    one = attack("PGD", norm=norm, steps=5, random_start=False, **sizes[norm])
    torch.testing.assert_close(one(model, x, y), point, rtol=0, atol=1e-5)


def test_step_size_auto_is_two_and_a_half_radii_over_all_steps() -> None:
    assert float(attack("PGD", eps=0.4, steps=10).step_size) == pytest.approx(0.1)
    assert float(attack("PGD", eps="8/255", step_size="2/255").step_size) == pytest.approx(2 / 255)


def test_one_step_without_a_start_is_the_fast_method() -> None:
    batch = random_batch()
    one = attack("PGD", eps=0.1, steps=1, step_size=0.1, random_start=False)
    expected = attack("FGSM", eps=0.1)(trained(), batch.x, batch.y)
    assert torch.equal(one(trained(), batch.x, batch.y), expected)


def test_restarts_are_at_least_as_strong_on_every_example() -> None:
    x, y = digits().x[1000:1200], digits().y[1000:1200]
    model, task = trained(), Classification()
    settings: dict[str, Any] = {"eps": 0.1, "steps": 3}
    fooled, losses = [], []
    for restarts in (1, 5):
        found = attack("PGD", restarts=restarts, **settings)(model, x, y, draws=Stream(0))
        with torch.no_grad():
            fooled.append(task.fooled(model(found), y))
            losses.append(task.loss(model(found), y))
    # The first climb of both is the same one.
    assert bool((fooled[1] | ~fooled[0]).all())
    same = fooled[0] == fooled[1]
    assert bool((losses[1][same] >= losses[0][same] - 1e-6).all())
    assert float(losses[1].mean()) > float(losses[0].mean())


class Backwards:
    """A goal that is reached by small sums while the loss is the sum."""

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        return prediction.sum(1)

    def fooled(self, prediction: Tensor, y: Tensor) -> Tensor:
        return prediction.sum(1) < 32


def test_a_restart_that_reached_the_goal_beats_a_higher_loss() -> None:
    x, y = torch.full((50, 1, 8, 8), 0.5), torch.zeros(50, dtype=torch.int64)
    one = attack("PGD", eps=0.1, steps=1, step_size=1e-6, restarts=8)
    found = one(lambda x: x.flatten(1), x, y, goal=Backwards(), draws=Stream(0))
    # The starts decide; of 8 one has a smaller sum in all but 1 of 256 cases.
    assert int((found.flatten(1).sum(1) < 32).sum()) >= 45


def test_a_stream_is_made_from_the_seed_when_none_is_given() -> None:
    batch, model = random_batch(), trained()
    found = [
        attack("PGD", seed=seed, eps=0.3, steps=2)(model, batch.x, batch.y) for seed in (1, 1, 2)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "PGD", "eps": -1}, "PGD: eps must be at least 0, found -1"),
        ({"name": "PGD", "eps": "8/0"}, "eps must be a number or a quotient"),
        ({"name": "PGD", "steps": 0}, "steps must be at least 1, found 0"),
        ({"name": "PGD", "restarts": 0}, "restarts must be at least 1"),
        ({"name": "PGD", "step_size": 0}, "step_size must be above 0, found 0"),
        ({"name": "PGD", "step_size": "-1/255"}, "step_size must be above 0, found '-1/255'"),
        ({"name": "PGD", "restarts": 2, "random_start": False}, "restarts needs random_start"),
        ({"name": "PGD", "random_start": "no"}, "random_start must be true or false"),
        ({"name": "PGD", "seed": -1}, "seed must be at least 0"),
        ({"name": "PGD", "norm": "l7"}, "norm cannot be 'l7'"),
        ({"name": "FGSM", "eps": "x"}, "FGSM: eps must be a number"),
        ({"name": "FGSM", "box": [1, 0]}, "FGSM: box must rise"),
    ],
)
def test_settings_out_of_range(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        catalog.build("attacks", config)
