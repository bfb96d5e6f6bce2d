"""Attacks on models whose worst case is known, and the norms that a published config reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import boxes, catalog, evaluation, views
from trainables.core.batch import Batch
from trainables.core.data._source import Examples
from trainables.core.errors import SettingError
from trainables.core.facts import Facts
from trainables.core.randomness import ExampleStreams, Stream
from trainables.core.tasks import Classification, Detection

from ..contracts.toys import digits, random_batch, same, seeded, snapshot, trained


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
    rows = evaluation.evaluate(
        model,
        [config],
        Examples(x, y),
        Classification(),
        evaluation.Context(),
        split="test",
        seed=0,
    ).rows
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


ITERATED = ["PGD", "BIM", "MIFGSM"]


def of(name: str, **settings: Any) -> nn.Module:
    """An iterated attack that begins at x itself."""
    return attack(name, **({"random_start": False} if name == "PGD" else {}) | settings)


def some_digits(n: int = 150) -> tuple[Tensor, Tensor]:
    return digits().x[1000 : 1000 + n], digits().y[1000 : 1000 + n]


def test_the_basic_method_is_pgd_without_a_start() -> None:
    x, y = some_digits()
    for norm, eps in (("linf", 0.1), ("l2", 0.5), ("l1", 2.0)):
        settings = {"norm": norm, "eps": eps, "steps": 5, "step_size": eps / 3}
        expected = of("PGD", **settings)(trained(), x, y)
        assert torch.equal(of("BIM", **settings)(trained(), x, y), expected)
        assert not torch.equal(expected, x)


def test_automatic_steps_of_the_iterated_methods_just_reach_the_border() -> None:
    for name in ("BIM", "MIFGSM"):
        assert float(of(name, eps=0.4, steps=10).step_size) == pytest.approx(0.04)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.5)])
def test_momentum_of_0_is_the_basic_method(norm: str, eps: float) -> None:
    x, y = some_digits()
    settings = {"norm": norm, "eps": eps, "steps": 5}
    expected = of("BIM", **settings)(trained(), x, y)
    found = of("MIFGSM", mu=0, **settings)(trained(), x, y)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(of("MIFGSM", **settings)(trained(), x, y), expected, atol=1e-3)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_momentum_by_a_second_implementation(norm: str) -> None:
    (x, y), model = some_digits(20), trained()
    found = []
    for one, target in zip(x, y, strict=True):
        point, memory = one.clone(), torch.zeros_like(one)
        for _ in range(4):
            point.requires_grad_()
            loss = nn.functional.cross_entropy(model(point[None]), target[None])
            (g,) = torch.autograd.grad(loss, point)
            memory = 0.7 * memory + g / g.abs().sum()
            step = memory.sign() if norm == "linf" else memory / memory.norm()
            moved = point.detach() + 0.05 * step - one
            if norm == "linf":
                moved = moved.clamp(-0.12, 0.12)
            else:
                moved = moved * min(1.0, 0.12 / float(moved.norm()))
            point = (one + moved).clamp(0, 1)
        found.append(point)
    made = attack("MIFGSM", norm=norm, eps=0.12, steps=4, step_size=0.05, mu=0.7)
    torch.testing.assert_close(made(model, x, y), torch.stack(found), rtol=0, atol=1e-5)


def test_momentum_survives_gradients_that_are_almost_nothing() -> None:
    x, y = torch.full((1, 2), 0.5), torch.tensor([0])

    def model(x: Tensor) -> Tensor:
        return x * torch.tensor([1e-20, -1e-20])

    found = attack("MIFGSM", eps=0.1)(model, x, y)
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.4]]))


class Counted(nn.Module):
    """A model that notes how many examples it has seen in every call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        found: Tensor = self.model(x)
        return found


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.08), ("l2", 0.4)])
@pytest.mark.parametrize("name", ITERATED)
def test_the_first_iterate_that_fools_counts(name: str, norm: str, eps: float) -> None:
    (x, y), task, model = some_digits(), Classification(), trained().double()
    x = x.double()
    try:
        settings = {"norm": norm, "eps": eps, "step_size": eps / 4}
        expected, done = x.clone(), torch.zeros(len(y), dtype=torch.bool)
        rows = [len(x)]
        # The iterates one by one: attacks of 0, 1, 2, ... steps.
        for steps in range(6):
            point = of(name, steps=steps, **settings)(model, x, y) if steps else x
            expected[~done] = point[~done]
            with torch.no_grad():
                done |= task.fooled(model(point), y)
            rows.append(int((~done).sum()))
        counted = Counted(model)
        found = of(name, steps=5, counts="any", **settings)(counted, x, y)
    finally:
        model.float()
    torch.testing.assert_close(found, expected)
    # Who is fooled is not looked at any more, and no pass is made beside those of the gradients.
    assert counted.rows == rows[:-1]
    assert rows[-1] < rows[1] < rows[0]


