"""Random numbers of weighters: published bits, distributions, and a function of seed and step."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from trainables.core.errors import SettingError
from trainables.core.weighters import _random
from trainables.core.weighters.random_weights import RandomWeights
from trainables.core.weighters.re_lo_bra_lo import ReLoBRaLo

from ..contracts.toys import losses_of

WORD = 2**64
GAMMA = 0x9E3779B97F4A7C15


def finaliser(word: int) -> int:
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % WORD
    return word ^ (word >> 31)


def uniforms(seed: int, steps: int, count: int) -> Tensor:
    rows = [_random.uniform(seed, torch.tensor(step), count) for step in range(steps)]
    return torch.stack(rows)


def test_the_hash_is_splitmix64() -> None:
    # The first outputs of the published generator for the seeds 0 and 1234567.
    assert _random._hash_of(0) == 0xE220A8397B1DCDAF
    assert finaliser((1234567 + GAMMA) % WORD) == 6457827717110365317


@pytest.mark.parametrize("seed", [0, 1, 2**62 + 12345, 2**63 - 1])
@pytest.mark.parametrize("step", [0, 1, 1000003, 2**31 - 1])
def test_every_bit_is_that_of_whole_numbers(seed: int, step: int) -> None:
    start = finaliser((seed + 1) * GAMMA % WORD)
    words = [finaliser((start + (2**32 * step + i) * GAMMA) % WORD) for i in range(7)]
    expected = [((word >> 12) + 0.5) / 2**52 for word in words]
    assert _random.uniform(seed, torch.tensor(step), 7).tolist() == expected


def test_shifts_fill_with_zeros_and_both_ends_are_left_out() -> None:
    ends = torch.tensor([-1, 0])
    assert _random._right(ends, 12).tolist() == [2**52 - 1, 0]
    largest, least = ((_random._right(ends, 12).double() + 0.5) * 2.0**-52).tolist()
    assert least > 0
    assert largest < 1


def test_uniform_numbers_are_uniform_and_apart() -> None:
    found = uniforms(3, 400, 25)
    assert found.unique().numel() == found.numel()
    assert stats.kstest(found.flatten().numpy(), "uniform").pvalue > 0.01
    # Neighbours in position, in step and in seed have nothing to do with one another.
    beside = uniforms(4, 400, 25)
    pairs = [(found[:, 1:], found[:, :-1]), (found[1:], found[:-1]), (found, beside)]
    for one, other in pairs:
        r = np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1]
        assert abs(r) < 4 / math.sqrt(one.numel())


def test_normal_numbers_are_normal() -> None:
    rows = [_random.normal(5, torch.tensor(step), 50) for step in range(200)]
    found = torch.cat(rows).numpy()
    assert stats.kstest(found, "norm").pvalue > 0.01
    uniform = uniforms(5, 200, 50).flatten().numpy()
    assert stats.norm.cdf(found) == pytest.approx(uniform, abs=1e-12)


def test_the_order_of_uniform_numbers_is_a_fair_permutation() -> None:
    orders = uniforms(6, 3000, 3).argsort(1).tolist()
    counts = [orders.count(list(one)) for one in permutations(range(3))]
    assert sum(counts) == 3000
    assert stats.chisquare(counts).pvalue > 0.01


def test_no_global_random_number_is_drawn() -> None:
    before = torch.get_rng_state()
    _random.normal(0, torch.tensor(1), 4)
    assert torch.equal(torch.get_rng_state(), before)


def weights_of(one: torch.nn.Module, steps: int, k: int) -> Tensor:
    gradients, _ = losses_of([1.0] * k, torch.eye(k))
    rows = [one(torch.ones(k), gradients).clone() for _ in range(steps)]
    assert not gradients.measured
    return torch.stack(rows)


def test_random_weights_follow_from_seed_and_step() -> None:
    found = weights_of(RandomWeights(k=3, seed=9), 4, 3)
    expected = [_random.normal(9, torch.tensor(step), 3).softmax(0) for step in range(4)]
    torch.testing.assert_close(found, torch.stack(expected).float())
    assert not torch.equal(found, weights_of(RandomWeights(k=3, seed=10), 4, 3))


def test_random_weights_are_distributed_as_another_library_has_them() -> None:
    scalarization = pytest.importorskip("torchjd.scalarization")
    ours = weights_of(RandomWeights(k=3, seed=1), 500, 3)
    torch.testing.assert_close(ours.sum(1), torch.ones(500))
    assert ours.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.035)
    theirs = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scalarize = scalarization.Random()
        for _ in range(500):
            losses = torch.ones(3, requires_grad=True)
            theirs.append(torch.autograd.grad(scalarize(losses), losses)[0])
    assert stats.ks_2samp(ours[:, 0].numpy(), torch.stack(theirs)[:, 0].numpy()).pvalue > 0.01


def test_the_only_random_weight_is_1() -> None:
    assert weights_of(RandomWeights(k=1), 5, 1).flatten().tolist() == [1.0] * 5


def test_random_lookback_happens_as_often_as_asked() -> None:
    # With alpha = 1 the weights stay but for a lookback, which no two steps make alike.
    one = ReLoBRaLo(k=2, alpha=1.0, rho=0.7, seed=2)
    gradients, _ = losses_of([1.0, 1.0], torch.eye(2))
    rows = [one(torch.tensor([1.0 + 0.01 * step, 1.0]), gradients).clone() for step in range(200)]
    changed = [not torch.equal(a, b) for a, b in zip(rows[1:], rows, strict=False)]
    bits = uniforms(2, 200, 1).flatten() >= 0.7
    assert changed == bits[1:].tolist()
    assert sum(changed) == pytest.approx(60, abs=20)


@pytest.mark.parametrize("seed", [-1, 0.5, True])
def test_wrong_seeds(seed: object) -> None:
    with pytest.raises(SettingError, match="seed must be"):
        RandomWeights(k=2, seed=seed)  # type: ignore[arg-type]
