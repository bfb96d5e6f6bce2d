from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from analysis.events import Event, read
from study.conductor import Conductor, Trial, plan
from study.ledger import Ledger
from study.spec import Study, parse
from trainables.core.errors import SettingError
from trainables.core.training import Training

FILE: dict[str, Any] = {
    "study": "tiny",
    "training": {
        "epochs": 4,
        "optimizer": {"name": "SGD", "lr": {"low": 0.01, "high": 1.0, "log": True, "default": 0.1}},
    },
    "arms": {"baseline": {}, "kl": "gaussian_kl"},
    "search": {"sampler": "random", "trials_per_arm": 3},
    "schedule": {"grace_epochs": 1, "reduction_factor": 2},
    "confirm": {"top": 1, "seeds": 2},
}
SUMMARY = {"num_params": 7, "peak_mem_bytes": None}
Score = Callable[[Trial, int], float]


def study(**changes: Any) -> Study:
    return parse(FILE | changes)


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


def report(epoch: int, value: float, **metrics: float) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "metrics": {"validation/accuracy": value, "validation/loss": 1 - value} | metrics,
        "weights": {},
        "evaluations": [],
        "train_s": 0.25,
        "eval_s": 0.5,
        "summary": SUMMARY,
    }


def by_lr(trial: Trial, epoch: int) -> float:
    """Better the nearer the learning rate is to 0.1, and with every epoch; all values differ."""
    distance = abs(math.log10(trial.recipe["training"]["optimizer"]["lr"]) + 1)
    return 0.5 - 0.2 * distance + 0.05 * epoch + 1e-4 * (trial.arm.arm == "kl")


def train(conductor: Conductor, trial: Trial, score: Score = by_lr) -> None:
    conductor.started(trial.number)
    while conductor.report(trial.number, report(trial.epoch + 1, score(trial, trial.epoch + 1))):
        pass


def finish(conductor: Conductor, score: Score = by_lr) -> Conductor:
    while (trial := conductor.next()) is not None:
        train(conductor, trial, score)
    assert conductor.finished
    return conductor


def of(conductor: Conductor, kind: str) -> list[Event]:
    return [one for one in conductor.ledger.events if one["event"] == kind]


def test_arms_take_turns_and_get_equal_budgets(make: Any) -> None:
    conductor = finish(make(study(weighters=["Fixed", "CoV"])))
    searched = [one for one in conductor.trials if one.phase == "search"]
    names = ["baseline × Fixed", "kl × Fixed", "kl × CoV"]
    assert [one.arm.name for one in searched] == names * 3
    assert [one.place for one in searched] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [one.number for one in conductor.trials] == list(range(15))
    assert conductor.searching == 9
    assert conductor.expected == 15
    assert Counter(one.arm.name for one in conductor.trials[9:]) == dict.fromkeys(names, 2)


def test_the_first_trial_of_an_arm_is_its_default_configuration(make: Any) -> None:
    conductor = finish(make(study()))
    first = conductor.trials[1]
    assert first.params == {
        "training/optimizer/lr": 0.1,
        "views/noisy/sigma": 0.1,
        "losses/kl/coefficient": 1.0,
    }
    assert first.recipe["losses"]["kl"]["coefficient"] == 1.0
    assert {one.seed for one in conductor.trials[:6]} == {0}


def test_every_arm_has_rungs_of_its_own(make: Any) -> None:
    # All trials of the one arm are better than all of the other; that stops none of the other's.
    level = {"baseline": 0.9, "kl": 0.1}
    conductor = finish(make(study()), lambda trial, _: level[trial.arm.arm] + 0.01 * trial.place)
    states = {one.number: one.state for one in conductor.trials[:6]}
    # Each trial is better than those before it in its arm.
    assert set(states.values()) == {"COMPLETE"}


