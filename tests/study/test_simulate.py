"""Simulated schedules: curves worked out by hand, and the real conductor's own decisions."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from typer.testing import CliRunner

from analysis import events
from analysis.history import fold
from study import hindsight
from study.cli import app
from study.conductor import Conductor
from study.hindsight import Question, spearman, told
from study.ledger import Ledger
from study.schedules import Decision, Verdict
from study.simulate import Curve, Setting, Simulated, curves, simulate, slots_of, sweep
from study.spec import Study, parse

ARM = ("a", "Fixed")
ACCURACY = "validation/accuracy"
ROBUST = "validation/pgd/accuracy"


def curve(trial: int, values: Sequence[float | None], **changes: Any) -> Curve:
    """A curve of an epoch per second; None where the metric was not measured."""
    known = tuple({} if value is None else {ACCURACY: value} for value in values)
    given = {"arm": ARM, "metrics": known, "seconds": (1.0,) * len(known), "whole": True}
    return Curve(trial=trial, group=str(trial), **{**given, **changes})


def setting(name: str = "ASHA", form: str = "stopping", end: int = 4, **changes: Any) -> Setting:
    return Setting(
        **{
            "name": name,
            "form": form,
            "max_epochs": end,
            "grace_epochs": 1,
            "reduction_factor": 2.0,
            **changes,
        }
    )


def run(trials: Sequence[Curve], by: Setting, slots: int = 1) -> Simulated:
    return simulate(trials, by, metric=ACCURACY, mode="max", slots=slots)


def states(found: Simulated) -> list[tuple[str, int]]:
    return [(one.state, one.epochs) for one in found.outcomes.values()]


LATE = [
    curve(0, [0.5, 0.5, 0.5, 0.5]),
    curve(1, [0.4, 0.7, 0.8, 0.9]),  # the best in the end, and behind at first
    curve(2, [0.6, 0.6, 0.6, 0.6]),
    curve(3, [0.55, 0.55, 0.55, 0.55]),
]


def test_stopping_by_hand() -> None:
    found = run(LATE, setting())
    # 0.4 < 0.5; 0.6 > 0.45 and 0.5; 0.55 > the median 0.5 of three, and ties with 0.55 at epoch 2.
    assert states(found) == [("complete", 4), ("stopped", 1), ("complete", 4), ("complete", 4)]
    assert found.outcomes[1].verdict == Verdict(Decision.STOP, 1, 0.5, 2, 2)
    assert found.wall_s == 13


def test_promotion_by_hand() -> None:
    found = run(LATE, setting(form="promotion"))
    # Two there: 0.5 goes on to epoch 2 and waits alone. 0.6 leads three and follows; of two at
    # epoch 2 it is the better half. Of four 0.6 and 0.55 are the best two, so the latter follows
    # as well and is second there.
    assert states(found) == [("stopped", 2), ("stopped", 1), ("complete", 4), ("stopped", 2)]
    assert found.outcomes[0].verdict == Verdict(Decision.STOP, 2, 0.6, 3, 3)
    assert found.outcomes[1].verdict == Verdict(Decision.STOP, 1, 0.55, 4, 4)
    assert found.wall_s == 9


def test_median_by_hand() -> None:
    found = run([*LATE[:3], curve(3, [0.45, 0.45, 0.45, 0.45])], setting("median"))
    # Three others at epoch 1 have 0.5, 0.4 and 0.6; nobody had three others before.
    assert states(found)[:3] == [("complete", 4)] * 3
    assert found.outcomes[3].verdict == Verdict(Decision.STOP, 1, 0.5, 3, 4)


def test_no_schedule_trains_everything() -> None:
    assert states(run(LATE, setting("none"))) == [("complete", 4)] * 4


def test_who_arrives_first_depends_on_slots_and_on_how_long_an_epoch_takes() -> None:
    slow = curve(0, [0.5] * 4, seconds=(10.0,) * 4)
    quick = curve(1, [0.4] * 4)
    one, two = run([slow, quick], setting()), run([slow, quick], setting(), slots=2)
    assert states(one) == [("complete", 4), ("stopped", 1)]
    assert one.wall_s == 41
    # Side by side the quick one is at every rung before the slow one.
    assert states(two) == [("complete", 4), ("complete", 4)]
    assert two.wall_s == 40
    # More slots than trials change nothing more.
    assert run([slow, quick], setting(), slots=9) == two


def test_arms_have_schedules_of_their_own() -> None:
    other = curve(1, [0.1] * 4, arm=("b", "Fixed"))
    assert states(run([LATE[0], other], setting())) == [("complete", 4), ("complete", 4)]


def test_beyond_what_was_recorded_nothing_is_known() -> None:
    cut = curve(1, [0.6], whole=False)
    found = run([LATE[0], cut], setting())
    assert states(found) == [("complete", 4), ("unknown", 1)]
    assert states(run([LATE[0], curve(1, [0.4], whole=False)], setting()))[1] == ("stopped", 1)
    # A promoted trial without a curve beyond is as unknown.
    paused = [curve(0, [0.5], whole=False), curve(1, [0.6], whole=False)]
    assert states(run(paused, setting(form="promotion"))) == [("stopped", 1), ("unknown", 1)]


def test_divergence_and_errors_are_what_they_were() -> None:
    diverged = curve(1, [0.9, math.nan])
    elsewhere = curve(2, [0.9, 0.9], metrics=({ACCURACY: 0.9}, {ACCURACY: 0.9, "loss": math.inf}))
    broken = curve(3, [0.9], failed=True)
    dead = curve(4, [], failed=True)
    found = run([LATE[0], diverged, elsewhere, broken, dead], setting("none"))
    expected = [("complete", 4), ("diverged", 2), ("diverged", 2), ("failed", 1), ("failed", 0)]
    assert states(found) == expected


def test_at_a_rung_without_a_value_the_last_one_stands_in() -> None:
    measured = [curve(0, [0.5, None, 0.9, 0.9]), curve(1, [0.4, None, 0.95, 0.95])]
    found = run(measured, setting(grace_epochs=2))
    assert states(found) == [("complete", 4), ("stopped", 2)]
    assert [one.stale for one in found.outcomes.values()] == [1, 1]
    # Nothing before it either: nobody is judged at the rung, but at the next epoch, as in a study.
    late = [curve(0, [None, None, 0.5, 0.5]), curve(1, [None, None, 0.4, 0.9])]
    found = run(late, setting(grace_epochs=2))
    assert states(found) == [("complete", 4), ("stopped", 3)]
    assert found.outcomes[1].missing == 1
    assert found.outcomes[1].verdict == Verdict(Decision.STOP, 2, 0.5, 2, 2)


def test_what_a_setting_is_worth_by_hand() -> None:
    found = told(LATE, setting(), Question(ACCURACY, "max"))
    (arm,) = found["arms"]
    assert (found["epochs"], found["full"], found["spent"], found["unknown"]) == (13, 16, 16, 0)
    assert found["saved"] == pytest.approx(3 / 16)
    assert (arm["winner"], arm["winner_fate"], arm["winner_rung"]) == (1, "stopped", 1)
    assert (arm["winner_rank"], arm["winner_of"], arm["picked"]) == (2, 2, 2)
    assert arm["regret"] == pytest.approx(0.9 - 0.6)
    # The best is 0.325 above the median of 0.5, 0.9, 0.6 and 0.55.
    assert arm["score"] == pytest.approx(13 / 16 + 0.3 / 0.325)
    # Ranks 2 1 4 3 against 1 4 3 2 at epoch 1; equal from epoch 2 on.
    assert arm["correlation"] == {"1": pytest.approx(-0.2), "2": pytest.approx(1)}
    assert found["winners_stopped"] == 1
    full = told(LATE, setting("none"), Question(ACCURACY, "max"))
    assert (full["saved"], full["regret"], full["score"], full["winners_stopped"]) == (0, 0, 1, 0)


def test_for_a_metric_of_which_less_is_better() -> None:
    mirrored = [curve(one.trial, [-known[ACCURACY] for known in one.metrics]) for one in LATE]
    one = told(LATE, setting(), Question(ACCURACY, "max"))
    two = told(mirrored, setting(), Question(ACCURACY, "min"))
    one.pop("arms"), two.pop("arms")
    assert one == pytest.approx(two)


def test_the_best_may_be_chosen_although_it_was_not_trained_to_its_end() -> None:
    found = told(LATE[:1] + LATE[2:3], setting(form="promotion"), Question(ACCURACY, "max"))
    # Of two, 0.6 goes on to epoch 2 and waits there alone: nobody came further.
    (arm,) = found["arms"]
    assert (arm["epochs"], arm["winner"], arm["picked"], arm["winner_fate"]) == (3, 2, 2, "chosen")
    assert (arm["regret"], found["winners_stopped"]) == (0, 0)


def test_epochs_of_unknown_trials_are_bounds() -> None:
    found = told([LATE[0], curve(1, [0.6], whole=False)], setting(), Question(ACCURACY, "max"))
    assert (found["epochs"], found["epochs_most"], found["full"]) == (5, 8, 8)
    assert (found["spent"], found["unknown"], found["saved"]) == (5, 1, 0)


def test_the_best_by_a_second_metric() -> None:
    def of(trial: int, plain: float, robust: Sequence[float]) -> Curve:
        known = tuple({ACCURACY: plain, ROBUST: value} for value in robust)
        return curve(trial, [plain] * 4, metrics=known)

    trials = [of(0, 0.5, [0.3, 0.3, 0.3, 0.3]), of(1, 0.4, [0.1, 0.2, 0.3, 0.8])]
    found = told(trials, setting(), Question(ACCURACY, "max", ROBUST, "max"))
    (arm,) = found["arms"]
    assert (arm["winner"], arm["winner_fate"], arm["regret"]) == (0, "kept", 0)
    assert (arm["final_winner"], arm["final_winner_fate"]) == (1, "stopped")
    assert (arm["final_winner_rung"], arm["final_regret"]) == (1, pytest.approx(0.5))
    assert (found["winners_stopped"], found["final_winners_stopped"]) == (0, 1)


def test_an_arm_of_which_nothing_is_known_in_full() -> None:
    found = told([curve(0, [0.5], whole=False)], setting(), Question(ACCURACY, "max"))
    assert (found["winners"], found["regret"], found["score"]) == (0, None, None)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12))
def test_spearman_is_scipys(pairs: list[tuple[int, int]]) -> None:
    x, y = [float(one) for one, _ in pairs], [float(one) for _, one in pairs]
    found = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(x, y).statistic)


def test_two_pairs_say_nothing_of_ranks() -> None:
    assert spearman([1.0, 2.0], [1.0, 2.0]) is None


def test_a_sweep_holds_no_setting_twice_and_no_grace_beyond_a_quarter() -> None:
    found = sweep(60)
    assert len(found) == len(set(found)) == 1 + 4 + 2 * 4 * 3
    assert {one.grace_epochs for one in found} == {1, 4, 8, 15}
    assert [one.name for one in sweep(1)] == ["none"]


# Of a study ---------------------------------------------------------------------------------------


def study(**schedule: Any) -> Study:
    lr = {"low": 0.01, "high": 1.0, "log": True}
    return parse(
        {
            "study": "tiny",
            "training": {"epochs": 9, "optimizer": {"name": "SGD", "lr": lr}},
            "arms": {"baseline": {}, "kl": "gaussian_kl"},
            "search": {"sampler": "random", "trials_per_arm": 9},
            "schedule": schedule,
            "confirm": {"seeds": 1},
        }
    )


def recorded(folder: Path, of: Study) -> Path:
    """A study of one trial at a time with made-up curves; everything but the training is real."""
    folder.mkdir()
    (folder / "resolved.json").write_text(json.dumps(of.resolved()), encoding="utf-8")
    first = {"schema_version": 2, "study": of.study, "study_id": of.study_id}
    Ledger.create(folder, first).close()
    with Ledger.open(folder) as ledger:
        ledger.append("segment", segment=0, command="run", storage="")
        conductor = Conductor(of, ledger)
        while (trial := conductor.next()) is not None:
            conductor.started(trial.number)
            final = random.Random(trial.number).random()
            goes_on = True
            while goes_on:
                epoch = conductor.trials[trial.number].epoch + 1
                value = final * (1 - math.exp(-(1 + 3 * final) * epoch / 9))
                if trial.number == 7 and epoch == 2:
                    value = math.nan
                goes_on = conductor.report(
                    trial.number,
                    {
                        "epoch": epoch,
                        "metrics": {ACCURACY: value, "validation/loss": 1.0},
                        "weights": {},
                        "evaluations": [],
                        "train_s": 2.0,
                        "eval_s": 0.5,
                        "summary": None,
                    },
                )
        assert conductor.finished
    return folder


@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "ASHA", "reduction_factor": 2},
        {"name": "ASHA", "grace_epochs": 2, "reduction_factor": 3},
        {"name": "ASHA", "form": "promotion"},
        {"name": "median", "grace_epochs": 2},
        {"name": "none"},
    ],
    ids=lambda one: "-".join(str(value) for value in one.values()),
)
def test_the_schedule_that_ran_stops_the_same_trials_again(
    schedule: dict[str, Any], tmp_path: Path
) -> None:
    of = study(**schedule)
    folder = recorded(tmp_path / "tiny", of)
    log = events.read(folder)
    assert slots_of(log) == 1
    trials = curves(fold(log), of.epochs)
    own = Setting(**{key: getattr(of.schedule, key) for key in Setting.__dataclass_fields__})
    found = simulate(trials, own, metric=of.metric, mode=of.mode, slots=1)
    keys = ("trial", "epoch", "rung", "cutoff", "rank", "of")
    stops = {tuple(one[key] for key in keys) for one in log if one["event"] == "stopped"}
    assert len(stops) > 3 or schedule["name"] == "none"
    assert stops == {
        (trial, one.epochs, *(getattr(one.verdict, key) for key in keys[2:]))
        for trial, one in found.outcomes.items()
        if one.state == "stopped"
    }
    spent = sum(len(one.metrics) for one in trials)
    assert sum(one.epochs for one in found.outcomes.values()) == spent
    assert found.wall_s == 2.5 * spent
    assert not any(one.state == "unknown" for one in found.outcomes.values())
    assert found.outcomes[7].state in ("diverged", "stopped")


def call(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["simulate", *(str(word) for word in words)])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("studies") / "tiny", study(name="none"))


def test_a_sweep_has_the_best_trade_off_first(folder: Path) -> None:
    code, text = call(folder, "--json")
    assert code == 0
    found = json.loads(text)
    assert len(found["settings"]) == len(sweep(9))
    scores = [one["score"] for one in found["settings"]]
    assert scores == sorted(scores)
    (own,) = [one for one in found["settings"] if one["recorded"]]
    assert (own["title"], own["score"], own["saved"]) == ("none", 1, 0)
    assert (found["trials"], found["cut"], found["slots"]) == (18, 0, 1)
    # One trial diverged in its second epoch; the confirmation is no part of it.
    assert found["spent"] == own["epochs"] == 17 * 9 + 2
    text = call(folder)[1]
    assert "none (as it ran)" in text
    assert "regret in pp" in text
    assert "A sampler" not in text


def test_one_setting_is_told_by_arm(folder: Path) -> None:
    code, text = call(folder, "--schedule", "ASHA", "--set", "reduction_factor=4", "--slots", 3)
    assert code == 0
    assert "ASHA, grace 1, factor 4" in text
    assert "3 at a time" in text
    assert "ρ at 4" in text
    words = ("--form", "promotion", "--set", "schedule.grace_epochs=2", "--json")
    found = json.loads(call(folder, *words)[1])
    (one,) = found["settings"]
    assert one["title"] == "ASHA promotion, grace 2, factor 3"
    assert [arm["arm"] for arm in one["arms"]] == ["baseline", "kl"]


def test_another_metric_decides(folder: Path) -> None:
    words = ("--schedule", "ASHA", "--metric", "validation/loss", "--final", ACCURACY, "--json")
    code, text = call(folder, *words)
    found = json.loads(text)
    assert (code, found["metric"], found["mode"], found["final"]) == (
        0,
        "validation/loss",
        "min",
        ACCURACY,
    )
    # The losses are all equal: nobody is behind.
    assert found["settings"][0]["epochs"] == found["spent"]
    assert found["settings"][0]["final_winners_stopped"] == 0
    assert "best by validation accuracy" in call(folder, *words[:-1])[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--schedule", "asha"], "--schedule cannot be 'asha'. Did you mean 'ASHA'"),
        (["--form", "stop"], "--form cannot be 'stop'. Did you mean 'stopping'"),
        (["--schedule", "median", "--form", "promotion"], "--form is a setting of ASHA"),
        (["--set", "grace=2"], "--set cannot be 'grace=2'. Did you mean 'grace_epochs'"),
        (["--set", "grace_epochs=10"], "[1, max_epochs = 9], found 10"),
        (["--set", "reduction_factor=1"], "above 1, found 1"),
        (["--set", "reduction_factor=fast"], "reduction_factor must be a number"),
        (["--set", "max_epochs=4"], "max_epochs must stay 9"),
        (["--schedule", "none", "--set", "grace_epochs=2"], "--schedule none has nothing to set"),
        (["--metric", "validation/acuracy"], "Did you mean 'validation/accuracy'"),
        (["--final", "train/loss"], "--final cannot be 'train/loss'"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else None,
)
def test_a_mistake_is_one_line_and_a_code(folder: Path, words: list[str], says: str) -> None:
    code, text = call(folder, *words)
    assert code == 2
    assert says in text
    assert "Traceback" not in text


def test_a_folder_without_a_search(tmp_path: Path) -> None:
    assert call(tmp_path) == (
        2,
        f"Error: {tmp_path} is no study's folder: it has no resolved.json.\n",
    )
    of = study(name="none")
    (tmp_path / "resolved.json").write_text(json.dumps(of.resolved()), encoding="utf-8")
    first = {"schema_version": 2, "study": of.study, "study_id": of.study_id}
    Ledger.create(tmp_path, first).close()
    code, text = call(tmp_path)
    assert code == 2
    assert "no reports of a search yet" in text


def test_trials_that_ran_at_once_are_counted_within_a_segment() -> None:
    def event(kind: str, trial: int, **more: Any) -> dict[str, Any]:
        return {"event": kind, "trial": trial} | more

    log = [event("planned", trial, phase="search") for trial in range(4)]
    log += [event("planned", 4, phase="confirm")]
    log += [event("started", 0), event("started", 1), event("report", 1, decision="pause")]
    log += [event("started", 2), {"event": "segment"}, event("started", 0), event("started", 4)]
    assert slots_of(log) == 2
    assert slots_of([*log, event("ended", 0), event("started", 1), event("started", 2)]) == 2
    assert slots_of([*log, event("started", 1), event("started", 2)]) == 3
    assert slots_of([]) == 1


def test_notes_say_what_is_not_known() -> None:
    asked = Question(ACCURACY, "max")
    trials = [curve(0, [0.5, None, 0.5, 0.5]), curve(1, [0.6], whole=False)]
    rows = [told(trials, setting(grace_epochs=2), asked), told(trials, setting("none"), asked)]
    text = "\n".join(hindsight._notes(trials, rows, asked, 4))
    assert "1 of 2 trials were cut off before 4 epochs" in text
    assert "not measured at every rung" in text
    assert "only 1 trial with a full curve" in text
    assert "Rungs before" not in text
