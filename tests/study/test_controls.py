"""Controls: what each of them trains, when it is decided on, and that nothing of it is lost."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.events import Event, read
from analysis.export import tables
from analysis.history import fold
from analysis.notes import course_notes
from study import life, standing
from study.conductor import Conductor, Trial, plan
from study.controls import (
    CONTROLS,
    Measured,
    NoControlError,
    as_long,
    checked,
    foreseen,
    kept,
    replayed,
    with_random_weights,
    without_auxiliary,
)
from study.ledger import Ledger
from study.plan import Cost, reckon
from study.spec import Study, extended, load, parse
from study.tally import Tally
from trainables.core.errors import SettingError
from trainables.core.recipe import resolve, schedule
from trainables.core.training import Training

from .in_process import TINY, Runner, begin, curves, opened, tiny

Tree = dict[str, Any]


def recipe(weighter: Any = "CoV", **changes: Any) -> Tree:
    """A resolved recipe of two losses on a small part of Digits."""
    plain: Tree = {
        "seed": 0,
        "data": {"name": "Digits", "limit": 150},
        "architecture": {"name": "MLP", "hidden": [16], "dropout": 0.0},
        "training": {
            "epochs": 2,
            "batch_size": 40,
            "optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9},
        },
        "views": {"noisy": {"name": "GaussianNoise", "sigma": 0.3}},
        "losses": {"kl": {"name": "Consistency", "view": "noisy", "coefficient": 0.7}},
        "weighter": weighter,
    }
    for key, value in changes.items():
        plain[key] = plain[key] | value
    return resolve(plain)


def trained(of: Tree) -> Training:
    training = Training(of)
    for _ in range(training.epochs):
        training.reports.append(training.epoch().__dict__)
    return training


def parameters(of: Training) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in of.model.parameters()])


def measured(of: Training) -> Measured:
    """What a conductor would note of it."""
    weights: dict[str, list[float]] = {}
    for report in of.reports:
        for loss, row in report["weights"].items():
            weights.setdefault(loss, []).append(row["weight"])
    means = {loss: sum(values) / len(values) for loss, values in weights.items()}
    return Measured(1.0, means)


# What is trained


def test_coefficient_0_is_plain_training_at_the_arms_own_settings() -> None:
    # Apart, because one pass over both views adds up in another order.
    given = recipe(training={"forward": "separate"})
    found = without_auxiliary(given)
    assert found["losses"]["kl"]["coefficient"] == 0.0
    assert found["losses"]["main"] == given["losses"]["main"]
    assert found["weighter"]["name"] == "Fixed"
    assert {key: found[key] for key in ("seed", "data", "training", "views")} == {
        key: given[key] for key in ("seed", "data", "training", "views")
    }
    plain = resolve(given | {"views": {}, "losses": {}, "weighter": "Fixed"})
    assert torch.equal(parameters(trained(found)), parameters(trained(plain)))
    assert not torch.equal(parameters(trained(given)), parameters(trained(plain)))


def test_coefficient_0_keeps_the_draws_of_the_arm() -> None:
    # What the batch goes through first is drawn from the same stream as the views.
    augment = {"augment": [{"name": "GaussianNoise", "sigma": 0.1}], "forward": "separate"}
    given = recipe("Fixed", training=augment)
    tiny_coefficient = copy.deepcopy(given)
    tiny_coefficient["losses"]["kl"]["coefficient"] = 1e-6
    near, there = trained(resolve(tiny_coefficient)), trained(without_auxiliary(given))
    assert torch.allclose(parameters(near), parameters(there), atol=1e-5)


def test_coefficient_0_keeps_what_a_constant_weighter_does_to_the_main_loss() -> None:
    halves = recipe({"name": "Fixed", "normalise": "one"})
    assert without_auxiliary(halves)["weighter"] == halves["weighter"]
    capped = without_auxiliary(recipe({"name": "CoV", "max_loss": 5.0, "warmup": 7}))["weighter"]
    assert (capped["name"], capped["max_loss"], capped["warmup"]) == ("Fixed", 5.0, 0)
    # A weighter's own setting of that name is none of the option.
    assert without_auxiliary(recipe({"name": "LossTracker", "max_loss": 5.0}))["weighter"][
        "max_loss"
    ] == pytest.approx(0.0)


def test_an_arm_without_auxiliary_losses_has_no_coefficient_to_be_0() -> None:
    adversarial = recipe("Fixed")
    adversarial["losses"] = {"main": {"name": "CrossEntropy", "view": "noisy"}}
    with pytest.raises(
        NoControlError, match="no auxiliary loss; what sets it apart is in its main"
    ):
        without_auxiliary(resolve(adversarial))


# Weights 1 until step 1000, whatever the weighter learns, and as `normalise` says.
@pytest.mark.parametrize(
    ("options", "exact"),
    [({}, True), ({"normalise": "one"}, True), ({"normalise": "k", "protect_main": True}, True)],
)
def test_replaying_constant_weights_is_the_same_training_bit_for_bit(
    options: Tree, exact: bool
) -> None:
    given = recipe({"name": "CoV", "warmup": 1000} | options)
    one = trained(given)
    found = replayed(given, measured(one))
    assert found["weighter"] == resolve(recipe("Fixed"))["weighter"]
    half = 0.5 if options.get("normalise") == "one" else 1.0
    assert found["losses"]["kl"]["coefficient"] == 0.7 * half
    assert torch.equal(parameters(trained(found)), parameters(one)) is exact


def test_replaying_thirds_is_the_same_training_to_rounding() -> None:
    given = recipe(
        {"name": "CoV", "warmup": 1000, "normalise": "one"},
        losses={"noisy": {"name": "CrossEntropy", "view": "noisy", "coefficient": 1.0}},
    )
    one = trained(given)
    again = trained(replayed(given, measured(one)))
    assert torch.allclose(parameters(again), parameters(one), atol=1e-6)


def test_replay_multiplies_coefficients_by_mean_weights() -> None:
    found = replayed(recipe(), Measured(1.0, {"main": 0.25, "kl": 3.0}))
    assert found["losses"]["main"]["coefficient"] == 0.25
    assert found["losses"]["kl"]["coefficient"] == pytest.approx(2.1)


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ({"main": 1.0, "kl": -0.5}, "mean weight of kl is -0.5"),
        ({"main": 1.0, "kl": math.nan}, "weight of kl was not reported"),
        ({"main": 1.0}, "weight of kl was not reported"),
    ],
)
def test_what_no_constant_can_replay_is_said(weights: dict[str, float], why: str) -> None:
    with pytest.raises(NoControlError, match=why):
        replayed(recipe(), Measured(1.0, weights))


@pytest.mark.parametrize("name", ["Fixed", "RandomWeights"])
def test_weighters_that_adapt_nothing_are_not_replaced(name: str) -> None:
    own = Measured(1.0, {"main": 1.0, "kl": 1.0})
    for control in (replayed, with_random_weights):
        with pytest.raises(NoControlError, match=f"its weighter is {name}"):
            control(recipe(name), own)


@pytest.mark.parametrize(
    ("weighter", "total"),
    [("DynamicWeightAverage", 2.0), ("CoV", 1.0), ({"name": "CoV", "normalise": "k"}, 2.0)],
)
def test_random_weights_sum_to_what_the_weighters_sum_to(weighter: Any, total: float) -> None:
    given = recipe(weighter)
    one = trained(given)
    assert sum(measured(one).weights.values()) == pytest.approx(total, rel=1e-5)
    found = with_random_weights(given, measured(one))
    again = trained(found)
    assert found["weighter"]["name"] == "RandomWeights"
    scale = found["losses"]["main"]["coefficient"]
    assert found["losses"]["kl"]["coefficient"] == pytest.approx(0.7 * scale)
    sums = {sum(row["weight"] for row in report["weights"].values()) for report in again.reports}
    assert [scale * one for one in sums] == pytest.approx([total] * len(sums), rel=1e-5)


def test_random_weights_leave_a_protected_main_loss_alone() -> None:
    two = recipe(
        {"name": "CoV", "protect_main": True},
        losses={"noisy": {"name": "CrossEntropy", "view": "noisy", "coefficient": 1.0}},
    )
    found = with_random_weights(two, Measured(1.0, {"main": 1.0, "kl": 0.1, "noisy": 0.3}))
    assert (
        found["weighter"]
        == resolve(recipe({"name": "RandomWeights", "protect_main": True, "normalise": "one"}))[
            "weighter"
        ]
    )
    assert {label: one["coefficient"] for label, one in found["losses"].items()} == {
        "main": 1.0,
        "kl": pytest.approx(0.28),
        "noisy": pytest.approx(0.4),
    }
    with pytest.raises(NoControlError, match="main loss is protected"):
        with_random_weights(
            recipe({"name": "CoV", "protect_main": True}), Measured(1.0, {"main": 1.0, "kl": 1.0})
        )


def test_no_random_weights_sum_to_less_than_nothing() -> None:
    with pytest.raises(NoControlError, match=r"its weights sum to -0\.5 on average"):
        with_random_weights(recipe(), Measured(1.0, {"main": 0.5, "kl": -1.0}))


def test_the_baseline_gets_the_arms_time_and_its_schedule_is_stretched() -> None:
    base = recipe("Fixed", training={"epochs": 4, "schedule": {"name": "Cosine"}})
    base["training"]["schedule"]["warmup_epochs"] = 1.0
    found = as_long(base, Measured(2.0, {}), Measured(4.9, {}))
    assert found["training"]["epochs"] == 10  # 4 * 2.45 = 9.8
    assert found["training"]["schedule"]["warmup_epochs"] == 2.5
    assert found | {"training": 0} == base | {"training": 0}
    factor = schedule(found["training"]["schedule"])
    assert factor(0.5) == schedule(base["training"]["schedule"])(0.5)


@pytest.mark.parametrize(("seconds", "longer"), [(2.09, None), (2.2, None), (2.26, 5), (1.0, None)])
def test_a_baseline_that_needs_no_more_epochs_has_no_such_control(
    seconds: float, longer: int | None
) -> None:
    base = recipe("Fixed", training={"epochs": 4})
    if longer:
        found = as_long(base, Measured(2.0, {}), Measured(seconds, {}))
        assert found["training"]["epochs"] == longer
    else:
        with pytest.raises(NoControlError, match="times as long as the baseline"):
            as_long(base, Measured(2.0, {}), Measured(seconds, {}))


def test_parameters_that_a_control_changed_are_no_longer_those_that_were_drawn() -> None:
    given = recipe({"name": "DynamicWeightAverage", "temperature": 3.0})
    drawn = {
        "training/optimizer/lr": 0.1,
        "losses/kl/coefficient": 0.7,
        "weighter/temperature": 3.0,
        "weighter": "DynamicWeightAverage",
    }
    assert kept(drawn, given, without_auxiliary(given)) == {"training/optimizer/lr": 0.1}
    assert kept(drawn, given, given) == drawn


# Which arms have which


def arm(weighter: Any = "Fixed", *auxiliary: str) -> Tree:
    return {"losses": {label: {} for label in ("main", *auxiliary)}, "weighter": weighter}


@pytest.mark.parametrize(
    ("tree", "reference", "expected"),
    [
        ({}, True, ""),
        (arm(), False, "matched_compute"),
        (arm("Fixed", "kl"), True, "coefficient_0"),
        (arm("fixed", "kl"), False, "coefficient_0 matched_compute"),
        (arm({"name": "random_weights"}, "kl"), False, "coefficient_0 matched_compute"),
        (arm("CoV", "kl"), False, " ".join(CONTROLS)),
        (arm({"values": ["Fixed", {"name": "CoV"}]}, "kl"), False, " ".join(CONTROLS)),
        (arm({"values": ["Fixed", "RandomWeights"]}, "kl"), True, "coefficient_0"),
    ],
)
def test_controls_that_an_arm_can_have(tree: Tree, reference: bool, expected: str) -> None:
    assert foreseen(CONTROLS, tree, reference) == expected.split()
    assert foreseen(["replay"], tree, reference) == ["replay"] * ("replay" in expected)


def test_controls_are_checked_and_have_one_order() -> None:
    assert checked(["replay", "coefficient_0"]) == ["coefficient_0", "replay"]
    assert checked([]) == []
    with pytest.raises(SettingError, match=r"controls\.1 must be one of .* Did you mean 'replay'"):
        checked(["coefficient_0", "replays"])
    with pytest.raises(SettingError, match="names 'replay' twice"):
        checked(["replay", "replay"])


def test_a_study_without_controls_is_written_as_before_and_one_with_them_reads_back() -> None:
    plain = study(controls=[])
    assert plain.resolved()["confirm"] == {"top": 1, "seeds": 2}
    assert Study.from_resolved(plain.resolved()).confirm.controls == []
    asked = study(controls=["replay", "coefficient_0"])
    assert asked.resolved()["confirm"]["controls"] == ["coefficient_0", "replay"]
    again = Study.from_resolved(json.loads(json.dumps(asked.resolved())))
    assert again.resolved() == asked.resolved()
    with pytest.raises(SettingError, match=r"confirm\.seeds must be at least 1, found 0"):
        parse(FILE | {"confirm": {"seeds": 0, "controls": ["replay"]}})
    with pytest.raises(SettingError, match=r"confirm\.controls"):
        parse(FILE | {"confirm": {"controls": "replay"}})


def test_controls_can_be_added_but_not_taken_away() -> None:
    old, new = study(controls=["replay"]), study(controls=["replay", "coefficient_0"])
    assert extended(old, new).confirm.controls == ["coefficient_0", "replay"]
    with pytest.raises(SettingError, match=r"controls can only grow: coefficient_0 cannot"):
        extended(new, old)


# How a study goes about it

FILE: Tree = {
    "study": "tiny",
    "data": {"name": "Digits"},
    "training": {
        "epochs": 4,
        "optimizer": {"name": "SGD", "lr": {"low": 0.01, "high": 1.0, "log": True, "default": 0.1}},
    },
    "arms": {
        "baseline": {},
        "kl": {"preset": "gaussian_kl", "weighters": ["Fixed", "CoV"]},
        "adversarial": "adversarial_training",
    },
    "search": {"sampler": "random", "trials_per_arm": 2},
    "schedule": {"name": "none"},
    "confirm": {"top": 1, "seeds": 2},
}
# Seconds of training an epoch, by arm: the baseline's time fits 1.1, 2 and 3.5 times into others.
SECONDS = {
    "baseline × Fixed": 1.0,
    "kl × Fixed": 1.02,
    "kl × CoV": 2.0,
    "adversarial × Fixed": 3.6,
}


def study(controls: Any = CONTROLS, **changes: Any) -> Study:
    return parse(FILE | {"confirm": FILE["confirm"] | {"controls": list(controls)}} | changes)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Conductor]]:
    """A conductor of a new study, or of what the ledger in the folder says."""
    with ExitStack() as stack:

        def conductor(of: Study, folder: str = "study") -> Conductor:
            path = tmp_path / folder
            if not (path / "ledger.jsonl").exists():
                first = {"schema_version": 2, "study": of.study, "study_id": of.study_id}
                Ledger.create(path, first).close()
            return Conductor(of, stack.enter_context(Ledger.open(path)))

        yield conductor


def report(trial: Trial) -> Tree:
    """The trial's next epoch: better the nearer its rate is to 0.1; weights that grow."""
    epoch = trial.epoch + 1
    rate = trial.recipe["training"]["optimizer"]["lr"]
    value = 0.5 - 0.2 * abs(math.log10(rate) + 1) + 0.01 * epoch
    losses = list(trial.recipe["losses"])
    weights = {loss: {"weight": 0.1 * epoch + 0.5 * i} for i, loss in enumerate(losses)}
    return {
        "epoch": epoch,
        "metrics": {"validation/accuracy": value},
        "weights": weights,
        "evaluations": [],
        "train_s": SECONDS[trial.arm.name],
        "eval_s": 0.5,
        "summary": None,
    }


