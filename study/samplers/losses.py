"""What samplers that learn go by: one number per trial and objective, of which less is better.

They all have to compare trials that trained for different times, diverged or belong to another
study; it is decided here once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from study.searcher import Mode, Told

Losses = tuple[float, ...]


def losses(trials: Sequence[Told], modes: Sequence[Mode]) -> list[Losses | None]:
    """The losses of each trial, in the order of `modes`; None where it teaches nothing.

    Trials are compared with their like. Those that completed come first, then those that were
    stopped early by the epoch that they reached, the longest trained first, then those that
    diverged (a value that is not finite). Each of these levels takes an interval [2 n, 2 n + 1] of
    every loss, so that a trial dominates all those of later levels, and within its level a value
    lies where it does between the best and the worst. Running trials, and those that failed for
    another reason, teach nothing.
    """
    levels: dict[tuple[int, int], list[int]] = {}
    for place, trial in enumerate(trials):
        level = _level(trial)
        if level is not None:
            levels.setdefault(level, []).append(place)
    found: list[Losses | None] = [None] * len(trials)
    for start, level in enumerate(sorted(levels)):
        members = levels[level]
        columns = [
            _scaled([_value(trials[place], one) for place in members], mode)
            for one, mode in enumerate(modes)
        ]
        for place, row in zip(members, zip(*columns, strict=True), strict=True):
            found[place] = tuple(2 * start + one for one in row)
    return found


def _level(trial: Told) -> tuple[int, int] | None:
    if trial.values is None or trial.state == "RUNNING":
        return None
    if not all(map(math.isfinite, trial.values)):
        return (2, 0)
    if trial.state == "FAIL":
        return None
    return (0, 0) if trial.state == "COMPLETE" else (1, -trial.epochs)


def _value(trial: Told, objective: int) -> float:
    value = (trial.values or ())[objective]
    # A level of its own, in which all are alike.
    return value if all(map(math.isfinite, trial.values or ())) else 0.0


def _scaled(values: list[float], mode: Mode) -> list[float]:
    best, worst = (max(values), min(values)) if mode == "max" else (min(values), max(values))
    # Halves: the difference of two large numbers may be no number any more.
    width = worst / 2 - best / 2
    return [(one / 2 - best / 2) / width if width else 0.0 for one in values]
