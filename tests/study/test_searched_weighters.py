"""A study whose weighters are searched: what a file may say, and what is drawn and replayed."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from search_spaces.ranges import distributions
from search_spaces.weighters import ABSORB, GROUPS, weighter
from study.searcher import Draw, Searcher, searcher
from study.spec import Arm, Study, parse
from trainables.core.errors import SettingError
from trainables.core.recipe import resolve

PATH = "losses/kl/coefficient"
MIXED = ["Fixed", "FAMO", "CoV", {"name": "GradNorm", "alpha": 0.5}, "GeometricMean"]


def study(weighters: Any, **changes: Any) -> Study:
    arms = {"baseline": {}, "kl": "gaussian_kl"}
    return parse({"study": "tiny", "arms": arms, "weighters": weighters} | changes)


def arm(weighters: Any) -> Arm:
    return study(weighters).arms[1]


def test_any_is_one_arm_with_a_choice_and_the_baseline_keeps_its_weights() -> None:
    found = study({"searched": {"any": MIXED}, "fixed": "Fixed"})
    assert [(one.arm, one.weighter) for one in found.arms] == [
        ("baseline", "Fixed"),
        ("kl", "searched"),
        ("kl", "fixed"),
    ]
    space = distributions(found.arms[1].tree)
    assert space["weighter"]["values"] == ["Fixed", "FAMO", "CoV", "GradNorm", "GeometricMean"]
    assert {"weighter/lr", "weighter/decay", "weighter/rate", PATH} <= set(space)
    assert "weighter/alpha" not in space
    assert PATH in distributions(found.arms[2].tree)


def test_any_in_a_list_is_labelled_any_and_one_weighter_is_searched_alone() -> None:
    found = study(["Fixed", {"any": ["CAGrad"]}]).arms[2]
    assert found.weighter == "any"
    assert found.tree["weighter"] == weighter("CAGrad")


def test_whatever_is_drawn_from_all_weighters_goes_together() -> None:
    tree = arm({"searched": {"any": "all"}}).tree
    found = searcher("random", tree, seed=0, arm="kl", modes=["max"])
    names = set()
    for k in range(400):
        names.add(resolve(found.ask(k).config | {"seed": 0})["weighter"]["name"])
    assert len(names) == 28


def test_a_resolved_study_draws_the_same() -> None:
    found = study({"searched": {"any": MIXED}})
    again = Study.from_resolved(json.loads(json.dumps(found.resolved(), sort_keys=True)))
    for k in range(8):
        draws = [
            searcher("random", one.arms[1].tree, seed=0, arm="a", modes=["max"]).ask(k)
            for one in (found, again)
        ]
        assert draws[0].params == draws[1].params
        assert draws[0].config == draws[1].config


@pytest.mark.parametrize("name", ["FAMO", {"name": "geometric_mean"}])
def test_a_weighter_that_absorbs_leaves_no_coefficient_to_search(name: Any) -> None:
    found = arm([name])
    assert PATH not in distributions(found.tree)
    assert resolve(found.tree | {"seed": 0, "views": {"noisy": "gaussian_0.1"}})["losses"]["kl"][
        "coefficient"
    ] == pytest.approx(1.0)


def score(draw: Draw) -> float:
    return -abs(math.log10(draw.config["losses"]["kl"]["coefficient"]))


def told(found: Searcher, trials: int) -> list[Draw]:
    draws = []
    for k in range(trials):
        draws.append(found.ask(k))
        found.tell(k, draws[-1].params, [score(draws[-1])], 3, "COMPLETE")
    return draws


@pytest.mark.parametrize("sampler", ["random", "TPE"])
def test_a_trial_whose_weighter_absorbs_has_the_default_coefficient_and_no_param(
    sampler: str,
) -> None:
    tree = arm({"searched": {"any": MIXED}}).tree
    draws = told(searcher(sampler, tree, seed=0, arm="kl", modes=["max"]), 20)
    chosen = {one.params["weighter"] for one in draws}
    assert chosen & set(ABSORB)
    assert chosen - set(ABSORB)
    for draw in draws:
        absorbs = draw.params["weighter"] in ABSORB
        coefficient = draw.config["losses"]["kl"]["coefficient"]
        assert (PATH not in draw.params) == absorbs
        assert (PATH not in draw.distributions) == absorbs
        assert coefficient == (1.0 if absorbs else draw.params[PATH])
    assert draws[0].params["weighter"] == "Fixed"


@pytest.mark.parametrize("sampler", ["random", "TPE"])
def test_another_driver_goes_on_with_the_same_draws(sampler: str) -> None:
    tree = arm({"searched": {"any": MIXED}}).tree

    def fresh() -> Searcher:
        return searcher(sampler, tree, seed=1, arm="kl", modes=["max"])

    draws = told(fresh(), 12)
    second = fresh()
    for k in reversed(range(11)):
        params = json.loads(json.dumps(draws[k].params, sort_keys=True))
        second.tell(k, params, [score(draws[k])], 3, "COMPLETE")
    assert second.ask(11).params == draws[11].params


def test_every_weighter_can_stand_in_one_choice() -> None:
    found = arm({"searched": {"any": "all"}})
    assert tuple(distributions(found.tree)["weighter"]["values"]) == GROUPS["all"]


@pytest.mark.parametrize(
    ("weighters", "words"),
    [
        ({"s": {"any": ["Fixed", "GradNrm"]}}, ["weighters.s.any", "'GradNrm'", "'GradNorm'"]),
        ([{"any": "value"}], ["weighters.0.any", "'value'", "'values'"]),
        ([{"any": 3}], ["weighters.0", "any must stand alone", "all, values, gradients", "3"]),
        ({"s": {"any": ["CoV"], "name": "CoV"}}, ["weighters.s", "any must stand alone"]),
        ({"s": {"any": []}}, ["weighters.s.any", "at least one"]),
        ({"s": {"any": ["CoV", "cov"]}}, ["weighters.s.any", "'CoV' twice"]),
        (
            {"s": {"any": ["Fixed", {"name": "CAGrad", "c": -1}]}},
            ["arms.kl with s", "weighter", "c must be at least 0", "-1"],
        ),
        (
            {"s": {"any": ["Fixed", {"name": "CAGrad", "d": 1}]}},
            ["arms.kl with s", "Unknown setting 'weighter/d'"],
        ),
    ],
)
def test_what_is_wrong_is_named(weighters: Any, words: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        study(weighters)
    for word in words:
        assert word in str(caught.value)


def test_ends_of_a_coefficient_are_checked_also_where_the_default_weighter_absorbs_it() -> None:
    arms = {
        "kl": {
            "preset": "gaussian_kl",
            "losses": {"kl": {"coefficient": {"low": -1.0, "high": 1.0, "default": 0.5}}},
        }
    }
    with pytest.raises(SettingError, match=r"losses/kl/coefficient must be at least 0, found -1"):
        study({"s": {"any": ["FAMO", "Fixed"]}}, arms=arms)
