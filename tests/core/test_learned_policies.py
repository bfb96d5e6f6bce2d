"""Policies of copies: uniform, learned and replayed; the controller and what it learns from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from trainables.core import catalog
from trainables.core.augmentations._controller import Controller
from trainables.core.augmentations._operations import NAMES, OPERATIONS, STEPS
from trainables.core.errors import MissingDataError, SettingError
from trainables.core.randomness import Stream, derive
from trainables.core.training import Training

from ..contracts.toys import random_batch, same, seeded
from .test_objective import NoSync


def copied(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value.clone() for key, value in state.items()}


def controller(**settings: Any) -> Controller:
    usual = {
        "operations": 15,
        "subpolicies": 5,
        "carry": True,
        "lr": 3.5e-4,
        "entropy": 1e-5,
        "temperature": 0.0,
        "tanh": 0.0,
        "generator": seeded(3),
    }
    return Controller(**(usual | settings))


def made(name: str, seed: int = 7, **settings: Any) -> Any:
    return catalog.build("augmentations", {"name": name} | settings, seed=seed)


def written(view: Any, *policies: list[tuple[str, int]]) -> Any:
    """The view with these policies in force: operation and magnitude, two for each sub-policy."""
    flat = [[(NAMES.index(name), level) for name, level in one] for one in policies]
    view.chosen = torch.tensor(flat).view(view.chosen.shape)
    return view


# --- the controller -------------------------------------------------------------------------


@pytest.mark.parametrize(("operations", "count"), [(15, 56_925), (16, 57_058)])
def test_parameters_are_as_many_as_published(operations: int, count: int) -> None:
    found = controller(operations=operations)
    assert sum(one.numel() for one in found.parameters()) == count
    assert sum(one.numel() for one in made("AdversarialAutoAugment").parameters()) == 56_925


def test_weights_begin_uniform_and_head_biases_at_0() -> None:
    found = dict(controller().named_parameters())
    biases = [found.pop(f"heads.{place}.bias") for place in range(2)]
    assert all((one == 0).all() for one in biases)
    values = torch.cat([one.detach().flatten() for one in found.values()])
    assert -0.1 <= float(values.min()) < -0.0999
    assert 0.0999 < float(values.max()) <= 0.1
    # The deviation of U(-0.1, 0.1), within 5 standard errors.
    assert float(values.std()) == pytest.approx(0.2 / math.sqrt(12), rel=0.01)


def naive_loss(
    network: Controller, policies: Tensor, advantages: Tensor, entropy: float, **bounds: float
) -> Tensor:
    """-mean log p A - entropy mean H, choice by choice and policy by policy."""
    cell = nn.LSTMCell(32, 100)
    cell.load_state_dict(network.cell.state_dict())
    total = torch.zeros(())
    for policy, advantage in zip(policies, advantages, strict=True):
        log_p, h = torch.zeros(()), torch.zeros(())
        state = None
        given = torch.zeros(1, 32)
        for subpolicy in policy.tolist():
            if not network.carry:
                state, given = None, torch.zeros(1, 32)
            for place, choice in enumerate(subpolicy):
                state = cell(given, state)
                weight, bias = network.heads[place % 2].parameters()
                logits = state[0][0] @ weight.T + bias
                if bounds:
                    logits = bounds["tanh"] * torch.tanh(logits / bounds["temperature"])
                law = Categorical(logits=logits)
                log_p = log_p + law.log_prob(torch.tensor(choice))
                h = h + law.entropy()
                row = choice if place % 2 == 0 else network.operations + choice
                given = network.embedding.weight[row : row + 1]
        total = total - (log_p * advantage + entropy * h) / len(policies)
    # The copy of the cell shares no parameters: its gradients are put in the original's place.
    naive = [network.embedding.weight, *cell.parameters(), *network.heads.parameters()]
    return torch.cat([one.flatten() for one in torch.autograd.grad(total, naive)])


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("bounds", [{}, {"temperature": 5.0, "tanh": 2.5}], ids=["free", "bounded"])
def test_gradient_is_that_of_the_naive_sum(carry: bool, bounds: dict[str, float]) -> None:
    network = controller(carry=carry, entropy=0.3, operations=16, **bounds)
    with torch.no_grad():
        for one in network.heads.parameters():
            one.mul_(10).add_(0.2 * torch.randn(one.shape, generator=seeded(4)))
    policies = network.sample(torch.rand(3, 5, 4, generator=seeded(5)))
    advantages = torch.tensor([0.5, -2.0, 1.1])
    found = torch.cat([one.flatten() for one in network.gradient(policies, advantages)])
    expected = naive_loss(network, policies, advantages, 0.3, **bounds)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert expected.abs().max() > 1e-2
    assert all(one.grad is None for one in network.parameters())


def test_a_policy_of_a_uniform_controller_is_one_of_150_to_the_10th() -> None:
    network = controller()
    with torch.no_grad():
        for one in network.heads.parameters():
            one.zero_()
    found = network.score(network.sample(torch.rand(4, 5, 4, generator=seeded())))
    torch.testing.assert_close(found.log_probability, torch.full((4,), -10 * math.log(150)))
    torch.testing.assert_close(found.entropy, torch.full((4,), 10 * math.log(150)))
    torch.testing.assert_close(found.relative, torch.ones(4))


def test_choices_are_drawn_with_their_probabilities() -> None:
    network = controller(subpolicies=1)
    odds = torch.arange(1.0, 16.0)
    with torch.no_grad():
        network.heads[0].weight.zero_()
        network.heads[0].bias.copy_(odds.log())
    drawn = network.sample(torch.rand(6000, 1, 4, generator=seeded(), dtype=torch.float64))
    counts = drawn[:, 0, 0].bincount(minlength=15).double()
    expected = 6000 * odds / odds.sum()
    assert float(((counts - expected).square() / expected).sum()) < 36.1  # 99.9 %, 14 degrees
    ends = network.sample(torch.tensor([0.0, 1 - 1e-12]).double().view(2, 1, 1).repeat(1, 1, 4))
    assert ends.tolist() == [[[0, 0, 0, 0]], [[14, 9, 14, 9]]]


def test_each_sub_policy_begins_anew_without_carry() -> None:
    uniform = torch.rand(1, 1, 4, generator=seeded(2)).repeat(1, 5, 1)
    network = controller(carry=False)
    with torch.no_grad():
        network.heads[0].weight.mul_(100)
        network.heads[1].weight.mul_(100)
    found = network.sample(uniform)[0]
    assert (found == found[0]).all()
    network.carry = True
    carried = network.sample(uniform)[0]
    assert (carried[0] == found[0]).all()
    assert (carried != found).any()


def test_steps_are_those_of_adam() -> None:
    network, other = controller(entropy=0.1), controller(entropy=0.1)
    adam = torch.optim.Adam(other.parameters(), lr=3.5e-4)
    for step in range(4):
        policies = network.sample(torch.rand(8, 5, 4, generator=seeded(step)))
        advantages = torch.randn(8, generator=seeded(step))
        for one, gradient in zip(
            other.parameters(), other.gradient(policies, advantages), strict=True
        ):
            one.grad = gradient
        adam.step()
        network.learn(policies, advantages)
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-6)
    moved = network.heads[0].bias.detach().abs().max()
    assert 5e-4 < float(moved) < 4 * 3.6e-4


def entropy_on_a_bandit(updates: int, **settings: Any) -> tuple[float, float]:
    """Relative entropy and the hardest operation's share after updates on fixed difficulties."""
    view = made("AdversarialAutoAugment", update_every=1, **settings)
    generator = seeded(11)
    difficulty = torch.rand(15, generator=generator)
    difficulty[6] = 1.5
    for _ in range(updates):
        operations, magnitudes = view.chosen[..., 0::2], view.chosen[..., 1::2]
        hard = (difficulty[operations] * magnitudes / 9).mean((1, 2))
        view.observe(hard + 0.02 * torch.randn(len(hard), generator=generator))
    share = (view.chosen[..., 0::2] == 6).double().mean()
    return float(view.scores[1].mean()), float(share)


