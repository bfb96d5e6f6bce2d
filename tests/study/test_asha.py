from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest

from study.asha import ASHA
from study.schedules import Decision, NoSchedule, Verdict
from trainables.core.errors import SettingError

Report = tuple[int, int, float]


def stream(seed: int, max_epochs: int, *, skipping: bool = False) -> list[Report]:
    """Reports of trials that run at the same time; few distinct values, so that ties are common."""
    rng = random.Random(seed)
    epochs = dict.fromkeys(range(14), 0)
    reports: list[Report] = []
    waiting = list(epochs)
    while waiting:
        trial = rng.choice(waiting[:4])
        epochs[trial] += rng.randint(1, 3) if skipping else 1
        value = rng.choice([rng.gauss(0, 1), float(rng.randint(-2, 2))])
        reports.append((trial, epochs[trial], value))
        if epochs[trial] >= max_epochs:
            waiting.remove(trial)
    return reports


def decisions(schedule: ASHA | NoSchedule, reports: list[Report]) -> list[Decision]:
    """What a driver sees: a trial that was ended reports no more."""
    ended: set[int] = set()
    found = []
    for trial, epoch, value in reports:
        if trial not in ended:
            found.append(schedule.report(trial, epoch, value).decision)
            if found[-1] is not Decision.CONTINUE:
                ended.add(trial)
    return found


def test_rungs_are_powers_of_the_factor_below_the_end() -> None:
    schedule = ASHA(max_epochs=12, grace_epochs=2, reduction_factor=3)
    assert schedule.rungs() == [2, 6]
    assert [schedule.rung(epoch) for epoch in (1, 2, 3, 6, 12)] == [None, 2, None, 6, None]
    assert ASHA(max_epochs=9, reduction_factor=3).rungs() == [1, 3]
    assert ASHA(max_epochs=244, reduction_factor=3).rungs() == [1, 3, 9, 27, 81, 243]
    assert ASHA(max_epochs=3, grace_epochs=3).rungs() == []
    assert ASHA(max_epochs=20, reduction_factor=2.5).rungs() == [1, 3, 7, 16]
    assert ASHA(max_epochs=5, reduction_factor=1.2).rungs() == [1, 2, 3, 4]


def test_decisions_by_hand() -> None:
    # One rung, at epoch 1; the cutoff is the median of those who came before.
    schedule = ASHA(max_epochs=2, reduction_factor=2)
    told = [schedule.report(trial, 1, value) for trial, value in enumerate([0.5, 0.4, 0.45, 0.44])]
    # first always goes on; 0.4 < 0.5; 0.45 = median(0.4, 0.5) ties and stays; 0.44 < 0.45
    assert [one.decision for one in told] == ["continue", "stop", "continue", "stop"]
    assert [one.rung for one in told] == [1, 1, 1, 1]
    assert [one.cutoff for one in told] == [None, 0.5, pytest.approx(0.45), 0.45]
    assert [(one.rank, one.of) for one in told] == [(1, 1), (2, 2), (2, 3), (3, 4)]
    assert schedule.report(0, 2, -9.0) == Verdict(Decision.COMPLETE)


def test_a_cutoff_is_in_the_units_of_the_metric() -> None:
    schedule = ASHA(max_epochs=3, reduction_factor=2, mode="min")
    schedule.report(0, 1, 0.25)
    assert schedule.report(1, 1, 0.75) == Verdict(Decision.STOP, 1, 0.25, 2, 2)
    assert schedule.report(0, 2, 0.1) == Verdict(Decision.CONTINUE, 2, None, 1, 1)
    assert schedule.report(2, 1, math.nan) == Verdict(Decision.DIVERGED)


def test_min_is_max_of_the_negative() -> None:
    for seed in range(20):
        reports = stream(seed, 9)
        mirrored = [(trial, epoch, -value) for trial, epoch, value in reports]
        assert decisions(ASHA(max_epochs=9, reduction_factor=3, mode="max"), reports) == decisions(
            ASHA(max_epochs=9, reduction_factor=3, mode="min"), mirrored
        )


