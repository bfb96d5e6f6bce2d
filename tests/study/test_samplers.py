"""Each sampler against what is known of it: hand-computed values, other programs, closed forms."""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.study._multi_objective import _fast_non_domination_rank
from scipy.stats import qmc

from benchmarks import search
from search_spaces.ranges import Choice, Float, Integer, Range
from study.samplers.cma_es import SIGMA
from study.samplers.grid import Grid
from study.samplers.losses import losses
from study.samplers.nsga2 import POPULATION, crowding, fronts, selected
from study.samplers.position import position
from study.samplers.tpe import GOOD, MODELLED, PAST_TRIALS, TPE
from study.searcher import Mode, Past, Question, Searcher, Told, number_of, searcher
from trainables.core.errors import MissingDataError, SettingError

LINE = {"x": {"low": 0.0, "high": 1.0}}
PLANE = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}}
MODES: list[Mode] = ["max"]


def told(values: Any, epochs: int = 12, state: Any = "COMPLETE", **params: Any) -> Told:
    return Told(params, values, epochs, state)


def make(name: str, tree: Any = LINE, seed: int = 0, modes: Any = MODES, **more: Any) -> Searcher:
    return searcher(name, tree, seed=seed, arm="a", modes=modes, **more)


def drawn(found: Searcher, k: int) -> dict[str, Any]:
    draw = found.ask(k)
    assert draw is not None
    return draw.params


# What is compared with what.


def test_losses_by_hand() -> None:
    trials = [
        told((0.5, 3.0)),
        told((0.9, 1.0)),
        told((0.7, 2.0)),
        told((0.99, 0.0), epochs=2, state="PRUNED"),
        told((0.1, 9.0), epochs=4, state="PRUNED"),
        told((0.2, 9.0), epochs=4, state="PRUNED"),
        told((math.nan, 1.0), epochs=1, state="FAIL"),
        told((math.inf, 1.0)),
        told(None, epochs=0, state="FAIL"),
        told((0.5, 0.5), state="FAIL"),
        told(None, state="RUNNING"),
    ]
    assert losses(trials, ["max", "min"]) == [
        (1.0, 1.0),
        (0.0, 0.0),
        pytest.approx((0.5, 0.5)),
        (4.0, 4.0),
        (3.0, 2.0),
        (2.0, 2.0),
        (6.0, 6.0),
        (6.0, 6.0),
        None,
        None,
        None,
    ]


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=8),
    st.sampled_from(["max", "min"]),
)
def test_losses_keep_the_order_of_values_of_any_size(values: list[float], mode: Mode) -> None:
    found = [one[0] for one in losses([told((v,)) for v in values], [mode]) if one]
    assert len(found) == len(values)
    assert all(0 <= one <= 1 for one in found)
    sign = -1 if mode == "max" else 1
    for one, v in zip(found, values, strict=True):
        for other, w in zip(found, values, strict=True):
            assert one <= other or sign * v >= sign * w


@given(st.data())
def test_a_position_is_where_a_value_comes_from(data: st.DataObject) -> None:
    log = data.draw(st.booleans())
    low = data.draw(st.integers(1, 20))
    whole = Integer(low, low + data.draw(st.integers(1, 30)), log)
    value = data.draw(st.integers(whole.low, whole.high))
    assert whole.at(position(whole, value)) == value
    real = Float(whole.low / 7, whole.high / 3, log)
    share = data.draw(st.floats(0, 0.999))
    assert position(real, real.at(share)) == pytest.approx(share, abs=1e-9)
    assert (position(real, real.low), position(real, real.high)) == (0, 1)


# Grid.


