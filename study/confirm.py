"""Confirmation: the best configurations of every arm again, at full budget, on fresh seeds.

The seeds are the same for every arm, so that arms are compared pair by pair: same split, same order
of batches, and the same initial weights where the architecture is the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A trial of the search: how far it came and what the metric was at its last report."""

    number: int
    group: str
    state: str
    epochs: int
    value: float


def winners(candidates: Iterable[Candidate], top: int, mode: str) -> list[Candidate]:
    """The best `top` configurations on validation data, the best first.

    Values of trials that trained equally long are compared, the longest first, because a value
    after one epoch says little about a value at the end. Failed and diverged trials are left out;
    ties go to the lower number.
    """
    sign = 1.0 if mode == "max" else -1.0
    sound = [one for one in candidates if one.state != "FAIL" and math.isfinite(one.value)]
    ranked = sorted(sound, key=lambda one: (-one.epochs, -sign * one.value, one.number))
    best: dict[str, Candidate] = {}
    for one in ranked:
        best.setdefault(one.group, one)
    return list(best.values())[:top]


def seeds(study_seed: int, count: int) -> list[int]:
    """Fresh seeds for confirmation: never the study's own, which the search was selected on."""
    return [1000 * (study_seed + 1) + i for i in range(count)]


def with_seed(recipe: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same configuration with another seed."""
    return recipe | {"seed": seed}
