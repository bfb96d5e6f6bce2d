from __future__ import annotations

import json
import logging
import math
import os
import random
import subprocess
import sys
from typing import Any

import optuna
import pytest

from search_spaces.ranges import RangeError, defaults
from study.searcher import STARTUP_TRIALS, Draw, RandomSearch, Searcher, TPESearch, searcher
from trainables.core.errors import SettingError

TREE = {
    "seed": 1,
    "lr": {"low": 0.001, "high": 1.0, "log": True, "default": 0.05},
    "steps": {"low": 1, "high": 8},
    "flag": {"values": [False, 0, "no"]},
    "optimizer": {
        "values": [
            {"name": "SGD", "decay": {"low": 0.0, "high": 1.0}},
            {"name": "Adam", "decay": {"low": 1e-6, "high": 1e-2, "log": True}},
            "LBFGS",
        ]
    },
}
BOTH = ["random", "TPE"]


def make(name: str, seed: int = 0, arm: str = "gaussian-kl × CoV", mode: str = "max") -> Searcher:
    return searcher(name, TREE, seed=seed, arm=arm, mode=mode)


def value(draw: Draw) -> float:
    return -((math.log10(draw.params["lr"]) + 2) ** 2)


def outcome(k: int, draw: Draw) -> tuple[float | None, int, str]:
    """Every way in which a trial can end, some of each."""
    return [
        (value(draw), 12, "COMPLETE"),
        (value(draw), 2, "PRUNED"),
        (math.nan, 1, "FAIL"),
        (value(draw), 12, "COMPLETE"),
        (None, 0, "FAIL"),
    ][k % 5]


def told(name: str, trials: int, **settings: Any) -> tuple[Searcher, list[Draw]]:
    found = make(name, **settings)
    draws = []
    for k in range(trials):
        draws.append(found.ask(k))
        found.tell(k, draws[-1].params, *outcome(k, draws[-1]))
    return found, draws


@pytest.mark.parametrize("name", BOTH)
def test_the_first_trial_is_the_default(name: str) -> None:
    draw = make(name).ask(0)
    assert draw.config == defaults(TREE)
    assert draw.params["lr"] == 0.05
    assert draw.distributions["lr"] == {"low": 0.001, "high": 1.0, "log": True}
    assert list(draw.distributions) == list(draw.params)


@pytest.mark.parametrize("name", BOTH)
def test_draws_are_plain_and_consistent(name: str) -> None:
    _, draws = told(name, 25)
    for draw in draws:
        assert json.loads(json.dumps(draw.params)) == draw.params
        chosen = draw.params["optimizer"]
        assert ("optimizer/decay" in draw.params) == (chosen != "LBFGS")
        if chosen == "Adam":
            assert draw.params["optimizer/decay"] <= 1e-2
            assert draw.config["optimizer"] == {
                "name": "Adam",
                "decay": draw.params["optimizer/decay"],
            }
        assert type(draw.params["flag"]) in (bool, int, str)
        assert type(draw.params["lr"]) is float
        assert type(draw.params["steps"]) is int
    assert len({draw.params["lr"] for draw in draws}) == 25
    assert {draw.params["optimizer"] for draw in draws} == {"SGD", "Adam", "LBFGS"}


@pytest.mark.parametrize("name", BOTH)
def test_resumed_search_asks_what_the_uninterrupted_one_asks(name: str) -> None:
    _, draws = told(name, 16)
    for cut in (1, 4, 9, 15):
        resumed = make(name)
        order = list(range(cut))
        random.Random(cut).shuffle(order)  # trials end in any order
        for k in order:
            # As it comes from the ledger.
            params = json.loads(json.dumps(draws[k].params))
            resumed.tell(k, params, *outcome(k, draws[k]))
        for k in range(cut, 16):
            draw = resumed.ask(k)
            assert draw == draws[k]
            resumed.tell(k, draw.params, *outcome(k, draw))


def test_resume_with_running_trials() -> None:
    first, draws = told("TPE", 10)
    running = [first.ask(10), first.ask(11)]
    resumed = make("TPE")
    resumed.planned(11, running[1].params)
    for k, draw in enumerate(draws):
        resumed.tell(k, draw.params, *outcome(k, draw))
    resumed.planned(10, running[0].params)
    assert resumed.ask(12) == first.ask(12)


def test_asking_again_gives_the_same_answer() -> None:
    found, _ = told("TPE", 8)
    assert found.ask(8) == found.ask(8)


def test_running_trials_are_kept_away_from() -> None:
    tree = {"x": {"low": 0.0, "high": 1.0}}
    lonely, crowded = (TPESearch(tree, seed=3, arm="a") for _ in range(2))
    for k in range(12):
        for one in (lonely, crowded):
            one.tell(k, {"x": k / 12}, -((k / 12 - 0.5) ** 2), 5, "COMPLETE")
    for k in range(20, 60):
        crowded.planned(k, {"x": 0.45 + 0.1 * (k - 20) / 40})
    near = [abs(one.ask(k).params["x"] - 0.5) < 0.1 for one in (lonely, crowded) for k in (12, 13)]
    assert near[:2] == [True, True]
    assert near[2:] == [False, False]


