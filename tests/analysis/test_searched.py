from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from analysis.export import tables
from analysis.searched import chosen, confirmed, controls, picked, ranges, runs, short

from .fake_study import BASELINE, KL, Ledger, Pair, realistic, tiny

AUX = "losses/aux/coefficient"
LR = "training/optimizer/lr"


def trial(
    ledger: Ledger,
    pair: Pair,
    value: float,
    *,
    state: str = "COMPLETE",
    reason: str = "budget",
    epochs: int = 3,
    settings: dict[str, Any] | None = None,
    distributions: dict[str, Any] | None = None,
    phase: str = "search",
    seed: int = 0,
    group: str = "",
    evaluations: list[Any] | None = None,
    weights: list[dict[str, Any]] | None = None,
    **more: Any,
) -> int:
    """A trial with these settings that reports `value` at its last epoch, and half of it before."""
    number, ledger.trials = ledger.trials, ledger.trials + 1
    ledger.event(
        "planned",
        trial=number,
        phase=phase,
        arm=pair[0],
        weighter=pair[1],
        seed=seed,
        group=group or f"group{number:07d}",
        recipe={
            "training": {"epochs": epochs},
            "losses": {"main": {"name": "CrossEntropy"}, "aux": {"name": "KL"}},
        },
        params=settings or {},
        distributions=distributions or {},
        **({} if phase == "search" else {"place": 0}),
        **more,
    )
    ledger.start(number)
    for epoch in range(1, epochs + 1):
        last = epoch == epochs
        ledger.event(
            "report",
            trial=number,
            epoch=epoch,
            metrics={"validation/accuracy": value if last else value / 2},
            weights=weights[epoch - 1] if weights else {},
            evaluations=(evaluations or []) if last else [],
            rung=None,
            decision="complete" if last else "continue",
            train_s=2.0,
            eval_s=0.5,
        )
    ledger.end(number, state, reason)
    return number


def test_runs_are_search_trials_at_their_last_report(tmp_path: Path) -> None:
    tiny(tmp_path / "s", finished=False)
    found = runs(tables(tmp_path / "s"))
    assert [one.number for one in found] == [0, 1, 2, 3, 4]  # the sixth has not started
    assert [one.value for one in found] == pytest.approx([0.80, 0.85, 0.88, 0.86, 0.5])
    assert [one.ending for one in found] == ["rung", "complete", "complete", "rung", "open"]
    assert [one.whole for one in found] == [False, True, True, False, False]
    assert found[0].settings == {}
    assert found[2].settings == pytest.approx({AUX: 0.3})


def test_a_trial_of_fewer_epochs_is_not_of_full_budget(tmp_path: Path) -> None:
    # As after an extension by epochs: the earlier ones ended complete.
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial(ledger, BASELINE, 0.9, epochs=2)
    trial(ledger, BASELINE, 0.8, epochs=4)
    found = runs(tables(tmp_path / "s"))
    assert [one.whole for one in found] == [False, True]
    assert picked(tables(tmp_path / "s"), found)[BASELINE].number == 1


def test_diverged_and_failed_trials_have_no_value(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial(ledger, BASELINE, math.nan, state="FAIL", reason="diverged")
    trial(ledger, BASELINE, 0.7, state="FAIL", reason="error")
    found = runs(tables(tmp_path / "s"))
    assert [one.ending for one in found] == ["diverged", "error"]
    assert not any(one.sound or one.whole for one in found)


def test_ranges_hold_those_of_all_arms(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    first = {LR: {"low": 0.01, "high": 0.1, "log": True}, "opt": {"values": ["SGD"]}}
    second = {LR: {"low": 0.05, "high": 1.0, "log": True}, "opt": {"values": ["SGD", "Adam"]}}
    trial(ledger, BASELINE, 0.5, settings={LR: 0.02, "opt": "SGD"}, distributions=first)
    trial(ledger, KL, 0.5, settings={LR: 0.5, "opt": "Adam"}, distributions=second)
    assert ranges(tables(tmp_path / "s")) == {
        LR: {"low": 0.01, "high": 1.0, "log": True},
        "opt": {"values": ["SGD", "Adam"]},
    }
    assert [one.settings["opt"] for one in runs(tables(tmp_path / "s"))] == ["SGD", "Adam"]


def test_the_confirmed_configuration_is_the_sound_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    for group, value in (("aaaa", 0.95), ("bbbb", 0.9)):
        trial(ledger, BASELINE, value, group=group)
    for group, values in (("aaaa", (0.99, math.nan)), ("bbbb", (0.9, 0.91))):
        for seed, value in enumerate(values):
            lost = {} if math.isfinite(value) else {"state": "FAIL", "reason": "diverged"}
            trial(ledger, BASELINE, value, phase="confirm", seed=seed, group=group, **lost)  # type: ignore[arg-type]
    made = tables(tmp_path / "s")
    assert [one["group_id"] for one in confirmed(made)[BASELINE]] == ["bbbb", "bbbb"]
    assert picked(made, runs(made))[BASELINE].number == 1
    assert chosen(made)[BASELINE] == confirmed(made)[BASELINE]


def test_before_confirmation_trials_of_full_budget_are_chosen(tmp_path: Path) -> None:
    realistic(tmp_path / "s", per_arm=6, seeds=0)
    made = tables(tmp_path / "s")
    assert confirmed(made) == {}
    for label, rows in chosen(made).items():
        states = {one["state"] for one in rows}
        whole = [one for one in runs(made) if one.label == label and one.whole]
        assert states == {"COMPLETE"} if whole else "PRUNED" in states


def test_controls_are_found_by_name(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    trial(ledger, KL, 0.8)
    trial(ledger, KL, 0.7, phase="control", control="coefficient_0")
    made = tables(tmp_path / "s")
    assert [one["score"] for one in controls(made, "coefficient_0")[KL]] == [0.7]
    assert controls(made, "replay") == {}
    assert len(runs(made)) == 1


def test_settings_have_short_names_that_differ() -> None:
    assert short([AUX, LR]) == {AUX: "aux coefficient", LR: "optimizer lr"}
    assert short(["views/a/p", "losses/a/p", "seed"]) == {
        "views/a/p": "views a p",
        "losses/a/p": "losses a p",
        "seed": "seed",
    }