def test_the_controller_finds_the_hardest_operation() -> None:
    entropy, share = entropy_on_a_bandit(50, lr=3.5e-3)
    assert entropy < 0.5
    assert share > 0.5


@pytest.mark.slow
def test_policies_become_alike_unless_entropy_is_rewarded() -> None:
    # The published weight of entropy and learning rate: about 0.2 left after 200 updates.
    assert entropy_on_a_bandit(200)[0] < 0.5
    assert entropy_on_a_bandit(200, entropy=0.5)[0] > 0.9


# --- the copies -----------------------------------------------------------------------------

PLAIN = ("Posterize", 9)  # all 8 bits are kept
INVERT = ("Invert", 0)


def test_rows_are_policy_by_policy() -> None:
    x = torch.randint(0, 256, (5, 3, 6, 6), generator=seeded()) / 255
    y = torch.tensor([3, 1, 4, 1, 5])
    view = made("UniformPolicies", policies=3, subpolicies=1)
    written(view, [PLAIN, PLAIN], [PLAIN, INVERT], [("Solarize", 0), INVERT])
    found, targets = view(x, y, Stream(0))
    torch.testing.assert_close(found, torch.cat([x, 1 - x, x]))
    assert targets.tolist() == [3, 1, 4, 1, 5] * 3
    values = torch.randn(5)
    assert torch.equal(view(x, values, Stream(0))[1], values.repeat(3))
    shares = torch.rand(5, 10)
    assert torch.equal(view(x, shares, Stream(0))[1], torch.cat([shares] * 3))


