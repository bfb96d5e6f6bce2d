"""Every schedule: once and for all, replayable, safe against NaN; the two that are not ASHA's first
form by hand, against the paper, and against slow implementations of their own."""

from __future__ import annotations

import math
import random
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.asha import ASHA
from study.median import Median
from study.promotion import Promotion
from study.schedules import Decision, NoSchedule, Schedule, Verdict, schedule
from study.spec import Schedule as Settings
from trainables.core.errors import SettingError

KINDS = [
    Settings(name="none", max_epochs=9),
    Settings(name="ASHA", max_epochs=9),
    Settings(name="ASHA", form="promotion", max_epochs=9),
    Settings(name="median", max_epochs=9),
]
Event = tuple[str, int, int, float]


def driven(
    one: Schedule, curves: list[list[float]], rng: random.Random, slots: int = 3
) -> list[Event]:
    """A search with `slots` trials at a time, as a ledger has it: reports and promotions in order.

    A diverged curve ends there; what ends a trial is what the schedule says.
    """
    events: list[Event] = []
    waiting = list(range(len(curves)))
    running: list[int] = []
    epochs = dict.fromkeys(waiting, 0)
    while True:
        while len(running) < slots:
            trial = one.promotable()
            if trial is not None:
                one.promoted(trial)
                events.append(("promoted", trial, 0, 0.0))
            elif waiting:
                trial = waiting.pop(0)
            else:
                break
            running.append(trial)
        if not running:
            return events
        trial = rng.choice(running)
        epochs[trial] += 1
        value = curves[trial][epochs[trial] - 1]
        events.append(("report", trial, epochs[trial], value))
        if one.report(trial, epochs[trial], value).decision is not Decision.CONTINUE:
            running.remove(trial)


def replayed(one: Schedule, events: list[Event]) -> list[Verdict]:
    """What the schedule answers to the reports of a ledger."""
    found = []
    for kind, trial, epoch, value in events:
        if kind == "promoted":
            one.promoted(trial)
        else:
            found.append(one.report(trial, epoch, value))
    return found


def curves_of(seed: int, n: int = 12, epochs: int = 9) -> list[list[float]]:
    """Curves with ties, some of which diverge."""
    rng = random.Random(seed)
    curves = []
    for _ in range(n):
        final = rng.choice([rng.random(), 0.5])
        curve = [final * epoch / epochs + rng.choice([0.0, 0.1]) for epoch in range(1, epochs + 1)]
        if rng.random() < 0.2:
            curve[rng.randrange(epochs)] = rng.choice([math.nan, math.inf, -math.inf])
        curves.append(curve)
    return curves


@pytest.mark.parametrize("settings", KINDS, ids=lambda one: f"{one.name}-{one.form}")
class TestEverySchedule:
    def test_a_replay_gives_the_same_verdicts_and_the_same_state(self, settings: Settings) -> None:
        for seed in range(20):
            first = schedule(settings, "max")
            events = driven(first, curves_of(seed), random.Random(seed))
            cut = random.Random(seed).randrange(len(events))
            resumed = schedule(settings, "max")
            told = replayed(resumed, events[:cut])
            # A trial that goes on from an older checkpoint reports some epochs again.
            again = [one for one in events[max(0, cut - 5) : cut] if one[0] == "report"]
            replayed(resumed, again)
            told += replayed(resumed, events[cut:])
            assert told == replayed(first, [one for one in events if one[0] == "report"])
            assert resumed.promotable() == first.promotable()

    def test_min_is_max_of_the_negative(self, settings: Settings) -> None:
        for seed in range(10):
            curves = curves_of(seed)
            mirrored = [[-value for value in curve] for curve in curves]
            upper, lower = schedule(settings, "max"), schedule(settings, "min")
            events = driven(upper, curves, random.Random(seed))
            other = driven(lower, mirrored, random.Random(seed))
            assert [one[:3] for one in events] == [one[:3] for one in other]
            for kind, trial, epoch, value in events:
                if kind == "report":
                    one = upper.report(trial, epoch, value)
                    two = lower.report(trial, epoch, -value)
                    assert (one.decision, one.rung, one.rank, one.of) == (
                        two.decision,
                        two.rung,
                        two.rank,
                        two.of,
                    )
                    assert (one.cutoff is None) == (two.cutoff is None)
                    assert one.cutoff is None or one.cutoff == -(two.cutoff or 0.0)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_value_that_is_not_finite_ends_the_trial_and_is_not_compared(
        self, settings: Settings, value: float
    ) -> None:
        found, without = schedule(settings, "max"), schedule(settings, "max")
        for trial in range(3):
            assert found.report(trial, 1, value) == Verdict(Decision.DIVERGED)
        for trial, one in enumerate([0.5, 0.4, 0.3, 0.6], start=3):
            assert found.report(trial, 1, one) == without.report(trial, 1, one)
        assert found.report(9, 9, value) == Verdict(Decision.DIVERGED)

    def test_a_verdict_stands(self, settings: Settings) -> None:
        found = schedule(settings, "max")
        told = [found.report(trial, 1, value) for trial, value in enumerate([0.5, 0.4, 0.6, 0.3])]
        assert [found.report(trial, 1, 0.9) for trial in range(4)] == told

    def test_complete_at_the_end_and_rungs_before_it(self, settings: Settings) -> None:
        found = schedule(settings, "max")
        assert found.report(0, 9, 0.5) == Verdict(Decision.COMPLETE)
        rungs = [] if settings.name == "none" else [1, 3]
        assert found.rungs() == rungs
        assert [epoch for epoch in range(1, 10) if found.rung(epoch)] == rungs

    def test_a_reason_has_a_rank_among_those_there(self, settings: Settings) -> None:
        for seed in range(10):
            found = schedule(settings, "max")
            for kind, trial, epoch, value in driven(found, curves_of(seed), random.Random(seed)):
                if kind == "report":
                    one = found.report(trial, epoch, value)
                    if one.decision is Decision.STOP:
                        assert one.cutoff is not None
                    if one.of is None:
                        assert one == Verdict(one.decision)
                    else:
                        assert one.rung is not None
                        assert 1 <= (one.rank or 0) <= one.of


