"""Plans: counts and simulated epochs by hand, times that are measured, and nothing left behind."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from study import plan as planning
from study.cli import app
from study.plan import NOTHING, REPORT_S, START_S, TRIAL_S, Cost, Estimate, play, reckon
from study.spec import Study, parse

FILE: dict[str, Any] = {
    "study": "planned",
    "data": {"name": "Digits", "limit": 100},
    "architecture": {"name": "MLP", "hidden": [4]},
    "training": {"epochs": 9, "batch_size": 16},
    "arms": {"one": {}, "two": "gaussian_kl"},
    "search": {"sampler": "random", "trials_per_arm": 6},
    "schedule": {"grace_epochs": 1, "reduction_factor": 3},
    "confirm": {"top": 1, "seeds": 2},
    "benchmarks": ["Clean", {"name": "PGD", "eps": 0.1, "steps": 2}],
    "probe": {"limit": 8},
    "test": {"limit": 16},
}
SECOND = Cost(begin_s=0.0, epoch_s=1.0)


def study(**changes: Any) -> Study:
    """The study above with some keys replaced; mappings are merged."""
    file = copy.deepcopy(FILE)
    for key, value in changes.items():
        merged = isinstance(value, dict) and key != "arms"
        file[key] = file.get(key, {}) | value if merged else value
    return parse(file)


FULL = {"name": "none"}


def test_without_a_schedule_every_epoch_is_counted() -> None:
    found = play(study(schedule=FULL), [SECOND, SECOND], 1, seed=0)
    assert found.epochs == [54, 54]
    assert found.confirmed == [18, 18]
    assert (found.begun, found.tested) == (16, 4)
    # One slot: trial after trial, and a report takes a moment.
    alone = 16 * TRIAL_S + 144 * (1 + REPORT_S)
    assert sum(found.busy_s) == pytest.approx(alone)
    assert found.wall_s == pytest.approx(START_S + alone + planning.FINISH_S)


def test_slots_share_the_work_but_not_a_trial() -> None:
    asked = study(schedule=FULL, confirm={"seeds": 0}, search={"trials_per_arm": 2})
    trial = TRIAL_S + 9 * (1 + REPORT_S)
    # Four trials: one after another, two by two, three and one, all at once, and no quicker.
    for slots, rounds in ((1, 4), (2, 2), (3, 2), (4, 1), (50, 1)):
        found = play(asked, [SECOND, SECOND], slots, seed=0)
        assert found.wall_s - START_S - planning.FINISH_S == pytest.approx(rounds * trial)


def test_the_confirmation_waits_for_the_search() -> None:
    asked = study(schedule=FULL, arms={"one": {}}, search={"trials_per_arm": 1})
    found = play(asked, [SECOND], 8, seed=0)
    trial = TRIAL_S + 9 * (1 + REPORT_S)
    assert found.wall_s - START_S - planning.FINISH_S == pytest.approx(2 * trial)


def test_asha_in_one_slot_keeps_the_best_so_far_and_a_third() -> None:
    # One trial at a time is judged by those before it: the first is complete, whatever its value.
    asked = study(arms={"one": {}}, search={"trials_per_arm": 1}, confirm={"seeds": 0})
    assert play(asked, [SECOND], 1, seed=3).epochs == [9]
    many = study(arms={"one": {}}, search={"trials_per_arm": 300}, confirm={"seeds": 0})
    epochs = play(many, [SECOND], 1, seed=0).epochs[0]
    # Rungs 1 and 3: 1 epoch for all, 2 more for a third, 6 more for a ninth, and a few early ones.
    assert 300 * (1 + 2 / 3 + 6 / 9) * 0.85 < epochs < 300 * (1 + 2 / 3 + 6 / 9) * 1.35


def test_promotion_trains_no_trial_longer_than_its_rank_allows() -> None:
    settings = {"arms": {"one": {}}, "search": {"trials_per_arm": 27}, "confirm": {"seeds": 0}}
    asked = study(**settings, schedule={"form": "promotion"})
    found = play(asked, [SECOND], 1, seed=0)
    # At least 27 trials of one epoch, and never more than all to the end.
    assert 27 < found.epochs[0] < 27 * 9
    assert found.epochs[0] == play(asked, [SECOND], 1, seed=0).epochs[0]


def test_rungs_cost_their_benchmarks_and_the_end_its_tests() -> None:
    asked = study(schedule={"name": "ASHA"}, arms={"one": {}}, search={"trials_per_arm": 1})
    cost = replace(SECOND, probe_s=Estimate(1, 2, 3), test_s=Estimate(10, 20, 30))
    plain, found = (play(asked, [one], 1, seed=0) for one in (SECOND, cost))
    assert found.probes == 3  # rungs 1 and 3, and the last epoch
    assert found.busy_s[0] - plain.busy_s[0] == pytest.approx(3 * 2 + 2 * 20)


def test_a_budget_ends_the_search_of_each_arm() -> None:
    none = {"schedule": FULL, "confirm": {"seeds": 0}}
    trials = play(study(**none, budget={"trials": 5}), [SECOND, SECOND], 1, seed=0)
    assert trials.epochs == [18, 18]  # two of five for each
    epochs = play(study(**none, budget={"epochs": 20}), [SECOND, SECOND], 1, seed=0)
    assert epochs.epochs == [18, 18]  # 9 of its 10, so another one began and went to its end
    wall = play(study(**none, budget={"wall_s": START_S + 5}), [SECOND, SECOND], 1, seed=0)
    assert sum(wall.epochs) == 9


def test_the_plan_counts_trials_and_bounds_what_it_expects() -> None:
    dear = replace(SECOND, epoch_s=3.0, checkpoint_bytes=1000, report_bytes=100)
    found = reckon(study(), [SECOND, dear], 2)
    assert (found.search_trials, found.confirm_trials) == (12, 4)
    assert found.most_epochs == 16 * 9
    assert found.epochs.low <= found.epochs.middle <= found.epochs.high <= found.most_epochs
    assert found.wall_s.low < found.wall_s.middle < found.wall_s.high
    assert sum(one.share for one in found.arms) == pytest.approx(1)
    assert found.arms[1].share > found.arms[0].share
    # At least one checkpoint for each of the eight trials of the second arm.
    assert found.disk_bytes.low > 8 * 1000
    assert any("two × Fixed" in note for note in found.notes) == (found.arms[1].share > 0.75)


def test_an_arm_confirms_no_more_winners_than_it_has_trials() -> None:
    asked = study(search={"trials_per_arm": 2}, confirm={"top": 5, "seeds": 3}, schedule=FULL)
    found = reckon(asked, [SECOND, SECOND], 2)
    assert found.confirm_trials == 2 * 2 * 3
    assert found.epochs.middle == (4 + 12) * 9 == found.most_epochs


def test_long_searches_are_timed_with_few_steps() -> None:
    pgd = {"name": "PGD", "eps": 0.1, "steps": 20, "restarts": 1}
    assert planning.cheaper(pgd, False) == (pgd, 1.0)
    long = pgd | {"steps": 100, "restarts": 5}
    assert planning.cheaper(long, True) == (pgd | {"eps": 0.0}, 25.0)
    whole = {"name": "AutoAttack", "eps": 0.1, "budget": 1.0}
    found, factor = planning.cheaper(whole, True)
    assert factor == pytest.approx(50) and found["budget"] == pytest.approx(0.02)


def test_a_constant_beside_growing_parts_is_not_multiplied() -> None:
    # 5 s however little is done, and 1 s for each of 1,000.
    seconds, _ = planning._growing(lambda n: (5.0 + n, None), 1000, 30.0)
    assert seconds == pytest.approx(1005)
    # With time for all of it, all is timed.
    calls: list[int] = []

    def timed(n: int) -> tuple[float, None]:
        calls.append(n)
        return 0.1 * n, None

    assert planning._growing(timed, 10, 30.0)[0] == pytest.approx(1.0)
    assert calls == [1, 1, 4, *[10] * planning.REPEATS]


def test_arms_are_timed_for_real_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = study()
    cost = planning.measure(asked, asked.arms[1].tree, "", "cpu", 0.02)
    assert 0 < cost.epoch_s < 60
    assert 0 < cost.probe_s.low <= cost.probe_s.middle <= cost.probe_s.high
    assert cost.test_s.middle > 0
    assert cost.checkpoint_bytes > 1000
    assert 300 < cost.report_bytes < 20_000
    assert cost.examples_bytes > 16
    assert list(tmp_path.iterdir()) == []


def test_an_attack_that_stops_has_a_wide_range() -> None:
    asked = study(benchmarks=[{"name": "AutoAttack", "eps": 0.1, "version": "fast"}])
    cost = planning.measure(asked, asked.arms[0].tree, "", "cpu", 0.02)
    assert cost.probe_s == NOTHING  # thorough ones are not probed
    assert cost.test_s.high == pytest.approx(cost.test_s.low / planning.FOOLED)


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(json.dumps(FILE | {"arms": {"one": {}}}), encoding="utf-8")
    run = CliRunner()
    told = run.invoke(app, ["plan", str(path), "--cpus", "2", "--set", "confirm.seeds=0"])
    assert told.exit_code == 0, told.output
    assert "one × Fixed" in told.output and "until done" in told.output
    told = run.invoke(app, ["plan", str(path), "--cpus", "3", "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["slots"] == 3
    assert (found["search_trials"], found["confirm_trials"]) == (6, 2)
    few = run.invoke(app, ["plan", str(path), "--cpus", "1", "--set", "resources.cpu=2"])
    assert few.exit_code == 2
    assert sorted(tmp_path.iterdir()) == [path]