@pytest.mark.parametrize(
    ("found", "levels"),
    [
        (Float(0.0, 2.0), [0.0, 0.5, 1.0, 1.5, 2.0]),
        (Float(0.01, 100.0, True), [0.01, 0.1, 1.0, 10.0, 100.0]),
        (Integer(3, 6), [3, 4, 5, 6]),
        (Integer(0, 9), list(range(10))),
        (Integer(0, 90), list(range(0, 91, 10))),
        (Integer(1, 512, True), [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]),
        (Choice(("a", 0, False)), ["a", 0, False]),
    ],
)
def test_levels_by_hand(found: Range, levels: list[Any]) -> None:
    got = list(Grid.levels(found))
    assert got == (pytest.approx(levels) if isinstance(found, Float) else levels)
    assert (got[0], got[-1]) == (levels[0], levels[-1])
    assert [type(one) for one in got] == [type(one) for one in levels]


def test_a_grid_has_every_combination_once_and_spreads() -> None:
    tree = {"x": {"low": 0.0, "high": 1.0, "default": 0.3}, "n": {"low": 1, "high": 3}}
    found = make("grid", tree)
    points = [drawn(found, k) for k in range(16)]
    assert points[0] == {"x": 0.3, "n": 2}  # the default, which is no point of the grid
    assert sorted((one["x"], one["n"]) for one in points[1:]) == [
        (x, n) for x in (0.0, 0.25, 0.5, 0.75, 1.0) for n in (1, 2, 3)
    ]
    assert found.ask(16) is None
    # A walk along one axis would need 5 points to leave n = 1.
    assert len({one["n"] for one in points[1:6]}) > 1
    assert len({one["x"] for one in points[1:6]}) > 2
    order = [drawn(make("grid", tree, seed=1), k) for k in range(1, 3)]
    assert order != points[1:3]


def test_a_grid_without_an_end_in_sight_still_repeats_nothing() -> None:
    tree = {f"x{i}": {"low": 0.0, "high": 1.0} for i in range(8)}  # 390 625 points
    found = make("grid", tree)
    points = [drawn(found, k) for k in range(60)]
    assert len({json.dumps(one) for one in points}) == 60
    assert {one["x7"] for one in points} == {0.0, 0.25, 0.5, 0.75, 1.0}


# Quasi-random.


def test_quasi_random_draws_are_scipys_and_balanced() -> None:
    tree = PLANE | {
        "n": {"low": 1, "high": 4},
        "way": {"values": ["a", {"name": "b", "z": LINE["x"]}]},
    }
    found = make("quasi-random", tree)
    draws = [drawn(found, k) for k in range(1, 33)]
    seed = number_of(json.dumps([0, "a", "Sobol", 0]))
    points = qmc.Sobol(5, seed=seed).random(32)
    assert [one["x"] for one in draws] == points[:, 0].tolist()
    assert [one["n"] for one in draws] == [1 + math.floor(4 * one) for one in points[:, 2]]
    # Every quarter of the plane has as many of any 4 in a row that begin at a multiple of 4.
    for start in range(0, 32, 4):
        some = draws[start : start + 4]
        assert sorted(math.floor(one["x"] * 4) for one in some) == [0, 1, 2, 3]
        assert sorted(one["n"] for one in some) == [1, 2, 3, 4]
    for one, point in zip(draws, points, strict=True):
        assert one.get("way/z", None) == (point[4] if one["way"] == "b" else None)


def test_quasi_random_points_lie_more_evenly_than_random_ones() -> None:
    def discrepancy(name: str, seed: int) -> float:
        found = make(name, PLANE, seed=seed)
        points = [list(drawn(found, k).values()) for k in range(1, 17)]
        return float(qmc.discrepancy(points))

    better = [discrepancy("quasi-random", s) < discrepancy("random", s) for s in range(20)]
    assert sum(better) >= 18


# TPE.