def test_both_operations_are_applied_in_their_order() -> None:
    x = torch.full((1, 1, 4, 4), 200 / 255)
    dark = ("Brightness", 0)  # a tenth
    view = made("UniformPolicies", policies=2, subpolicies=1)
    written(view, [dark, INVERT], [INVERT, dark])
    found = view(x, torch.zeros(1), Stream(0))[0]
    assert (found * 255).round()[:, 0, 0, 0].tolist() == [235, 5]


def test_every_image_draws_one_of_the_sub_policies() -> None:
    view = made("UniformPolicies", policies=2, subpolicies=4)
    levels = [0, 2, 4, 6]
    one = [part for level in levels for part in (("Brightness", level), PLAIN)]
    written(view, one, one)
    x = torch.full((2000, 1, 3, 3), 100 / 255)
    found = (view(x, torch.zeros(2000), Stream(1))[0][:, 0, 0, 0] * 255).round().view(2, 2000)
    expected = [math.floor(100 * (0.1 + level / 9 * 1.8) + 1e-4) for level in levels]
    counts = torch.stack([(found == value).sum(1) for value in expected], 1)
    assert counts.sum(1).tolist() == [2000, 2000]
    assert float(((counts - 500).square() / 500).sum(1).max()) < 16.3  # 99.9 %, 3 degrees
    # The copies of an example draw for themselves: a quarter agrees.
    assert float((found[0] == found[1]).double().mean()) == pytest.approx(0.25, abs=0.05)


def test_signs_are_drawn_for_every_image() -> None:
    low, high, signed = OPERATIONS["TranslateX"]
    assert (low, high, signed) == (0, 0.45, True)
    x = torch.full((1000, 1, 10, 10), 1.0)
    view = written(made("UniformPolicies", policies=1, subpolicies=1), [("TranslateX", 4), PLAIN])
    found = view(x, torch.zeros(1000), Stream(0))[0]
    # By 2 of 10 columns, to the one side or to the other.
    left, right = found[:, 0, 0, 0] == 0, found[:, 0, 0, -1] == 0
    assert torch.equal(left, ~right)
    assert ((found == 0).sum((1, 2, 3)) == 20).all()
    assert float(left.double().mean()) == pytest.approx(0.5, abs=0.06)


