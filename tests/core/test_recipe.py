"""A recipe is complete and valid before anything is trained, or says what is wrong and where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainables.core import weighing
from trainables.core.errors import SettingError
from trainables.core.facts import Facts
from trainables.core.recipe import objective, resolve
from trainables.core.tasks import Classification


def test_nothing_given_is_a_complete_recipe() -> None:
    found = resolve({})
    assert found["seed"] == 0
    assert found["data"]["name"] == "Digits"
    assert found["losses"] == {
        "main": {
            "name": "CrossEntropy",
            "coefficient": 1.0,
            "view": "clean",
            "label_smoothing": 0.0,
            "tsa": "none",
        }
    }
    assert found["weighter"] == {"name": "Fixed"} | weighing.COMMON
    assert found["training"]["optimizer"]["name"] == "SGD"
    assert found["training"]["schedule"]["warmup_epochs"] == 0
    assert found["views"] == {}


FULL = {
    "seed": 3,
    "data": {"name": "digits", "limit": 100},
    "architecture": "conv_net",
    "training": {"optimizer": {"name": "Adam", "betas": (0.8, 0.9)}, "schedule": "MultiStep"},
    "views": {"adv": "pgd_2_0.5", "noisy": {"name": "gaussian_0.1"}, "box": "FGSM"},
    "losses": {
        "main": {"label_smoothing": 0.1},
        "kl": {"name": "Consistency", "coefficient": "1/2"},
        "adv": {"name": "CrossEntropy", "view": "adv"},
        "box": {"name": "CrossEntropy", "view": "box"},
    },
    "weighter": "cov",
}


def test_resolved_is_plain_and_resolves_to_itself() -> None:
    found = resolve(FULL)
    assert json.loads(json.dumps(found)) == found
    assert resolve(found) == found
    assert resolve(json.loads(json.dumps(found))) == found
    assert FULL["architecture"] == "conv_net"


def test_names_are_those_of_classes_and_short_forms_are_spelled_out() -> None:
    found = resolve(FULL)
    assert found["architecture"]["name"] == "ConvNet"
    assert found["views"]["adv"]["name"] == "PGD"
    assert (found["views"]["adv"]["norm"], found["views"]["adv"]["eps"]) == ("2", "0.5")
    assert found["views"]["noisy"] == {"name": "GaussianNoise", "of": "clean", "sigma": "0.1"}
    assert list(found["losses"]) == ["main", "kl", "adv", "box"]
    # What the data and the trial supply is not frozen into the recipe.
    assert not {"box", "seed"} & found["views"]["adv"].keys()


def test_the_main_loss_comes_first_wherever_it_stands() -> None:
    losses = {"aux": {"name": "CrossEntropy"}, "main": {"name": "CrossEntropy"}}
    assert list(resolve({"losses": losses})["losses"]) == ["main", "aux"]


def test_the_box_is_that_of_the_data_unless_the_recipe_has_one() -> None:
    views = {"a": "FGSM", "b": {"name": "FGSM", "box": [-1, 1]}}
    losses = {one: {"name": "CrossEntropy", "view": one} for one in views}
    found = objective(
        resolve({"views": views, "losses": losses}), Classification(), Facts(box=(0.0, 0.5))
    )
    boxes = [view.component.box for view in found.views if hasattr(view.component, "box")]
    assert boxes == [(0.0, 0.5), (-1.0, 1.0)]


AUX = {"name": "CrossEntropy", "view": "x"}
ERRORS: list[tuple[dict[Any, Any], list[str]]] = [
    ({"losse": {}}, ["Unknown setting 'losse'", "mean 'losses'"]),
    ({"seed": -1}, ["seed must be at least 0, found -1"]),
    ({"seed": 0.5}, ["seed must be a whole number, found 0.5"]),
    ({"data": "Digit"}, ["data: Unknown data set 'Digit'", "mean 'Digits'"]),
    ({"data": 3}, ["data must be a name or a mapping", "found 3"]),
    ({"data": {"name": "Digits", "validaton": 0.1}}, ["'data/validaton'", "mean 'validation'"]),
    ({"architecture": "ConvNt"}, ["architecture: Unknown", "mean 'ConvNet'"]),
    ({"architecture": {"name": "MLP", "hiden": []}}, ["'architecture/hiden'", "mean 'hidden'"]),
    # Facts of the data are no settings.
    ({"architecture": {"name": "MLP", "outputs": 3}}, ["Unknown setting 'architecture/outputs'"]),
    ({"training": 3}, ["training must be a mapping, found 3"]),
    ({"training": {"epoch": 3}}, ["Unknown setting 'training/epoch'", "mean 'epochs'"]),
    ({"training": {"epochs": 0}}, ["training/epochs must be at least 1, found 0"]),
    ({"training": {"batch_size": 1.5}}, ["training/batch_size must be a whole number"]),
    ({"training": {"clip_norm": -1}}, ["training/clip_norm must be at least 0, found -1"]),
    ({"training": {"forward": "both"}}, ["training/forward cannot be 'both'", "joint, separate"]),
    ({"training": {"optimizer": "SDG"}}, ["training/optimizer: Unknown", "mean 'SGD'"]),
    (
        {"training": {"optimizer": {"name": "SGD", "lr": 0}}},
        ["training/optimizer: SGD: lr must be above 0, found 0"],
    ),
    (
        {"training": {"optimizer": {"name": "SGD", "lrr": 1}}},
        ["Unknown setting 'training/optimizer/lrr'", "mean 'lr'"],
    ),
    (
        {"training": {"optimizer": {"name": "SGD", "momentum": 0, "nesterov": True}}},
        ["training/optimizer: SGD: nesterov needs momentum above 0"],
    ),
    (
        {"training": {"optimizer": {"name": "SGD", "nesterov": "no"}}},
        ["training/optimizer: SGD: nesterov must be true or false, found 'no'"],
    ),
    (
        {"training": {"optimizer": {"name": "Adam", "betas": 0.9}}},
        ["training/optimizer: Adam: betas must be a list, found 0.9"],
    ),
    (
        {"training": {"schedule": {"name": "MultiStep", "milestones": [0.6, 0.3]}}},
        ["training/schedule: MultiStep: milestones must rise, found [0.6, 0.3]"],
    ),
    (
        {"training": {"schedule": {"name": "Cosine", "warmup_epochs": -1}}},
        ["training/schedule/warmup_epochs must be at least 0, found -1"],
    ),
    ({"views": 3}, ["views must be a mapping from labels", "found 3"]),
    ({"views": {"x": 3}}, ["views/x must be a name or a mapping, found 3"]),
    ({"views": {"X y": "FGSM"}}, ["views: a label has small letters", "found 'X y'"]),
    ({"views": {"x": "FGMS"}}, ["views/x: Unknown view 'FGMS'", "mean 'FGSM'"]),
    ({"views": {"x": {"sigma": 1}}}, ["views/x: A config of views needs a 'name'"]),
    (
        {"views": {"x": "gaussian_-1"}, "losses": {"x": AUX}},
        ["views/x: GaussianNoise: sigma must be at least 0, found '-1'"],
    ),
    ({"views": {"x": "FGSM"}}, ["views/x is read by no loss"]),
    ({"views": {"clean": "FGSM"}}, ["views/clean", "cannot be redefined"]),
    ({"losses": 3}, ["losses must be a mapping from labels", "found 3"]),
    ({"losses": {"kl": None}}, ["losses/kl must be a name or a mapping, found None"]),
    ({"losses": {"kl": {}}}, ["losses/kl: A config of losses needs a 'name'"]),
    ({"losses": {"kl": "Consistncy"}}, ["losses/kl: Unknown loss", "mean 'Consistency'"]),
    (
        {"losses": {"kl": {"name": "Consistency", "weight": 1}}},
        ["Unknown setting 'losses/kl/weight'"],
    ),
    (
        {"views": {"nosy": "gaussian"}, "losses": {"kl": "Consistency"}},
        ["losses/kl reads an unknown view 'noisy'", "mean 'nosy'"],
    ),
    ({"losses": {"main": {"view": ["clean"]}}}, ["losses/main reads an unknown view ['clean']"]),
    (
        {"losses": {"main": {"coefficient": -1}}},
        ["losses/main/coefficient must be at least 0, found -1"],
    ),
    (
        {"losses": {"main": {"coefficient": None}}},
        ["losses/main/coefficient must be a number or a quotient, found None"],
    ),
    (
        {"losses": {"main": {"label_smoothing": 2}}},
        ["losses/main: CrossEntropy: label_smoothing must be at most 0.999, found 2"],
    ),
    ({"weighter": "Covv"}, ["weighter: Unknown weighter 'Covv'", "mean 'CoV'"]),
    ({"weighter": {"name": "CoV", "k": 3}}, ["Unknown setting 'weighter/k'"]),
    ({"weighter": {"name": "CoV", "scope": "trunc"}}, ["weighter", "mean 'trunk'"]),
    (
        {
            "views": {"noisy": "GaussianNoise"},
            "losses": {"kl": "Consistency"},
            "weighter": {"name": "GradientSimilarity", "form": "wieghted"},
        },
        ["weighter: GradientSimilarity: form cannot be 'wieghted'", "mean 'weighted'"],
    ),
]


@pytest.mark.parametrize(("config", "parts"), ERRORS, ids=[parts[0][:40] for _, parts in ERRORS])
def test_wrong_input_is_named(config: dict[Any, Any], parts: list[str]) -> None:
    with pytest.raises(SettingError) as error:
        resolve(config)
    assert [part for part in parts if part not in str(error.value)] == []
