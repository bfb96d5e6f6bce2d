"""The gradient weighters' numbers: TorchJD, matrices of gradients by hand, limiting cases."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables.core import catalog
from trainables.core.errors import SettingError
from trainables.core.gradients import Gradients
from trainables.core.weighters import _gramian

from .test_objective import NoSync

SYMMETRIC = ("PCGrad", "GradVac", "IMTLG", "AlignedMTL", "ConFIG")
MAIN_FIRST = ("GradientSimilarity", "OLAUX")
ALL = (*SYMMETRIC, *MAIN_FIRST, "GradNorm")


def matrix(rows: Iterable[Iterable[float]], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor([list(row) for row in rows], dtype=dtype)


def normal(k: int, n: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(k, n, dtype=torch.float64, generator=generator)


def make(name: str, k: int, **config: Any) -> nn.Module:
    found: nn.Module = catalog.build("weighters", {"name": name, **config}, k=k)
    return found


def call(one: nn.Module, jacobian: Tensor, losses: Iterable[float] = ()) -> Tensor:
    """The weights for losses of 1, or of these values, whose gradients are the rows."""
    theta = nn.Parameter(torch.zeros(jacobian.shape[1], dtype=jacobian.dtype))
    found = [1 + row @ theta for row in jacobian]
    values = list(losses) or [1.0] * len(jacobian)
    weights: Tensor = one(torch.tensor(values, dtype=jacobian.dtype), Gradients(found, [theta]))
    assert weights.dtype == jacobian.dtype
    assert torch.isfinite(weights).all()
    return weights


def weigh(name: str, jacobian: Tensor, **config: Any) -> Tensor:
    return call(make(name, len(jacobian), **config), jacobian)


CONFLICT = matrix([[-4, 1, 1], [6, 1, 1]])
OPPOSITE = matrix([[3, 4], [-3, -4]])
SQUARE = matrix([[1, 0], [0, 1]])
ZERO = matrix([[3, 4, 0], [0, 0, 0], [0, 1, 1]])

# --- against TorchJD ------------------------------------------------------------------------

MATRICES = {
    "conflict": CONFLICT,
    "two": normal(2),
    "three": normal(3, seed=1),
    "five": normal(5, seed=2),
    "unlike": normal(3, seed=3) * matrix([[1e2], [1], [1e-2]]),
    "tiny": normal(3, seed=4) * 1e-10,
    "huge": normal(3, seed=4) * 1e10,
    "one": normal(1, seed=5),
    "right-angle": SQUARE,
}


@pytest.mark.parametrize("jacobian", MATRICES.values(), ids=MATRICES)
@pytest.mark.parametrize(
    ("name", "config", "scale"),
    [
        ("IMTLG", {}, "1"),
        ("ConFIG", {}, "1"),
        ("AlignedMTL", {"scale": "min"}, "k"),
        ("AlignedMTL", {"scale": "median"}, "k"),
        ("AlignedMTL", {"scale": "rmse"}, "k"),
    ],
)
def test_updates_are_torchjds(
    name: str, config: dict[str, Any], scale: str, jacobian: Tensor
) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    other = {"AlignedMTL": {"scale_mode": config.get("scale", "min")}}.get(name, {})
    # TorchJD gives up a sum of weights below 1e-12 in absolute size.
    unit = float(jacobian.norm()) if name == "IMTLG" else 1.0
    expected = getattr(aggregation, name)(**other)(jacobian / unit) * unit
    expected = expected * (len(jacobian) if scale == "k" else 1)
    found = weigh(name, jacobian, **config) @ jacobian
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(jacobian.norm()))


def surgery(jacobian: Tensor, orders: Iterable[Iterable[int]]) -> Tensor:
    """PCGrad's update with a given order of the others for every gradient, row by row."""
    update = torch.zeros_like(jacobian[0])
    for row, order in zip(jacobian, orders, strict=True):
        mixed = row.clone()
        for j in order:
            product = mixed @ jacobian[j]
            if product < 0:
                mixed = mixed - product / jacobian[j].square().sum() * jacobian[j]
        update = update + mixed
    return update