def train(conductor: Conductor, trial: Trial) -> None:
    conductor.started(trial.number)
    while conductor.report(trial.number, report(trial)):
        pass


def finish(conductor: Conductor) -> Conductor:
    while (trial := conductor.next()) is not None:
        train(conductor, trial)
    assert conductor.finished
    return conductor


def of(conductor: Conductor, kind: str) -> list[Event]:
    return [one for one in conductor.ledger.events if one["event"] == kind]


def told(conductor: Conductor) -> Tally:
    """What a reader of the ledger counts."""
    tally = Tally(conductor.study.resolved())
    tally.extend(conductor.ledger.events)
    return tally


def test_each_confirmed_configuration_is_controlled_on_its_seeds(make: Any) -> None:
    conductor = finish(make(study()))
    controls = [one for one in conductor.trials if one.phase == "control"]
    found = Counter((one.control, one.arm.name, one.place) for one in controls)
    winners = {name: one for name, (one,) in of(conductor, "confirming")[0]["winners"].items()}
    fixed, cov = winners["kl × Fixed"], winners["kl × CoV"]
    assert found == {
        ("coefficient_0", "kl × Fixed", fixed): 2,
        ("coefficient_0", "kl × CoV", cov): 2,
        ("random_weights", "kl × CoV", cov): 2,
        ("replay", "kl × CoV", cov): 2,
        ("matched_compute", "baseline × Fixed", cov): 2,
        ("matched_compute", "baseline × Fixed", winners["adversarial × Fixed"]): 2,
    }
    assert {one.seed for one in controls} == {1000, 1001}
    assert conductor.expected == len(conductor.trials) == 8 + 8 + 12
    assert {one.state for one in controls} == {"COMPLETE"}
    for one in controls:
        end = json.loads(plan(conductor, one, "", ""))
        assert (end["test"], end["probe_at"]) == (True, [])