def test_only_promotion_pauses() -> None:
    for settings in KINDS:
        found = schedule(settings, "max")
        assert found.promotable() is None
        found.withdrawn(0)
        for call in (found.promoted, found.why):
            with pytest.raises(RuntimeError, match="trial 0"):
                call(0)
    assert [type(schedule(one, "min")) for one in KINDS] == [NoSchedule, ASHA, Promotion, Median]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "asha"}, "schedule/name cannot be 'asha'. Did you mean 'ASHA'"),
        ({"form": "promote"}, "schedule/form cannot be 'promote'. Did you mean 'promotion'"),
        ({"max_epochs": 0}, "max_epochs must be at least 1, found 0"),
        ({"grace_epochs": 10}, r"\[1, max_epochs = 9\], found 10"),
        ({"reduction_factor": 1.0}, "reduction_factor .* found 1"),
    ],
)
def test_impossible_settings(changes: dict[str, object], message: str) -> None:
    for form in ("stopping", "promotion"):
        asked = Settings(max_epochs=9, form=form).model_copy(update=changes)
        with pytest.raises(SettingError, match=message):
            schedule(asked, "max")
    with pytest.raises(SettingError, match="min or max, found 'maximum'"):
        schedule(Settings(max_epochs=9), "maximum")
    with pytest.raises(SettingError, match="min_trials must be at least 1, found 0"):
        Median(max_epochs=9, min_trials=0)


# Promotion ---------------------------------------------------------------------------------------


def test_promotion_by_hand() -> None:
    """As the paper draws it: rungs at 1 and 3 of 9 epochs, a third of each goes on, one worker."""
    one = Promotion(max_epochs=9, reduction_factor=3)
    assert one.rungs() == [1, 3]
    assert one.report(0, 1, 0.5) == Verdict(Decision.PAUSE, 1, None, 1, 1)
    assert one.report(1, 1, 0.7) == Verdict(Decision.PAUSE, 1, None, 1, 2)
    assert one.promotable() is None  # a third of two is less than one
    assert one.report(2, 1, 0.6) == Verdict(Decision.PAUSE, 1, 0.7, 2, 3)
    assert one.promotable() == 1
    assert one.promotable() == 1  # to ask changes nothing
    one.promoted(1)
    assert one.promotable() is None
    assert one.report(1, 2, 0.71) == Verdict(Decision.CONTINUE)
    assert one.report(1, 3, 0.72) == Verdict(Decision.PAUSE, 3, None, 1, 1)
    # A better one is promoted although the third's only place was taken: algorithm 2 as it stands.
    assert one.report(3, 1, 0.8) == Verdict(Decision.PAUSE, 1, 0.8, 1, 4)
    assert one.promotable() == 3
    one.promoted(3)
    one.report(3, 3, 0.9)
    for trial, value in ((4, 0.1), (5, 0.2)):
        one.report(trial, 1, value)
        assert one.promotable() is None  # the best two of six have both gone on
    for trial, value in ((6, 0.3), (7, 0.4), (8, 0.75)):
        one.report(trial, 1, value)
    assert one.promotable() == 8
    one.promoted(8)
    # Three at the second rung now: the top of the ladder comes first.
    one.report(8, 3, 0.85)
    one.report(9, 1, 0.99)
    assert one.promotable() == 3
    one.promoted(3)
    assert one.promotable() == 9
    assert one.report(3, 9, 0.95) == Verdict(Decision.COMPLETE)
    # Why it was never promoted: the third best of ten had 0.75 (0.99, 0.8, 0.75, 0.7, ...).
    assert one.why(0) == Verdict(Decision.STOP, 1, 0.75, 6, 10)
    assert one.why(1) == Verdict(Decision.STOP, 3, 0.9, 3, 3)
    with pytest.raises(RuntimeError, match="trial 3 is not paused"):
        one.why(3)