@pytest.mark.parametrize("mode", ["min", "max"])
def test_tpe_goes_where_it_is_good(mode: Mode) -> None:
    sign = 1 if mode == "max" else -1
    late = []
    for seed in range(3):
        found = make("TPE", PLANE, seed=seed, modes=[mode])
        for k in range(30):
            params = drawn(found, k)
            x, y = params["x"], params["y"]
            found.tell(k, params, [-sign * ((x - 0.9) ** 2 + (y - 0.1) ** 2)], 5, "COMPLETE")
            if k >= 20:
                late.append(math.hypot(x - 0.9, y - 0.1))
    # A uniform draw is 0.65 away on average (the default, the middle, 0.57).
    assert sum(late) / len(late) < 0.3


def test_running_trials_are_kept_away_from() -> None:
    lonely, crowded = (make("TPE", seed=3) for _ in range(2))
    for k in range(12):
        for one in (lonely, crowded):
            one.tell(k, {"x": k / 12}, [-((k / 12 - 0.5) ** 2)], 5, "COMPLETE")
    for k in range(20, 60):
        crowded.planned(k, {"x": 0.45 + 0.1 * (k - 20) / 40})
    near = [abs(drawn(one, k)["x"] - 0.5) < 0.1 for one in (lonely, crowded) for k in (12, 13)]
    assert near[:2] == [True, True]
    assert near[2:] == [False, False]


def test_diverged_trials_are_learnt_from_and_failed_ones_are_not() -> None:
    chance = random.Random(0)
    points = [chance.random() for _ in range(30)]
    late = {}
    for label, bad in (("diverged", [math.nan]), ("failed", None)):
        asked = []
        for seed in range(12):
            found = make("TPE", seed=seed)
            for k, x in enumerate(points):
                # Everything above a half goes wrong; below, all are equally good.
                wrong = x > 0.5
                found.tell(k, {"x": x}, bad if wrong else [0.5], 3, "FAIL" if wrong else "COMPLETE")
            asked.append(drawn(found, 30)["x"] > 0.5)
        late[label] = sum(asked)
    assert late["diverged"] < late["failed"]
    assert late["diverged"] <= 1


def own_study(trials: list[Told], modes: list[Mode], past: tuple[Told, ...] = ()) -> optuna.Study:
    return TPE(PLANE, modes, past)._study(Question(0, "a", 9, 8, 0), trials)


def test_what_optuna_is_told() -> None:
    study = own_study(
        [
            told((0.5,), x=0.1, y=0.1),
            told((0.9,), 2, "PRUNED", x=0.2, y=0.1),
            told((math.nan,), 3, "FAIL", x=0.3, y=0.1),
            told(None, 0, "FAIL", x=0.4, y=0.1),
            told(None, 0, "RUNNING", x=0.5, y=0.1),
        ],
        ["max"],
    )
    states = optuna.trial.TrialState
    assert [(trial.state, trial.params["x"]) for trial in study.trials] == [
        (states.COMPLETE, 0.1),
        (states.COMPLETE, 0.2),
        (states.COMPLETE, 0.3),
        (states.RUNNING, 0.5),
    ]
    assert [trial.value for trial in study.trials[:3]] == [0.0, 2.0, 4.0]
    assert study.direction == optuna.study.StudyDirection.MINIMIZE


def test_draws_are_those_of_optuna_told_in_its_own_way() -> None:
    """With one objective our losses are Optuna's order of complete, pruned and diverged trials."""
    states = optuna.trial.TrialState
    space = {path: optuna.distributions.FloatDistribution(0, 1) for path in PLANE}
    for seed in range(4):
        chance = random.Random(seed)
        trials, theirs = [], []
        for _ in range(15):
            params = {path: chance.random() for path in PLANE}
            value, epochs = chance.random(), chance.choice([2, 4])
            kind = chance.choice([states.COMPLETE, states.PRUNED, None])
            more: dict[str, Any] = {}
            if kind is states.COMPLETE:
                trials.append(told((value,), 12, **params))
                more = {"value": value}
            elif kind is states.PRUNED:
                trials.append(told((value,), epochs, "PRUNED", **params))
                more = {"intermediate_values": {epochs: value}}
            else:
                trials.append(told((math.nan,), 1, "FAIL", **params))
            theirs.append(
                optuna.trial.create_trial(
                    state=kind or states.PRUNED, params=params, distributions=space, **more
                )
            )
        study = own_study(trials, ["max"])
        other = optuna.create_study(
            direction="maximize",
            sampler=own_study([], ["max"]).sampler,
            storage=optuna.storages.InMemoryStorage(),
        )
        other.add_trials(theirs)
        one, two = study.ask(), other.ask()
        assert one.suggest_float("x", 0, 1) == two.suggest_float("x", 0, 1)
        assert one.suggest_float("y", 0, 1) == two.suggest_float("y", 0, 1)