def all_orders(k: int) -> list[Any]:
    each = [list(itertools.permutations([j for j in range(k) if j != i])) for i in range(k)]
    return list(itertools.product(*each))


@pytest.mark.parametrize("seed", range(4))
def test_pc_grad_is_one_of_the_possible_surgeries_and_torchjds(seed: int) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    jacobian = normal(3, n=3, seed=seed)
    possible = [surgery(jacobian, orders) for orders in all_orders(3)]
    theirs = aggregation.PCGrad()(jacobian)
    assert any(torch.allclose(theirs, one, rtol=1e-9) for one in possible)
    one = make("PCGrad", 3, seed=seed)
    for _ in range(4):
        found = call(one, jacobian) @ jacobian
        assert any(torch.allclose(found, one, rtol=1e-9) for one in possible)


def test_pc_grad_follows_the_order_drawn() -> None:
    jacobian = normal(5, n=3, seed=8)
    one = make("PCGrad", 5, seed=3)
    seen = []
    for step in range(6):
        orders = _gramian.visits(3, torch.tensor(step), 5).tolist()
        assert [sorted([i, *order]) for i, order in enumerate(orders)] == [list(range(5))] * 5
        torch.testing.assert_close(call(one, jacobian) @ jacobian, surgery(jacobian, orders))
        seen.append(str(orders))
    assert len(set(seen)) == 6
    other = _gramian.visits(4, torch.tensor(0), 5).tolist()
    assert str(other) not in seen


def test_every_order_of_visits_is_as_likely() -> None:
    drawn = [str(_gramian.visits(0, torch.tensor(t), 3)[0].tolist()) for t in range(400)]
    assert abs(drawn.count("[1, 2]") - 200) < 40
    assert drawn.count("[1, 2]") + drawn.count("[2, 1]") == 400


def test_grad_vac_is_torchjds_over_many_steps() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    theirs, ours = aggregation.GradVac(beta=0.3, eps=0), make("GradVac", 2, beta=0.3)
    changed = 0
    for step in range(12):
        # Two gradients leave no choice of an order.
        jacobian = normal(2, n=4, seed=step) + (step > 5) * matrix([[1, 1, 1, 1]])
        weights = call(ours, jacobian)
        torch.testing.assert_close(weights @ jacobian, theirs(jacobian), rtol=1e-9, atol=1e-9)
        changed += bool((weights > 1).any())
    assert changed > 3


def test_grad_vac_begins_as_pc_grad_and_stays_it_without_learning() -> None:
    frozen, surgeon = make("GradVac", 4, beta=0, seed=5), make("PCGrad", 4, seed=5)
    for step in range(4):
        jacobian = normal(4, n=4, seed=step)
        torch.testing.assert_close(call(frozen, jacobian), call(surgeon, jacobian))
    assert torch.equal(frozen.targets, torch.zeros(4, 4, dtype=torch.float64))


def test_grad_vac_reaches_its_target() -> None:
    one = make("GradVac", 2, beta=1.0)
    near = matrix([[1, 0], [0.6, 0.8]])
    assert call(one, near).tolist() == [1, 1]
    assert one.targets[0, 1] == pytest.approx(0.6)
    # Both gradients are turned from 90 degrees to the cosine seen before, 0.6: w = 0.6 / 0.8.
    assert call(one, SQUARE).tolist() == pytest.approx([1.75, 1.75])
    assert one.targets[0, 1] == pytest.approx(0)
    # An equal pair would set the target 1, which no finite weight reaches.
    call(one, matrix([[1, 0], [1, 0]]))
    assert float(call(one, SQUARE).max()) == pytest.approx(1 + 1 / math.sqrt(2e-6), rel=1e-3)


# --- by hand --------------------------------------------------------------------------------

