"""Controls: what a confirmed configuration is trained again as, with one thing about it changed.

Each takes away one explanation of a gain: other hyper-parameters, weights that merely vary, what
weights are on average, or a longer training. They are trained like the confirmation, on its seeds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.core.errors import SettingError, nearest

Tree = dict[str, Any]

COEFFICIENT_0 = "coefficient_0"
RANDOM_WEIGHTS = "random_weights"
REPLAY = "replay"
MATCHED_COMPUTE = "matched_compute"
CONTROLS = (COEFFICIENT_0, RANDOM_WEIGHTS, REPLAY, MATCHED_COMPUTE)
# Weighters whose weights follow nothing that happens in the training.
UNMOVED = ("Fixed", "RandomWeights")
# Of the training time of an arm over the baseline's: below it there is nothing to match.
LONGER = 1.05


class NoControlError(ValueError):
    """A configuration cannot have a control; the message says why, for tables to show."""


@dataclass(frozen=True)
class Measured:
    """What the confirmed trials of a configuration came to; means over those that completed.

    Seconds of training, and the mean weight of each loss over all steps, without coefficients.
    """

    train_s: float
    weights: Mapping[str, float]


def checked(asked: Sequence[str]) -> list[str]:
    """The controls asked for, in the order of `CONTROLS`; raises `SettingError` for others."""
    for place, one in enumerate(asked):
        if one not in CONTROLS:
            raise SettingError(
                f"confirm.controls.{place} must be one of {', '.join(CONTROLS)}, found {one!r}."
                f"{nearest(one, CONTROLS)}"
            )
        if one in asked[:place]:
            raise SettingError(f"confirm.controls names {one!r} twice.")
    return [one for one in CONTROLS if one in asked]


def foreseen(asked: Sequence[str], tree: Mapping[str, Any], reference: bool) -> list[str]:
    """Those of the controls asked for that an arm will have, as far as its tree tells.

    `reference` says that it is the baseline that the others are compared with.
    """
    several = bool(_auxiliary(tree))
    adaptive = several and any(name not in UNMOVED for name in _weighters(tree))
    fits = {
        COEFFICIENT_0: several,
        RANDOM_WEIGHTS: adaptive,
        REPLAY: adaptive,
        MATCHED_COMPUTE: not reference,
    }
    return [one for one in asked if fits[one]]


def without_auxiliary(recipe: Mapping[str, Any]) -> Tree:
    """The recipe with coefficient 0 for every auxiliary loss.

    Views and losses stay where they are, so that draws, batch-norm statistics and dropout are those
    of the arm: what differs is the gradient alone. A weighter other than Fixed would see losses
    that are 0, so Fixed takes its place; the main loss then has weight 1.
    """
    if not _auxiliary(recipe):
        raise NoControlError(
            "it has no auxiliary loss; what sets it apart is in its main loss or its training"
        )
    changed = copy.deepcopy(dict(recipe))
    for label in _auxiliary(recipe):
        changed["losses"][label]["coefficient"] = 0.0
    own = recipe["weighter"]
    if own["name"] != "Fixed":
        changed["weighter"] = {"name": "Fixed"} | _common(own, "max_loss")
    return _resolved(changed)


def with_random_weights(recipe: Mapping[str, Any], own: Measured) -> Tree:
    """The recipe with random weights in every step that sum to what the weighter's sum to.

    Where `normalise` fixes the sum, it still does. Else the random weights sum to 1, and the
    coefficients are multiplied by the weighter's mean sum. With `protect_main` that is the sum of
    the weights of the auxiliary losses.
    """
    weighter = recipe["weighter"]
    _adaptive(weighter)
    protected = bool(weighter.get("protect_main"))
    free = _auxiliary(recipe) if protected else list(recipe["losses"])
    if len(free) < 2:
        raise NoControlError("its main loss is protected, and a single other weight has its sum")
    changed = copy.deepcopy(dict(recipe))
    random = {"name": "RandomWeights"} | _common(weighter, "protect_main", "max_loss")
    if weighter.get("normalise", "none") != "none":
        changed["weighter"] = random | _common(weighter, "normalise", "warmup")
        return _resolved(changed)
    total = math.fsum(_weight(own, label) for label in free)
    if total <= 0:
        raise NoControlError(f"its weights sum to {total:.3g} on average, random ones to more")
    # Means of float32 weights: a sum that a method fixes is off in the seventh digit.
    total = round(total) if math.isclose(total, round(total), rel_tol=1e-6) else total
    changed["weighter"] = random | {"normalise": "one"}
    for label in free:
        changed["losses"][label]["coefficient"] *= total
    return _resolved(changed)


def replayed(recipe: Mapping[str, Any], own: Measured) -> Tree:
    """The recipe with the mean weight of each loss as a constant: coefficient times mean weight."""
    _adaptive(recipe["weighter"])
    changed = copy.deepcopy(dict(recipe))
    for label, loss in changed["losses"].items():
        weight = _weight(own, label)
        if weight < 0:
            raise NoControlError(
                f"the mean weight of {label} is {weight:.3g}, and no coefficient is below 0"
            )
        loss["coefficient"] *= weight
    changed["weighter"] = "Fixed"
    return _resolved(changed)


def as_long(baseline: Mapping[str, Any], its: Measured, arm: Measured) -> Tree:
    """The baseline's recipe with as many epochs as fit into the arm's seconds of training.

    Schedule and warm-up are stretched over them.
    """
    epochs = int(baseline["training"]["epochs"])
    if its.train_s <= 0:
        raise NoControlError("the baseline's training took no time that could be measured")
    ratio = arm.train_s / its.train_s
    longer = math.floor(epochs * ratio + 0.5)
    if ratio <= LONGER or longer <= epochs:
        raise NoControlError(
            f"it trains {ratio:.2f} times as long as the baseline, which is {max(epochs, longer)} "
            f"epochs instead of {epochs}"
        )
    changed = copy.deepcopy(dict(baseline))
    changed["training"]["epochs"] = longer
    changed["training"]["schedule"]["warmup_epochs"] *= longer / epochs
    return _resolved(changed)


def kept(
    params: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters that the search drew and that the control left as they were."""
    return {path: one for path, one in params.items() if _at(before, path) == _at(after, path)}