def test_of_many_trials_optuna_is_told_the_good_ones_and_the_latest() -> None:
    chance = random.Random(0)
    values = [chance.random() for _ in range(400)]
    trials = [told((one,), 12, x=one, y=0.1) for one in values]
    trials.append(told(None, 0, "RUNNING", x=2.0 / 3, y=0.1))
    kept = [trial.params["x"] for trial in own_study(trials, ["max"]).trials]
    assert len(kept) == MODELLED
    best = sorted(values)[-GOOD:]
    assert set(best) <= set(kept)
    latest = [one for one in values if one not in best][-(MODELLED - GOOD - 1) :]
    assert kept == [one for one in values if one in best or one in latest] + [2.0 / 3]
    # Optuna's own split takes the same good ones, of all and of those that are left.
    assert optuna.samplers._tpe.sampler.default_gamma(MODELLED) == GOOD
    assert optuna.samplers._tpe.sampler.default_gamma(len(trials)) == GOOD
    # Of several objectives no trial is better than all others: all are told.
    both = [told((one, 1 - one), 12, x=one, y=0.1) for one in values]
    assert len(own_study(both, ["max", "max"]).trials) == len(both)


def test_options_with_a_setting_at_one_path_are_two_parameters_to_optuna() -> None:
    tree = {
        "way": {
            "values": [
                {"name": "a", "z": {"low": 0.0, "high": 1.0}},
                {"name": "b", "z": {"low": 5, "high": 9}},
            ]
        }
    }
    trials = [Told({"way": "a", "way/z": 0.5}, (1.0,), 3, "COMPLETE")]
    trials += [Told({"way": "b", "way/z": 7}, (2.0,), 3, "COMPLETE")]
    study = TPE(tree, ["max"], ())._study(Question(0, "a", 2, 1, 0), trials)
    names = {name for trial in study.trials for name in trial.params}
    assert names == {"way", "way/z[way=a]", "way/z[way=b]"}


def test_stopped_trials_are_never_good_ones_of_several_objectives() -> None:
    """One of eleven has completed; Optuna takes the best two for good ones."""
    stopped = [told((9.0, 9.0), 2, "PRUNED", x=0.9, y=one / 10) for one in range(9)]
    longer = told((0.1, 0.1), 4, "PRUNED", x=0.1, y=0.9)
    trials = [*stopped, told((0.0, 0.0), x=0.1, y=0.1), longer]
    study = own_study(trials, ["max", "max"])
    best = sorted(study.trials, key=lambda one: one.values)[:2]
    assert [one.params["y"] for one in best] == [0.1, 0.9]
    assert [one.values for one in best] == [[0.0, 0.0], [2.0, 2.0]]


def test_past_trials_are_told_first_and_fade() -> None:
    past = tuple(told((float(one),), x=one / 40, y=0.5) for one in range(40))
    own = [told((0.001 * one,), x=0.5, y=one / 40) for one in range(20)]
    study = own_study(own[:2], ["max"], past)
    before = [one for one in study.trials if one.params["y"] == 0.5]
    assert len(before) == PAST_TRIALS - 2
    assert study.trials[: len(before)] == before
    # The best and the worst of them on the scale of their own study, whatever that was.
    assert before[0].value == 0.0
    assert before[-1].value is not None
    assert before[-1].value > 0.9
    assert [one.value for one in study.trials[-2:]] == [1.0, 0.0]
    late = own_study(own[:PAST_TRIALS], ["max"], past)
    assert len(late.trials) == PAST_TRIALS


