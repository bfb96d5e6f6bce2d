"""Whether a trial that was trained again reports what it reported then.

The tolerance is 0: everything random comes from the seed, so with the same versions on the same
kind of processor a training is the same bit for bit. Where versions differ that is said, and the
reader has to judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis import events


def differences(
    now: Sequence[Mapping[str, Any]], then: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Every figure of every epoch that differs, in order: epoch, metric, then, now, difference.

    `now` are the reports of the training, `then` the metrics of the ledger by epoch. Figures that
    only one of the two has, such as those of benchmarks at rungs, are not compared. Equal means
    equal to the last digit; NaN equals NaN.
    """
    found = []
    for report in now:
        known = then.get(report["epoch"], {})
        for metric, value in report["metrics"].items():
            if metric not in known or _same(known[metric], value):
                continue
            found.append(
                {
                    "epoch": report["epoch"],
                    "metric": metric,
                    "then": known[metric],
                    "now": value,
                    "difference": abs(value - known[metric]),
                }
            )
    return found


def other_versions(folder: Path) -> dict[str, list[str | None]]:
    """Package -> its version when the study began and now, where these differ."""
    from study.life import versions

    then = next(iter(events.read(folder))).get("versions") or {}
    now = versions()
    return {
        name: [then.get(name), now.get(name)]
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    }


def verdict(found: Sequence[Mapping[str, Any]], versions: Mapping[str, Sequence[Any]]) -> str:
    """The outcome in a few lines: where the first difference is, which is the largest, and why."""
    other = ", ".join(f"{name} {then} then, {now} now" for name, (then, now) in versions.items())
    said = f"Other versions: {other}." if other else "The versions are the same."
    if not found:
        return f"Equal to the last digit. Every epoch was compared. {said}"
    first = found[0]
    largest = max(found, key=lambda one: _size(one["difference"]))
    return (
        f"Not equal: {len(found)} figures differ, first {first['metric']} in epoch "
        f"{first['epoch']} by {first['difference']:.3g}; the largest difference is "
        f"{largest['difference']:.3g}, of {largest['metric']} in epoch {largest['epoch']}. "
        f"Differences of 0 are expected with the same versions and kind of processor. {said}"
    )


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _size(difference: float) -> float:
    return math.inf if math.isnan(difference) else difference
