"""A training: its order, its learning rate, its checkpoints and what it says about itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core.errors import MissingDataError, SettingError
from trainables.core.training import CHECKPOINT_VERSION, Training

from ..contracts.toys import same

KL = {
    "views": {"noisy": "gaussian_0.1"},
    "losses": {"main": {}, "kl": {"name": "Consistency", "coefficient": 2}},
}


def training(config: dict[str, Any] | None = None, **settings: Any) -> Training:
    """160 training examples in batches of 40 for 4 epochs, unless told otherwise."""
    small = {
        "data": {"name": "Digits", "limit": 200},
        "architecture": {"name": "MLP", "hidden": [16]},
        "training": {"epochs": 4, "batch_size": 40} | settings,
    }
    return Training(small | (config or {}))


def seen_by(one: Training) -> list[Tensor]:
    """The batches of the next epoch, as they reach the model while it trains."""
    found: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if module.training:
            found.append(given[0].clone())

    handle = one.model.normalise.register_forward_pre_hook(keep)
    one.epoch()
    handle.remove()
    return found


def rates(one: Training, epochs: int) -> list[float]:
    """The learning rate of every step."""
    found: list[float] = []
    handle = one.optimizer.register_step_pre_hook(
        lambda optimizer, args, kwargs: found.append(optimizer.param_groups[0]["lr"])
    )
    for _ in range(epochs):
        one.epoch()
    handle.remove()
    return found


# --- data and order -------------------------------------------------------------------------


def test_an_epoch_shows_every_example_once() -> None:
    one = training()
    batches = seen_by(one)
    assert [len(batch) for batch in batches] == [40] * 4
    rows = torch.cat(batches).flatten(1).sort(0).values
    assert torch.equal(rows, one.parts.train.x.flatten(1).sort(0).values)


def test_order_differs_by_epoch_and_seed_and_repeats() -> None:
    one, again, other = training(), training(), training({"seed": 1})
    first, second = seen_by(one)[0], seen_by(one)[0]
    assert torch.equal(first, seen_by(again)[0])
    assert not torch.equal(first, second)
    assert not torch.equal(first, seen_by(other)[0])


def test_noise_and_dropout_differ_by_epoch_and_repeat() -> None:
    # One batch of all examples: what differs between epochs is the noise, row by row.
    noise, kept = [], []

    def watch(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if module.training:
            kept.append((given[0] > 0, out != 0))

    for one in (training(KL, batch_size=160), training(KL, batch_size=160)):
        dropout = next(part for part in one.model.modules() if isinstance(part, nn.Dropout))
        dropout.register_forward_hook(watch)
        for _ in range(2):
            clean, noisy = seen_by(one)[0].chunk(2)
            noise.append(noisy - clean)
    first, second, again, _ = noise
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, second, atol=0.05)
    (on, mask), (later_on, later_mask), (_, mask_again), _ = kept
    assert torch.equal(mask, mask_again)
    both = on & later_on
    assert int(both.sum()) > 100
    # Two masks that keep 0.7 agree by chance on 0.58 of the units.
    agree = (mask == later_mask)[both].double().mean()
    assert float(agree) == pytest.approx(0.58, abs=0.1)


def test_a_last_batch_of_one_is_left_out() -> None:
    # 160 = 3 * 53 + 1: batch normalisation cannot train on one example.
    assert [len(batch) for batch in seen_by(training(batch_size=53))] == [53] * 3
    assert [len(batch) for batch in seen_by(training(batch_size=79))] == [79, 79, 2]
    assert [len(batch) for batch in seen_by(training(batch_size=1000))] == [160]


def test_arms_with_one_seed_start_from_the_same_point() -> None:
    plain, kl, adam = training(), training(KL), training(optimizer="Adam")
    for other in (kl, adam):
        assert same(plain.model.state_dict(), other.model.state_dict())
        assert torch.equal(plain.parts.train_index, other.parts.train_index)
    assert not same(plain.model.state_dict(), training({"seed": 1}).model.state_dict())
    # The order of batches is shared, too; the joint pass holds the clean view first.
    for mine, theirs in zip(seen_by(plain), seen_by(kl), strict=True):
        assert torch.equal(mine, theirs[: len(mine)])


def test_statistics_of_normalisation_come_from_the_training_part_alone() -> None:
    one = training()
    x = one.parts.train.x.double()
    assert float(one.model.normalise.mean) == pytest.approx(float(x.mean()), rel=1e-5)
    assert float(1 / one.model.normalise.scale) == pytest.approx(
        float(x.std(correction=0)), rel=1e-5
    )


def test_data_and_global_random_state_stay_as_they_are() -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    one = training(KL)
    kept = [part.x.clone() for part in (one.parts.train, one.parts.validation, one.parts.test)]
    one.epoch()
    now = [part.x for part in (one.parts.train, one.parts.validation, one.parts.test)]
    assert same(now, kept)
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_data_is_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="MNIST"):
        Training({"data": "MNIST"}, root=str(tmp_path))


def test_an_architecture_that_does_not_fit_names_its_path() -> None:
    config = {"architecture": {"name": "ConvNet", "channels": [3]}}
    with pytest.raises(SettingError, match="architecture: ConvNet: channels must have 2 entries"):
        training(config)


# --- learning rate --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("Constant", [1.0] * 16),
        ({"name": "Cosine"}, [(1 + math.cos(math.pi * i / 16)) / 2 for i in range(16)]),
        (
            {"name": "Cosine", "final": 0.1},
            [0.1 + 0.45 * (1 + math.cos(math.pi * i / 16)) for i in range(16)],
        ),
        (
            {"name": "MultiStep", "milestones": [0.25, 0.75], "gamma": 0.1},
            [1.0] * 4 + [0.1] * 8 + [0.01] * 4,
        ),
        (
            {"name": "Constant", "warmup_epochs": 1},
            [0.001, 0.25, 0.5, 0.75] + [1.0] * 12,
        ),
        (
            {"name": "Cosine", "warmup_epochs": 2},
            [0.001]
            + [i / 8 for i in range(1, 8)]
            + [(1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)],
        ),
        (
            {"name": "MultiStep", "milestones": [0.5], "gamma": 0.1, "warmup_epochs": 2},
            [0.001] + [i / 8 for i in range(1, 8)] + [1.0] * 4 + [0.1] * 4,
        ),
    ],
)
def test_learning_rates_by_hand(schedule: Any, expected: list[float]) -> None:
    one = training(optimizer={"name": "SGD", "lr": 0.2}, schedule=schedule)
    assert rates(one, 4) == pytest.approx([0.2 * factor for factor in expected])


def test_learning_rate_goes_on_after_a_checkpoint(tmp_path: Path) -> None:
    whole = training()
    expected = rates(whole, 4)
    first, second = training(), training()
    rates(first, 2)
    first.save(tmp_path / "last.pt")
    second.load(tmp_path / "last.pt")
    assert rates(second, 2) == expected[8:]


# --- reports --------------------------------------------------------------------------------


def test_report_is_the_mean_of_the_steps() -> None:
    one = training(KL)
    steps: list[Any] = []
    backward = one.objective.backward
    one.objective.backward = lambda *given: steps.append(backward(*given)) or steps[-1]
    report = one.epoch()
    assert len(steps) == 4
    losses = torch.stack([step.losses for step in steps]).mean(0).tolist()
    weighted = torch.stack([step.weighted for step in steps]).mean(0).tolist()
    assert report.epoch == one.done == 1
    assert report.metrics["train/loss"] == pytest.approx(losses[0], rel=1e-6)
    assert report.metrics["train/weighted_loss"] == pytest.approx(sum(weighted), rel=1e-6)
    assert list(report.weights) == ["main", "kl"]
    assert report.weights["kl"]["raw_loss"] == pytest.approx(losses[1], rel=1e-6)
    assert report.weights["kl"]["weighted_loss"] == pytest.approx(2 * losses[1], rel=1e-6)
    assert report.weights["kl"]["weight"] == 1.0
    assert report.weights["kl"]["grad_norm"] is None
    assert not report.diverged
    row = one.evaluate(["Clean"], part="validation").rows[0]
    assert report.metrics["validation/accuracy"] == row["value"]
    assert row["n_examples"] == 40


def test_gradients_are_reported_where_they_were_measured() -> None:
    report = training(KL | {"weighter": "GradientSimilarity"}).epoch()
    assert report.weights["main"]["grad_cos"] == pytest.approx(1, abs=1e-5)
    kl = report.weights["kl"]
    assert kl["grad_cos"] is not None
    assert -1 <= kl["grad_cos"] <= 1
    assert kl["grad_norm"] is not None
    assert kl["grad_norm"] > 0


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_divergence_is_an_outcome(optimizer: str) -> None:
    one = training(optimizer={"name": optimizer, "lr": 1e30})
    assert one.epoch().diverged


def test_it_learns() -> None:
    one = training({"data": {"name": "Digits"}, "architecture": "MLP"}, batch_size=32)
    found = [one.epoch().metrics for _ in range(4)]
    assert found[-1]["validation/accuracy"] > 0.9
    assert found[-1]["train/loss"] < found[0]["train/loss"] / 2
    assert one.evaluate(["Clean"], part="test").rows[0]["value"] > 0.9


def test_clipping_bounds_the_step() -> None:
    clip = {"clip_norm": 0.01, "schedule": "Constant"}
    one = training(optimizer={"name": "SGD", "lr": 1.0, "momentum": 0}, batch_size=160, **clip)
    before = [parameter.detach().clone() for parameter in one.parameters]
    one.epoch()
    moved = [p.detach() - old for p, old in zip(one.parameters, before, strict=True)]
    length = float(torch.cat([part.flatten() for part in moved]).norm())
    assert length == pytest.approx(0.01, rel=1e-3)


# --- checkpoints ----------------------------------------------------------------------------


def test_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    one = training()
    one.save(tmp_path / "last.pt")
    with pytest.raises(SettingError, match="belongs to another recipe"):
        training(KL).load(tmp_path / "last.pt")
    with pytest.raises(SettingError, match="belongs to another recipe"):
        training({"seed": 1}).load(tmp_path / "last.pt")


def test_checkpoint_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    one = training()
    one.save(path)
    state = torch.load(path, weights_only=True)
    torch.save(state | {"version": CHECKPOINT_VERSION + 1}, path)
    with pytest.raises(SettingError, match=f"version {CHECKPOINT_VERSION + 1}.*update it"):
        one.load(path)


def test_checkpoint_is_whole_or_absent_and_holds_the_reports(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "last.pt"
    one = training()
    one.epoch()
    one.reports.append({"epoch": 1, "value": math.inf})
    one.save(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["last.pt"]
    again = training()
    again.load(path)
    assert again.done == 1
    assert again.reports == [{"epoch": 1, "value": math.inf}]


def test_tuples_in_a_config_do_not_make_a_checkpoint_foreign(tmp_path: Path) -> None:
    settings = {"optimizer": {"name": "Adam", "betas": (0.9, 0.99)}}
    config = {"architecture": {"name": "MLP", "hidden": (16, 8)}}
    one = training(config, **settings)
    one.save(tmp_path / "last.pt")
    again = training(json.loads(json.dumps(config)), **settings)
    again.load(tmp_path / "last.pt")
    assert same(again.model.state_dict(), one.model.state_dict())