def test_16_operations_pair_examples_and_say_so() -> None:
    view = written(
        made("UniformPolicies", policies=1, subpolicies=1, operations=16),
        [("SamplePairing", 9), PLAIN],
    )
    assert view.mixes
    assert not made("UniformPolicies").mixes
    x = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).repeat(20, 1, 4, 4)
    found = view(x, torch.zeros(40), Stream(0))[0]
    # 0.6 of its own and 0.4 of a partner's, which is of either kind.
    assert set((found * 255).round().unique().tolist()) == {0, 102, 153, 255}
    with pytest.raises(SettingError, match=r"operations must be 15, or 16 .* found 14"):
        made("UniformPolicies", operations=14)


def test_uniform_policies_are_uniform() -> None:
    view = made("UniformPolicies", policies=1000, operations=16, subpolicies=2)
    for places, count in ((slice(0, None, 2), 16), (slice(1, None, 2), STEPS)):
        counts = view.chosen[..., places].flatten().bincount(minlength=count).double()
        expected = 4000 / count
        assert len(counts) == count
        assert float(((counts - expected).square() / expected).sum()) < 37.7  # 99.9 %
    assert view.scores[0, 0] == pytest.approx(-4 * math.log(160))


# --- rewards and updates --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["UniformPolicies", "AdversarialAutoAugment"])
def test_new_policies_come_with_the_epoch_or_after_steps(name: str) -> None:
    by_epoch, by_steps = made(name), made(name, update_every=3)
    now: dict[str, list[Tensor]] = {"epoch": [], "steps": []}
    for _ in range(2):
        for _ in range(4):
            now["epoch"].append(by_epoch.chosen.clone())
            now["steps"].append(by_steps.chosen.clone())
            for view in (by_epoch, by_steps):
                view.observe(torch.rand(16, generator=seeded()))
        for view in (by_epoch, by_steps):
            view.end_epoch()

    def changes(found: list[Tensor]) -> list[int]:
        return [step for step, (a, b) in enumerate(pairwise(found), 1) if not torch.equal(a, b)]

    assert changes(now["epoch"]) == [4]
    assert changes(now["steps"]) == [3, 6]
    # Of the second epoch: the second policies' steps 5 and 6 of 8, and the third ones'.
    rows = by_steps.records()
    assert [(row["update"], row["steps"]) for row in rows[::8]] == [(1, 2), (2, 2)]
    assert {row["update"] for row in by_epoch.records()} == {1}


def test_rewards_are_mean_losses_since_the_last_update() -> None:
    view = made("AdversarialAutoAugment", policies=2, update_every=3)
    seen: list[Tensor] = []
    learn = view.controller.learn

    def note(policies: Tensor, advantages: Tensor) -> None:
        seen.append(advantages)
        learn(policies, advantages)

    view.controller.learn = note
    first = view.chosen.clone()
    view.observe(torch.tensor([1.0, 3.0, 0.0, 0.0]))
    view.observe(torch.tensor([2.0, 2.0, 5.0, 1.0]))
    view.end_epoch()
    view.observe(torch.tensor([5.0, 5.0, 3.0, 3.0]))
    view.end_epoch()
    # Means over rows: (2, 0), (2, 3), (5, 3); over steps 3 and 2, one epoch's and the next one's.
    # Deviation of (3, 2): sqrt(1/2).
    expected = 0.5 / (math.sqrt(0.5) + 1e-5)
    assert seen[0].tolist() == pytest.approx([expected, -expected])
    rows = view.records()
    assert [row["loss"] for row in rows] == [5, 3]
    assert [row["policy"] for row in rows] == [0, 1]
    choices = first.flatten(1)
    for policy, row in enumerate(rows):
        assert row["operations"] == [NAMES[one] for one in choices[policy, 0::2].tolist()]
        assert row["magnitudes"] == choices[policy, 1::2].tolist()
    assert json.loads(json.dumps(rows)) == rows