# NSGA-II.


@settings(max_examples=60)
@given(
    st.integers(1, 3).flatmap(
        lambda m: st.lists(
            st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])] * m), min_size=1, max_size=20
        )
    )
)
def test_fronts_are_those_of_optuna(rows: list[tuple[float, ...]]) -> None:
    assert fronts(rows) == _fast_non_domination_rank(np.array(rows)).tolist()


def test_crowding_by_hand() -> None:
    # Neighbours of the middle ones span 0.5 and 0.75 of the first extent, 0.9 and 0.6 of the other.
    rows = [(0.0, 1.0), (0.25, 0.4), (0.5, 0.1), (1.0, 0.0)]
    assert crowding(rows) == pytest.approx([math.inf, 0.5 + 0.9, 0.75 + 0.4, math.inf])
    assert crowding([(0.5, 0.5)] * 3) == [0.0] * 3
    assert crowding([(0.0, 1.0)]) == [0.0]


def test_selection_takes_fronts_then_the_loneliest() -> None:
    rows = [(0.5, 0.5), (0.0, 1.0), (1.0, 0.0), (0.45, 0.52), (0.9, 0.9), None]
    trials = [told((0.0, 0.0), x=float(one)) for one in range(6)]
    names = [int(one.params["x"]) for one in selected(trials, rows, 3)]  # type: ignore[arg-type]
    assert names[:2] == [1, 2]
    assert names[2] in (0, 3)
    assert {int(one.params["x"]) for one in selected(trials, rows, 4)} == {0, 1, 2, 3}
    assert len(selected(trials, rows, 9)) == 5


def test_children_lie_between_and_around_their_parents() -> None:
    found = make("NSGA-II", PLANE | {"way": {"values": ["a", "b", "c"]}}, modes=["max", "min"])
    for k in range(POPULATION):
        params = {"x": 0.40 + 0.01 * k, "y": 0.7, "way": "b"}
        found.tell(k, params, [float(k), float(k)], 3, "COMPLETE")
    children = [drawn(found, POPULATION + k) for k in range(40)]
    assert statistics.median(abs(one["x"] - 0.435) for one in children) < 0.06
    # Parents that agree have children that agree with them, unless these are mutated.
    assert 15 <= sum(math.isclose(one["y"], 0.7) for one in children) < 40
    assert 25 <= sum(one["way"] == "b" for one in children) < 40


def test_a_range_that_one_parent_has_comes_from_it_and_one_that_none_has_is_drawn() -> None:
    tree = {"way": {"values": [{"name": "a", "z": LINE["x"]}, {"name": "b", "n": LINE["x"]}]}}
    found = make("NSGA-II", tree)
    for k in range(POPULATION):
        found.tell(k, {"way": "a", "way/z": 0.2 + 0.002 * k}, [1.0], 3, "COMPLETE")
    children = [drawn(found, POPULATION + k) for k in range(40)]
    assert any("way/n" in one for one in children)
    same = [one["way/z"] for one in children if "way/z" in one]
    assert statistics.median(abs(one - 0.2) for one in same) < 0.05


def test_early_stopped_trials_are_no_parents_while_others_have_completed() -> None:
    found = make("NSGA-II", modes=["max"])
    for k in range(POPULATION):
        found.tell(k, {"x": 0.9}, [0.1], 12, "COMPLETE")
    for k in range(POPULATION, 3 * POPULATION):
        found.tell(k, {"x": 0.1}, [0.8], 1, "PRUNED")
    children = [drawn(found, 3 * POPULATION + k)["x"] for k in range(20)]
    assert statistics.median(children) > 0.7


# CMA-ES.