def test_what_cannot_be_is_on_record_with_its_reason(make: Any) -> None:
    conductor = finish(make(study()))
    out = {(one["control"], one["arm"], one["weighter"]): one["why"] for one in
           of(conductor, "controlling") if one["recipe"] is None}  # fmt: skip
    assert set(out) == {
        ("coefficient_0", "adversarial", "Fixed"),
        ("matched_compute", "kl", "Fixed"),
    }
    assert out["matched_compute", "kl", "Fixed"].startswith("it trains 1.02 times as long")
    notes = course_notes(fold(conductor.ledger.events))
    assert notes[0].startswith("adversarial × Fixed has no control coefficient_0: it has no aux")
    assert len(notes) == 2


def test_recipes_of_controls_by_hand(make: Any) -> None:
    conductor = finish(make(study()))
    by = {(one.control, one.place): one for one in conductor.trials if one.seed == 1000}
    cov = of(conductor, "confirming")[0]["winners"]["kl × CoV"][0]
    of_arm = conductor.trials[cov].recipe
    coefficient = of_arm["losses"]["kl"]["coefficient"]
    # Weights 0.1, 0.2, 0.3, 0.4 of the main loss; half more of the other.
    replay = by["replay", cov].recipe
    assert replay["losses"]["main"]["coefficient"] == pytest.approx(0.25)
    assert replay["losses"]["kl"]["coefficient"] == pytest.approx(0.75 * coefficient)
    random = by["random_weights", cov].recipe
    assert random["losses"]["main"]["coefficient"] == pytest.approx(1.0)
    assert random["weighter"]["name"] == "RandomWeights"
    longer = by["matched_compute", cov]
    assert (longer.epochs, longer.epoch, longer.state) == (8, 8, "COMPLETE")
    adversarial = of(conductor, "confirming")[0]["winners"]["adversarial × Fixed"][0]
    assert by["matched_compute", adversarial].epochs == 14  # 3.6 * 4 = 14.4
    baseline = of(conductor, "confirming")[0]["winners"]["baseline × Fixed"][0]
    assert longer.params == conductor.trials[baseline].params
    assert "losses/kl/coefficient" not in by["coefficient_0", cov].params
    assert longer.name == f"{longer.number:04d} baseline × Fixed (matched_compute) seed 1000"