def test_any_stops_when_nobody_is_left() -> None:
    (x, y), counted = some_digits(), Counted(trained())
    made = attack("PGD", eps=1.0, steps=20, restarts=5, counts="any")
    found = made(counted, x, y, draws=Stream(0))
    assert bool(Classification().fooled(trained()(found), y).all())
    assert len(counted.rows) <= 21
    wrong = Classification().fooled(trained()(x), y)
    assert 0 < int(wrong.sum()) < len(x)
    assert torch.equal(found[wrong], x[wrong])


@pytest.mark.parametrize("start", [True, False])
def test_any_fools_whom_the_last_iterate_fools(start: bool) -> None:
    (x, y), model, task = some_digits(), trained(), Classification()
    settings = {"eps": 0.08, "steps": 8, "random_start": start}
    fooled = {}
    for counts in ("last", "any"):
        found = attack("PGD", counts=counts, **settings)(
            model, x, y, draws=ExampleStreams(0, torch.arange(len(x)))
        )
        with torch.no_grad():
            fooled[counts] = task.fooled(model(found), y)
    # Starts are drawn for those that are right only, from the same stream of each.
    assert bool((fooled["any"] | ~fooled["last"]).all())
    assert 0.2 < float(fooled["any"].double().mean()) < 0.99


def test_restarts_of_any_are_for_whom_is_left() -> None:
    (x, y), task = some_digits(), Classification()
    fooled, counted = [], []
    for restarts in (1, 4):
        counted.append(Counted(trained()))
        made = attack("PGD", eps=0.06, steps=4, restarts=restarts, counts="any")
        found = made(counted[-1], x, y, draws=ExampleStreams(0, torch.arange(len(x))))
        with torch.no_grad():
            fooled.append(task.fooled(trained()(found), y))
        assert float((found - x).abs().max()) <= 0.06 + 1e-6
    assert bool((fooled[1] | ~fooled[0]).all())
    one = counted[0].rows
    assert counted[1].rows[: len(one)] == one
    assert counted[1].rows[len(one)] == len(x) - int(fooled[0].sum()) < one[1]


def test_any_against_the_model_itself_needs_the_reference_of_each_row() -> None:
    (x, y), model = some_digits(60), trained()
    made = attack("PGD", climbs="kl", eps=0.15, steps=5, counts="any")
    found = made(model, x, y, draws=ExampleStreams(0, torch.arange(60)))
    with torch.no_grad():
        changed = model(found).argmax(1) != model(x).argmax(1)
    assert float(changed.double().mean()) > 0.3
    single = torch.cat(
        [
            made(model, x[i : i + 1], y[i : i + 1], draws=ExampleStreams(0, torch.tensor([i])))
            for i in range(60)
        ]
    )
    torch.testing.assert_close(single, found, rtol=0, atol=1e-4)


# --- expectation over transformation -----------------------------------------------------------


INNER: list[dict[str, Any]] = [
    {"name": "FGSM", "eps": 0.1},
    {"name": "PGD", "norm": "l2", "eps": 0.5, "steps": 3},
    {"name": "PGD", "eps": 0.1, "steps": 3, "climbs": "kl"},
    {"name": "PGD", "eps": 0.05, "steps": 4, "restarts": 2, "counts": "any"},
    {"name": "MIFGSM", "eps": 0.1, "steps": 3},
    {"name": "DeepFool", "eps": 1.0},
    {"name": "CarliniWagner", "eps": 1.0, "steps": 10, "searches": 3, "rate": 0.1, "c": 1.0},
]