def test_cma_es_is_the_packages_own_told_in_the_same_order() -> None:
    from cmaes import CMA

    found = make("CMA-ES", PLANE, modes=["min"])
    size = CMA(mean=np.zeros(2), sigma=1.0).population_size
    other = CMA(mean=np.full(2, 0.5), sigma=SIGMA, bounds=np.array([[0.0, 1.0]] * 2))
    generation = []
    for k in range(3 * size):
        if k:
            other.reseed_rng(Question(0, "a", k, k - 1, 0).number)
            point = other.ask()
        else:
            point = np.full(2, 0.5)
        params = drawn(found, k)
        assert list(params.values()) == pytest.approx(point.tolist(), abs=1e-12)
        loss = (params["x"] - 0.2) ** 2 + 10 * (params["y"] - 0.7) ** 2
        found.tell(k, params, [loss], 5, "COMPLETE")
        generation.append((point, loss))
        if len(generation) == size:
            other.tell(generation)
            generation = []
    assert other.generation == 3


def test_cma_es_converges_in_the_logarithm() -> None:
    tree = {"lr": {"low": 1e-4, "high": 1.0, "log": True}, "x": {"low": -3.0, "high": 5.0}}
    found = make("CMA-ES", tree, modes=["min"])
    last = []
    for k in range(120):
        params = drawn(found, k)
        loss = (math.log10(params["lr"]) + 3) ** 2 + (params["x"] - 4) ** 2 / 16
        found.tell(k, params, [loss], 5, "COMPLETE")
        last.append(loss)
    assert statistics.median(last[:12]) > 0.1
    assert statistics.median(last[-20:]) < 1e-3