def test_search_and_confirmation_are_those_of_the_study_without_controls(make: Any) -> None:
    without, with_ = finish(make(study([]))), finish(make(study(), "other"))
    plain = [one | {"time": ""} for one in without.ledger.events[1:]]
    more = [one | {"time": ""} for one in with_.ledger.events[1:]]
    assert more[: len(plain)] == plain
    assert more[len(plain)]["event"] == "controlling"
    assert all("control" not in one for one in plain)
    assert without.expected == told(without).expected == len(without.trials)


def test_controls_wait_for_what_they_follow_from(make: Any) -> None:
    conductor = make(study(["coefficient_0", "replay", "matched_compute"]))
    while (trial := conductor.next()) is not None and trial.phase == "search":
        train(conductor, trial)
    confirmed = [trial, *(conductor.next() for _ in range(7))]
    assert {one.phase for one in confirmed} == {"confirm"}
    # Nothing is known yet but what needs no report.
    early = [conductor.next() for _ in range(4)]
    assert {one.control for one in early} == {"coefficient_0"}
    assert conductor.next() is None
    assert not conductor.finished
    for one in confirmed[:-1]:
        train(conductor, one)
    # The last confirmed trial is of the adversarial arm, whose time is not known yet.
    later = []
    while (trial := conductor.next()) is not None:
        later.append(trial)
    assert Counter(one.control for one in later) == {"replay": 2, "matched_compute": 2}
    assert not conductor.finished
    train(conductor, confirmed[-1])
    assert conductor.next().control == "matched_compute"


