"""How much better a chosen configuration looked in the search than it is on fresh seeds.

The best of many noisy figures is too good on average: the winner's curse. The same metric on the
same validation part, measured again on fresh seeds, has none of it; what then still lies between
validation and test is the difference of the two parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .metrics import Metric
from .statistics import Interval, mean_interval

if TYPE_CHECKING:
    from .tables import TableRow


@dataclass(frozen=True)
class Optimism:
    """One row: validation figure of the chosen search trial, of its confirmation, and the test's.

    All three are of the search's metric, in its own unit; None where it was not measured.
    """

    label: str
    trials: int
    selected: float
    confirmed: Interval | None
    test: Interval | None

    def gain(self, metric: Metric) -> float | None:
        """By how much the search's figure is the better one; None without a confirmation."""
        if self.confirmed is None:
            return None
        difference = self.selected - self.confirmed.mean
        return -difference if metric.lower else difference


def optimism(
    trials: Sequence[Mapping[str, Any]], rows: Sequence[TableRow], primary: str, metric: Metric
) -> list[Optimism]:
    """One entry for each row whose chosen search trial and confirmation both have figures.

    `primary` is the search's metric with its split: the test's figure is that of the benchmark that
    it names, or of the clean examples.
    """
    by_number = {one["number"]: one for one in trials}
    benchmark = primary.partition("/")[2].rpartition("/")[0] or "clean"
    found = []
    for row in rows:
        chosen = by_number.get(row.selected_trial) if row.selected_trial is not None else None
        if chosen is None or not _finite(chosen["score"]) or row.control:
            continue
        scores = [by_number[one]["score"] for one in row.members if one in by_number]
        scores = [one for one in scores if _finite(one)]
        confirms = all(by_number[one]["phase"] == "confirm" for one in row.members)
        cell = row.cells.get(benchmark)
        found.append(
            Optimism(
                label=row.label,
                trials=row.trials,
                selected=chosen["score"],
                confirmed=mean_interval(scores) if scores and confirms else None,
                test=cell.interval if cell is not None and confirms else None,
            )
        )
    return found


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
