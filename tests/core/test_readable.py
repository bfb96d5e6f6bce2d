"""A loss gets only targets that it can read, and views of the same examples where it pairs them."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.core.errors import SettingError
from trainables.core.recipe import resolve

OTHER = {"name": "OtherData", "data": "Digits"}
HIDDEN = {"name": "Unlabelled"}
VIEWS: dict[str, Any] = {
    "noisy": {"name": "GaussianNoise"},
    "rotated": {"name": "Rotate90"},
    "noisy-rotated": {"name": "GaussianNoise", "of": "rotated"},
    "other": OTHER,
    "noisy-other": {"name": "GaussianNoise", "of": "other"},
    "hidden": HIDDEN,
    "noisy-hidden": {"name": "GaussianNoise", "of": "hidden"},
    "attacked-other": {"name": "PGD", "of": "other", "climbs": "kl"},
}


def recipe(loss: dict[str, Any]) -> dict[str, Any]:
    """One with this loss, and the views that it needs."""
    wanted = [loss.get(key, "clean") for key in ("view", "target")]
    views: dict[str, Any] = {}
    for label in wanted:
        while label != "clean":
            views[label] = VIEWS[label]
            label = VIEWS[label].get("of", "clean")
    return {"data": {"name": "Digits", "labels": 20}, "views": views, "losses": {"extra": loss}}


@pytest.mark.parametrize(
    "loss",
    [
        {"name": "CrossEntropy", "view": "noisy"},
        {"name": "RotationPrediction", "view": "rotated"},
        {"name": "RotationPrediction", "view": "noisy-rotated"},
        {"name": "AuxiliaryTask", "view": "other"},
        {"name": "AuxiliaryTask", "view": "attacked-other"},
        {"name": "AuxiliaryTask", "view": "noisy"},
        {"name": "Consistency", "target": "hidden", "view": "noisy-hidden"},
        {"name": "Consistency", "target": "clean", "view": "rotated"},
        {"name": "LogitPairing", "target": "other", "view": "attacked-other"},
    ],
    ids=lambda loss: "-".join(loss.values()),
)
def test_what_fits_is_taken(loss: dict[str, Any]) -> None:
    assert resolve(recipe(loss))["losses"]["extra"]["name"] == loss["name"]


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ({"name": "CrossEntropy", "view": "rotated"}, "'rotated' are replaced by the view"),
        ({"name": "CrossEntropy", "view": "noisy-rotated"}, "are replaced by the view"),
        ({"name": "Focal", "view": "other"}, "needs targets that are the main task's; .* another"),
        ({"name": "MSE", "view": "noisy-other"}, "'noisy-other' are another data set's"),
        ({"name": "CrossEntropy", "view": "hidden"}, "'hidden' are hidden"),
        ({"name": "InputGradientPenalty", "view": "noisy-hidden"}, "are hidden"),
        ({"name": "AuxiliaryTask", "view": "hidden"}, "main task's or another .* are hidden"),
        ({"name": "RotationPrediction", "view": "noisy"}, "'noisy' are the main task's"),
        ({"name": "Consistency", "view": "other"}, "compares views of the same examples"),
        ({"name": "TRADES", "target": "other", "view": "hidden"}, "'other' and 'hidden'"),
        ({"name": "LogitPairing", "target": "noisy", "view": "noisy-hidden"}, "do not show"),
    ],
    ids=lambda one: "-".join(one.values()) if isinstance(one, dict) else None,
)
def test_what_does_not_fit_is_named(loss: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=f"losses/extra: {loss['name']} .*{says}"):
        resolve(recipe(loss))


@pytest.mark.parametrize("augment", ["Rotate90", {"name": "Compose", "chain": ["Rotate90"]}])
def test_an_augmentation_must_leave_the_main_targets_alone(augment: Any) -> None:
    with pytest.raises(SettingError, match=r"training/augment: .* replaces the targets"):
        resolve({"training": {"augment": [augment]}})


@pytest.mark.parametrize(
    ("source", "says"), [("rotated", "replaced by the view"), ("other", "another data set's")]
)
def test_an_attack_needs_targets_to_climb(source: str, says: str) -> None:
    views = {source: VIEWS[source], "adv": {"name": "PGD", "of": source}}
    losses = {"kl": {"name": "LogitPairing", "target": source, "view": "adv"}}
    with pytest.raises(SettingError, match=f"views/adv: .* are {says}; set climbs: kl"):
        resolve({"views": views, "losses": losses})
    views["adv"]["climbs"] = "kl"
    assert resolve({"views": views, "losses": losses})