def test_arms_whose_confirmation_failed_have_no_controls_from_it(make: Any) -> None:
    conductor = make(study(["coefficient_0", "replay", "matched_compute"]))
    while (trial := conductor.next()) is not None:
        if trial.phase == "confirm" and trial.arm.name == "kl × CoV":
            conductor.failed(trial.number, "ValueError", "no")
        else:
            train(conductor, trial)
    assert conductor.finished
    why = {(one["control"], one["weighter"]): one["why"] for one in of(conductor, "controlling")
           if one["arm"] == "kl"}  # fmt: skip
    assert why["replay", "CoV"] == "no confirmed trial of kl × CoV trained to its end"
    assert why["matched_compute", "CoV"] == why["replay", "CoV"]
    assert why["coefficient_0", "CoV"] == ""
    assert told(conductor).expected == len(conductor.trials)


def story(path: Path) -> list[Event]:
    """What happened, without clocks and without what a second driver adds."""
    return [
        {key: value for key, value in one.items() if key != "time"}
        for one in read(path)
        if one["event"] not in ("started", "settled")
    ]


def test_a_study_cut_off_after_any_event_ends_as_if_it_had_not_been(
    make: Any, tmp_path: Path
) -> None:
    asked = study(
        training=FILE["training"] | {"epochs": 2},
        arms={"baseline": {}, "kl": {"preset": "gaussian_kl", "weighters": ["CoV"]}},
        search=FILE["search"] | {"trials_per_arm": 1},
        confirm={"top": 1, "seeds": 1, "controls": list(CONTROLS)},
    )
    whole = finish(make(asked)).ledger.path
    lines = whole.read_bytes().splitlines(keepends=True)
    expected = story(whole)
    assert sum(one["event"] == "controlling" for one in expected) == 4
    assert sum(one.get("phase") == "control" for one in expected) == 4
    # The search, and epochs, are cut in the conductor's own tests.
    kinds = [one["event"] for one in read(whole)]
    first = kinds.index("confirming")
    for cut in (i for i in range(first, len(lines)) if kinds[i - 1] not in ("report", "started")):
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / "ledger.jsonl").write_bytes(
            b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2]
        )
        with Ledger.open(folder) as ledger:
            later = Conductor(asked, ledger)
            later.settle()
            finish(later)
        assert story(folder) == expected, f"after line {cut}"
        shutil.rmtree(folder)