ROOT = math.sqrt(18 * 38)
HAND = [
    # g.a = -22, |g|^2 = 18, |a|^2 = 38.
    ("PCGrad", CONFLICT, [1 + 22 / 18, 1 + 22 / 38]),
    ("GradVac", CONFLICT, [1 + 22 / 18, 1 + 22 / 38]),
    # Two gradients: weights inverse to the norms.
    ("IMTLG", CONFLICT, [math.sqrt(38) / (18**0.5 + 38**0.5), 18**0.5 / (18**0.5 + 38**0.5)]),
    # x = (1, 1) / (1 + c) and U x = (1, 1), so weights are (|g| + |a|) / 2 over the norm.
    ("ConFIG", CONFLICT, [(18**0.5 + 38**0.5) / 2 / 18**0.5, (18**0.5 + 38**0.5) / 2 / 38**0.5]),
    ("ConFIG", matrix([[2, 0], [0, 4]]), [1.5, 0.75]),
    ("AlignedMTL", matrix([[2, 0], [0, 4]]), [1, 0.5]),
    ("PCGrad", OPPOSITE, [2, 2]),
    ("GradVac", OPPOSITE, [2, 2]),
    ("IMTLG", OPPOSITE, [0, 0]),
    ("ConFIG", OPPOSITE, [0, 0]),
    # Rank 1: B = V V^T with v = (1, -1) / sqrt(2), and 1 is at a right angle to it.
    ("AlignedMTL", OPPOSITE, [0, 0]),
    ("AlignedMTL", matrix([[3, 4], [3, 4]]), [1, 1]),
    ("IMTLG", matrix([[3, 4], [6, 8]]), [2 / 3, 1 / 3]),
    ("ConFIG", matrix([[3, 4], [6, 8]]), [1.5, 0.75]),
    ("PCGrad", ZERO, [1, 1, 1]),
    ("GradVac", ZERO, [1, 1, 1]),
    ("PCGrad", SQUARE, [1, 1]),
    ("GradVac", SQUARE, [1, 1]),
    ("IMTLG", SQUARE, [0.5, 0.5]),
    ("AlignedMTL", SQUARE, [1, 1]),
    ("ConFIG", SQUARE, [1, 1]),
]


@pytest.mark.parametrize(("name", "jacobian", "expected"), HAND)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_weights_by_hand(
    name: str, jacobian: Tensor, expected: list[float], dtype: torch.dtype
) -> None:
    found = weigh(name, jacobian.to(dtype)).tolist()
    assert found == pytest.approx(expected, abs=1e-10 if dtype == torch.float64 else 2e-6)


def test_pc_grad_sums() -> None:
    update = weigh("PCGrad", CONFLICT) @ CONFLICT
    assert update.tolist() == pytest.approx([0.5848, 3.8012, 3.8012], abs=1e-4)


@pytest.mark.parametrize("name", ["IMTLG", "ConFIG", "AlignedMTL"])
def test_a_zero_gradient_is_left_out(name: str) -> None:
    weights = weigh(name, ZERO)
    assert weights[1] == 0
    kept = weigh(name, ZERO[[0, 2]])
    torch.testing.assert_close(weights[[0, 2]], kept)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["IMTLG", "ConFIG"])
def test_projections_are_equal(name: str, dtype: torch.dtype) -> None:
    # Norms from 1 to 1e5: the Gramian's eigenvalues are further apart than float32's digits.
    jacobian = (normal(4, n=9, seed=3) * matrix([[1], [1e-2], [1e2], [1e3]])).to(dtype)
    update = weigh(name, jacobian) @ jacobian
    shares = jacobian @ update / jacobian.norm(dim=1)
    torch.testing.assert_close(shares, shares.mean().expand(4), rtol=1e-3, atol=0)
    if name == "ConFIG":
        v = update / update.norm()
        torch.testing.assert_close(update, (jacobian @ v).sum() * v, rtol=1e-4, atol=1e-6)


def test_aligned_gradients_have_one_length_and_right_angles() -> None:
    jacobian = normal(3, seed=7)
    g = jacobian @ jacobian.T
    values, vectors = torch.linalg.eigh(g)
    for scale, length in (
        ("min", values[0].sqrt()),
        ("median", values[1].sqrt()),
        ("rmse", values.mean().sqrt()),
    ):
        aligned = length * vectors @ (values.rsqrt()[:, None] * vectors.T) @ jacobian
        torch.testing.assert_close(aligned @ aligned.T, length**2 * torch.eye(3).double())
        found = weigh("AlignedMTL", jacobian, scale=scale) @ jacobian
        torch.testing.assert_close(found, aligned.sum(0))