def test_the_worse_are_stopped_at_the_rungs(make: Any) -> None:
    # Each trial is worse than those before it in its arm: the first alone goes beyond epoch 1.
    conductor = make(study())
    assert conductor.rungs == [1, 2]
    finish(conductor, lambda trial, epoch: 0.5 - 0.1 * trial.place + 0.01 * epoch)
    searched = conductor.trials[:6]
    assert [one.epoch for one in searched] == [4, 4, 1, 1, 1, 1]
    assert [one.state for one in searched] == ["COMPLETE"] * 2 + ["PRUNED"] * 4
    decisions = [
        (one["trial"], one["epoch"], one["rung"], one["decision"])
        for one in of(conductor, "report")
    ]
    assert decisions[:5] == [
        (0, 1, 1, "continue"),
        (0, 2, 2, "continue"),
        (0, 3, None, "continue"),
        (0, 4, None, "complete"),
        (1, 1, 1, "continue"),
    ]
    assert (2, 1, 1, "stop") in decisions
    ends = {one["trial"]: (one["state"], one["reason"]) for one in of(conductor, "ended")}
    assert ends[0] == ("COMPLETE", "budget")
    assert ends[2] == ("PRUNED", "rung")


def test_the_better_are_the_lower_where_the_mode_is_min(make: Any) -> None:
    search = FILE["search"] | {"metric": "validation/loss", "mode": "min"}
    conductor = finish(make(study(search=search)), lambda trial, _: 0.5 - 0.1 * trial.place)
    assert [one.epoch for one in conductor.trials[:6]] == [4, 4, 1, 1, 1, 1]
    assert [one.group for one in conductor.trials[6:]] == [
        conductor.trials[0].group,
        conductor.trials[1].group,
    ] * 2


def test_without_a_schedule_every_trial_has_the_full_budget(make: Any) -> None:
    conductor = finish(make(study(schedule={"name": "none"})), lambda trial, _: -trial.number)
    assert {one.epoch for one in conductor.trials} == {4}
    assert conductor.rungs == []


def test_winners_are_confirmed_at_full_budget_on_the_same_fresh_seeds(make: Any) -> None:
    conductor = finish(make(study(seed=2)), lambda trial, _: 0.5 - 0.1 * trial.place * trial.seed)
    best = conductor.trials[0:2]
    confirmed = conductor.trials[6:]
    assert [(one.arm.arm, one.seed) for one in confirmed] == [
        ("baseline", 3000),
        ("kl", 3000),
        ("baseline", 3001),
        ("kl", 3001),
    ]
    assert [one.recipe for one in confirmed] == [
        one.recipe | {"seed": seed} for seed in (3000, 3001) for one in best
    ]
    assert [one.group for one in confirmed] == [one.group for one in best] * 2
    # Worse values stop no confirmation; only the search has rungs.
    assert {(one.epoch, one.state) for one in confirmed} == {(4, "COMPLETE")}
    assert {one["rung"] for one in of(conductor, "report") if one["trial"] >= 6} == {None}
    assert [one["distributions"] for one in of(conductor, "planned")[6:]] == [{}] * 4


def test_the_confirmation_waits_for_the_whole_search(make: Any) -> None:
    conductor = make(study())
    running = [conductor.next() for _ in range(6)]
    assert [one.number for one in running] == list(range(6))
    assert conductor.next() is None
    assert not conductor.finished
    assert conductor.running == running
    for one in running[:-1]:
        train(conductor, one)
    assert conductor.next() is None
    train(conductor, running[-1])
    assert conductor.next().phase == "confirm"


def test_several_configurations_and_no_seeds(make: Any) -> None:
    conductor = finish(make(study(confirm={"top": 2, "seeds": 1})))
    assert len({one.group for one in conductor.trials[6:]}) == 4
    conductor = finish(make(study(confirm={"seeds": 0}), "other"))
    assert len(conductor.trials) == 6
    assert conductor.expected == 6


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["validation/accuracy", "train/loss"])
def test_what_is_not_finite_ends_a_trial_at_once(make: Any, name: str, value: float) -> None:
    conductor = make(study())
    trial = conductor.next()
    assert not conductor.report(trial.number, report(1, 0.9, **{name: value}))
    assert (trial.state, trial.reason) == ("FAIL", "diverged")
    assert math.isnan(trial.value)
    assert of(conductor, "report")[0]["decision"] == "diverged"
    # It is on no rung: a worse value of the next trial of the arm is the first there.
    other = conductor.next()
    train(conductor, other)
    third = conductor.next()
    assert third.arm.arm == "baseline"
    assert conductor.report(third.number, report(1, 0.0))