def test_what_is_expected_is_what_comes_and_the_same_for_all_who_count(make: Any) -> None:
    conductor = make(study())
    # Two of the six kinds turn out to have no control: a note, and 1.02 times as long.
    assert conductor.expected == told(conductor).expected == 8 + 8 + 2 * 7
    while (trial := conductor.next()) is not None:
        if trial.phase != "search":
            assert told(conductor).expected == conductor.expected
        train(conductor, trial)
    tally = told(conductor)
    assert tally.expected == tally.ended == conductor.expected == len(conductor.trials) == 28
    name = ("kl", "CoV")
    assert (tally.controls(name), len(tally.controls_of(name))) == (8, 8)
    assert tally.last is not None
    assert tally.eta(tally.last) == (0.0, True)
    # Of the better values of controls an arm has nothing.
    best = max(
        one.value for one in conductor.trials if one.arm.arm == "baseline" and not one.control
    )
    assert tally.best(("baseline", "Fixed"), "validation/accuracy") == best


def grown(conductor: Conductor, make: Any, asked: Study) -> Conductor:
    """The same study, asked for more, with a driver of its own."""
    conductor.ledger.append("extended", changes=[], study=asked.resolved())
    later: Conductor = make(asked)
    later.settle()
    return later


def phases(conductor: Conductor) -> Counter[str]:
    return Counter(
        f"{one.phase} {one.control}"
        for one in fold(conductor.ledger.events).in_order()
        if one.control
    )