def test_running_baseline() -> None:
    view = made("AdversarialAutoAugment", policies=2, update_every=1, baseline="ema", decay=0.75)
    view.observe(torch.tensor([1.0, 3.0]))
    assert view.advantages(torch.tensor([1.0, 3.0])).tolist() == [-1, 1]
    view.observe(torch.tensor([4.0, 8.0]))
    assert float(view.running) == 0.75 * 2 + 0.25 * 6
    assert view.advantages(torch.tensor([4.0, 8.0])).tolist() == [1, 5]
    made("AdversarialAutoAugment", policies=1, baseline="ema").observe(torch.ones(4))
    with pytest.raises(SettingError, match="policies must be at least 2, found 1"):
        made("AdversarialAutoAugment", policies=1)


def test_figures_and_records_of_an_epoch() -> None:
    view = written(
        made("UniformPolicies", policies=2, subpolicies=1),
        [("Rotate", 9), ("Rotate", 3)],
        [("Rotate", 0), ("Color", 0)],
    )
    assert view.figures() == {}
    assert view.records() == []
    view.observe(torch.tensor([1.0, 1.0, 3.0, 5.0]))
    view.observe(torch.tensor([2.0, 2.0, 2.0, 2.0]))
    view.end_epoch()
    # Mean losses 1.5 and 3.
    expected = {"entropy": 1, "top_operation": 0.75, "magnitude": 3, "spread": 1.5 / math.sqrt(2)}
    assert view.figures() == pytest.approx(expected)
    assert [row["loss"] for row in view.records()] == [1.5, 3]
    assert [row["log_probability"] for row in view.records()] == pytest.approx(
        [-2 * math.log(150)] * 2
    )
    view.end_epoch()
    assert [row["loss"] for row in view.records()] == [None, None]
    assert "spread" not in view.figures()


def test_the_learned_view_knows_how_likely_its_policies_were() -> None:
    view = made("AdversarialAutoAugment")
    with torch.no_grad():
        expected = view.controller.score(view.chosen)
    view.observe(torch.rand(16, generator=seeded()))
    view.end_epoch()
    rows = view.records()
    assert [row["log_probability"] for row in rows] == expected.log_probability.tolist()
    assert view.figures()["entropy"] == pytest.approx(float(expected.relative.mean()))
    # Weights so small leave the choices nearly open.
    assert 0.99 < view.figures()["entropy"] <= 1


def test_a_step_does_not_wait_for_the_device() -> None:
    for settings in ({"update_every": 2}, {"update_every": 2, "baseline": "ema"}):
        view = made("AdversarialAutoAugment", tanh=2.5, temperature=5.0, **settings)
        losses = torch.rand(16, generator=seeded())
        with NoSync() as mode:
            for _ in range(4):
                view.observe(losses)
            view.end_epoch()
        assert mode.count > 100


@pytest.mark.parametrize("every", ["epoch", 3])
@pytest.mark.parametrize("name", ["UniformPolicies", "AdversarialAutoAugment"])
def test_resumed_equals_uninterrupted(name: str, every: str | int) -> None:
    def go_on(view: Any, epochs: range) -> list[Any]:
        found = []
        for epoch in epochs:
            for step in range(4):
                losses = torch.rand(16, generator=seeded(10 * epoch + step))
                view.observe(losses)
            view.end_epoch()
            found.append([view.records(), view.figures(), copied(view.state_dict())])
        return found

    settings = {"entropy": 0.1} if "Adv" in name else {}
    whole, resumed = (made(name, update_every=every, **settings) for _ in range(2))
    go_on(whole, range(2))
    resumed.load_state_dict(copied(whole.state_dict()))
    assert same(go_on(resumed, range(2, 5)), go_on(whole, range(2, 5)))


