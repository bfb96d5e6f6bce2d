"""What the schedule stopped, at which rung and why: the search's decisions, as the ledger has them.

They come from the ledger and not from the six tables, because the reason of a stop (cutoff and
place) is known to the schedule alone, at the time of the decision.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields

from .history import History
from .metrics import Metric

Label = tuple[str, str]


@dataclass(frozen=True)
class Stop:
    """One trial that the schedule ended before its full budget.

    `epoch` is the last one it trained, `rung` the epoch at which it was compared, `value` its first
    objective then, `cutoff` what was asked of it there, both in the metric's own units, and `rank`
    its place among `of` trials, 1 the best. What the ledger does not say is None: version 1 had no
    cutoff, rank and of.
    """

    trial: int
    arm: str
    weighter: str
    epoch: int
    rung: int | None
    value: float | None
    cutoff: float | None
    rank: int | None
    of: int | None

    @property
    def label(self) -> str:
        return f"{self.arm} × {self.weighter}"

    def why(self, metric: Metric) -> str:
        """The reason in words, with figures as tables show them."""
        if self.cutoff is None and self.rank is None:
            return "not recorded"
        parts = []
        if self.cutoff is not None:
            # A promotion needs a place among the best as well: a tie with the cutoff may lose.
            side = {-1: "below ", 0: "at ", 1: "above ", None: ""}[_side(self.value, self.cutoff)]
            parts.append(f"{side}the cutoff {metric.shown(self.cutoff)}")
        if self.rank is not None:
            parts.append(f"place {self.rank} of {self.of}")
        return ", ".join(parts)


def stops(history: History, metric: str) -> list[Stop]:
    """The stopped trials of the search in the order of their numbers.

    `metric` is the search's first objective, as `validation/accuracy`.
    """
    found = []
    for one in history.in_order():
        event = one.stopped
        # A stop without its end is a promise: the next driver records it.
        if event is None or one.planned["phase"] != "search" or one.state != "PRUNED":
            continue
        report = one.reports.get(event["epoch"]) or {}
        found.append(
            Stop(
                trial=one.number,
                arm=one.planned["arm"],
                weighter=one.planned["weighter"],
                epoch=event["epoch"],
                rung=event["rung"],
                value=(report.get("metrics") or {}).get(metric),
                cutoff=event["cutoff"],
                rank=event["rank"],
                of=event["of"],
            )
        )
    return found


def by_rung(
    history: History, found: Sequence[Stop], metric: Metric, labels: Sequence[Label]
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Heads and rows of a table: for each arm and rung how many came, went on and were stopped.

    The cutoffs are the lowest and the highest one: they move with every trial that comes to a rung.
    """
    came: dict[tuple[Label, int], int] = {}
    for one in history.in_order():
        if one.planned["phase"] != "search":
            continue
        label = (one.planned["arm"], one.planned["weighter"])
        for report in one.in_order():
            if report.get("rung") is not None and report["decision"] != "diverged":
                came[label, report["rung"]] = came.get((label, report["rung"]), 0) + 1
    body = []
    for label, rung in sorted(came, key=lambda key: (labels.index(key[0]), key[1])):
        mine = [one for one in found if (one.arm, one.weighter) == label and one.rung == rung]
        cutoffs = [one.cutoff for one in mine if one.cutoff is not None]
        ends = sorted({min(cutoffs), max(cutoffs)}) if cutoffs else []
        body.append(
            [
                *label,
                str(rung),
                str(came[label, rung]),
                str(len(mine)),
                " to ".join(map(metric.shown, ends)) or "–",
            ]
        )
    return ("arm", "weighter", "rung [epochs]", "came", "stopped", f"cutoff, {metric.title}"), body


def one_by_one(found: Sequence[Stop], metric: Metric) -> tuple[tuple[str, ...], list[list[str]]]:
    """Heads and rows of a table: every stopped trial with its reason."""
    body = [
        [
            str(one.trial),
            one.label,
            str(one.epoch),
            "–" if one.value is None else metric.shown(one.value),
            one.why(metric),
        ]
        for one in found
    ]
    return ("trial", "arm × weighter", "epoch", metric.title, "why"), body


def to_csv(found: Sequence[Stop]) -> str:
    """One line per stopped trial, full precision; empty where the ledger does not say."""
    text = io.StringIO()
    names = [one.name for one in fields(Stop)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: getattr(one, name) for name in names} for one in found)
    return text.getvalue()


def _side(value: float | None, cutoff: float) -> int | None:
    return None if value is None else (value > cutoff) - (value < cutoff)