def test_nobody_is_promoted_twice_and_the_withdrawn_never() -> None:
    one = Promotion(max_epochs=4, reduction_factor=2)
    one.report(0, 1, 0.9)
    one.report(1, 1, 0.1)
    one.promoted(0)
    with pytest.raises(RuntimeError, match="trial 0 is not paused"):
        one.promoted(0)
    one.report(2, 1, 0.8)
    one.report(3, 1, 0.7)
    assert one.promotable() == 2
    one.withdrawn(2)
    assert one.promotable() is None  # it keeps its place among the best two of four
    assert one.why(3) == Verdict(Decision.STOP, 1, 0.8, 3, 4)


def test_a_report_that_skipped_rungs_waits_at_the_last_of_them() -> None:
    one = Promotion(max_epochs=20, reduction_factor=2)
    assert one.rungs() == [1, 2, 4, 8, 16]
    assert one.report(0, 5, 0.5).rung == 4
    one.report(1, 5, 0.4)
    one.promoted(0)
    assert one.report(0, 6, 0.5) == Verdict(Decision.CONTINUE)
    assert one.report(0, 8, 0.5).rung == 8


def test_an_early_promotion_can_be_wrong_so_more_than_a_share_may_go_on() -> None:
    """Arrivals from worst to best: each leads when it arrives, as in section 3.3 of the paper."""
    one = Promotion(max_epochs=4, reduction_factor=2)
    promoted = 0
    for trial in range(8):
        one.report(trial, 1, float(trial))
        while (best := one.promotable()) is not None:
            one.promoted(best)
            promoted += 1
    assert promoted == 7  # all but the first, which was alone


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=30),
    st.sampled_from([2, 3, 4, 2.5]),
    st.booleans(),
)
def test_promotions_are_among_the_best_of_their_rung(
    values: list[int], factor: float, ordered: bool
) -> None:
    if ordered:
        values = sorted(values, reverse=True)
    one = Promotion(max_epochs=8, reduction_factor=factor)
    rung = one.rungs()[0]
    gone: set[int] = set()
    for trial, value in enumerate(values):
        one.report(trial, rung, float(value))
        here = values[: trial + 1]
        places = math.floor(len(here) / factor)
        while (best := one.promotable()) is not None:
            assert best not in gone
            better = sum(other > values[best] for other in here)
            assert better < places
            one.promoted(best)
            gone.add(best)
        # Whoever is surely among the best has gone on.
        for other in range(trial + 1):
            if sum(value >= values[other] for value in here) <= places:
                assert other in gone
        if ordered:
            # Nobody falls behind: it is successive halving, and no share is ever exceeded.
            assert gone == set(range(places))


@given(st.permutations(list(range(27))))
def test_promotions_after_all_came_are_successive_halving(values: list[int]) -> None:
    one = Promotion(max_epochs=27, reduction_factor=3)
    for trial, value in enumerate(values):
        one.report(trial, 1, float(value))
    alive = set(range(27))
    for rung, following in ((1, 3), (3, 9), (9, 27)):
        gone = []
        while (best := one.promotable()) is not None:
            one.promoted(best)
            gone.append(best)
        assert len(gone) == 27 // (3 * rung)
        kept = sorted(alive, key=lambda trial: -values[trial])[: len(gone)]
        assert gone == kept
        alive = set(gone)
        for trial in gone:
            one.report(trial, following, float(values[trial]))
    assert one.promotable() is None


def spent(one: Schedule, finals: list[float]) -> int:
    """Epochs of a search with one worker whose curves are constant."""
    curves = [[value] * 9 for value in finals]
    return sum(event[0] == "report" for event in driven(one, curves, random.Random(0), slots=1))