def test_diverged_and_failed_trials_are_not_confirmed_nor_arms_of_only_such(make: Any) -> None:
    conductor = make(study())
    for _ in range(6):
        trial = conductor.next()
        if trial.arm.arm == "kl":
            conductor.failed(trial.number, "ValueError", "no") if trial.place else conductor.report(
                trial.number, report(1, math.nan)
            )
        elif trial.place == 0:
            conductor.report(trial.number, report(1, math.nan))
        else:
            train(conductor, trial)
    finish(conductor)
    assert {one.arm.arm for one in conductor.trials[6:]} == {"baseline"}
    assert conductor.trials[0].group not in {one.group for one in conductor.trials[6:]}
    assert len(conductor.trials) == 8


def test_an_error_is_recorded_once_and_ends_the_trial(make: Any) -> None:
    conductor = make(study())
    trial = conductor.next()
    conductor.started(trial.number)
    conductor.report(trial.number, report(1, 0.9))
    conductor.failed(trial.number, "ValueError", "the traceback")
    conductor.failed(trial.number, "ValueError", "the traceback")
    (ended,) = of(conductor, "ended")
    assert (ended["state"], ended["reason"]) == ("FAIL", "error")
    assert ended["error"] == {"type": "ValueError", "text": "the traceback"}
    assert not conductor.report(trial.number, report(2, 0.9))
    assert [one["epoch"] for one in of(conductor, "report")] == [1]
    assert conductor.next().number == 1


def test_a_report_that_comes_twice_is_recorded_once_and_answered_alike(make: Any) -> None:
    conductor = make(study())
    first, other, second = (conductor.next() for _ in range(3))
    for epoch in (1, 2, 1, 2):
        assert conductor.report(first.number, report(epoch, 0.9))
    assert first.epoch == 2
    for _ in range(2):
        assert not conductor.report(second.number, report(1, 0.1))
    assert len(of(conductor, "report")) == 3
    assert len(of(conductor, "ended")) == 1
    assert other.epoch == 0


def test_a_skipped_epoch_is_an_error_of_the_program(make: Any) -> None:
    conductor = make(study())
    trial = conductor.next()
    with pytest.raises(RuntimeError, match="trial 0 reported epoch 2 after epoch 0"):
        conductor.report(trial.number, report(2, 0.9))
    assert of(conductor, "report") == []


def test_a_lost_process_is_recorded_and_the_trial_goes_on(make: Any) -> None:
    conductor = make(study())
    trial = conductor.next()
    conductor.started(trial.number)
    conductor.report(trial.number, report(1, 0.9))
    conductor.retried(trial.number, "the node is gone")
    assert of(conductor, "retried")[0]["reason"] == "the node is gone"
    assert conductor.report(trial.number, report(2, 0.9))


def test_a_metric_of_a_benchmark_decides_where_it_is_measured(make: Any) -> None:
    name = "validation/gaussian_0.1/accuracy"
    search = FILE["search"] | {"metric": name}
    conductor = make(study(search=search, benchmarks=["Clean", "gaussian_0.1"], arms={"a": {}}))
    first, second = conductor.next(), conductor.next()
    assert conductor.report(first.number, report(1, 0.1, **{name: 0.9}))
    assert not conductor.report(second.number, report(1, 0.9, **{name: 0.8}))
    # Between the rungs and at the end of a confirmation it is not measured.
    assert conductor.report(first.number, report(2, 0.1, **{name: 0.7}))
    assert conductor.report(first.number, report(3, 0.1))
    assert first.value == 0.7
    assert not conductor.report(first.number, report(4, 0.1))
    assert (first.state, first.value) == ("COMPLETE", 0.7)


def test_an_end_that_was_not_recorded_is_recorded_by_the_next_driver(
    make: Any, tmp_path: Path
) -> None:
    the_study = study()
    conductor = make(the_study)
    trial = conductor.next()
    for epoch in range(1, 5):
        conductor.report(trial.number, report(epoch, 0.9))
    lines = (tmp_path / "study" / "ledger.jsonl").read_text().splitlines(keepends=True)
    assert json.loads(lines[-1])["event"] == "ended"
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "ledger.jsonl").write_text("".join(lines[:-1]))
    later = make(the_study, "cut")
    assert later.trials[0].state == "RUNNING"
    later.settle()
    later.settle()
    assert later.trials[0].state == "COMPLETE"
    (ended,) = of(later, "ended")
    assert ended | {"time": ""} == json.loads(lines[-1]) | {"time": ""}
    assert ended["summary"] == SUMMARY
    assert later.next().number == 1


