"""Square: its schedule, its windows and bumps, and what it finds without a gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog, views
from trainables.core.attacks._squares import Bumps, Patches, bumps, window
from trainables.core.batch import Batch
from trainables.core.errors import SettingError
from trainables.core.facts import Facts
from trainables.core.randomness import ExampleStreams, Stream
from trainables.core.tasks import Detection, Regression
from trainables.core.threat import size

from ..contracts.toys import digits, random_batch, seeded, toy, trained
from .linear_worst import case
from .test_detectors import detector, images

NORMS = ("linf", "l2", "l1")
each_norm = pytest.mark.parametrize("norm", NORMS)
CPU = torch.device("cpu")


def square(**settings: Any) -> Any:
    return catalog.build("attacks", {"name": "Square"} | settings)


def margins(logits: Tensor, y: Tensor) -> Tensor:
    return torch.stack(
        [
            row[one] - row[torch.arange(len(row)) != one].max()
            for row, one in zip(logits, y, strict=True)
        ]
    )


class Recorded(nn.Module):
    """A model that keeps the margins of all it was asked."""

    def __init__(self, model: nn.Module, y: Tensor, *, lift: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.y = y
        self.lift = lift
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        # Lifted so far that nothing fools it, an example stays until the last query.
        found: Tensor = self.model(x) + self.lift * nn.functional.one_hot(self.y, 10)
        self.asked.append(margins(found, self.y))
        return found


# --- the schedule ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "share"),
    [
        (1, 0.8),
        (10, 0.8),
        (11, 0.4),
        (50, 0.4),
        (51, 0.2),
        (200, 0.2),
        (201, 0.1),
        (500, 0.1),
        (501, 0.05),
        (1000, 0.05),
        (1001, 0.025),
        (2000, 0.025),
        (2001, 0.0125),
        (4000, 0.0125),
        (4001, 0.00625),
        (6000, 0.00625),
        (6001, 0.003125),
        (8000, 0.003125),
        (8001, 0.0015625),
        (10000, 0.0015625),
    ],
)
def test_share_of_the_window(query: int, share: float) -> None:
    assert square().share(query) == share
    assert square(p_init=0.1).share(query) == pytest.approx(share / 8)
    # With half as many queries as the schedule has, everything happens at half the number.
    if query % 2 == 0:
        assert square(schedule="rescaled").share(query // 2) == share
    assert square(schedule="rescaled", queries=10000).share(query) == share


@pytest.mark.parametrize(
    ("share", "shape", "least", "expected"),
    [
        (0.8, (32, 32), 1, (29, 29)),
        (0.4, (32, 32), 1, (20, 20)),
        (0.8 / 512, (32, 32), 1, (1, 1)),
        (1e-6, (32, 32), 1, (1, 1)),
        (0.8, (32, 32), 3, (29, 29)),
        (0.4, (32, 32), 3, (21, 21)),
        (1e-6, (32, 32), 3, (3, 3)),
        (0.8, (5, 100), 1, (5, 5)),
        (0.8, (5, 100), 3, (5, 5)),
        (1.0, (8, 8), 3, (8, 8)),
        (0.8, (1, 100), 1, (1, 80)),
        (0.8, (1, 100), 3, (1, 81)),
        (0.001, (1, 100), 1, (1, 1)),
        (0.001, (1, 100), 3, (1, 3)),
        (0.8, (1, 2), 3, (1, 2)),
        (0.5, (10, 1), 1, (5, 1)),
    ],
)
def test_window(
    share: float, shape: tuple[int, int], least: int, expected: tuple[int, int]
) -> None:
    assert window(share, *shape, least=least) == expected


# --- linf -----------------------------------------------------------------------------------


def test_stripes() -> None:
    x = torch.rand(5, 2, 4, 50, generator=seeded(), dtype=torch.float64)
    delta = Patches(torch.tensor(0.1), None).start(x, Stream(0)) - x
    torch.testing.assert_close(delta.abs(), torch.full_like(delta, 0.1))
    torch.testing.assert_close(delta, delta[:, :, :1].expand_as(delta))
    assert 0.4 < float((delta[:, :, 0] > 0).double().mean()) < 0.6


def test_a_patch_is_a_window_of_one_sign_per_channel() -> None:
    x = torch.zeros(4, 2, 6, 9)
    # Rows are drawn from 6 - 3 + 1 = 4 places and columns from 7, the last ones included.
    numbers = torch.tensor(
        [
            [0.0, 0.0, 0.2, 0.8],
            [0.99, 0.99, 0.8, 0.2],
            [0.5, 0.5, 0.2, 0.2],
            [1 - 2**-24, 1 - 2**-24, 0.8, 0.8],
        ]
    )
    found = Patches(torch.tensor(0.25), (-0.1, 1.0)).move(x, x + 0.5, 9 / 54, numbers)
    first = [(0, 0), (3, 6), (2, 3), (3, 6)]
    signs = [(1, -1), (-1, 1), (1, 1), (-1, -1)]
    for i, (row, column) in enumerate(first):
        expected = torch.full((2, 6, 9), 0.5)
        for channel in range(2):
            # The box begins at -0.1.
            side = 0.25 if signs[i][channel] > 0 else -0.1
            expected[channel, row : row + 3, column : column + 3] = side
        assert torch.equal(found[i], expected)


def test_patches_fall_everywhere_alike() -> None:
    x = torch.zeros(4000, 1, 5, 7)
    numbers = torch.rand(4000, 3, generator=seeded())
    found = Patches(torch.tensor(1.0), None).move(x, x, 1 / 35, numbers) != 0
    assert (found.flatten(1).sum(1) == 1).all()
    counts = found.sum((0, 1)).double()
    # Binomial with a mean of 114 and a deviation of 10.5.
    assert float((counts - 4000 / 35).abs().max()) < 4 * 10.5


# --- l2 and l1 ------------------------------------------------------------------------------


def test_bump_by_hand() -> None:
    upper = torch.tensor([0.25, 1.25, 0.25], dtype=torch.float64)
    lower = torch.tensor([[0.25, 0.25, 0.25], [0.25, 1.25, 0.25]], dtype=torch.float64)
    halves = torch.cat([upper[None] / upper.norm(), -lower / lower.norm()]) / 2**0.5
    found = bumps(3, 3, "l2", torch.float64, CPU).view(2, 3, 3)
    torch.testing.assert_close(found, torch.stack([halves, halves.T]))
    # Of l1 the pyramid is steeper: 1 / k^4.
    upper = torch.tensor([1.0, 17.0, 1.0], dtype=torch.float64) / 19 / 2
    lower = torch.tensor([[1.0, 1.0, 1.0], [1.0, 17.0, 1.0]], dtype=torch.float64) / 22 / 2
    found = bumps(3, 3, "l1", torch.float64, CPU).view(2, 3, 3)
    torch.testing.assert_close(found[0], torch.cat([upper[None], -lower]))


@pytest.mark.parametrize(("norm", "power"), [("l2", 2), ("l1", 4)])
@pytest.mark.parametrize(("h", "w"), [(7, 7), (4, 9), (2, 2), (1, 8), (5, 1), (1, 1)])
def test_bump_is_that_of_nested_rectangles(norm: str, power: int, h: int, w: int) -> None:
    order = 2 if norm == "l2" else 1

    def pyramid(rows: int, columns: int) -> Tensor:
        found = torch.zeros(rows, columns, dtype=torch.float64)
        for k in range(max(rows, columns) // 2 + 1):
            top, left = max(rows // 2 - k, 0), max(columns // 2 - k, 0)
            found[top : rows // 2 + k + 1, left : columns // 2 + k + 1] += (k + 1.0) ** -power
        return found / found.flatten().norm(order)

    def halves(rows: int, columns: int) -> Tensor:
        upper, lower = pyramid(rows // 2, columns), pyramid(rows - rows // 2, columns)
        joined = torch.cat([upper, -lower])
        return joined / joined.flatten().norm(order)

    found = bumps(h, w, norm, torch.float64, CPU).view(2, h, w)
    for one in found:
        torch.testing.assert_close(one.flatten().norm(order), torch.tensor(1.0).double())
    if h > 1:
        torch.testing.assert_close(found[0], halves(h, w))
    if w > 1:
        torch.testing.assert_close(found[1], halves(w, h).T)
    if h == 1 or w == 1:
        torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("shape", [(2, 12, 17), (3, 1, 40), (1, 8, 8), (1, 3, 2)])
def test_start_is_a_grid_on_the_surface(norm: str, shape: tuple[int, ...]) -> None:
    x = torch.rand(6, *shape, generator=seeded(), dtype=torch.float64)
    delta = Bumps(norm, torch.tensor(0.5), None).start(x, Stream(0)) - x
    torch.testing.assert_close(size(delta, norm), torch.full((6,), 0.5).double(), rtol=2e-6, atol=0)
    # 5 tiles to a side, or as many as there are values, cover all but less than one tile.
    h, w = shape[1:]
    covered = h // max(h // 5, 1) * max(h // 5, 1) * (w // max(w // 5, 1) * max(w // 5, 1))
    places = (delta != 0).flatten(2).sum(2)
    # The projection onto the l1 ball leaves the peaks of the bumps.
    assert (places == covered).all() if norm == "l2" else ((places > 0) & (places <= covered)).all()
    assert (delta > 0).any()
    assert (delta < 0).any()


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("l1", 1)])
def test_a_move_puts_one_window_into_another(norm: str, order: int) -> None:
    # On the surface and without a box nothing is gained or lost: the second window's length goes
    # into the first one, channel by channel, and the rest stays.
    x = torch.zeros(3, 2, 9, 9, dtype=torch.float64)
    delta = torch.randn(3, 2, 9, 9, generator=seeded(1), dtype=torch.float64)
    at = delta / size(delta, norm).view(3, 1, 1, 1) * 0.5
    numbers = torch.tensor([0.0, 0.0, 0.99, 0.99, 0.3, 0.2, 0.8], dtype=torch.float64).repeat(3, 1)
    numbers[1, 4:] = 1 - numbers[1, 4:]
    found = Bumps(norm, torch.tensor(0.5), None).move(x, at, 9 / 81, numbers)
    torch.testing.assert_close(size(found, norm), torch.full((3,), 0.5).double(), rtol=2e-6, atol=0)
    rest = torch.ones(9, 9, dtype=torch.bool)
    rest[:3, :3] = rest[6:, 6:] = False
    if norm == "l2":
        torch.testing.assert_close(found[:, :, rest], at[:, :, rest])
        assert torch.equal(found[:, :, 6:, 6:], x[:, :, 6:, 6:])

        def length(values: Tensor) -> Tensor:
            return values.flatten(2).norm(dim=2)

        both = (length(at[:, :, :3, :3]) ** 2 + length(at[:, :, 6:, 6:]) ** 2).sqrt()
        torch.testing.assert_close(length(found[:, :, :3, :3]), both)
    # The first window points to the bump with its sign, plus what was there before.
    for i, coin in enumerate((0.3, 0.7, 0.3)):
        bump = bumps(3, 3, norm, torch.float64, CPU)[int(coin < 0.5)].view(3, 3)
        for channel in range(2):
            sign = 1 if numbers[i, 5 + channel] < 0.5 else -1
            old = at[i, channel, :3, :3]
            wanted = sign * bump + old / old.flatten().norm(order)
            here = found[i, channel, :3, :3]
            if norm == "l2":
                torch.testing.assert_close(here / here.norm(), wanted / wanted.norm())
            else:
                # The projection onto the l1 ball takes the same from every value.
                kept = here != 0
                assert kept.any()
                assert torch.equal(here.sign()[kept], wanted.sign()[kept])


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_what_the_box_cuts_off_is_spent_again(norm: str) -> None:
    # All values at the box's lower end: half of the l2 start is cut off, and moves use it up again.
    # The l1 start is projected onto ball and box at once.
    attack = Bumps(norm, torch.tensor(0.5), (0.0, 1.0))
    x, generator = torch.zeros(40, 1, 10, 10, dtype=torch.float64), seeded()
    at = attack.start(x, Stream(0))
    first = float(size(at, norm).mean())
    assert first == pytest.approx(0.5 if norm == "l1" else 0.5 / 2**0.5, rel=0.02)
    for _ in range(20):
        at = attack.move(x, at, 0.4, torch.rand(40, 6, generator=generator, dtype=torch.float64))
        assert float(at.min()) >= 0
        assert float(size(at, norm).max()) <= 0.5 * (1 + 1e-9)
    # A window of one sign that falls below 0 is lost again.
    assert float(size(at, norm).mean()) > (0.4 if norm == "l2" else 0.35)


# --- the search -----------------------------------------------------------------------------


@each_norm
def test_the_best_query_is_returned(norm: str) -> None:
    x, y = digits().x[1000:1001], digits().y[1000:1001]
    for queries in (1, 2, 150, 203):
        model = Recorded(trained(), y, lift=1000.0)
        found = square(norm=norm, eps=0.3, queries=queries, restarts=2)(model, x, y)
        # The clean input, then two runs.
        assert len(model.asked) == 1 + 2 * queries
        assert torch.equal(margins(model(found), y), torch.stack(model.asked).amin(0))


def test_a_run_never_climbs() -> None:
    # Numbers are drawn for 200 queries at once: longer searches go on where shorter ones end.
    x, y = digits().x[1000:1060], digits().y[1000:1060]
    model = Recorded(trained(), y, lift=30.0)
    found = [
        margins(model(square(eps=0.1, queries=queries)(model, x, y)), y)
        for queries in (1, 201, 401, 601)
    ]
    steps = torch.stack(found).diff(dim=0)
    assert (steps <= 1e-5).all()
    assert (steps.mean(1) < -0.05).all()


def test_the_fooled_leave_at_once() -> None:
    x, y = digits().x[1000:1100], digits().y[1000:1100]
    rows: list[int] = []

    def model(x: Tensor) -> Tensor:
        rows.append(len(x))
        found: Tensor = trained()(x)
        return found

    found = square(eps=0.15, queries=120, norm="linf")(model, x, y)
    right = int((trained()(x).argmax(1) == y).sum())
    assert rows[:2] == [100, right]
    assert rows[1:] == sorted(rows[1:], reverse=True)
    assert rows[-1] < right / 2
    wrong = trained()(x).argmax(1) != y
    assert torch.equal(found[wrong], x[wrong])


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 1.0)])
def test_finds_what_a_gradient_finds(norm: str, eps: float) -> None:
    model, x, y = trained(), digits().x[1000:1200], digits().y[1000:1200]
    pgd = catalog.build("attacks", {"name": "PGD", "norm": norm, "eps": eps, "steps": 20})
    right = model(x).argmax(1) == y
    with_gradient = (model(pgd(model, x, y)).argmax(1) != y) & right
    found = square(norm=norm, eps=eps, queries=600)(model, x, y)
    assert float(size(found - x, norm).max()) <= eps + 1e-6
    assert int(with_gradient.sum()) > 150
    share = (model(found).argmax(1) != y)[with_gradient].double().mean()
    assert float(share) >= 0.9


@pytest.mark.parametrize(
    ("norm", "box"),
    [("linf", (0.0, 1.0)), ("linf", None), ("l2", None), ("l1", (0.0, 1.0)), ("l1", None)],
)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_never_more_than_the_worst_case_of_a_linear_model(
    norm: str, box: Any, classes: int
) -> None:
    model, x, y, eps, stands = case(classes, norm, box)
    found = square(norm=norm, eps=eps, box=box, queries=400)(model, x, y)
    fooled = model(found).argmax(1) != y
    assert not (fooled & stands).any()
    # The worst of an l1 ball are few values, which are hard to find by chance.
    assert float(fooled[~stands].double().mean()) > (0.4 if norm == "l1" else 0.75)


@each_norm
def test_a_common_factor_of_the_logits_changes_nothing(norm: str) -> None:
    x, y = digits().x[1000:1040], digits().y[1000:1040]
    attack = square(norm=norm, eps={"linf": 0.1, "l2": 0.7, "l1": 2.0}[norm], queries=80)
    found = [attack(lambda x, k=k: k * trained()(x), x, y) for k in (1.0, 1024.0, 2.0**-10)]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@each_norm
@pytest.mark.parametrize(
    "shape",
    [(3, 5, 7), (1, 20, 3), (1, 1, 9), (2, 2, 2), (1, 1, 1), (3, 30), (1, 2), (1, 1), (11,)],
)
@pytest.mark.parametrize("box", [(0.0, 1.0), None], ids=["box", "no-box"])
def test_forms_of_inputs(norm: str, shape: tuple[int, ...], box: Any) -> None:
    batch, eps = random_batch(6, shape, 3), 0.2
    model = toy(shape, 3, plain=True)
    found = square(norm=norm, eps=eps, box=box, queries=30)(model, batch.x, batch.y)
    assert found.shape == batch.x.shape
    assert float(size(found - batch.x, norm).max()) <= eps + 1e-6
    if box:
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
    with torch.no_grad():
        before, after = (margins(model(one), batch.y) for one in (batch.x, found))
    assert (after <= before).all()
    assert (after < before)[before > 0].double().mean() > 0.7


@each_norm
def test_runs_and_splits_with_example_streams(norm: str) -> None:
    x, y = digits().x[1000:1040].double(), digits().y[1000:1040]
    model = toy(plain=True, seed=3).double()
    y = model(x).argmax(1)
    attack = square(norm=norm, eps=0.02, queries=40, restarts=3)
    whole = attack(model, x, y, draws=ExampleStreams(3, torch.arange(40)))
    parts = [
        attack(model, x[rows], y[rows], draws=ExampleStreams(3, rows))
        for rows in torch.arange(40).split([1, 25, 14])
    ]
    torch.testing.assert_close(torch.cat(parts), whole)
    other = attack(model, x, y, draws=ExampleStreams(4, torch.arange(40)))
    assert (other != whole).flatten(1).any(1).double().mean() > 0.9


def test_more_runs_find_more() -> None:
    model, x, y = trained(), digits().x[1000:1100], digits().y[1000:1100]

    def fooled(restarts: int) -> Tensor:
        streams = ExampleStreams(0, torch.arange(100))
        found = square(eps=0.08, queries=20, restarts=restarts)(model, x, y, draws=streams)
        return model(found).argmax(1) != y

    one, several = fooled(1), fooled(6)
    assert (several >= one).all()
    assert int(several.sum()) >= int(one.sum()) + 5


def test_a_number_is_pushed_away() -> None:
    model, x, y = toy(classes=1, plain=True), random_batch(20).x, torch.zeros(20)
    found = square(eps=0.05, queries=60)(model, x, y, goal=Regression())
    before, after = (model(one).squeeze(1).abs().detach() for one in (x, found))
    assert (after >= before).all()
    assert float(after.mean()) > 1.1 * float(before.mean())


def test_a_detector_is_searched_by_its_inner_losses() -> None:
    model, (x, y) = detector("FasterRCNNMobileNetV3").eval(), images()
    view = views.make(
        {"name": "Square", "eps": 0.1, "queries": 6},
        Facts(box=(0.0, 1.0), shape=(3, 64, 64), outputs=3),
    )
    found = view(model, Batch(x, y), Detection(), Stream(0))
    with torch.no_grad():
        before, after = (model.image_losses(one, y) for one in (x, found.x))
    assert (after > before).any()
    assert (after >= before - 1e-5).all()
    assert 0 < float(size(found.x - x, "linf").max()) <= 0.1 + 1e-6


def test_mixed_targets_count_as_their_largest_class() -> None:
    x, y = digits().x[1000:1020], digits().y[1000:1020]
    mixed = 0.7 * nn.functional.one_hot(y, 10) + 0.3 / 10
    one, other = (square(eps=0.1, queries=30)(trained(), x, target) for target in (y, mixed))
    assert torch.equal(one, other)


def test_inputs_and_outputs_that_do_not_fit() -> None:
    y = torch.zeros(2, dtype=torch.int64)
    message = r"needs images \(c, h, w\) or series \(c, t\), found inputs of shape \(1, 2, 3, 4\)"
    with pytest.raises(SettingError, match=message):
        square()(toy(), torch.zeros(2, 1, 2, 3, 4), y)
    with pytest.raises(SettingError, match=r"needs logits \[b, c\].*of shape \(2, 1\)"):
        square()(lambda x: torch.zeros(2, 1), torch.zeros(2, 1, 8, 8), y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "l3"}, "norm cannot be 'l3'"),
        ({"eps": -0.1}, "eps must be at least 0, found -0.1"),
        ({"queries": 0}, "queries must be at least 1, found 0"),
        ({"p_init": 0}, "p_init must be above 0, found 0"),
        ({"p_init": 1.1}, "p_init must be at most 1, found 1.1"),
        ({"schedule": "resc"}, "schedule cannot be 'resc'.*rescaled"),
        ({"restarts": 0}, "restarts must be at least 1, found 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        square(**settings)