def test_controls_that_are_added_later_are_those_of_a_study_that_had_them(make: Any) -> None:
    late = grown(finish(make(study([]))), make, study())
    assert not late.finished
    assert late.expected == told(late).expected
    finish(late)
    early = finish(make(study(), "other"))
    mine = [(one.control, one.place, one.seed, one.recipe) for one in late.trials]
    assert mine == [(one.control, one.place, one.seed, one.recipe) for one in early.trials]
    assert told(late).expected == len(late.trials)


def test_more_seeds_keep_the_controls_that_there_are(make: Any) -> None:
    begun = finish(make(study()))
    before = {(one.control, one.place): one.group for one in begun.trials if one.control}
    more = study(confirm={"seeds": 3, "controls": list(CONTROLS)})
    later = finish(grown(begun, make, more))
    controls = [one for one in later.trials if one.control]
    assert {(one.control, one.place): one.group for one in controls} == before
    assert Counter(one.seed for one in controls) == {1000: 6, 1001: 6, 1002: 6}
    assert "superseded" not in str(phases(later))
    assert later.expected == told(later).expected == len(later.trials)


def test_controls_of_another_winner_supersede_those_of_the_first(make: Any) -> None:
    asked = study(search={"sampler": "random", "trials_per_arm": 1})
    begun = finish(make(asked))
    first = begun._winners["baseline × Fixed"]
    # The default has the best rate of all: only another seed of the search would beat it.
    wider = study(search={"sampler": "random", "trials_per_arm": 2})
    later = grown(begun, make, wider)
    while (trial := later.next()) is not None and trial.phase == "search":
        later.started(trial.number)
        better = trial.arm.arm == "baseline"
        while later.report(trial.number, report(trial) | {
            "metrics": {"validation/accuracy": 0.99 if better else 0.01}
        }):  # fmt: skip
            pass
    assert trial is not None
    train(later, trial)
    finish(later)
    assert later._winners["baseline × Fixed"] != first
    found = phases(later)
    # The baseline that trains as long is another one; the arms' own controls stay.
    assert found["superseded matched_compute"] == found["control matched_compute"] == 4
    assert found["control replay"] == 2
    assert found["superseded replay"] == 0
    assert later.expected == told(later).expected == len(later.trials)


def test_more_epochs_take_constant_controls_further_and_decide_on_the_others_again(
    make: Any,
) -> None:
    constant = FILE["training"] | {"schedule": "Constant"}
    begun = finish(make(study(training=constant)))
    later = grown(begun, make, study(training=constant | {"epochs": 6}))
    finish(later)
    found = phases(later)
    assert found["control coefficient_0"] == 4
    assert found["superseded coefficient_0"] == 0
    for control in ("random_weights", "replay"):
        assert found[f"control {control}"] == found[f"superseded {control}"] == 2
    assert found["control matched_compute"] == found["superseded matched_compute"] == 4
    now = [one for one in later.trials if one.control and one.state == "COMPLETE"]
    # 2 and 3.6 times the epochs that all have now, and those of before.
    assert {one.epoch for one in now if one.control == "matched_compute"} == {8, 14, 12, 22}
    assert {one.epoch for one in now if one.control == "coefficient_0"} == {6}