def story(path: Path) -> list[Event]:
    """What happened, without clocks and without what a second driver adds."""
    return [
        {key: value for key, value in one.items() if key != "time"}
        for one in read(path)
        if one["event"] not in ("started", "settled")
    ]


# TPE models what it was told from the sixth trial of an arm on.
@pytest.mark.parametrize(
    ("sampler", "arms", "trials", "schedule"),
    [
        ("random", FILE["arms"], 3, {}),
        ("TPE", {"kl": "gaussian_kl"}, 7, {}),
        ("random", FILE["arms"], 3, {"form": "promotion"}),
        ("NSGA-II", {"kl": "gaussian_kl"}, 7, {"name": "median"}),
    ],
)
def test_a_study_cut_off_after_any_event_ends_as_if_it_had_not_been(
    sampler: str,
    arms: dict[str, Any],
    trials: int,
    schedule: dict[str, Any],
    make: Any,
    tmp_path: Path,
) -> None:
    the_study = study(
        arms=arms,
        search={"sampler": sampler, "trials_per_arm": trials},
        schedule=FILE["schedule"] | schedule,
    )
    whole = finish(make(the_study)).ledger.path
    lines = whole.read_bytes().splitlines(keepends=True)
    expected = story(whole)
    for cut in range(1, len(lines)):
        folder = tmp_path / "cut"
        folder.mkdir()
        # The next line is there by half: the last driver was killed while it wrote.
        (folder / "ledger.jsonl").write_bytes(
            b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2]
        )
        with Ledger.open(folder) as ledger:
            later = Conductor(the_study, ledger)
            later.settle()
            finish(later)
        assert story(folder) == expected, f"after line {cut}"
        shutil.rmtree(folder)


def test_a_plan_says_all_that_a_trials_process_needs(make: Any) -> None:
    benchmarks = ["Clean", {"name": "PGD", "eps": 0.1}]
    of_study = study(benchmarks=benchmarks, probe={"limit": 9}, resources={"cpu": 2}, seed=5)
    conductor = make(of_study)
    first = conductor.next()
    conductor.report(first.number, report(1, 0.9))
    found = json.loads(plan(conductor, first, "/studies/tiny", "/data"))
    assert found.pop("recipe") == first.recipe
    assert found == {
        "number": 0,
        "name": "0000 baseline × Fixed seed 5",
        "folder": "/studies/tiny",
        "data_root": "/data",
        "storage": "",
        "memory": 0,
        "processes": 1,
        "cpus": 2,
        "gpus": 0,
        "reported": 1,
        "decided_at": None,
        "benchmarks": list(of_study.benchmarks),
        "probe_benchmarks": list(of_study.benchmarks),
        "probe_at": [1, 2, 4],
        "probe_limit": 9,
        "test_limit": 0,
        "test": False,
        "metric": "validation/accuracy",
        "mode": "max",
        "eval_seed": 5,
    }
    train(conductor, first)
    finish(conductor)
    confirmed = json.loads(plan(conductor, conductor.trials[-1], "", ""))
    # The test part is touched by confirmation alone, and never looked at on the way.
    assert (confirmed["test"], confirmed["probe_at"]) == (True, [])


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ({"name": "none"}, [4]),
        ({"name": "ASHA", "grace_epochs": 1, "reduction_factor": 2}, [1, 2, 4]),
        ({"name": "ASHA", "form": "promotion", "grace_epochs": 2}, [2, 4]),
        ({"name": "median"}, None),
    ],
)
def test_a_plan_may_say_where_the_driver_decides(
    make: Any, schedule: dict[str, Any], wanted: list[int] | None
) -> None:
    conductor = make(study(schedule=schedule))
    first = conductor.next()
    assert json.loads(plan(conductor, first, "", "", ahead=True))["decided_at"] == wanted
    # Until then it goes on whatever its figures are.
    for epoch in range(1, (wanted or [1])[0]):
        assert conductor.report(first.number, report(epoch, 0.0))


