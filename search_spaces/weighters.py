"""Search spaces of the weighters: their settings as ranges around the papers' values; no torch.

`any_of` makes one choice of several, to stand as the `weighter` of an arm, and `fitted` leaves out
what cannot matter: ranges of coefficients in front of weighters that they cancel in.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from search_spaces.ranges import Choice, Float, Integer, as_range

Tree = dict[str, Any]

_START = {"low": -1.0, "high": 1.0, "default": 0.0}

# Each weighter's own settings; what is missing keeps the default of its class.
WEIGHTERS: dict[str, Tree] = {
    # From the values of the losses alone.
    "Fixed": {},
    "RandomWeights": {},
    "CoV": {},
    "LossTracker": {"block_size": {"low": 10, "high": 1000, "log": True, "default": 100}},
    "Uncertainty": {
        "form": {"values": ["full", "half", "classification", "positive"]},
        "start": _START,
    },
    "IMTLL": {"start": _START},
    "DynamicWeightAverage": {
        "temperature": {"low": 0.5, "high": 10.0, "log": True, "default": 2.0}
    },
    "GeometricMean": {},
    "SoftAdapt": {
        "form": {"values": ["plain", "normalised", "loss-weighted"]},
        "beta": {"low": 0.01, "high": 10.0, "log": True, "default": 0.1},
        "history": {"low": 2, "high": 6, "default": 2},
    },
    "ReLoBRaLo": {
        "alpha": {"low": 0.9, "high": 0.9999, "default": 0.999},
        "rho": {"low": 0.99, "high": 1.0, "default": 0.9999},
        "tau": {"low": 0.1, "high": 10.0, "log": True, "default": 1.0},
    },
    "SmoothTchebycheff": {"mu": {"low": 0.01, "high": 10.0, "log": True, "default": 1.0}},
    "FAMO": {
        "lr": {"low": 0.001, "high": 0.1, "log": True, "default": 0.025},
        "decay": {"low": 1e-5, "high": 0.01, "log": True, "default": 0.001},
    },
    "Lagrangian": {
        "bounds": {"low": 0.001, "high": 1.0, "log": True, "default": 0.1},
        "rate": {"low": 0.001, "high": 0.1, "log": True, "default": 0.01},
    },
    # From the gradients of the losses: a backward pass for each.
    "GradientSimilarity": {
        "form": {"values": ["weighted", "unweighted", "projection"]},
        "ema": {"low": 0.0, "high": 0.9, "default": 0.0},
        "scope": {"values": ["all", "trunk", "last-stage"]},
        "refresh": {"values": [1, 10]},
    },
    "GradNorm": {
        "alpha": {"low": 0.12, "high": 1.5, "default": 1.5},
        "rate": {"low": 0.001, "high": 0.1, "log": True, "default": 0.025},
    },
    "PCGrad": {},
    "GradVac": {"beta": {"low": 0.01, "high": 0.99, "default": 0.5}},
    "CAGrad": {"c": {"low": 0.2, "high": 0.8, "default": 0.5}},
    "MGDA": {"divide": {"values": ["none", "l2", "loss", "loss+"]}},
    "IMTLG": {},
    "AlignedMTL": {"scale": {"values": ["min", "median", "rmse"]}},
    "NashMTL": {},
    "UPGrad": {},
    "DualProj": {},
    "ConFIG": {},
    "FairGrad": {"alpha": {"low": 0.5, "high": 4.0, "log": True, "default": 1.0}},
    "PCD": {
        "tau": {"low": 0.01, "high": 0.3, "log": True, "default": 0.02},
        "beta": {"low": 0.9, "high": 0.9999, "default": 0.999},
    },
    "OLAUX": {
        "horizon": {"low": 1, "high": 20, "log": True, "default": 5},
        "rate": {"low": 1e-4, "high": 1.0, "log": True, "default": 0.01},
    },
}
# Those that take the gradients apart.
GRADIENTS = tuple(list(WEIGHTERS)[list(WEIGHTERS).index("GradientSimilarity") :])
# A constant coefficient in front of an auxiliary loss changes nothing in these.
ABSORB = (
    "ConFIG",
    "FAMO",
    "GeometricMean",
    "GradNorm",
    "IMTLG",
    "IMTLL",
    "NashMTL",
    "PCD",
    "Uncertainty",
)
GROUPS = {
    "all": tuple(WEIGHTERS),
    "values": tuple(name for name in WEIGHTERS if name not in GRADIENTS),
    "gradients": GRADIENTS,
}


class WeighterError(ValueError):
    """A weighter or a group of them that has no search space; the message names the nearest."""


def weighter(given: str | Mapping[str, Any]) -> Tree:
    """The weighter's config with its ranges; settings of a mapping replace the ranges.

    The name may differ in case and underscores. Raises `WeighterError` naming the nearest.
    """
    config = {"name": given} if isinstance(given, str) else dict(given)
    plain = {_plain(name): name for name in WEIGHTERS}
    name = plain.get(_plain(str(config.get("name", ""))))
    if name is None:
        raise WeighterError(_unknown("weighter", config.get("name", ""), WEIGHTERS))
    return copy.deepcopy(WEIGHTERS[name]) | config | {"name": name}


def any_of(given: str | Iterable[str | Mapping[str, Any]]) -> Tree:
    """One choice of several weighters, the first one its default, each with its own ranges.

    `given` is a group ("all", "values", "gradients") or a list as `weighter` takes its entries. A
    single weighter is no choice: it stands for itself. Raises `WeighterError`, and `RangeError` for
    a weighter that is listed twice.
    """
    if isinstance(given, str):
        if given not in GROUPS:
            raise WeighterError(_unknown("group of weighters", given, GROUPS))
        given = GROUPS[given]
    options = [weighter(one) for one in given]
    if not options:
        raise WeighterError("A choice of weighters needs at least one, found none.")
    if len(options) == 1:
        return options[0]
    return {"values": list(Choice(tuple(options)).values)}


def fitted(tree: Mapping[str, Any]) -> Tree:
    """An arm's tree without the ranges of coefficients that its weighter absorbs.

    They have their defaults: always, where the weighter is given, and with those options that
    absorb them, where it is a choice. The main loss keeps its range, and so does a coefficient that
    depends on another choice already.
    """
    found = as_range(tree.get("weighter"), "weighter")
    options = found.values if isinstance(found, Choice) else (tree.get("weighter", "Fixed"),)
    absorb = {_plain(name) for name in ABSORB}
    labels = [label for label in map(_label, options) if _plain(label) in absorb]
    fitting: Tree = copy.deepcopy(dict(tree))
    for label, loss in fitting.get("losses", {}).items():
        path = f"losses/{label}/coefficient"
        leaf = loss.get("coefficient") if isinstance(loss, Mapping) else None
        coefficient = as_range(leaf, path)
        if label == "main" or not labels or not isinstance(coefficient, Float | Integer):
            continue
        if not isinstance(found, Choice):
            loss["coefficient"] = coefficient.middle()
        elif coefficient.unless is None:
            loss["coefficient"] = coefficient.plain() | {
                "default": coefficient.middle(),
                "unless": {"weighter": labels},
            }
    return fitting


def _label(option: object) -> str:
    return str(option["name"] if isinstance(option, Mapping) else option)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _unknown(what: str, name: object, known: Iterable[str]) -> str:
    by_plain = {_plain(one): one for one in known}
    close = difflib.get_close_matches(_plain(str(name)), by_plain, n=1, cutoff=0.4)
    hint = f" Did you mean {by_plain[close[0]]!r}?" if close else ""
    return f"Unknown {what} {name!r}.{hint} Known: {', '.join(by_plain.values())}."
