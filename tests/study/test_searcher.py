"""What all searchers promise, whatever their sampler: resume, points by hand, no repetition."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.ranges import RangeError, defaults
from study.samplers.tpe import STARTUP_TRIALS
from study.searcher import (
    SAMPLERS,
    Draw,
    Past,
    Searcher,
    configurations,
    every,
    fits,
    searcher,
    starts,
)
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
# The same idea for CMA-ES, which moves real numbers alone.
FLOATS = {
    "lr": {"low": 0.001, "high": 1.0, "log": True, "default": 0.05},
    "decay": {"low": 0.0, "high": 1.0},
}
FINITE = {
    "flag": {"values": [False, 0, "no"]},
    "optimizer": {"values": [{"name": "SGD", "steps": {"low": 1, "high": 3}}, "LBFGS"]},
}
ALL = list(SAMPLERS)
ANY_TREE = [name for name in ALL if name != "CMA-ES"]


def make(name: str, seed: int = 0, arm: str = "gaussian-kl × CoV", **more: Any) -> Searcher:
    tree = more.pop("tree", FLOATS if name == "CMA-ES" else TREE)
    return searcher(name, tree, **{"seed": seed, "arm": arm, "modes": ["max"], **more})


def asked(found: Searcher, k: int) -> Draw:
    draw = found.ask(k)
    assert draw is not None
    return draw


def value(draw: Draw) -> float:
    return -((math.log10(draw.params["lr"]) + 2) ** 2)


def outcome(k: int, draw: Draw) -> tuple[list[float] | None, int, Any]:
    """Every way in which a trial can end, some of each."""
    return [
        ([value(draw)], 12, "COMPLETE"),
        ([value(draw)], 2, "PRUNED"),
        ([math.nan], 1, "FAIL"),
        ([value(draw)], 12, "COMPLETE"),
        (None, 0, "FAIL"),
    ][k % 5]


def told(name: str, trials: int, **settings: Any) -> tuple[Searcher, list[Draw]]:
    found = make(name, **settings)
    draws = []
    for k in range(trials):
        draws.append(asked(found, k))
        found.tell(k, draws[-1].params, *outcome(k, draws[-1]))
    return found, draws


@pytest.mark.parametrize("name", ALL)
def test_the_first_trial_is_the_default(name: str) -> None:
    draw = asked(make(name), 0)
    assert draw.config == defaults(FLOATS if name == "CMA-ES" else TREE)
    assert draw.params["lr"] == 0.05
    assert draw.distributions["lr"] == {"low": 0.001, "high": 1.0, "log": True}
    assert list(draw.distributions) == list(draw.params)


@pytest.mark.parametrize("name", ANY_TREE)
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
    assert len({json.dumps(draw.params) for draw in draws}) == 25
    assert {draw.params["optimizer"] for draw in draws} == {"SGD", "Adam", "LBFGS"}


@pytest.mark.parametrize("name", ALL)
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
            draw = asked(resumed, k)
            assert draw == draws[k]
            resumed.tell(k, draw.params, *outcome(k, draw))


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=6, deadline=None)
@given(chance=st.randoms(use_true_random=False), trials=st.integers(1, 14))
def test_an_answer_depends_on_what_was_told_and_not_on_when(
    name: str, chance: random.Random, trials: int
) -> None:
    modes = ["max"] if name == "CMA-ES" else ["max", "min"]
    first, second = (make(name, modes=modes) for _ in range(2))
    calls = []
    for k in range(trials):
        params = asked(first, k).params
        end = chance.choice(["COMPLETE", "PRUNED", "FAIL", "RUNNING"])
        values = chance.choice([None, [chance.choice([math.inf, math.nan, 1.0])] * len(modes)])
        values = [chance.random() for _ in modes] if end in ("COMPLETE", "PRUNED") else values
        if end != "RUNNING":
            first.tell(k, params, values, chance.randint(1, 5), end)  # type: ignore[arg-type]
        calls.append((k, params))
    states = first._trials  # type: ignore[attr-defined]
    chance.shuffle(calls)
    for k, params in calls:
        second.planned(k, params)
        if states[k].state != "RUNNING":
            second.tell(k, params, states[k].values, states[k].epochs, states[k].state)
    assert second.ask(trials) == first.ask(trials)
    assert second.ask(trials) == first.ask(trials)
    assert asked(first, trials).params not in [params for _, params in calls]


def test_resume_with_running_trials() -> None:
    first, draws = told("TPE", 10)
    running = [asked(first, 10), asked(first, 11)]
    resumed = make("TPE")
    resumed.planned(11, running[1].params)
    for k, draw in enumerate(draws):
        resumed.tell(k, draw.params, *outcome(k, draw))
    resumed.planned(10, running[0].params)
    assert resumed.ask(12) == first.ask(12)


@pytest.mark.parametrize("name", ALL)
def test_asking_again_gives_the_same_answer(name: str) -> None:
    found, _ = told(name, 9)
    assert found.ask(9) == found.ask(9)


@pytest.mark.parametrize("name", ALL)
def test_seed_arm_and_number_change_the_draws(name: str) -> None:
    # A grid of five learning rates repeats some of them.
    def drawn(**more: Any) -> list[str]:
        return [json.dumps(draw.params) for draw in told(name, 4, **more)[1]][1:]

    draws = {*drawn(), *drawn(seed=1), *drawn(arm="adversarial")}
    assert len(draws) == 9


def test_nothing_is_logged_and_nothing_stays_changed(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    told("TPE", STARTUP_TRIALS + 3)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before == logging.INFO


@pytest.mark.parametrize("name", ["random", "TPE"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 2.0}, "trial 7 of gaussian-kl × CoV: lr: 2.0 lies outside"),
        ({"optimizer": "RMSprop"}, "optimizer: 'RMSprop' lies outside"),
        ({"momentum": 0.9}, "momentum: there is a value, but this is no range"),
        ({"lr": ...}, "lr: there is no value for this range"),
    ],
)
def test_trials_of_another_space_are_refused(
    name: str, change: dict[str, Any], message: str
) -> None:
    found = make(name)
    params = {**asked(found, 0).params, **change}
    params = {path: one for path, one in params.items() if one is not ...}
    for call in (
        lambda: found.tell(7, params, [0.5], 3, "COMPLETE"),
        lambda: found.planned(7, params),
    ):
        with pytest.raises(RangeError, match=message):
            call()


@pytest.mark.parametrize("name", ALL)
def test_an_arm_without_ranges_has_one_configuration(name: str) -> None:
    found = searcher(name, {"lr": 0.1}, seed=0, arm="a", modes=["max"])
    assert found.ask(0) == Draw({"lr": 0.1}, {}, {})
    assert found.ask(1) is None
    found.tell(0, {}, [0.5], 3, "COMPLETE")
    assert [found.ask(k) for k in (1, 2, 9)] == [None] * 3
    assert found.ask(0) == Draw({"lr": 0.1}, {}, {})


@pytest.mark.parametrize("name", ANY_TREE)
@pytest.mark.parametrize("known", [False, True], ids=["planned", "told"])
def test_a_finite_space_is_used_up_to_the_last_configuration(name: str, known: bool) -> None:
    found = make(name, tree=FINITE)
    # 3 flags times 3 steps of SGD and LBFGS without any.
    draws = []
    for k in range(12):
        draws.append(asked(found, k))
        if known:
            found.tell(k, draws[-1].params, [float(k)], 3, "COMPLETE")
    assert len({json.dumps(one.params) for one in draws}) == 12
    assert {json.dumps(one.params) for one in draws} == {
        json.dumps(one) for one in configurations(FINITE, every) or []
    }
    assert [found.ask(k) for k in (12, 13)] == [None, None]
    # Room is made by nothing that ends.
    found.tell(3, draws[3].params, None, 0, "FAIL")
    assert found.ask(14) is None


def test_configurations_are_counted_with_what_choices_rule_out() -> None:
    tree = {
        "weighter": {"values": ["Fixed", "FAMO"]},
        "coefficient": {"low": 1, "high": 3, "default": 2, "unless": {"weighter": ["FAMO"]}},
    }
    assert configurations(tree, every) == [
        {"weighter": "Fixed", "coefficient": 1},
        {"weighter": "Fixed", "coefficient": 2},
        {"weighter": "Fixed", "coefficient": 3},
        {"weighter": "FAMO"},
    ]
    assert configurations({"lr": 1}, every) == [{}]
    assert configurations(TREE, every) is None
    assert configurations({"a": {"low": 1, "high": 64}, "b": {"low": 1, "high": 65}}, every) is None
    square = configurations({"a": {"low": 1, "high": 64}, "b": {"low": 1, "high": 63}}, every)
    assert square is not None
    assert len({json.dumps(one) for one in square}) == 64 * 63


@pytest.mark.parametrize("name", ANY_TREE)
def test_points_by_hand_follow_the_default(name: str) -> None:
    points = [
        {"lr": "1/8", "optimizer": "Adam", "optimizer/decay": "1e-4"},
        {},  # the default again, which is not tried twice
        {"flag": 0, "steps": 3},
        {"steps": 3, "flag": 0, "lr": 0.05},  # the same once more
    ]
    found = make(name, points=points)
    draws = [asked(found, k) for k in range(6)]
    assert draws[0].config == defaults(TREE)
    assert draws[1].config == defaults(TREE) | {
        "lr": 0.125,
        "optimizer": {"name": "Adam", "decay": 1e-4},
    }
    assert draws[2].config == defaults(TREE) | {"flag": 0, "steps": 3}
    assert type(draws[2].params["flag"]) is int
    plain = make(name)
    if name == "random":
        assert asked(plain, 3) == draws[3]
    assert len({json.dumps(draw.params) for draw in draws}) == 6


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"lrr": 0.1}, ["points.1", "'lrr' is no range", "Did you mean 'lr'?"]),
        ({"lr": 2}, ["points.1: lr", "[0.001, 1]", "found 2", "nearest is 1."]),
        ({"lr": "8/0"}, ["points.1: lr", "a number or a quotient", "'8/0'"]),
        ({"steps": 9}, ["points.1: steps", "a whole number in [1, 8]", "nearest is 8."]),
        ({"steps": 2.6}, ["points.1: steps", "found 2.6", "nearest is 3."]),
        ({"flag": "n"}, ["points.1: flag cannot be 'n'", "Did you mean 'no'?"]),
        ({"flag": 0.0}, ["points.1: flag cannot be 0.0"]),
        (
            {"optimizer": "LBFGS", "optimizer/decay": 0.1},
            ["points.1: optimizer/decay has no value with", "lr, steps, flag, optimizer."],
        ),
        (7, ["points.1 must be a mapping", "found 7"]),
    ],
)
def test_what_is_wrong_with_a_point_is_named(point: Any, words: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        make("random", points=[{"lr": 0.1}, point])
    for word in words:
        assert word in str(caught.value)


def test_a_choice_of_lists_is_given_by_hand_as_it_is_written() -> None:
    tree = {"hidden": {"values": [[8, 8], [16], {"name": "deep", "n": {"low": 2, "high": 4}}]}}
    found = starts(tree, [{"hidden": [16]}, {"hidden": "[8, 8]"}, {"hidden": "deep"}])
    assert found == [{"hidden": "[8, 8]"}, {"hidden": "[16]"}, {"hidden": "deep", "hidden/n": 3}]


def test_a_past_of_other_spaces_is_passed_over() -> None:
    past = [
        Past({"lr": 0.5}, (1.0,), 3, "COMPLETE"),
        Past({"lr": 0.5, "decay": 2.0}, (1.0,), 3, "COMPLETE"),
        Past({"lr": 0.5, "decay": 0.5, "more": 1}, (1.0,), 3, "COMPLETE"),
        Past({"lr": 0.5, "decay": 0.5}, (1.0, 2.0), 3, "COMPLETE"),
    ]
    assert [fits(FLOATS, one.params) for one in past] == [False, False, False, True]
    for name in ALL:
        plain, other = make(name, tree=FLOATS), make(name, tree=FLOATS, past=past)
        for k in range(10):
            assert plain.ask(k) == other.ask(k)


def test_names_and_settings() -> None:
    for name in ALL:
        make(name.upper(), tree=FLOATS).ask(0)
    with pytest.raises(SettingError, match=r"Unknown sampler 'tpes'\. Did you mean 'TPE'\?"):
        make("tpes")
    with pytest.raises(SettingError, match="mode must be min or max, found 'maximum'"):
        make("TPE", modes=["max", "maximum"])
    for wrong in ("max", []):
        with pytest.raises(SettingError, match="modes must list max or min"):
            make("TPE", modes=wrong)
    found = make("TPE")
    params = asked(found, 0).params
    with pytest.raises(ValueError, match="found 'STOPPED'"):
        found.tell(0, params, [0.5], 3, "STOPPED")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"1 values are told of a trial, found \[0.5, 0.5\]"):
        found.tell(0, params, [0.5, 0.5], 3, "COMPLETE")


SCRIPT = """
from tests.study.test_searcher import told
print([draw.params for name in ("TPE", "NSGA-II") for draw in told(name, 14)[1]])
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
    here = [draw.params for name in ("TPE", "NSGA-II") for draw in told(name, 14)[1]]
    assert answers == {f"{here}\n"}