def test_median_of_what_is_left_of_a_spectrum() -> None:
    # Eigenvalues 16, 4, 0: the lower median of the two that count is 4.
    jacobian = matrix([[4, 0], [0, 2], [0, 0]])
    assert weigh("AlignedMTL", jacobian, scale="median").tolist() == pytest.approx([0.5, 1, 0])
    assert weigh("AlignedMTL", jacobian, scale="rmse").tolist() == pytest.approx(
        [10**0.5 / 4, 10**0.5 / 2, 0]
    )


# --- eigenvectors ---------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 16])
@pytest.mark.parametrize("case", ["normal", "graded", "opposite", "equal", "identity"])
def test_rotations_find_the_spectrum_that_lapack_finds(k: int, case: str) -> None:
    rows = normal(k, n=k + 2, seed=k)
    if case == "graded":
        rows = rows * torch.logspace(0, -8, k, dtype=torch.float64)[:, None]
    elif case == "opposite":
        rows[-1] = -rows[0]
    elif case == "equal":
        rows = rows[:1].expand(k, -1)
    elif case == "identity":
        rows = torch.eye(k, dtype=torch.float64)
    g = rows @ rows.T / rows.square().sum() * k
    values, vectors = _gramian.rotated(g)
    assert vectors.shape == (k, k + k % 2)
    expected = torch.linalg.eigvalsh(g)
    padded = torch.cat([expected, expected.new_zeros(k % 2)]).sort().values
    torch.testing.assert_close(values.sort().values, padded, rtol=0, atol=1e-13)
    torch.testing.assert_close(vectors * values @ vectors.T, g, rtol=0, atol=1e-13)
    identity = torch.eye(k, dtype=torch.float64)
    torch.testing.assert_close(vectors @ vectors.T, identity, rtol=0, atol=1e-13)