def test_seeds_differ() -> None:
    one, again, other = (made("AdversarialAutoAugment", seed) for seed in (1, 1, 2))
    assert same(one.state_dict(), again.state_dict())
    assert not torch.equal(one.chosen, other.chosen)
    assert not torch.equal(one.controller.cell.weight_hh, other.controller.cell.weight_hh)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"update_every": "epochs"}, 'update_every must be "epoch" or a number of steps'),
        ({"update_every": 0}, "at least 1, found 0"),
        ({"subpolicies": 0}, "subpolicies must be at least 1, found 0"),
        ({"lr": 0}, "lr must be above 0, found 0"),
        ({"entropy": -1}, "entropy must be at least 0, found -1"),
        ({"baseline": "mean"}, "baseline cannot be 'mean'"),
        ({"decay": 1.5}, "decay must be at most 1, found 1.5"),
        ({"carry": "no"}, "carry must be true or false, found 'no'"),
        ({"tanh": "x"}, "tanh must be a number"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError) as error:
        made("AdversarialAutoAugment", **settings)
    assert says in str(error.value)


# --- in a training --------------------------------------------------------------------------


def recipe(view: dict[str, Any], epochs: int = 3) -> dict[str, Any]:
    return {
        "seed": 5,
        "data": {"name": "Digits", "limit": 60},
        "architecture": {"name": "MLP", "hidden": [16]},
        "training": {"epochs": epochs, "batch_size": 16},
        "views": {"hard": view},
        "losses": {"main": {"view": "hard"}},
    }


LEARNED = {"name": "AdversarialAutoAugment", "policies": 3, "subpolicies": 2, "update_every": 2}


def test_a_training_learns_policies_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    def outcome(training: Training) -> list[Any]:
        found = training.epoch()
        return [found.metrics, found.records, copied(training.objective.state_dict())]

    whole = Training(recipe(LEARNED))
    start = copied(whole.objective.state_dict())
    # Three steps an epoch, and new policies every two.
    first = outcome(whole)
    assert [row["update"] for row in first[1]] == [0, 0, 0, 1, 1, 1]
    assert [row["steps"] for row in first[1]] == [2, 2, 2, 1, 1, 1]
    assert {row["view"] for row in first[1]} == {"hard"}
    assert {f"train/hard/{one}" for one in ("entropy", "top_operation", "magnitude", "spread")} <= {
        *first[0]
    }
    whole.save(tmp_path / "last.pt")
    resumed = Training(recipe(LEARNED))
    resumed.load(tmp_path / "last.pt")
    for _ in range(2):
        assert same(outcome(resumed), outcome(whole))
    moved = [
        name
        for name, one in whole.objective.state_dict().items()
        if ".controller." in name and not same(one, start[name])
    ]
    assert len([name for name in moved if "adam" not in name]) == 9


def test_reward_is_the_loss_that_is_trained_on() -> None:
    training = Training(recipe({"name": "UniformPolicies", "policies": 4}))
    found = training.epoch()
    rows = found.records
    # The mean over the copies of the mean over steps is the main loss's mean over steps.
    assert sum(row["loss"] for row in rows) / 4 == pytest.approx(found.metrics["train/loss"])


def test_a_training_on_a_replay_is_the_recorded_one(tmp_path: Path) -> None:
    learned = Training(recipe(LEARNED | {"lr": 0.1}))
    rows = [{"epoch": epoch} | row for epoch in (1, 2, 3) for row in learned.epoch().records]
    replay = {"name": "ReplayedPolicies", "file": write(tmp_path / "policies.jsonl", rows)}
    again = Training(recipe(replay))
    again.epoch()
    again.save(tmp_path / "last.pt")
    resumed = Training(recipe(replay))
    resumed.load(tmp_path / "last.pt")
    for training in (again, resumed):
        for _ in range(2):
            training.epoch()
        assert same(training.model.state_dict(), learned.model.state_dict())


# --- recordings -----------------------------------------------------------------------------


