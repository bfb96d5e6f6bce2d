"""Weighters that solve a small problem: hand values, other solvers, optimality, hostile input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor

from trainables.core import catalog
from trainables.core.errors import SettingError

from ..contracts.toys import seeded
from .test_objective import NoSync

SOLVED = ["CAGrad", "DualProj", "FairGrad", "MGDA", "NashMTL", "PCD", "UPGrad"]
each = pytest.mark.parametrize("name", SOLVED)
# Between -4, 1, 1 and 6, 1, 1 the cosine is -0.84.
CONFLICT = torch.tensor([[-4.0, 1, 1], [6, 1, 1]], dtype=torch.float64)
# The square of either's norm, and the other's.
PAIR = [(18, 38), (38, 18)]


class Known:
    """Gradients that are known as rows."""

    def __init__(self, found: Tensor) -> None:
        self.gramian = found @ found.T


def make(name: str, k: int, **own: Any) -> Any:
    return catalog.build("weighters", {"name": name} | own, k=k)


def weigh(name: str, found: Tensor, losses: Tensor | None = None, **own: Any) -> Tensor:
    losses = torch.ones_like(found[:, 0]) if losses is None else losses
    weights: Tensor = make(name, len(found), **own)(losses, Known(found))
    assert weights.dtype == losses.dtype
    return weights


def rows(k: int, n: int, seed: int = 0, spread: float = 0.0) -> Tensor:
    """Random gradients, whose norms differ by up to 10 to the power of twice the spread."""
    generator = seeded(seed)
    found = torch.randn(k, n, generator=generator, dtype=torch.float64)
    scale = 2 * torch.rand(k, 1, generator=generator, dtype=torch.float64) - 1
    return found * 10 ** (spread * scale)


sizes = {"k": st.integers(1, 5), "n": st.integers(1, 7), "seed": st.integers(0, 10**6)}
examples = settings(max_examples=40, deadline=None)

# --- hand values ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "own", "expected"),
    [
        ("MGDA", {}, [0.6, 0.4]),
        ("MGDA", {"divide": "l2"}, [0.5, 0.5]),
        # v_1 = (1, 22/38), v_2 = (22/18, 1), halved.
        ("UPGrad", {}, [10 / 9, 15 / 19]),
        ("DualProj", {}, [0.5 + 2 / 18, 0.5]),
        # The whole of c |g_0| / |g_1| goes to the first: |g_0|^2 = 3, |g_1|^2 = 18.
        ("CAGrad", {"rescale": "none"}, [0.5 + 0.5 * math.sqrt(3 / 18), 0.5]),
        ("CAGrad", {}, [(0.5 + 0.5 * math.sqrt(3 / 18)) / 1.25, 0.4]),
        ("CAGrad", {"rescale": "linear"}, [(0.5 + 0.5 * math.sqrt(3 / 18)) / 1.5, 0.5 / 1.5]),
        # With unit gradients at cosine c both have u^2 (1 + c) = 1; u = n w.
        *(
            (name, {"max_norm": 0}, [1 / math.sqrt(n - 22 * math.sqrt(n / m)) for n, m in PAIR])
            for name in ("NashMTL", "FairGrad")
        ),
    ],
)
def test_two_conflicting_gradients_by_hand(
    name: str, own: dict[str, Any], expected: list[float]
) -> None:
    assert weigh(name, CONFLICT, **own).tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_priority_constrained_descent_by_hand(tau: float) -> None:
    # In the first step both gradients count as unit vectors; their cosine is c. The constraint
    # c + m >= tau holds with equality.
    c = -22 / math.sqrt(18 * 38)
    pull = tau - c
    norm = math.sqrt(1 + 2 * pull * c + pull**2)
    expected = [1 / norm, pull / norm * math.sqrt(18 / 38)]
    found = weigh("PCD", CONFLICT, tau=tau, eps=0)
    assert found.tolist() == pytest.approx(expected, abs=1e-9)
    assert float((found @ CONFLICT).norm()) == pytest.approx(math.sqrt(18))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MGDA", [0.8, 0.2]),
        ("UPGrad", [0.5, 0.5]),
        ("DualProj", [0.5, 0.5]),
        ("NashMTL", [1 / math.sqrt(2), 0.5 / math.sqrt(2)]),
        ("FairGrad", [1 / math.sqrt(2), 0.5 / math.sqrt(2)]),
    ],
)
def test_gradients_at_right_angles(name: str, expected: list[float]) -> None:
    found = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert weigh(name, found).tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MGDA", 1.0),
        ("UPGrad", 1.0),
        ("DualProj", 1.0),
        ("PCD", 1.0),
        ("CAGrad", 1.2),
        ("NashMTL", 0.2),
        ("FairGrad", 0.2),
    ],
)
def test_one_loss_alone(name: str, expected: float) -> None:
    found = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    assert weigh(name, found).tolist() == pytest.approx([expected], abs=1e-9)


# --- other implementations and solvers --------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_mgda_is_torchjds(seed: int) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    found = rows(3, 6, seed)
    ours = weigh("MGDA", found) @ found
    other = aggregation.MGDA(epsilon=1e-6, max_iters=500)(found)
    # Frank and Wolfe's steps come no nearer than that, and never below the least norm.
    torch.testing.assert_close(ours, other, atol=3e-2, rtol=0)
    assert float(ours.norm()) <= float(other.norm()) + 1e-9


@pytest.mark.parametrize("k", [2, 3, 5, 16])
@pytest.mark.parametrize("tau", [0.0, 0.02, 0.5])
def test_pcd_is_torchjds_over_steps(k: int, tau: float) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    other = aggregation.PCD(tau=tau, beta=0.9, eps=1e-8)
    one = make("PCD", k, tau=tau, beta=0.9)
    contradictions = 0
    for seed in range(3 if k == 16 else 12):
        # Few dimensions make constraints that contradict each other.
        found = rows(k, (20, 2, 1)[seed % 3], seed, spread=0.5)
        update = one(torch.ones_like(found[:, 0]), Known(found)) @ found
        torch.testing.assert_close(update, other(found), atol=1e-5, rtol=1e-5)
        contradictions += torch.allclose(update, found[0])
    assert contradictions > 0 or k == 2 or tau == 0


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_fair_grad_is_torchjds(alpha: float) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    for seed in range(3):
        found = rows(3, 8, seed)
        ours = weigh("FairGrad", found, alpha=alpha, max_norm=0) @ found
        other = aggregation.FairGrad(alpha=alpha)(found)
        torch.testing.assert_close(ours, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("k", "spread"), [(2, 0.0), (3, 1.0), (5, 0.5), (16, 0.0)])
def test_projections_are_those_of_least_squares(k: int, spread: float) -> None:
    found = rows(k, 6, k, spread)

    def onto(target: Tensor) -> Tensor:
        z, _ = optimize.nnls(found.T.numpy(), (-target).numpy())
        return target + torch.from_numpy(z) @ found

    mean = torch.stack([onto(row) for row in found]).mean(0)
    torch.testing.assert_close(weigh("UPGrad", found) @ found, mean, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        weigh("DualProj", found) @ found, onto(found.mean(0)), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("c", [0.1, 0.5, 0.9, 2.0])
@pytest.mark.parametrize(("k", "spread"), [(2, 0.0), (3, 0.5), (5, 0.0), (5, 0.5)])
def test_ca_grad_minimises_what_slsqp_does(k: int, spread: float, c: float) -> None:
    found = rows(k, 7, k, spread) + 0.3
    gramian, mean = (found @ found.T).numpy(), found.mean(0)
    radius = c * float(mean.norm())
    slopes = (found @ mean).numpy()

    def cost(w: Any) -> float:
        return float(w @ slopes + radius * math.sqrt(max(w @ gramian @ w, 0.0)))

    weights = weigh("CAGrad", found, c=c, rescale="none") - 1 / k
    w = weights / weights.sum()
    other = optimize.minimize(
        cost,
        [1 / k] * k,
        bounds=[(0, 1)] * k,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert cost(w.numpy()) <= other.fun + 1e-9
    assert cost(w.numpy()) == pytest.approx(other.fun, rel=1e-4, abs=1e-5)
    # The value of the dual is the worst loss's gain by the update.
    update = (weights + 1 / k) @ found
    assert float((found @ update).min()) == pytest.approx(cost(w.numpy()), abs=1e-7)
    assert float((update - mean).norm()) == pytest.approx(radius, rel=1e-7)


# --- what the solutions promise ---------------------------------------------------------------


@examples
@given(**sizes)
def test_mgda_opposes_no_loss_and_gives_all_active_ones_the_same(k: int, n: int, seed: int) -> None:
    found = rows(k, n, seed, spread=0.5)
    w = weigh("MGDA", found)
    gains = found @ (w @ found)
    size = float(found.square().sum())
    assert float(w.sum()) == pytest.approx(1)
    assert float(gains.min()) >= float((w @ found).square().sum()) - 1e-6 * size
    active = gains[w > 1e-3]
    assert float(active.max() - active.min()) < 1e-6 * size


@examples
@given(**sizes)
@pytest.mark.parametrize("name", ["UPGrad", "DualProj"])
def test_projections_oppose_no_loss_and_keep_at_least_the_mean(
    name: str, k: int, n: int, seed: int
) -> None:
    found = rows(k, n, seed, spread=0.5)
    w = weigh(name, found)
    assert float(w.min()) >= 1 / k - 1e-12
    assert float((found @ (w @ found)).min()) >= -1e-6 * float(found.square().sum())


@pytest.mark.parametrize("name", ["UPGrad", "DualProj"])
def test_projections_leave_agreeing_gradients_alone(name: str) -> None:
    found = rows(4, 6).abs()
    assert weigh(name, found).tolist() == pytest.approx([0.25] * 4, abs=1e-12)


@examples
@given(**sizes, c=st.floats(0, 3))
def test_ca_grad_stays_in_its_ball_and_no_other_point_of_it_is_better(
    k: int, n: int, seed: int, c: float
) -> None:
    found = rows(k, n, seed, spread=0.3)
    mean = found.mean(0)
    radius = c * float(mean.norm())
    w = weigh("CAGrad", found, c=c, rescale="none")
    size = float(found.square().sum())
    update = w @ found
    assert float((update - mean).norm()) <= radius * (1 + 1e-6) + 1e-12
    worst = float((found @ update).min())
    others = torch.randn(200, n, generator=seeded(seed), dtype=torch.float64)
    others = mean + radius * others / others.norm(dim=1, keepdim=True)
    assert worst >= float((others @ found.T).amin(1).max()) - 1e-5 * size
    assert worst >= float((found @ mean).min()) - 1e-9 * size


@examples
@given(**sizes)
def test_nash_solves_its_equation(k: int, n: int, seed: int) -> None:
    found = rows(k, n + k, seed, spread=2)
    w = weigh("NashMTL", found, max_norm=0)
    torch.testing.assert_close(w * (found @ (w @ found)), torch.ones_like(w), atol=1e-6, rtol=0)
    # w^T G w = k, so the default update has norm 1.
    assert float((weigh("NashMTL", found) @ found).norm()) == pytest.approx(1, abs=1e-6)


@examples
@given(**sizes, alpha=st.floats(0.3, 5))
def test_fair_grad_solves_its_equation(k: int, n: int, seed: int, alpha: float) -> None:
    found = rows(k, n + k + 1, seed, spread=1)
    w = weigh("FairGrad", found, alpha=alpha, max_norm=0)
    gains = found @ (w @ found)
    torch.testing.assert_close(w * gains**alpha, torch.ones_like(w), atol=1e-4, rtol=0)


@pytest.mark.parametrize("k", [2, 3, 16])
@pytest.mark.parametrize(("alpha", "spread"), [(0.5, 1.5), (1.0, 2.0), (5.0, 1.5), (10.0, 1.0)])
def test_fair_grad_solves_its_equation_at_unlike_norms(k: int, alpha: float, spread: float) -> None:
    for seed in range(4):
        found = rows(k, k + 3, seed, spread)
        w = weigh("FairGrad", found, alpha=alpha, max_norm=0)
        gains = found @ (w @ found)
        residual = gains.log() + w.log() / alpha
        torch.testing.assert_close(residual, torch.zeros_like(w), atol=1e-6, rtol=0)


def test_fair_grad_at_one_is_the_bargain_and_far_above_it_evens_the_gains() -> None:
    found = rows(4, 9, 3, spread=0.5)
    torch.testing.assert_close(weigh("FairGrad", found), weigh("NashMTL", found))
    spreads = []
    for alpha in (0.5, 1.0, 3.0, 10.0):
        gains = found @ (weigh("FairGrad", found, alpha=alpha) @ found)
        assert float(gains.min()) > 0
        spreads.append(float(gains.max() / gains.min()))
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 1.6


@examples
@given(**sizes, tau=st.floats(0, 1))
def test_pcd_gives_every_auxiliary_loss_its_share(k: int, n: int, seed: int, tau: float) -> None:
    # More dimensions than gradients, so that all shares can be given.
    found = rows(k, n + 2 * k, seed, spread=1)
    update = weigh("PCD", found, tau=tau, eps=0) @ found
    assert float(update.norm()) == pytest.approx(float(found[0].norm()), rel=1e-6)
    units = found / found.norm(dim=1, keepdim=True)
    # The nearest point to the main direction, by least squares on its dual.
    gains = units[1:] @ units[0]
    z = torch.zeros(k - 1, dtype=torch.float64)
    if k > 1:
        # min |U^T z + u_0 - o|, where o is any point with U o = tau.
        offset = torch.linalg.lstsq(units[1:], torch.full_like(gains, tau)).solution
        z = torch.from_numpy(optimize.nnls(units[1:].T.numpy(), (offset - units[0]).numpy())[0])
    nearest = units[0] + z @ units[1:]
    expected = nearest / nearest.norm() * found[0].norm()
    torch.testing.assert_close(update, expected, atol=1e-6, rtol=1e-5)
    assert bool((units[1:] @ nearest >= tau - 1e-6).all())


# --- limits and settings ----------------------------------------------------------------------


def test_ca_grad_without_a_ball_is_the_mean_and_with_a_large_one_mgda() -> None:
    found = rows(3, 5, 2)
    assert weigh("CAGrad", found, c=0).tolist() == pytest.approx([1 / 3] * 3, abs=1e-12)
    w = weigh("CAGrad", found, c=1e7, rescale="none")
    torch.testing.assert_close(w / w.sum(), weigh("MGDA", found), atol=1e-5, rtol=0)


def test_mgda_divides_as_it_is_told_and_returns_weights_of_the_losses() -> None:
    found = rows(3, 6, 1, spread=0.3)
    losses = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
    norms = found.norm(dim=1)
    for divide, by in {"l2": norms, "loss": losses, "loss+": losses * norms}.items():
        w = weigh("MGDA", found, losses, divide=divide)
        torch.testing.assert_close(w, weigh("MGDA", found / by[:, None]), atol=1e-9, rtol=0)
        # The sign of a loss does not matter, nor does a common factor.
        torch.testing.assert_close(weigh("MGDA", found, -3 * losses, divide=divide), w)


def test_mgda_gives_a_loss_of_zero_no_weight_where_losses_divide() -> None:
    found = rows(3, 6, 1)
    losses = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    for divide in ("loss", "loss+"):
        assert float(weigh("MGDA", found, losses, divide=divide)[1]) == pytest.approx(0, abs=1e-9)
        even = weigh("MGDA", found, 0 * losses, divide=divide)
        base = weigh("MGDA", found, divide=divide)
        torch.testing.assert_close(even, base)


@pytest.mark.parametrize("most", [0.01, 1.0, 3.0])
@pytest.mark.parametrize("name", ["NashMTL", "FairGrad"])
def test_the_update_is_made_shorter_but_never_longer(name: str, most: float) -> None:
    for factor in (1e-3, 1.0, 1e3):
        found = factor * rows(3, 6, 4)
        free = weigh(name, found, max_norm=0)
        w = weigh(name, found, max_norm=most)
        expected = min(1.0, most / float((free @ found).norm()))
        torch.testing.assert_close(w, free * expected)


@pytest.mark.parametrize(("name", "own"), [("NashMTL", {}), ("PCD", {"eps": 0})])
def test_a_coefficient_of_an_auxiliary_loss_cancels(name: str, own: dict[str, Any]) -> None:
    found = rows(3, 6, 5)
    factors = torch.tensor([1.0, 30.0, 0.01], dtype=torch.float64)
    update = weigh(name, found, **own) @ found
    scaled = factors[:, None] * found
    torch.testing.assert_close(weigh(name, scaled, **own) @ scaled, update)
    assert getattr(catalog.find("weighters", name), "absorbs", False)


@each
def test_wrong_settings_name_setting_rule_and_value(name: str) -> None:
    wrong: dict[str, list[tuple[dict[str, Any], str]]] = {
        "CAGrad": [({"c": -1}, "c must be at least 0, found -1"), ({"rescale": "x"}, "rescale")],
        "DualProj": [],
        "FairGrad": [
            ({"alpha": 0.05}, "alpha must be at least 0.1, found 0.05"),
            ({"alpha": 11}, "alpha must be at most 10, found 11"),
            ({"max_norm": -1}, "max_norm must be at least 0, found -1"),
        ],
        "MGDA": [({"divide": "l1"}, "divide cannot be 'l1'")],
        "NashMTL": [({"max_norm": -1}, "max_norm must be at least 0, found -1")],
        "PCD": [
            ({"tau": 1.5}, "tau must be at most 1, found 1.5"),
            ({"beta": 1}, "beta must be below 1, found 1"),
            ({"eps": -1}, "eps must be at least 0, found -1"),
        ],
        "UPGrad": [],
    }
    for own, message in wrong[name]:
        with pytest.raises(SettingError, match=message):
            make(name, 2, **own)
    if name not in ("FairGrad", "NashMTL"):
        with pytest.raises(SettingError, match=f"{name} .* at most 16 losses, found 17"):
            make(name, 17)


# --- hostile input ----------------------------------------------------------------------------


@each
@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_order_of_auxiliary_losses_does_not_matter(name: str, k: int) -> None:
    found = rows(k, k + 3, 6, spread=0.5)
    order = torch.cat([torch.tensor([0]), 1 + torch.randperm(k - 1, generator=seeded())])
    torch.testing.assert_close(
        weigh(name, found[order]), weigh(name, found)[order], atol=1e-7, rtol=1e-7
    )


@each
@pytest.mark.parametrize("factor", [1e-10, 1e-5, 1e5, 1e10])
def test_the_scale_of_all_losses_changes_no_direction(name: str, factor: float) -> None:
    own: dict[str, Any] = {
        "NashMTL": {"max_norm": 0},
        "FairGrad": {"max_norm": 0},
        "PCD": {"eps": 0},
    }.get(name, {})
    found = rows(4, 9, 7).float()
    before, after = weigh(name, found, **own), weigh(name, factor * found, **own)
    torch.testing.assert_close(after / after.sum(), before / before.sum(), atol=1e-4, rtol=1e-4)
    if name in ("NashMTL", "FairGrad"):
        after = after * factor
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


@each
def test_single_and_double_precision_agree(name: str) -> None:
    for seed in range(5):
        found = rows(4, 30, seed, spread=0.5).float()
        expected = weigh(name, found.double()) @ found.double()
        size = float(found.norm(dim=1).max())
        torch.testing.assert_close(
            (weigh(name, found) @ found).double(), expected, atol=1e-4 * size, rtol=1e-4
        )


HOSTILE = {
    "antiparallel": [[1.0, 0.0], [-1.0, 0.0]],
    "antiparallel-unlike": [[1.0, 0.0], [-1e-3, 0.0]],
    "duplicates": [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]],
    "two-antiparallel-helpers": [[0.5, 1.0], [1.0, 0.0], [-1.0, 0.0]],
    "hull-holds-zero": [[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]],
    "zero-helper": [[1.0, 2.0], [0.0, 0.0]],
    "zero-main": [[0.0, 0.0], [1.0, 2.0], [0.0, -1.0]],
    "all-zero": [[0.0, 0.0], [0.0, 0.0]],
    "right-angles": [[1.0, 0.0], [0.0, 1.0]],
    "overflow": [[1e25, 0.0], [1.0, 1.0]],
    "underflow": [[1e-30, 0.0], [1.0, 1.0]],
    "all-underflow": [[1e-21, 1e-21], [-1e-21, 2e-21], [1e-22, -1e-21]],
    "unlike": [[1e-8, 1e-9], [1e8, -1e9], [1.0, 1.0]],
    "nearly-antiparallel": [[1.0, 1e-7], [-1.0, 1e-7]],
}


@each
@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hostile_gradients_give_finite_weights(name: str, case: str, dtype: torch.dtype) -> None:
    found = torch.tensor(HOSTILE[case], dtype=dtype)
    one = make(name, len(found))
    for losses in (torch.ones_like(found[:, 0]), -found[:, 0], torch.zeros_like(found[:, 0])):
        w = one(losses, Known(found))
        assert torch.isfinite(w).all()
        assert bool((w >= 0).all())
    assert all(torch.isfinite(value).all() for value in one.state_dict().values())


@pytest.mark.parametrize("name", ["MGDA", "UPGrad", "DualProj"])
@pytest.mark.parametrize("case", ["antiparallel", "antiparallel-unlike", "hull-holds-zero"])
def test_gradients_that_cancel_leave_no_update(name: str, case: str) -> None:
    found = torch.tensor(HOSTILE[case], dtype=torch.float64)
    expected = torch.zeros(2, dtype=torch.float64)
    torch.testing.assert_close(weigh(name, found) @ found, expected, atol=1e-6, rtol=0)


@each
def test_an_unusable_gramian_leaves_the_documented_weights(name: str) -> None:
    found = torch.ones(3, 2)
    expected = [1.0, 0.0, 0.0] if name == "PCD" else [1 / 3] * 3
    for bad in (0.0, math.inf, math.nan):
        assert weigh(name, bad * found).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["NashMTL", "FairGrad"])
def test_a_gradient_of_zero_has_no_say_in_the_bargain(name: str) -> None:
    found = torch.cat([CONFLICT, torch.zeros(1, 3)])
    expected = [*weigh(name, CONFLICT).tolist(), 0.0]
    assert weigh(name, found).tolist() == pytest.approx(expected, abs=1e-9)


def test_gradients_that_cancel_bound_the_bargain() -> None:
    found = torch.tensor(HOSTILE["antiparallel"])
    w = weigh("NashMTL", found)
    assert 100 < float(w.max()) < 1e4
    assert float((w @ found).norm()) < 1e-3


def test_pcd_follows_the_main_loss_where_shares_contradict_each_other() -> None:
    found = torch.tensor(HOSTILE["two-antiparallel-helpers"])
    assert weigh("PCD", found, tau=0.02).tolist() == [pytest.approx(1), 0, 0]
    # Without a share they only ask for a step at right angles.
    update = weigh("PCD", found, tau=0) @ found
    assert update.tolist() == pytest.approx([0, math.sqrt(1.25)], abs=1e-4)


def test_pcd_gives_no_update_where_nothing_is_left() -> None:
    # With share 0 nothing of a gradient is left that an auxiliary loss opposes.
    found = torch.tensor(HOSTILE["antiparallel"])
    assert weigh("PCD", found, tau=0).tolist() == [0, 0]
    assert weigh("PCD", torch.tensor(HOSTILE["zero-main"])).tolist() == [1, 0, 0]


def test_pcd_learns_the_usual_size_of_gradients_but_not_from_overflow() -> None:
    one = make("PCD", 2, beta=0.5, eps=0)
    losses = torch.ones(2)
    one(losses, Known(torch.tensor([[2.0, 0.0], [0.0, 1.0]])))
    one(losses, Known(torch.tensor([[4.0, 0.0], [0.0, 3.0]])))
    assert one.squares.tolist() == [0.25 * 4 + 0.5 * 16, 0.25 * 1 + 0.5 * 9]
    before = {key: value.clone() for key, value in one.state_dict().items()}
    assert one(losses, Known(torch.full((2, 2), 1e30))).tolist() == [1, 0]
    after = one.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert int(one.step) == 2


@each
@pytest.mark.parametrize("k", [1, 3])
def test_solving_never_waits_for_the_device(name: str, k: int) -> None:
    one, losses, known = make(name, k), torch.ones(k), Known(rows(k, 5).float())
    with NoSync() as seen:
        one(losses, known)
    assert seen.count > 10
