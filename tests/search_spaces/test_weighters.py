"""Search spaces of weighters fit the classes that they are spaces of."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from search_spaces.ranges import Choice, RangeError, as_range, default, defaults, sample
from search_spaces.weighters import (
    ABSORB,
    GRADIENTS,
    GROUPS,
    WEIGHTERS,
    WeighterError,
    any_of,
    fitted,
    weighter,
)
from trainables.core import catalog, weighing

COEFFICIENT = {"low": 0.01, "high": 10.0, "log": True, "default": 2.0}
TREE: dict[str, Any] = {
    "losses": {
        "main": {"coefficient": {"low": 0.5, "high": 2.0}},
        "kl": {"name": "Consistency", "coefficient": COEFFICIENT},
        "other": {"name": "Consistency", "coefficient": 3.0},
        "short": "CrossEntropy",
    }
}


def test_every_weighter_has_a_space_and_every_space_a_weighter() -> None:
    assert sorted(WEIGHTERS) == sorted(catalog.names("weighters"))


@pytest.mark.parametrize("name", WEIGHTERS)
def test_spaces_are_settings_of_the_class_and_their_ends_are_accepted(name: str) -> None:
    own = catalog.settings("weighters", name)
    known = own | weighing.COMMON
    assert set(WEIGHTERS[name]) <= set(known)
    for key, leaf in WEIGHTERS[name].items():
        found = as_range(leaf, key)
        assert found is not None
        # The paper's value, which is the class's default, is the default of the range.
        assert found.middle() == known[key]
        for end in found.labels if isinstance(found, Choice) else (found.low, found.high):
            weighing.make({"name": name, key: end}, 3)


def test_lists_of_names_are_what_the_classes_say() -> None:
    classes = {name: catalog.find("weighters", name) for name in WEIGHTERS}
    assert {name for name, one in classes.items() if getattr(one, "absorbs", False)} == set(ABSORB)
    per_loss = {name for name, one in classes.items() if getattr(one, "per_loss", False)}
    assert per_loss == set(GRADIENTS)
    assert sorted(GROUPS["values"] + GROUPS["gradients"]) == sorted(GROUPS["all"])


@pytest.mark.parametrize("name", WEIGHTERS)
def test_the_default_of_a_space_is_the_default_of_the_class(name: str) -> None:
    found = defaults(weighter(name))
    settings = catalog.settings("weighters", name) | weighing.COMMON
    assert found == {"name": name} | {key: settings[key] for key in WEIGHTERS[name]}


def test_a_weighter_is_a_copy_in_which_settings_replace_ranges() -> None:
    found = weighter({"name": "grad_norm", "alpha": 0.5, "normalise": "k"})
    assert found == WEIGHTERS["GradNorm"] | {"name": "GradNorm", "alpha": 0.5, "normalise": "k"}
    weighter("GradNorm")["rate"]["low"] = 99
    assert WEIGHTERS["GradNorm"]["rate"]["low"] == 0.001


def test_a_choice_draws_only_the_settings_of_what_was_chosen() -> None:
    tree = {"weighter": any_of(["Fixed", "gradnorm", {"name": "CAGrad", "c": 0.4}])}
    assert sample(tree, default)[1] == {"weighter": "Fixed"}
    answers = {"weighter": "GradNorm", "weighter/alpha": 0.12, "weighter/rate": 0.1}
    config, params = sample(tree, lambda path, _range: answers[path])
    assert config["weighter"] == {"name": "GradNorm", "alpha": 0.12, "rate": 0.1}
    assert params == answers
    config, params = sample(tree, lambda path, _range: "CAGrad")
    assert config["weighter"] == {"name": "CAGrad", "c": 0.4}
    assert params == {"weighter": "CAGrad"}


def test_groups_are_choices_and_a_single_weighter_is_none() -> None:
    for group, names in GROUPS.items():
        found = as_range(any_of(group), "weighter")
        assert isinstance(found, Choice)
        assert found.labels == names
    assert any_of(["CAGrad"]) == weighter("CAGrad")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["Fixed", "GradNrm"], ["'GradNrm'", "'GradNorm'"]),
        ([{"alpha": 1.5}], ["Unknown weighter ''", "Known: Fixed"]),
        ("gradient", ["group of weighters 'gradient'", "'gradients'"]),
        ([], ["at least one", "none"]),
    ],
)
def test_unknown_weighters_and_groups_name_the_nearest(given: Any, words: list[str]) -> None:
    with pytest.raises(WeighterError) as caught:
        any_of(given)
    for word in words:
        assert word in str(caught.value)


def test_a_weighter_that_is_listed_twice_is_refused() -> None:
    with pytest.raises(RangeError, match="'CoV' twice"):
        any_of(["CoV", "Fixed", "cov"])


@pytest.mark.parametrize("given", ["Fixed", "CoV", {"name": "CAGrad"}, {"values": ["CoV", "MGDA"]}])
def test_coefficients_that_matter_are_left_alone(given: Any) -> None:
    tree = TREE | {"weighter": given}
    assert fitted(tree) == tree


@pytest.mark.parametrize("given", ["FAMO", "grad_norm", {"name": "GeometricMean"}])
def test_coefficients_that_cancel_have_their_defaults(given: Any) -> None:
    tree = TREE | {"weighter": given}
    before = copy.deepcopy(tree)
    found = fitted(tree)
    assert tree == before
    assert found["losses"]["kl"]["coefficient"] == 2.0
    found["losses"]["kl"]["coefficient"] = COEFFICIENT
    assert found == tree


def test_coefficients_cancel_only_with_those_options_in_which_they_do() -> None:
    tree = fitted(TREE | {"weighter": any_of(["Fixed", "FAMO", "CoV", "ConFIG"])})
    coefficient = tree["losses"]["kl"]["coefficient"]
    assert coefficient == COEFFICIENT | {"unless": {"weighter": ["FAMO", "ConFIG"]}}
    for label in ("Fixed", "FAMO", "CoV", "ConFIG"):
        config, params = sample(
            tree, lambda path, found, label=label: label if path == "weighter" else found.low
        )
        drawn = label in ("Fixed", "CoV")
        assert ("losses/kl/coefficient" in params) == drawn
        assert config["losses"]["kl"]["coefficient"] == (0.01 if drawn else 2.0)
        assert params["losses/main/coefficient"] == 0.5


def test_a_coefficient_that_depends_on_something_already_is_left_alone() -> None:
    own = COEFFICIENT | {"unless": {"form": ["a"]}}
    tree = {"losses": {"kl": {"coefficient": own}}, "weighter": any_of(["Fixed", "FAMO"])}
    assert fitted(tree) == tree