def epochs_of(view: Any, note: Callable[[dict[str, Any]], None] = lambda row: None) -> list[Tensor]:
    """Every step's rows of three epochs of five steps; records are noted as trials do."""
    batch, seen = random_batch(4), []
    for epoch in range(3):
        for step in range(5):
            seen.append(view(batch.x, batch.y, Stream(derive(epoch, step)))[0])
            view.observe(torch.rand(len(seen[-1]), generator=seeded(100 * epoch + step)))
        view.end_epoch()
        for row in view.records():
            note({"epoch": epoch + 1, "view": "hard"} | row)
    return seen


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("every", ["epoch", 2, 7])
@pytest.mark.parametrize("operations", [15, 16])
def test_a_replay_shows_what_was_recorded(
    every: str | int, operations: int, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = []
    original = made(
        "AdversarialAutoAugment",
        policies=3,
        subpolicies=2,
        lr=0.1,
        operations=operations,
        update_every=every,
    )
    seen = epochs_of(original, rows.append)
    file = write(tmp_path / "policies.jsonl", rows)
    replayed: list[dict[str, Any]] = []
    view = made("ReplayedPolicies", file=file)
    again = epochs_of(view, replayed.append)
    assert all(torch.equal(a, b) for a, b in zip(again, seen, strict=True))
    assert any(not torch.equal(a, b) for a, b in pairwise(seen))
    # Only how likely a policy was is not known.
    assert replayed == [row | {"log_probability": None} for row in rows]
    assert "entropy" not in view.figures()
    # Afterwards the last ones stay.
    last = view.chosen.clone()
    view.observe(torch.ones(12))
    view.end_epoch()
    assert torch.equal(view.chosen, last)
    assert view.chosen.flatten(1)[0, 1::2].tolist() == rows[-3]["magnitudes"]


def test_a_replay_resumes_where_it_was(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    epochs_of(made("UniformPolicies", policies=2, update_every=2), rows.append)
    file = write(tmp_path / "policies.jsonl", rows)
    view, resumed = made("ReplayedPolicies", file=file), made("ReplayedPolicies", file=file)
    for _ in range(3):
        view.observe(torch.ones(8))
    resumed.load_state_dict(copied(view.state_dict()))
    assert resumed.epoch == 0
    assert resumed.part == 1
    for _ in range(2):
        for one in (view, resumed):
            one.observe(torch.ones(8))
            one.end_epoch()
        assert same(view.state_dict(), resumed.state_dict())
    fresh = made("ReplayedPolicies", file=file)
    assert torch.equal(fresh.recorded, view.recorded)


def test_fewer_policies_of_a_recording(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    epochs_of(made("UniformPolicies", policies=3), rows.append)
    file = write(tmp_path / "policies.jsonl", rows)
    found = made("ReplayedPolicies", file=file, policies=2)
    assert found.copies == 2
    assert torch.equal(found.chosen, made("ReplayedPolicies", file=file).chosen[:2])
    with pytest.raises(SettingError, match="policies must be at most the 3 recorded ones, found 4"):
        made("ReplayedPolicies", file=file, policies=4)


def rows_of(trial: str, view: str = "hard", seed: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    epochs_of(made("UniformPolicies", seed, policies=2, subpolicies=2), found.append)
    return [row | {"trial_id": trial, "view": view} for row in found]


def test_a_table_of_several_trials_and_views(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = rows_of("s-0001") + rows_of("s-0001", "harder", 1) + rows_of("s-0002", seed=2)
    file = str(tmp_path / "policies.parquet")
    parquet.write_table(pa.Table.from_pylist(rows), file)
    for settings, seed in (
        ({"trial": "s-0001", "view": "hard"}, 0),
        ({"trial": "s-0001", "view": "harder"}, 1),
        ({"trial": "s-0002"}, 2),
    ):
        found = made("ReplayedPolicies", file=file, **settings)
        expected = made("UniformPolicies", seed, policies=2, subpolicies=2)
        assert torch.equal(found.chosen, expected.chosen)
    for settings, says in (
        ({}, "trial cannot be ''. Known: s-0001, s-0002."),
        ({"trial": "s-0003"}, "trial cannot be 's-0003'. Did you mean"),
        ({"trial": "s-0001"}, "view cannot be ''. Known: hard, harder."),
        ({"trial": "s-0002", "view": "x"}, "view cannot be 'x'. Known: hard."),
    ):
        with pytest.raises(SettingError) as error:
            made("ReplayedPolicies", file=file, **settings)
        assert says in str(error.value)


def test_epochs_that_a_trial_repeated_and_a_line_cut_off(tmp_path: Path) -> None:
    rows = rows_of("s-0001")
    lines = [json.dumps(row) for row in rows]
    cut = [*lines[:3], lines[3][:20], *lines[2:]]
    (tmp_path / "policies.jsonl").write_text("\n".join(cut))
    found = made("ReplayedPolicies", file=str(tmp_path / "policies.jsonl"))
    whole = made("ReplayedPolicies", file=write(tmp_path / "whole.jsonl", rows))
    assert torch.equal(found.recorded, whole.recorded)


def changed(place: int, **values: Any) -> list[dict[str, Any]]:
    rows = rows_of("t")
    rows[place] |= values
    return rows


def in_one_epoch() -> list[dict[str, Any]]:
    return [row | {"epoch": 1, "steps": None} for row in rows_of("t")]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (list, "holds no policies"),
        (lambda: changed(0, operations=None), "found one without operations"),
        (
            lambda: changed(1, operations=["Rotat", *["Invert"] * 3]),
            "epoch 1, update 0 has an unknown operation 'Rotat'. Did you mean 'Rotate'?",
        ),
        (lambda: changed(0, magnitudes=[1, 2, 3, 10]), "a magnitude must be 0 to 9, found 10"),
        (lambda: changed(0, magnitudes=[1, 2, 3]), "found 4 operations and 3 magnitudes"),
        (
            lambda: changed(0, operations=["Invert"] * 2, magnitudes=[1, 2]),
            "found 2 policies of [1, 2] sub-policies",
        ),
        (lambda: changed(0, policy=2), "without a gap, found [1, 2]"),
        (lambda: rows_of("t")[:2] + rows_of("t")[4:], "must have every epoch, found none of [2]"),
        (lambda: rows_of("t")[:-1], "update 2 must have as many policies"),
        (in_one_epoch, "epoch 1 has 3 updates and must say in a column steps for how many"),
    ],
)
def test_what_is_no_recording_is_refused(
    rows: Callable[[], list[dict[str, Any]]], says: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "policies.jsonl", rows())
    with pytest.raises(SettingError) as error:
        made("ReplayedPolicies", file=file)
    assert says in str(error.value)


def test_where_there_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"file must be the absolute path .* found ''"):
        made("ReplayedPolicies")
    with pytest.raises(SettingError, match=r"found 'policies\.jsonl'"):
        made("ReplayedPolicies", file="policies.jsonl")
    with pytest.raises(MissingDataError, match="is not there"):
        made("ReplayedPolicies", file=str(tmp_path / "policies.parquet"))
    (tmp_path / "broken.parquet").write_text("no table")
    with pytest.raises(SettingError, match=r"broken\.parquet cannot be read"):
        made("ReplayedPolicies", file=str(tmp_path / "broken.parquet"))


# --- several processes ----------------------------------------------------------------------


def learn_in_a_process(rank: int, losses: Tensor, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.save(learned_from(losses[:, :, rank * 4 : rank * 4 + 4]), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def learned_from(losses: Tensor) -> list[Tensor]:
    """The policies in force in every step, from losses [steps, m, b] of a process's rows."""
    view = made("AdversarialAutoAugment", policies=3, update_every=2, lr=0.05)
    found = []
    for step in losses:
        found.append(view.chosen)
        view.observe(step.flatten())
    return [*found, view.controller.heads[0].bias.detach()]


@pytest.mark.slow
def test_processes_share_rewards_and_policies(tmp_path: Path) -> None:
    losses = torch.rand(8, 3, 8, generator=seeded())
    torch.multiprocessing.spawn(learn_in_a_process, (losses, str(tmp_path)), nprocs=2, join=True)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    alone = learned_from(losses)
    for found in (first, second):
        assert all(torch.equal(a, b) for a, b in zip(found[:-1], alone[:-1], strict=True))
        torch.testing.assert_close(found[-1], alone[-1])
    # A process by itself would have gone another way.
    half = learned_from(losses[:, :, :4])
    assert any(not torch.equal(a, b) for a, b in zip(half, alone, strict=True))
