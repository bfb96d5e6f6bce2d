"""Steps in which a weighter is not asked cost nothing, and nothing is learned in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainables.core import weighing
from trainables.core.randomness import Stream
from trainables.core.training import Training


def training(weighter: str, refresh: int) -> Training:
    return Training(
        {
            "data": {"name": "Digits", "limit": 80},
            "architecture": {"name": "MLP", "hidden": [8], "dropout": 0},
            "training": {"batch_size": 16, "epochs": 4, "optimizer": {"name": "SGD", "lr": 0.05}},
            "views": {"noisy": "gaussian_0.1"},
            "losses": {"kl": {"name": "Consistency"}},
            "weighter": {"name": weighter, "refresh": refresh},
        }
    )


def steps(one: Training, count: int) -> list[Tensor]:
    """What the weighter has learned after each of several steps."""
    batch = next(iter(one.parts.train.batches(one._order(), device=one.device, seed=0)))
    draws = Stream(0)
    found = []
    for _ in range(count):
        one._step(batch, draws)
        found.append(torch.cat([torch.zeros(0), *(value.detach() for value in one.learned)]))
    return found


def test_what_is_learned_moves_only_where_the_weighter_was_asked() -> None:
    first, *others = steps(training("Uncertainty", 3), 7)
    assert [torch.equal(one, first) for one in others[:2]] == [True, True]
    assert not torch.equal(others[2], first)
    assert torch.equal(others[2], others[4])
    assert not torch.equal(others[4], others[5])


@pytest.mark.parametrize("weighter", ["Uncertainty", "FAMO"])
def test_an_epoch_that_begins_between_is_the_same_after_a_resume(
    weighter: str, tmp_path: Path
) -> None:
    whole, again = training(weighter, 3), training(weighter, 3)
    # Four steps each: the second epoch begins with held weights.
    whole.epoch()
    whole.save(tmp_path / "last.pt")
    again.load(tmp_path / "last.pt")
    assert whole.epoch().metrics == again.epoch().metrics


@pytest.mark.parametrize(("refresh", "passes"), [(1, 14), (3, 10)])
def test_looking_back_costs_a_pass_only_where_it_is_wanted(refresh: int, passes: int) -> None:
    one = training("FAMO", refresh)
    seen = []
    one.model.head.register_forward_hook(lambda *_: seen.append(1))
    steps(one, 7)
    assert len(seen) == passes
    expected = weighing.make({"name": "FAMO", "refresh": refresh}, 2).extra_passes(2)
    assert expected["extra_forwards"] == pytest.approx(1 / refresh)