@pytest.mark.slow
def test_same_decisions_as_ray() -> None:
    from ray.tune.schedulers import ASHAScheduler

    met = {"CONTINUE": 0, "STOP": 0}
    for seed in range(200):
        rng = random.Random(1000 + seed)
        max_epochs = rng.randint(3, 30)
        settings = {
            "mode": rng.choice(["min", "max"]),
            "reduction_factor": rng.choice([2, 3, 4]),
        }
        grace = rng.randint(1, 3)
        ours = ASHA(max_epochs=max_epochs, grace_epochs=grace, **settings)
        theirs = ASHAScheduler(
            time_attr="epoch",
            metric="m",
            max_t=max_epochs,
            grace_period=grace,
            brackets=1,
            **settings,
        )
        trials = {number: SimpleNamespace(trial_id=str(number)) for number in range(14)}
        for trial in trials.values():
            theirs.on_trial_add(None, trial)
        ended: set[int] = set()
        for trial, epoch, value in stream(seed, max_epochs, skipping=seed % 2 == 1):
            if trial in ended and seed % 4 < 2:
                continue  # on the other streams stopped trials report on, as in Ray's own tests
            expected = theirs.on_trial_result(None, trials[trial], {"epoch": epoch, "m": value})
            found = ours.report(trial, epoch, value).decision
            assert (found == "continue") == (expected == "CONTINUE"), (seed, trial, epoch)
            met[expected] += 1
            if expected == "STOP":
                ended.add(trial)
    assert min(met.values()) > 1000


def test_replayed_reports_rebuild_the_rungs() -> None:
    for seed in range(30):
        reports = stream(seed, 12)
        whole = ASHA(max_epochs=12, grace_epochs=2, reduction_factor=3)
        expected = [whole.report(*report) for report in reports]
        cut = random.Random(seed).randrange(len(reports))
        resumed = ASHA(max_epochs=12, grace_epochs=2, reduction_factor=3)
        for report in reports[:cut]:
            resumed.report(*report)
        # A trial that goes on from an older checkpoint reports some epochs again.
        for report in reports[max(0, cut - 5) : cut]:
            resumed.report(*report)
        assert [resumed.report(*report) for report in reports[cut:]] == expected[cut:]


def test_a_repeated_report_gets_the_old_decision_and_is_not_recorded() -> None:
    schedule = ASHA(max_epochs=4, reduction_factor=2)
    schedule.report(0, 1, 0.5)
    assert schedule.report(1, 1, 0.4) == Verdict(Decision.STOP, 1, 0.5, 2, 2)
    # The value differs, as after a retry on other hardware: what was decided stands.
    assert schedule.report(1, 1, 0.9) == Verdict(Decision.STOP, 1, 0.5, 2, 2)
    # median of 0.4 and 0.5; 0.9 would stop it
    assert schedule.report(2, 1, 0.46).decision == "continue"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_diverged_trial_ends_and_leaves_no_record(value: float, mode: str) -> None:
    schedule = ASHA(max_epochs=4, reduction_factor=2, mode=mode)
    assert schedule.report(0, 1, value).decision == "diverged"
    # Still the first at the rung, whatever it has.
    assert schedule.report(1, 1, -1e9 if mode == "max" else 1e9).decision == "continue"
    assert schedule.report(2, 4, value).decision == "diverged"
    assert NoSchedule(max_epochs=4).report(0, 4, value).decision == "diverged"


def test_order_of_arrival_counts() -> None:
    first, second = (ASHA(max_epochs=4, reduction_factor=2) for _ in range(2))
    assert decisions(first, [(0, 1, 0.1), (1, 1, 0.9)]) == ["continue", "continue"]
    assert decisions(second, [(1, 1, 0.9), (0, 1, 0.1)]) == ["continue", "stop"]


def test_no_schedule_runs_to_the_end() -> None:
    schedule = NoSchedule(max_epochs=3)
    told = [schedule.report(0, epoch, -float(epoch)).decision for epoch in (1, 2, 3, 4)]
    assert told == ["continue", "continue", "complete", "complete"]
    assert schedule.rungs() == []
    assert schedule.rung(1) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 0}, "max_epochs must be at least 1, found 0"),
        ({"max_epochs": 3, "grace_epochs": 4}, r"\[1, max_epochs = 3\], found 4"),
        ({"max_epochs": 3, "grace_epochs": 0}, "grace_epochs .* found 0"),
        ({"max_epochs": 3, "reduction_factor": 1}, "reduction_factor .* found 1"),
        ({"max_epochs": 3, "reduction_factor": math.nan}, "reduction_factor .* found nan"),
        ({"max_epochs": 3, "mode": "maximum"}, "min or max, found 'maximum'"),
    ],
)
def test_impossible_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ASHA(**settings)