def as_on_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the weighter take the eigenvectors that it takes where LAPACK would have to wait."""
    module = importlib.import_module(catalog.find("weighters", name).__module__)
    for place in (_gramian, module):
        if hasattr(place, "spectrum"):
            monkeypatch.setattr(place, "spectrum", _gramian.rotated)


@pytest.mark.parametrize("name", ALL)
def test_nothing_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_gpu(name, monkeypatch)
    one = make(name, 3, **({"ema": 0.5} if name == "GradientSimilarity" else {}))
    theta = nn.Parameter(torch.zeros(8, dtype=torch.float64))
    gradients = Gradients([1 + row @ theta for row in normal(3)], [theta])
    losses = torch.ones(3, dtype=torch.float64)
    with NoSync() as seen:
        one(losses, gradients)
    assert seen.count > 10


@pytest.mark.parametrize("name", ["IMTLG", "ConFIG", "AlignedMTL"])
@pytest.mark.parametrize("jacobian", [CONFLICT, OPPOSITE, ZERO, normal(5)])
def test_weights_from_rotations_are_those_from_lapack(
    name: str, jacobian: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = weigh(name, jacobian)
    as_on_a_gpu(name, monkeypatch)
    torch.testing.assert_close(weigh(name, jacobian), expected, rtol=1e-9, atol=1e-9)


# --- scales, orders, degenerate -------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-10, 1e10])
@pytest.mark.parametrize("name", [*SYMMETRIC, "GradientSimilarity"])
def test_weights_do_not_depend_on_the_scale_of_all_gradients(name: str, scale: float) -> None:
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        jacobian = normal(3, seed=9).to(dtype)
        found = weigh(name, jacobian * scale)
        torch.testing.assert_close(found, weigh(name, jacobian), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["IMTLG", "ConFIG"])
def test_a_coefficient_cancels_in_the_direction(name: str) -> None:
    jacobian = normal(3, seed=10)
    scaled = jacobian * matrix([[1], [50], [0.01]])
    plain, other = weigh(name, jacobian) @ jacobian, weigh(name, scaled) @ scaled
    cosine = plain @ other / plain.norm() / other.norm()
    assert abs(float(cosine)) == pytest.approx(1)
    assert catalog.find("weighters", name).absorbs


def test_config_goes_downhill_on_the_line_that_imtlg_may_climb() -> None:
    climbs = 0
    for seed in range(40):
        jacobian = normal(3, n=4, seed=seed) * matrix([[1], [0.1], [10]])
        one, other = (weigh(name, jacobian) @ jacobian for name in ("IMTLG", "ConFIG"))
        assert (jacobian @ other > 0).all()
        cosine = float(one @ other / one.norm() / other.norm())
        assert abs(cosine) == pytest.approx(1)
        climbs += cosine < 0
    assert 0 < climbs < 20


@pytest.mark.parametrize("name", ["IMTLG", "AlignedMTL", "ConFIG", "GradientSimilarity", "OLAUX"])
def test_order_of_the_auxiliary_losses_does_not_matter(name: str) -> None:
    jacobian, order = normal(5, seed=11), [0, 3, 1, 4, 2]
    torch.testing.assert_close(weigh(name, jacobian[order]), weigh(name, jacobian)[order])


@pytest.mark.parametrize("name", SYMMETRIC)
@pytest.mark.parametrize("k", [1, 2, 5])
def test_one_gradient_k_times(name: str, k: int) -> None:
    jacobian = normal(1, seed=12).expand(k, -1)
    share = 1 / k if name == "IMTLG" else 1.0
    assert weigh(name, jacobian).tolist() == pytest.approx([share] * k)


DEGENERATE = {
    "zero": matrix([[0, 0], [0, 0], [0, 0]]),
    "overflow": matrix([[1e30, 1], [1, 1e30], [-1e30, 0]], torch.float32),
    "underflow": matrix([[1e-30, 0], [0, 1e-30], [1e-30, 1e-30]], torch.float32),
    "wide": matrix([[1e18, 1e-20], [-1e-22, 1e-20], [-1e18, 1]], torch.float32),
    "main-zero": matrix([[0, 0], [3, 4], [-3, 4]]),
    "opposite": matrix([[1, 2], [-1, -2], [1, 2]]),
    "nearly-opposite": matrix([[1, 2], [-1, -2.0001], [1, 2]], torch.float32),
    "least": matrix([[1e-60, 0], [-1e-60, 1e-61], [0, 1e-60]]),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("jacobian", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_gradients_leave_weights_and_state_finite(name: str, jacobian: Tensor) -> None:
    one = make(name, 3)
    for step in range(7):
        weights = call(one, jacobian if step != 4 else jacobian.flip(0))
        if not getattr(one, "signed", False):
            assert (weights >= 0).all()
    assert all(torch.isfinite(value).all() for value in one.state_dict().values())


@pytest.mark.parametrize(("name", "weight"), [(n, 1 / 3 if n == "IMTLG" else 1) for n in SYMMETRIC])
@pytest.mark.parametrize("case", ["zero", "overflow"])
def test_unusable_gramian_means_equal_weights(name: str, weight: float, case: str) -> None:
    assert weigh(name, DEGENERATE[case]).tolist() == pytest.approx([weight] * 3)


# --- gradient similarity --------------------------------------------------------------------

vectors = st.lists(
    st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3), min_size=2, max_size=5
)


@settings(max_examples=40, deadline=None)
@given(vectors)
def test_gates_never_work_against_the_main_loss(rows: list[list[float]]) -> None:
    jacobian = matrix(rows)
    for form in ("weighted", "unweighted", "projection"):
        update = weigh("GradientSimilarity", jacobian, form=form) @ jacobian
        main = float(jacobian[0] @ jacobian[0])
        assert float(update @ jacobian[0]) >= main * (1 - 1e-9) - 1e-12


@settings(max_examples=30, deadline=None)
@given(vectors)
def test_surgery_gives_weights_of_at_least_one(rows: list[list[float]]) -> None:
    jacobian = matrix(rows)
    for name in ("PCGrad", "GradVac"):
        assert bool((weigh(name, jacobian) >= 1).all())


def at(cosine: float) -> Tensor:
    """A main gradient and one at this cosine to it, of other lengths."""
    return matrix([[2, 0], [3 * cosine, 3 * math.sqrt(1 - cosine**2)]])


def test_ema_smooths_the_cosine_from_the_first_value_on() -> None:
    one = make("GradientSimilarity", 2, ema=0.75)
    smooth, found = 0.8, []
    for cosine in (0.8, -0.6, 0.0, -1.0, -1.0, -1.0):
        found.append(float(call(one, at(cosine))[1]))
        smooth = smooth if len(found) == 1 else 0.75 * smooth + 0.25 * cosine
        assert found[-1] == pytest.approx(max(0, smooth), abs=1e-12)
    assert found[1] == pytest.approx(0.45)
    assert found[-1] == 0


def test_ema_gates_on_the_smoothed_cosine() -> None:
    one = make("GradientSimilarity", 2, form="unweighted", ema=0.5)
    # 0.8, 0.1, -0.25, 0.275
    assert [float(call(one, at(c))[1]) for c in (0.8, -0.6, -0.6, 0.8)] == [1, 1, 0, 1]


def test_ema_smooths_what_a_projection_takes_away() -> None:
    one = make("GradientSimilarity", 2, form="projection", ema=0.5)
    # g.a / |g|^2 = 3 cosine / 2: -0.9, then (-0.9 + 0.6) / 2 = -0.15, then 0.225.
    found = [float(call(one, at(cosine))[0]) for cosine in (-0.6, 0.4, 0.4)]
    assert found == pytest.approx([1.9, 1.15, 1.0])


@pytest.mark.parametrize("form", ["weighted", "unweighted", "projection"])
def test_ema_of_one_constant_cosine_changes_nothing(form: str) -> None:
    smooth, plain = (make("GradientSimilarity", 3, form=form, ema=e) for e in (0.9, 0.0))
    for _ in range(3):
        jacobian = matrix([[3, 4], [0, 2], [-1, 0]])
        torch.testing.assert_close(call(smooth, jacobian), call(plain, jacobian))


def test_ema_drops_an_auxiliary_loss_while_a_gradient_is_zero() -> None:
    for form in ("weighted", "unweighted"):
        one = make("GradientSimilarity", 2, form=form, ema=0.9)
        assert float(call(one, at(0.5))[1]) > 0
        assert call(one, matrix([[0, 0], [1, 1]])).tolist() == [1, 0]
        assert float(call(one, at(0.5))[1]) > 0


# --- GradNorm -------------------------------------------------------------------------------


def test_grad_norm_moves_towards_equal_norms_of_equal_rates() -> None:
    # Norms 3 and 1, rates 1: target 2; Adam's first step is the rate, and the sum stays 2.
    one = make("GradNorm", 2, rate=0.1)
    jacobian = matrix([[3, 0], [0, 1]])
    assert call(one, jacobian).tolist() == [1, 1]
    assert call(one, jacobian).tolist() == pytest.approx([0.9, 1.1], abs=1e-6)
    for _ in range(300):
        weights = call(one, jacobian)
    # Norms of weighed gradients meet: w = (0.5, 1.5).
    assert weights.tolist() == pytest.approx([0.5, 1.5], abs=0.08)
    assert float(weights.sum()) == pytest.approx(2)


def test_grad_norm_equals_a_plain_optimisation() -> None:
    # The paper's loss by autograd and torch's Adam, with losses and gradients that change.
    one = make("GradNorm", 3)
    w = nn.Parameter(torch.ones(3, dtype=torch.float64))
    adam = torch.optim.Adam([w], lr=0.025)
    first = None
    for step in range(12):
        jacobian = normal(3, seed=step)
        losses = normal(3, n=1, seed=50 + step).abs()[:, 0] + 0.1
        first = losses if first is None else first
        torch.testing.assert_close(call(one, jacobian, losses.tolist()), w.detach())
        sizes = w * jacobian.norm(dim=1)
        ratio = losses / first
        target = (sizes.mean() * (ratio / ratio.mean()) ** 1.5).detach()
        adam.zero_grad()
        (sizes - target).abs().sum().backward()
        adam.step()
        with torch.no_grad():
            w.mul_(3 / w.sum())


def test_grad_norm_favours_the_loss_that_fell_least() -> None:
    one = make("GradNorm", 2)
    for step in range(20):
        weights = call(one, SQUARE, [1.0, 0.9**step])
    assert float(weights[0]) > 1 > float(weights[1])


def test_grad_norm_of_losses_at_zero_or_below_stays_even() -> None:
    for losses in ([0.0, 0.0], [-1.0, -2.0]):
        one = make("GradNorm", 2)
        for _ in range(5):
            weights = call(one, SQUARE, losses)
        assert weights.tolist() == pytest.approx([1, 1])


def test_grad_norm_keeps_weights_above_zero() -> None:
    one = make("GradNorm", 2, rate=0.5)
    for _ in range(20):
        weights = call(one, matrix([[1e6, 0], [0, 1]]))
        assert (weights > 0).all()
        assert float(weights.sum()) == pytest.approx(2)


# --- OL-AUX ---------------------------------------------------------------------------------


def test_olaux_adds_up_the_products_of_its_horizon() -> None:
    one = make("OLAUX", 3, horizon=2, rate=0.01)
    # The products with the main gradient are 15 and -5.
    jacobian = matrix([[3, 4], [5, 0], [1, -2]])
    found = [call(one, jacobian).tolist() for _ in range(5)]
    assert found[:2] == [[1, 1, 1]] * 2
    assert found[2] == pytest.approx([1, 1.3, 0.9])
    assert found[3] == found[2]
    assert found[4] == pytest.approx([1, 1.6, 0.8])


def test_olaux_stays_within_its_bounds() -> None:
    one = make("OLAUX", 3, horizon=1, rate=1, start=0.5, most=2)
    jacobian = matrix([[3, 4], [5, 0], [1, -2]])
    assert call(one, jacobian).tolist() == [1, 0.5, 0.5]
    assert call(one, jacobian).tolist() == [1, 2, 0]


def test_olaux_learns_nothing_without_a_rate_or_from_what_is_not_finite() -> None:
    still = make("OLAUX", 2, horizon=1, rate=0)
    burst = make("OLAUX", 2, horizon=1)
    for _ in range(3):
        assert call(still, CONFLICT).tolist() == [1, 1]
        assert call(burst, matrix([[1e30, 0], [1e30, 1]], torch.float32)).tolist() == [1, 1]


# --- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "k", "config", "message"),
    [
        ("GradientSimilarity", 1, {}, "losses must be at least 2, found 1"),
        ("OLAUX", 1, {}, "losses must be at least 2, found 1"),
        ("GradientSimilarity", 2, {"ema": 1}, "ema must be below 1, found 1"),
        ("GradientSimilarity", 2, {"ema": -0.1}, "ema must be at least 0, found -0.1"),
        ("GradNorm", 2, {"alpha": -1}, "alpha must be at least 0, found -1"),
        ("GradNorm", 2, {"rate": 0}, "rate must be above 0, found 0"),
        ("GradVac", 2, {"beta": 2}, "beta must be at most 1, found 2"),
        ("AlignedMTL", 2, {"scale": "max"}, "scale cannot be 'max'"),
        ("OLAUX", 2, {"horizon": 0}, "horizon must be at least 1, found 0"),
        ("OLAUX", 2, {"start": 3, "most": 2}, "start must be at most 2, found 3"),
        ("PCGrad", 2, {"seed": -1}, "seed must be at least 0, found -1"),
    ],
)
def test_wrong_settings(name: str, k: int, config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make(name, k, **config)


@pytest.mark.parametrize("name", ALL)
def test_declares_what_it_costs(name: str) -> None:
    found = catalog.find("weighters", name)
    assert found.per_loss
    assert getattr(found, "least", 1) == (2 if name in MAIN_FIRST else 1)
    assert getattr(found, "signed", False) == (name in ("IMTLG", "AlignedMTL", "ConFIG"))