def _adaptive(weighter: Mapping[str, Any]) -> None:
    if weighter["name"] in UNMOVED:
        raise NoControlError(f"its weighter is {weighter['name']}, which adapts nothing")


def _auxiliary(tree: Mapping[str, Any]) -> list[str]:
    """The labels of the auxiliary losses."""
    return [label for label in tree.get("losses", {}) if label != "main"]


def _weighters(tree: Mapping[str, Any]) -> list[str]:
    """The names of the weighters that trials of an arm may have."""
    given = tree.get("weighter", "Fixed")
    options = given["values"] if isinstance(given, Mapping) and "values" in given else [given]
    names = [str(one["name"] if isinstance(one, Mapping) else one) for one in options]
    # Names may differ in case and underscores until a recipe is resolved.
    plain = {one.lower(): one for one in UNMOVED}
    return [plain.get(one.replace("_", "").replace("-", "").lower(), one) for one in names]


def _common(weighter: Mapping[str, Any], *names: str) -> Tree:
    """Options that all weighters have; a weighter's own setting of such a name is none of them."""
    from trainables.core import catalog

    own = catalog.settings("weighters", weighter["name"])
    return {name: weighter[name] for name in names if name in weighter and name not in own}


def _weight(own: Measured, label: str) -> float:
    found = own.weights.get(label, math.nan)
    if not math.isfinite(found):
        raise NoControlError(f"the weight of {label} was not reported as a finite number")
    return found


def _resolved(recipe: Mapping[str, Any]) -> Tree:
    from trainables.core.recipe import resolve

    try:
        return resolve(recipe)
    except SettingError as error:
        raise NoControlError(str(error)) from None


def _at(tree: Any, path: str) -> Any:
    for part in path.split("/"):
        if isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        elif isinstance(tree, Sequence) and part.isdecimal() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None
    return tree