@pytest.mark.parametrize("inner", INNER, ids=[one["name"] for one in INNER])
def test_calls_of_a_model_that_is_not_random_change_nothing(inner: dict[str, Any]) -> None:
    x, y = some_digits(30)
    expected = catalog.build("attacks", inner)(trained(), x, y, draws=Stream(1))
    # A mean of four equal numbers is exact.
    found = attack("EOT", attack=inner, samples=4)(trained(), x, y, draws=Stream(1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert not torch.equal(expected, x)


class Jittery(nn.Module):
    """A model of inputs with noise from a generator of its own."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        self.generator = seeded(9)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = trained()(x + self.sigma * torch.randn(x.shape, generator=self.generator))
        return found


def test_what_is_climbed_is_the_mean_loss_of_the_calls() -> None:
    x, y = some_digits(20)
    found = attack("EOT", attack={"name": "FGSM", "eps": 0.1}, samples=5)(Jittery(0.5), x, y)
    model, total = Jittery(0.5), torch.zeros_like(x)
    for _ in range(5):
        point = x.clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(point), y, reduction="sum")
        total += torch.autograd.grad(loss, point)[0] / 5
    expected = (x + 0.1 * total.sign()).clamp(0, 1)
    # Where the mean gradient all but vanishes, the order of the sum decides on its sign.
    clear = total.abs() > 1e-6
    torch.testing.assert_close(found[clear], expected[clear], rtol=0, atol=1e-6)
    assert float(clear.double().mean()) > 0.9


def test_the_mean_gradient_of_a_random_model_is_steadier() -> None:
    x, y = some_digits()
    config = {"name": "PGD", "norm": "l2", "eps": 0.5, "steps": 5, "random_start": False}
    losses = []
    for samples in (1, 16):
        found = attack("EOT", attack=config, samples=samples)(Jittery(0.7), x, y)
        with torch.no_grad():
            losses.append(float(nn.functional.cross_entropy(trained()(found), y)))
    assert losses[1] > 1.05 * losses[0]


def test_a_wrapped_attack_shows_what_it_wraps() -> None:
    config = {"name": "PGD", "norm": "l2", "eps": 0.5, "steps": 7, "restarts": 3}
    made = attack("EOT", attack=config, box=(-1, 1))
    row = views.describe(views.Attacked(made))
    wanted = {"norm": "l2", "eps": 0.5, "steps": 7, "restarts": 3, "family": "adversarial"}
    assert {key: row[key] for key in wanted} == wanted
    assert row["name"] == "eot_pgd_l2_0.5_7_3_20"
    assert made.box == made.inner.box == (-1.0, 1.0)
    assert float(made.step_size) == pytest.approx(2.5 * 0.5 / 7)
    own = attack("EOT", attack=config | {"box": (0, 2)}, box=None)
    assert own.box == (0.0, 2.0)
    assert attack("EOT", attack="deepfool_l2_0.3").tasks == ("classification",)
    assert not hasattr(made, "tasks")
    assert catalog.expand("views", "eot_fgsm_10") == {
        "name": "EOT",
        "attack": "fgsm",
        "samples": "10",
    }


# --- detectors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["FGSM", "PGD"])
def test_a_detector_is_attacked_by_its_own_losses(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = catalog.build(
            "architectures",
            {"name": "SSDLite320MobileNetV3"},
            shape=(3, 64, 64),
            outputs=3,
            mean=[0.5] * 3,
            deviation=[0.25] * 3,
        ).train()
    x = torch.rand(2, 3, 64, 64, generator=seeded())
    corners = torch.tensor([[4.0, 6.0, 40.0, 44.0], [20.0, 2.0, 46.0, 20.0]])
    y = torch.stack(
        [
            boxes.pack((50, 48), corners, torch.tensor([0, 2]), 3),
            boxes.pack((64, 40), corners[:1], torch.tensor([1]), 3),
        ]
    )
    # Fresh statistics would let next to nothing of an image through.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model.losses(x, y)
    task = Detection()
    view = views.make(
        {"name": name, "eps": "8/255"} | ({"steps": 2} if name == "PGD" else {}),
        Facts(box=(0.0, 1.0)),
    )
    before, state = snapshot(model), torch.get_rng_state()
    found = view(model, Batch(x, y), task, Stream(0))
    assert same(snapshot(model), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found.y, y)
    moved = (found.x - x).abs()
    assert 8 / 255 - 1e-6 < float(moved.max()) <= 8 / 255 + 1e-6
    assert 0 <= float(found.x.min()) <= float(found.x.max()) <= 1
    called, goal = task.aimed(model)
    with views.guard(model), torch.no_grad():
        clean, attacked = (goal.loss(called(one), y) for one in (x, found.x))
    assert bool((attacked > clean + 0.01).all())


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
        ({"name": "PGD", "counts": "first"}, "counts cannot be 'first'"),
        ({"name": "BIM", "eps": -1}, "BIM: eps must be at least 0, found -1"),
        ({"name": "BIM", "step_size": 0}, "BIM: step_size must be above 0, found 0"),
        ({"name": "MIFGSM", "mu": -1}, "MIFGSM: mu must be at least 0, found -1"),
        ({"name": "MIFGSM", "norm": "l1"}, "MIFGSM: norm cannot be 'l1'"),
        ({"name": "EOT", "samples": 0}, "EOT: samples must be at least 1, found 0"),
        ({"name": "EOT", "attack": {"name": "PGD", "eps": -1}}, "EOT: PGD: eps must be at least"),
        ({"name": "EOT", "attack": {"name": "PDG"}}, "EOT: Unknown attack 'PDG'.*mean 'PGD'"),
        ({"name": "FGSM", "eps": "x"}, "FGSM: eps must be a number"),
        ({"name": "FGSM", "box": [1, 0]}, "FGSM: box must rise"),
    ],
)
def test_settings_out_of_range(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        catalog.build("attacks", config)