def test_settings_that_do_not_go_together_are_planned_and_fail_in_their_trial(make: Any) -> None:
    values = {"momentum": {"values": [0.9, 0.0]}, "nesterov": {"values": [False, True]}}
    training = FILE["training"] | {"optimizer": {"name": "SGD"} | values}
    conductor = make(study(training=training, search={"sampler": "random", "trials_per_arm": 8}))
    drawn = [conductor.next().recipe for _ in range(12)]
    wrong = []
    for recipe in drawn:
        optimizer = recipe["training"]["optimizer"]
        if optimizer["nesterov"] and not optimizer["momentum"]:
            wrong.append(recipe)
    assert 0 < len(wrong) < len(drawn)
    with pytest.raises(SettingError, match="training/optimizer: SGD: nesterov needs momentum"):
        Training(wrong[0])


def test_an_arm_without_ranges_has_one_trial_and_the_others_theirs(make: Any) -> None:
    constant = {"epochs": 4, "optimizer": {"name": "SGD", "lr": 0.1}}
    conductor = finish(make(study(training=constant)))
    searched = [one for one in conductor.trials if one.phase == "search"]
    # Of the baseline nothing can vary; gaussian_kl has a coefficient and a sigma.
    assert Counter(one.arm.arm for one in searched) == {"baseline": 1, "kl": 3}
    assert [one["arm"] for one in of(conductor, "exhausted")] == ["baseline"]
    assert conductor.expected == len(conductor.trials) == 1 + 3 + 2 * 2
    assert make(conductor.study).finished


def test_no_configuration_is_trained_twice(make: Any) -> None:
    batch = {"epochs": 4, "batch_size": {"values": [16, 32]}, "optimizer": {"name": "SGD"}}
    arms = {"baseline": {}}
    conductor = finish(make(study(training=batch, arms=arms)))
    searched = [one for one in conductor.trials if one.phase == "search"]
    assert sorted(one.recipe["training"]["batch_size"] for one in searched) == [16, 32]


@pytest.mark.parametrize(
    ("budget", "trials"),
    [
        ({"trials": 5}, 2),  # 5 // 2 arms
        ({"epochs": 10}, 2),  # 5 for each arm: after 4 another may begin, after 8 none
        ({"device_s": 2 * 0.75 * 8}, 2),  # 0.75 s a report: two full trials for each arm
        ({"epochs": 1}, 1),
    ],
)
def test_a_budget_is_split_equally_and_not_charged_for_the_confirmation(
    make: Any, budget: dict[str, float], trials: int
) -> None:
    asked = study(budget=budget, schedule={"name": "none"})
    conductor = finish(make(asked))
    for arm in asked.arms:
        assert conductor.spent(arm)["trials"] == trials
        assert conductor.spent(arm)["epochs"] == 4 * trials
        assert conductor.spent(arm)["device_s"] == 0.75 * 4 * trials
    assert sum(one.phase == "confirm" for one in conductor.trials) == 4
    assert make(asked).finished


def test_wall_time_counts_while_a_driver_works_and_ends_the_search(make: Any) -> None:
    asked = study(budget={"wall_s": 3600.0})
    conductor = make(asked)
    train(conductor, conductor.next())
    event = conductor.ledger.events[-1]
    # An hour later by the clock of the ledger, in a driver that was there all the time.
    later = "2099-01-01T00:00:00+00:00"
    conductor.ledger.events.append(event | {"event": "retried", "time": later, "reason": ""})
    again = Conductor(asked, conductor.ledger)
    assert again.next().phase == "confirm"
    # The same hours between two drivers are nobody's.
    conductor.ledger.events[-1] = {"event": "segment", "time": later}
    assert Conductor(asked, conductor.ledger).next().phase == "search"


def test_too_many_failures_end_the_study_and_a_larger_budget_lets_it_go_on(make: Any) -> None:
    asked = study(budget={"max_failed": 1})
    conductor = make(asked)
    for _ in range(2):
        trial = conductor.next()
        assert trial is not None
        conductor.failed(trial.number, "ValueError", "no", "error")
    assert conductor.too_many_failures
    assert conductor.next() is None
    assert not conductor.finished
    assert make(asked).next() is None
    assert make(study(budget={"max_failed": 2})).next().number == 2


@pytest.mark.parametrize("of_class", ["error", "oom", "lost"])
def test_failures_have_classes_and_divergence_is_none(make: Any, of_class: str) -> None:
    conductor = make(study())
    conductor.failed(conductor.next().number, "Some", "text", of_class)
    trial = conductor.next()
    conductor.report(trial.number, report(1, math.nan))
    assert [one["class"] for one in of(conductor, "failed")] == [of_class]
    assert [one["reason"] for one in of(conductor, "ended")] == [of_class, "diverged"]
    assert conductor.failures == 1