def test_cma_es_says_what_it_cannot_search(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = PLANE | {"steps": {"low": 1, "high": 4}}
    with pytest.raises(SettingError, match=r"steps is none: found .*'low': 1"):
        make("CMA-ES", tree)
    with pytest.raises(SettingError, match="searches one objective, found 2; TPE and NSGA-II"):
        make("CMA-ES", PLANE, modes=["max", "min"])
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(MissingDataError, match=r"pip install 'auxiliary-loss-studies\[search\]'"):
        make("CMA-ES", PLANE)


# Earlier studies.


def bowl(params: Any, centre: tuple[float, float]) -> float:
    return (params["x"] - centre[0]) ** 2 + (params["y"] - centre[1]) ** 2


def regrets(
    name: str, seed: int, centre: tuple[float, float], past: list[Past]
) -> tuple[float, float]:
    """The least loss after 8 trials and after 16."""
    found = make(name, PLANE, seed=seed, modes=["min"], past=past)
    values = []
    for k in range(16):
        params = drawn(found, k)
        values.append(bowl(params, centre))
        found.tell(k, params, [values[-1]], 5, "COMPLETE")
    return min(values[:8]), min(values)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TPE", "NSGA-II", "CMA-ES"])
def test_a_related_past_helps_and_another_one_does_little_harm(name: str) -> None:
    found: dict[str, list[tuple[float, float]]] = {
        label: [] for label in ("none", "related", "unrelated", "random")
    }
    for seed in range(20):
        chance = random.Random(seed)
        centre, other = ((chance.random(), chance.random()) for _ in range(2))
        for label, source in (("related", centre), ("unrelated", other)):
            past = []
            for _ in range(24):
                params = {"x": chance.random(), "y": chance.random()}
                # On another scale: all worse, or all better, than anything here.
                shift = 5.0 if label == "related" else -5.0
                past.append(Past(params, (bowl(params, source) + shift,), 5, "COMPLETE"))
            found[label].append(regrets(name, seed, centre, past))
        found["none"].append(regrets(name, seed, centre, []))
        found["random"].append(regrets("random", seed, centre, []))
    early, late = (
        {label: statistics.fmean(one[place] for one in rows) for label, rows in found.items()}
        for place in range(2)
    )
    assert early["related"] < 0.75 * early["none"], early
    assert late["unrelated"] < 1.5 * late["random"], late


@pytest.mark.parametrize("name", ["random", "grid", "quasi-random"])
def test_samplers_that_do_not_learn_take_only_the_best_of_the_past(name: str) -> None:
    best = {"x": 0.9, "y": 0.9}
    past = [Past({"x": one / 40, "y": 0.9}, (float(one),), 5, "COMPLETE") for one in range(20)]
    past += [Past(best, (50.0,), 5, "COMPLETE"), Past({"x": 0.0, "y": 0.0}, (99.0,), 1, "PRUNED")]
    given, other = make(name, PLANE, points=[best]), make(name, PLANE, past=past)
    assert drawn(other, 1) == best
    assert [drawn(given, k) for k in range(6)] == [drawn(other, k) for k in range(6)]


def test_of_several_objectives_none_outweighs_another() -> None:
    values = [(0.0, 10.0), (1.0, 0.0), (0.9, 9.0)]
    past = [
        Past({"x": place / 4, "y": 0.1}, one, 5, "COMPLETE") for place, one in enumerate(values)
    ]
    found = make("TPE", PLANE, modes=["max", "max"], past=past)
    assert drawn(found, 1) == {"x": 0.5, "y": 0.1}


def test_a_past_seeds_half_of_the_first_population() -> None:
    past = [Past({"x": 0.9, "y": 0.9}, (1.0,), 5, "COMPLETE")] * POPULATION
    found = make("NSGA-II", PLANE, past=past)
    near = [math.dist(drawn(found, k).values(), (0.9, 0.9)) < 0.3 for k in range(1, POPULATION)]
    assert near[0]  # the best of the past itself
    assert near[1::2].count(True) >= 2
    assert near[2::2].count(True) <= 1


@pytest.mark.parametrize("name", ["TPE", "NSGA-II"])
def test_two_objectives_end_nearer_to_the_front_than_random_search(name: str) -> None:
    """The front is the line from (0.2, 0.5) to (0.8, 0.5)."""
    away: dict[str, list[float]] = {name: [], "random": []}
    for sampler, found in away.items():
        for seed in range(4):
            one = make(sampler, PLANE, seed=seed, modes=["min", "max"])
            for k in range(30):
                params = drawn(one, k)
                left, right = bowl(params, (0.2, 0.5)), bowl(params, (0.8, 0.5))
                one.tell(k, params, [left, -right], 5, "COMPLETE")
                if k >= 15:
                    outside = max(0.2 - params["x"], params["x"] - 0.8, 0.0)
                    found.append(math.hypot(outside, params["y"] - 0.5))
    assert statistics.fmean(away[name]) < 0.75 * statistics.fmean(away["random"])


# The measurements of docs/searching.md.


def test_hypervolume_by_hand() -> None:
    # 0.8 x 0.4 and then 0.5 x 0.3; the third is dominated, the fourth lies outside.
    rows = [(0.5, 0.3), (0.2, 0.6), (0.6, 0.4), (0.1, 1.2)]
    assert search.hypervolume(rows) == pytest.approx(0.32 + 0.15)
    assert search.hypervolume([(1.0, 1.0)]) == 0.0


def test_every_problem_has_the_regret_that_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    for make_problem in search.SINGLE.values():
        problem = make_problem(random.Random(1))
        for _, values in search.run("quasi-random", problem, 20, 0):
            assert values[0] > 0
    assert search.around([0.2, 0.3, 0.4], 0.5).measure({"x": 0.2, "y": 0.3, "z": 0.4}) == (0.5,)
    search.main(["--part", "samplers", "--repetitions", "1", "--trials", "2", "--json"])
    rows = json.loads(capsys.readouterr().out)["samplers"]
    assert len(rows) == 3 * len(search.SAMPLERS) - 1
    # The default comes first for all, so that one of two trials is the same everywhere.
    assert all(0 <= row["mean"] < 2 and row["n"] == 1 for row in rows)
