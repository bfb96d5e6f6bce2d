"""Confirmation: the best configurations of every arm again, at full budget, on fresh seeds.

The seeds are the same for every arm, so that arms are compared pair by pair: same split, same order
of batches, and the same initial weights where the architecture is the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A trial of the search: how far it came and the objectives at its last report."""

    number: int
    group: str
    state: str
    epochs: int
    values: tuple[float, ...]


def winners(candidates: Iterable[Candidate], top: int, modes: Sequence[str]) -> list[Candidate]:
    """The best `top` configurations on validation data, the best first.

    Values of trials that trained equally long are compared, the longest first, because a value
    after one epoch says little about a value at the end. With several objectives the order is that
    of `analysis.pareto.best`: front by front, the loneliest first. Failed and diverged trials are
    left out; ties go to the lower number.
    """
    sound = sorted(
        (one for one in candidates if one.state != "FAIL" and all(map(math.isfinite, one.values))),
        key=lambda one: (-one.epochs, one.number),
    )
    ranked: list[Candidate] = []
    for _, equals in groupby(sound, key=lambda one: one.epochs):
        ranked += _ranked(list(equals), modes)
    best: dict[str, Candidate] = {}
    for one in ranked:
        best.setdefault(one.group, one)
    return list(best.values())[:top]


def _ranked(candidates: list[Candidate], modes: Sequence[str]) -> list[Candidate]:
    if len(modes) > 1:
        from analysis.pareto import best

        order = best([one.values for one in candidates], modes, len(candidates))
        return [candidates[place] for place in order]
    sign = 1.0 if modes[0] == "max" else -1.0
    return sorted(candidates, key=lambda one: (-sign * one.values[0], one.number))


def seeds(study_seed: int, count: int) -> list[int]:
    """Fresh seeds for confirmation: never the study's own, which the search was selected on."""
    return [1000 * (study_seed + 1) + i for i in range(count)]


def with_seed(recipe: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same configuration with another seed."""
    return recipe | {"seed": seed}