@pytest.mark.parametrize("name", BOTH)
def test_seed_arm_and_number_change_the_draws(name: str) -> None:
    reference = [draw.params["lr"] for draw in told(name, 4)[1]][1:]
    other_seed = [draw.params["lr"] for draw in told(name, 4, seed=1)[1]][1:]
    other_arm = [draw.params["lr"] for draw in told(name, 4, arm="adversarial")[1]][1:]
    assert len({*reference, *other_seed, *other_arm}) == 9


@pytest.mark.parametrize("mode", ["min", "max"])
def test_tpe_goes_where_it_is_good(mode: str) -> None:
    tree = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}}
    sign = 1 if mode == "max" else -1
    late = []
    for seed in range(5):
        found = TPESearch(tree, seed=seed, arm="a", mode=mode)
        for k in range(30):
            draw = found.ask(k)
            x, y = draw.params["x"], draw.params["y"]
            found.tell(k, draw.params, -sign * ((x - 0.9) ** 2 + (y - 0.1) ** 2), 5, "COMPLETE")
            if k >= 20:
                late.append(math.hypot(x - 0.9, y - 0.1))
    # A uniform draw is 0.65 away on average (the default, the middle, 0.57).
    assert sum(late) / len(late) < 0.3


def test_diverged_trials_are_learnt_from_and_failed_ones_are_not() -> None:
    tree = {"x": {"low": 0.0, "high": 1.0}}
    rng = random.Random(0)
    points = [rng.random() for _ in range(40)]
    late = {}
    for label, bad in (("diverged", math.nan), ("failed", None)):
        asked = []
        for seed in range(20):
            found = TPESearch(tree, seed=seed, arm="a")
            for k, x in enumerate(points):
                # Everything above a half goes wrong; below, all are equally good.
                wrong = x > 0.5
                found.tell(k, {"x": x}, bad if wrong else 0.5, 3, "FAIL" if wrong else "COMPLETE")
            asked.append(found.ask(40).params["x"] > 0.5)
        late[label] = sum(asked)
    assert late["diverged"] < late["failed"]
    assert late["diverged"] <= 2


def test_what_optuna_is_told() -> None:
    found = make("TPE")
    draws = [found.ask(k) for k in range(6)]
    found.tell(0, draws[0].params, 0.5, 12, "COMPLETE")
    found.tell(1, draws[1].params, 0.25, 2, "PRUNED")
    found.tell(2, draws[2].params, math.nan, 3, "FAIL")
    found.tell(3, draws[3].params, None, 0, "FAIL")
    found.tell(4, draws[4].params, 0.75, 4, "FAIL")
    states = optuna.trial.TrialState
    trials = found._study(9).trials
    assert [trial.state for trial in trials] == [
        states.COMPLETE,
        states.PRUNED,
        states.PRUNED,
        states.FAIL,
        states.FAIL,
        states.RUNNING,
    ]
    assert trials[0].value == 0.5
    assert trials[1].intermediate_values == {2: 0.25}
    assert trials[2].intermediate_values == {}
    # Two options have a setting at one path: two parameters to Optuna.
    decays = {name for trial in trials for name in trial.params if "decay" in name}
    assert decays <= {"optimizer/decay[optimizer=SGD]", "optimizer/decay[optimizer=Adam]"}


def test_nothing_is_logged_and_nothing_stays_changed(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    told("TPE", STARTUP_TRIALS + 3)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before == logging.INFO


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 2.0}, "lr: 2.0 lies outside"),
        ({"optimizer": "RMSprop"}, "optimizer: 'RMSprop' lies outside"),
        ({"momentum": 0.9}, "momentum: trial 7 of the arm has a value, but this is no range"),
        ({"lr": ...}, "lr: trial 7 of the arm has no value for this range"),
    ],
)
def test_trials_of_another_space_are_refused(
    name: str, change: dict[str, Any], message: str
) -> None:
    found = make(name)
    params = {**found.ask(0).params, **change}
    params = {path: one for path, one in params.items() if one is not ...}
    with pytest.raises(RangeError, match=message):
        found.tell(7, params, 0.5, 3, "COMPLETE")


def test_an_arm_without_ranges_has_one_configuration() -> None:
    for name in BOTH:
        found = searcher(name, {"lr": 0.1}, seed=0, arm="a", mode="max")
        for k in range(STARTUP_TRIALS + 2):
            assert found.ask(k) == Draw({"lr": 0.1}, {}, {})
            found.tell(k, {}, 0.5, 3, "COMPLETE")


def test_names_and_settings() -> None:
    assert isinstance(make("tpe"), TPESearch)
    assert isinstance(make("Random"), RandomSearch)
    with pytest.raises(SettingError, match=r"Unknown sampler 'tpes'\. Did you mean 'TPE'\?"):
        make("tpes")
    with pytest.raises(SettingError, match="mode must be min or max, found 'maximum'"):
        make("TPE", mode="maximum")
    with pytest.raises(ValueError, match="found 'STOPPED'"):
        make("TPE").tell(0, defaults_params(), 0.5, 3, "STOPPED")


def defaults_params() -> dict[str, Any]:
    return make("random").ask(0).params


SCRIPT = """
from tests.study.test_searcher import told
print([draw.params for draw in told("TPE", 14)[1]])
"""


@pytest.mark.slow
def test_draws_do_not_depend_on_the_hash_seed() -> None:
    answers = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(answers) == 1
    assert answers == {f"{[draw.params for draw in told('TPE', 14)[1]]}\n"}
