"""Whether a schedule stopped trials that might have become good: what its rungs say of the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .history import History

Label = tuple[str, str]
LEAST = 5


@dataclass(frozen=True)
class Bloomers:
    """An arm's search under its schedule.

    `tau` is Kendall's τ-b between the metric at the first rung `rung` and at the end over the
    `completed` trials of full budget; None for fewer than five of them, or where one of the two
    never differs. `close` of the `stopped` trials gained more in their last epoch than they lacked
    to the cutoff: one more epoch at that pace would have been enough.
    """

    label: Label
    rung: int | None
    completed: int
    tau: float | None
    stopped: int
    close: int


def bloomers(
    trials: Sequence[Mapping[str, Any]],
    reports: Any,
    primary: str,
    goal: str,
    history: History | None,
) -> list[Bloomers]:
    """One entry per arm with a search; `reports` is the table, `primary` the search's metric."""
    import pyarrow.compute as pc

    split, _, name = primary.partition("/")
    mine = reports.filter(
        pc.and_(pc.equal(reports["metric"], name), pc.equal(reports["split"], split))
    ).select(["trial_id", "step", "value", "rung"])
    curves: dict[str, dict[int, float]] = {}
    rungs: dict[str, set[int]] = {}
    for trial, step, value, rung in zip(*(one.to_pylist() for one in mine.columns), strict=True):
        if value is None or not math.isfinite(value):
            continue
        curves.setdefault(trial, {})[step] = value
        if rung is not None:
            rungs.setdefault(trial, set()).add(step)
    found = []
    labels = dict.fromkeys((one["arm"], one["weighter"]) for one in trials)
    for label in labels:
        searched = [
            one
            for one in trials
            if (one["arm"], one["weighter"]) == label and one["phase"] == "search"
        ]
        whole = [one["trial_id"] for one in searched if one["state"] == "COMPLETE"]
        first = min((at for one in whole for at in rungs.get(one, ())), default=None)
        pairs = []
        for one in whole:
            curve = curves.get(one, {})
            # A rung at the end compares the end with itself.
            if first in curve and max(curve) > first:
                pairs.append((curve[first], curve[max(curve)]))
        cut = [one for one in searched if one["state"] == "PRUNED"]
        tau = kendall(*zip(*pairs, strict=True)) if len(pairs) >= LEAST else None
        close = sum(_close(curves.get(one["trial_id"], {}), one, goal, history) for one in cut)
        found.append(Bloomers(label, first, len(pairs), tau, len(cut), close))
    return found


def kendall(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Kendall's τ-b of two sequences of equal length (Kendall, Biometrika 33, 1945).

    (concordant - discordant) / √((pairs - ties in a)(pairs - ties in b)); None where one of them
    has no two different values.
    """
    import numpy as np

    x, y = (np.sign(np.subtract.outer(one, one)) for one in (np.asarray(a), np.asarray(b)))
    scale = math.sqrt(float(np.square(x).sum()) * float(np.square(y).sum()))
    return float((x * y).sum()) / scale if scale else None


def _close(
    curve: Mapping[int, float], trial: Mapping[str, Any], goal: str, history: History | None
) -> bool:
    stopped = history.trials[trial["number"]].stopped if history else None
    if not stopped or stopped.get("cutoff") is None or len(curve) < 2:
        return False
    sign = -1.0 if goal == "min" else 1.0
    *_, before, last = sorted(curve)
    gain = sign * (curve[last] - curve[before])
    return gain > 0 and gain >= sign * (stopped["cutoff"] - curve[last])
