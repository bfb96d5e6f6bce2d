"""Seeds that never collide by accident, and streams that only they decide."""

from __future__ import annotations

import hashlib

import torch

from trainables.core.randomness import ExampleStreams, Stream, derive


def test_derived_seed_is_the_hash_of_seed_and_purpose() -> None:
    digest = hashlib.sha256(b"7/views/3").digest()
    assert derive(7, "views", 3) == int.from_bytes(digest[:8], "big") >> 1


def test_purposes_and_seeds_are_told_apart() -> None:
    found = [
        derive(seed, purpose, number)
        for seed in range(5)
        for purpose in ("model", "order", "views")
        for number in range(20)
    ]
    assert len(set(found)) == len(found)
    assert all(0 <= one < 2**63 for one in found)


def test_streams_follow_their_seed_and_leave_the_global_state() -> None:
    like, before = torch.zeros(4, 3), torch.get_rng_state()
    one, same, other = Stream(1), Stream(1), Stream(2)
    assert torch.equal(one.normal(like), same.normal(like))
    assert torch.equal(one.uniform(like), same.uniform(like))
    assert not torch.equal(one.normal(like), other.normal(like))
    assert torch.equal(torch.get_rng_state(), before)


def test_shapes_types_and_ranges() -> None:
    like = torch.zeros(500, 2, 5, dtype=torch.float64)
    for draws in (Stream(0), ExampleStreams(0, torch.arange(500))):
        normal, uniform = draws.normal(like), draws.uniform(like)
        assert normal.shape == uniform.shape == like.shape
        assert normal.dtype == uniform.dtype == torch.float64
        assert draws.normal(like, extra=2).shape == (500, 12)
        assert 0 <= float(uniform.min()) < 0.01 < 0.99 < float(uniform.max()) < 1
        # 5,000 numbers: the mean's standard error is 0.014, that of the deviation 0.010.
        assert abs(float(normal.mean())) < 0.06
        assert abs(float(normal.std()) - 1) < 0.05


def test_an_example_has_the_same_numbers_in_any_company() -> None:
    like = torch.zeros(3, 4)
    first = ExampleStreams(5, torch.tensor([2, 0, 9])).normal(like)
    second = ExampleStreams(5, torch.tensor([9, 7, 2])).normal(like)
    assert torch.equal(first[0], second[2])
    assert torch.equal(first[2], second[0])
    assert not torch.equal(first[1], second[1])