def test_a_halted_study_lets_its_trials_report_and_takes_them_up_again(make: Any) -> None:
    asked = study()
    conductor = make(asked)
    first, second = conductor.next(), conductor.next()
    assert conductor.report(first.number, report(1, 0.9))
    conductor.halted = "disk: full"
    assert conductor.next() is None
    assert not conductor.report(first.number, report(2, 0.9))
    conductor.let_go(second.number, "no room")
    assert conductor.running == []
    again = make(asked)
    assert [again.next().number, again.next().number] == [0, 1]
    assert again.trials[0].epoch == 2
    assert of(again, "retried")[0]["reason"] == "no room"


def test_why_a_trial_was_stopped_is_recorded(make: Any) -> None:
    conductor = make(study(arms={"baseline": {}}))
    values = [0.9, 0.8, 0.7]
    for value in values:
        trial = conductor.next()
        conductor.report(trial.number, report(1, value))
    found = of(conductor, "stopped")
    # Halving: the second had to reach 0.9, the third the median of 0.9 and 0.8.
    assert [(one["trial"], one["rung"], one["rank"], one["of"]) for one in found] == [
        (1, 1, 2, 2),
        (2, 1, 3, 3),
    ]
    assert [one["cutoff"] for one in found] == pytest.approx([0.9, 0.85])
    kinds = [one["event"] for one in conductor.ledger.events if one.get("trial") == 1]
    assert kinds == ["planned", "report", "stopped", "ended"]


def test_an_unreadable_checkpoint_is_on_record(make: Any) -> None:
    conductor = make(study())
    trial = conductor.next()
    back = {"checkpoint": {"epoch": 0, "problem": "torn"}}
    conductor.report(trial.number, report(1, 0.5) | back)
    (found,) = of(conductor, "checkpoint")
    assert (found["trial"], found["epoch"], found["problem"]) == (0, 0, "torn")


PROMOTION = {"name": "ASHA", "form": "promotion", "grace_epochs": 1, "reduction_factor": 2}


def test_in_the_promotion_form_trials_wait_at_rungs_and_the_best_go_on(make: Any) -> None:
    asked = study(schedule=PROMOTION, arms={"baseline": {}}, search={"trials_per_arm": 4})
    conductor = make(asked)
    order = []
    while (trial := conductor.next()) is not None and trial.phase == "search":
        order.append(trial.number)
        conductor.started(trial.number)
        value = [0.1, 0.4, 0.3, 0.2][trial.number]
        while conductor.report(trial.number, report(trial.epoch + 1, value)):
            pass
    # Of two at the first rung the better goes on; of two at the second, too.
    assert order == [0, 1, 1, 2, 3, 2, 1]
    assert [(one.state, one.epoch) for one in conductor.trials[:4]] == [
        ("PRUNED", 1),
        ("COMPLETE", 4),
        ("PRUNED", 2),
        ("PRUNED", 1),
    ]
    assert [one["trial"] for one in of(conductor, "promoted")] == [1, 2, 1]
    assert {one["trial"]: one["rung"] for one in of(conductor, "stopped")} == {0: 1, 2: 2, 3: 1}


def test_two_objectives_are_told_and_confirmed_by_fronts(make: Any) -> None:
    two = {"metric": ["validation/accuracy", "validation/loss"], "trials_per_arm": 4}
    asked = study(
        search=two | {"sampler": "random"},
        schedule={"name": "none"},
        arms={"baseline": {}},
        confirm={"top": 2, "seeds": 1},
    )
    assert asked.search.objectives == {"validation/accuracy": "max", "validation/loss": "min"}
    conductor = make(asked)
    pairs = [(0.5, 0.5), (0.9, 0.9), (0.4, 0.6), (0.3, 0.1)]
    for accuracy, loss in pairs:
        trial = conductor.next()
        for epoch in range(1, 5):
            both = {"validation/loss": loss}
            conductor.report(trial.number, report(epoch, accuracy, **both))
    # The third is worse than the first in both; the ends of the front come before its middle.
    confirmed = [conductor.next().place, conductor.next().place]
    assert sorted(confirmed) == [1, 3]