def test_what_the_two_forms_of_asha_spend() -> None:
    def both(finals: list[float]) -> tuple[int, int]:
        forms = (
            ASHA(max_epochs=9, reduction_factor=3),
            Promotion(max_epochs=9, reduction_factor=3),
        )
        return spent(forms[0], finals), spent(forms[1], finals)

    # Two are too few for a promotion; the other form lets the first and a better second through.
    assert both([0.1, 0.2]) == (18, 2)
    # From best to worst: the other form keeps the first alone (9 + 8); here 9 + 3 * 2 + 1 * 6.
    assert both([1 - trial / 9 for trial in range(9)]) == (17, 21)
    # From worst to best nobody is stopped; here each leads in turn, but only once three have come.
    assert both([trial / 9 for trial in range(9)]) == (81, 9 + 7 * 2 + 5 * 6)
    # In a random order: the mean of 40 searches with 27 trials.
    means = [0.0, 0.0]
    for seed in range(40):
        finals = random.Random(seed).sample(range(27), 27)
        for form, epochs in enumerate(both([float(value) for value in finals])):
            means[form] += epochs / 40
    assert means[1] < means[0]


# Median ------------------------------------------------------------------------------------------


def test_median_by_hand() -> None:
    one = Median(max_epochs=4, grace_epochs=2)
    curves = [[0.2, 0.4, 0.6], [0.4, 0.6, 0.8], [0.5, 0.9, 1.0]]
    for trial, curve in enumerate(curves):
        for epoch, value in enumerate(curve, start=1):
            assert one.report(trial, epoch, value) == Verdict(Decision.CONTINUE)  # too few others
    # Means until epoch 2: 0.3, 0.5, 0.7; nothing is stopped before the grace is over.
    assert one.report(3, 1, 0.0) == Verdict(Decision.CONTINUE)
    assert one.report(3, 2, 0.45) == Verdict(Decision.STOP, 2, pytest.approx(0.5), 3, 4)
    # Its best counts, not its last; a tie with the median stays.
    one.report(4, 1, 0.55)
    verdict = one.report(4, 2, 0.1)
    # Means now 0.225 (trial 3), 0.3, 0.5, 0.7: the median is 0.4.
    assert verdict == Verdict(Decision.CONTINUE, 2, pytest.approx(0.4), 2, 5)
    # Means until epoch 3: 0.4, 0.6, 0.8.
    assert one.report(4, 3, 0.2) == Verdict(Decision.STOP, 3, pytest.approx(0.6), 3, 4)
    assert one.report(0, 4, 0.0) == Verdict(Decision.COMPLETE)


def test_median_lets_a_tie_stay_and_asks_strictly_worse() -> None:
    for value, decision in ((0.5, "continue"), (0.499, "stop")):
        one = Median(max_epochs=4)
        for trial in range(3):
            one.report(trial, 1, 0.5)
        assert one.report(3, 1, value).decision == decision


def test_median_counts_a_trial_at_epochs_that_it_passed_without_a_value() -> None:
    one = Median(max_epochs=9)
    for trial in range(3):
        one.report(trial, 1, 0.4)
        one.report(trial, 3, 0.8)  # at epoch 2 its mean is still 0.4
    one.report(3, 1, 0.5)
    assert one.report(3, 2, 0.5) == Verdict(Decision.CONTINUE, 2, pytest.approx(0.4), 1, 4)
    assert one.report(3, 3, 0.5).cutoff == pytest.approx(0.6)


@given(
    st.lists(st.lists(st.integers(0, 8), min_size=6, max_size=6), min_size=1, max_size=10),
    st.randoms(use_true_random=False),
)
def test_median_is_its_definition(curves: list[list[int]], rng: random.Random) -> None:
    """Against the sentence of the paper, computed anew at every report."""
    one = Median(max_epochs=9, grace_epochs=2)
    told: dict[int, list[float]] = {trial: [] for trial in range(len(curves))}
    alive = list(told)
    while alive:
        trial = rng.choice(alive)
        value = float(curves[trial][len(told[trial])])
        told[trial].append(value)
        epoch = len(told[trial])
        others = [
            fmean(values[:epoch])
            for other, values in told.items()
            if other != trial and len(values) >= epoch
        ]
        expected = Decision.CONTINUE
        # Nobody compares exactly what two ways of summing may round differently.
        close = bool(others) and abs(max(told[trial]) - median(others)) < 1e-9
        if epoch >= 2 and len(others) >= 3 and max(told[trial]) < median(others):
            expected = Decision.STOP
        found = one.report(trial, epoch, value)
        assert close or found.decision is expected
        if found.cutoff is not None:
            assert found.cutoff == pytest.approx(median(others))
        if found.decision is Decision.STOP or epoch == 6:
            alive.remove(trial)