def test_a_plan_has_the_time_of_controls(make: Any) -> None:
    asked = study()
    seconds = [Cost(begin_s=0.0, epoch_s=SECONDS[one.name]) for one in asked.arms]
    without, with_ = reckon(study([]), seconds, 1), reckon(asked, seconds, 1)
    # As in the study itself: 4 + 2 arms' own, and two baselines that train as long.
    assert (without.control_trials, with_.control_trials) == (0, 12)
    arms = {one.arm: one.most_epochs for one in with_.arms}
    assert arms == {
        "baseline × Fixed": 4 * 4,
        "kl × Fixed": 4 * 4 + 2 * 4,
        "kl × CoV": 4 * 4 + 2 * (3 * 4 + 8),
        "adversarial × Fixed": 4 * 4 + 2 * 14,
    }
    assert with_.most_epochs == sum(one.epoch for one in finish(make(asked)).trials)
    hours = (with_.device_h.middle - without.device_h.middle) * 3600
    spent = 2 * (4 * 1.02 + 3 * 4 * 2.0 + 8 * 1.0 + 14 * 1.0)
    assert hours == pytest.approx(spent, rel=0.02)
    lonely = parse(FILE | {"arms": {"baseline": {}}, "confirm": {"controls": ["replay"]}})
    assert "No arm can have the control replay." in reckon(lonely, seconds[:1], 1).notes


# The real thing


def test_a_real_study_with_all_controls(runner: Runner, tmp_path: Path) -> None:
    asked = tiny(
        weighters=["CoV"],
        search={"trials_per_arm": 1},
        schedule={"name": "none"},
        confirm={"seeds": 1, "controls": list(CONTROLS)},
        benchmarks=["Clean", "gaussian_0.1"],
    )
    folder = begin(tmp_path / "tiny", asked)
    runner.run(folder)
    with opened(folder) as conductor:
        assert conductor.finished
        assert conductor.expected == len(conductor.trials)
    made = tables(folder)
    trials = made["trials"].to_pylist()
    controls = {one["control"]: one for one in trials if one["phase"] == "control"}
    assert {"coefficient_0", "random_weights", "replay"} <= set(controls)
    # Epochs of a noisy arm take longer than plain ones, but a test does not count on it.
    assert {one["control"] for one in trials if one["phase"] != "control"} == {None}
    winner = next(
        one["number"] for one in trials if one["phase"] == "search" and one["arm"] == "gaussian-kl"
    )
    assert {one["place"] for one in controls.values()} == {winner}
    assert all(one["clean_acc"] is not None for one in controls.values())
    tested = {row["trial_id"] for row in made["evaluations"].to_pylist() if row["split"] == "test"}
    assert {one["trial_id"] for one in controls.values()} <= tested
    weights = [
        row["weight"]
        for row in made["weights"].to_pylist()
        if row["trial_id"] == controls["replay"]["trial_id"]
    ]
    assert set(weights) == {1.0}
    found = standing.read(folder)
    assert found["ended"] == found["expected"] == len(trials)
    (row,) = (one for one in found["arms"] if one["arm"] == "gaussian-kl")
    assert row["controls"]["ended"] == row["controls"]["trials"] == len(controls)
    assert len({key[2] for key in curves(folder)}) == len({one["group_id"] for one in trials})


def test_a_finished_study_gets_its_controls_by_an_extension(runner: Runner, tmp_path: Path) -> None:
    small = TINY | {
        "study": "later",
        "weighters": ["Fixed"],
        "benchmarks": ["Clean"],
        "search": {"sampler": "random", "trials_per_arm": 1},
        "schedule": {"name": "none"},
        "confirm": {"seeds": 1},
    }
    path = tmp_path / "later.yaml"
    path.write_text(json.dumps(small), encoding="utf-8")
    folder = life.create(load(path), path.read_text(encoding="utf-8"), tmp_path)
    runner.run(folder)
    life.extend(folder, ["confirm.controls=[coefficient_0]"])
    runner.run(folder)
    history = fold(read(folder))
    assert [one.control for one in history.in_order()] == [None] * 4 + ["coefficient_0"]
    assert (history.status, history.finishes) == ("finished", 2)
