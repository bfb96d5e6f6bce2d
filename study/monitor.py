"""A running study's figures on Ray's Prometheus endpoint, so that they stand beside the cluster's.

Series are tagged by study, arm, state and metric only: their number does not grow with that of the
trials. No error of the metrics system reaches the study.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from study.tally import FAILURES, STATES, Tally

if TYPE_CHECKING:
    from study.conductor import Conductor

EVERY_S = 2.0


@dataclass(frozen=True)
class Figure:
    """One metric: what it says, its tags, and its kind in Prometheus."""

    about: str
    tags: tuple[str, ...]
    kind: Literal["gauge", "counter"] = "gauge"


# By the name that the study gives it; `exported` is the name on the endpoint.
FIGURES = {
    "study_trials": Figure("trials by state", ("study", "state")),
    "study_expected_trials": Figure("trials that the study will have", ("study",)),
    "study_best": Figure("best last value of an arm's trials", ("study", "arm", "metric")),
    "study_epochs": Figure("epochs reported, of all trials of an arm", ("study", "arm")),
    "study_eta_seconds": Figure("seconds until the end, without unmeasured tests", ("study",)),
    "study_failed": Figure("failed trials by class: error, oom, lost", ("study", "class")),
    "study_diverged": Figure("trials that diverged", ("study",)),
    "study_halted": Figure("1 while no more trials begin, as for want of room", ("study",)),
    "study_reports": Figure("epochs reported", ("study",), "counter"),
    "study_retries": Figure("trials that went on in a new process", ("study",)),
    "study_device_seconds": Figure(
        "training and evaluation times GPUs, or processors where there is none",
        ("study", "arm"),
        "counter",
    ),
}


def exported(name: str) -> str:
    """A figure's name on Ray's endpoint."""
    return f"ray_{name}" + ("_total" if FIGURES[name].kind == "counter" else "")


class Metrics:
    """Exports a conductor's study; `tick` is called after every turn of the driver's loop."""

    def __init__(self, conductor: Conductor, every_s: float = EVERY_S) -> None:
        self.conductor = conductor
        self._tally = Tally(conductor.study.resolved())
        self._read = 0
        self._every_s = every_s
        self._next = 0.0
        self._known: dict[str, Any] = {}
        self._counted: dict[tuple[str, str], float] = {}
        self._broken = False
        self.tick()

    def tick(self, now: bool = False) -> None:
        """Export what the ledger says, at most every `every_s` seconds unless `now` is asked for.

        A counter holds the study's whole number, of earlier drivers, too.
        """
        if self._broken or not (now or monotonic() >= self._next):
            return
        self._next = monotonic() + self._every_s
        try:
            self._export()
        except Exception as error:
            # Whatever it is: a study does not end for its figures.
            self._broken = True
            print(f"No metrics any more: {type(error).__name__}: {error}", file=sys.stderr)

    def _export(self) -> None:
        new = self.conductor.ledger.events[self._read :]
        self._read += len(new)
        self._tally.extend(new)
        tally = self._tally
        states, failed = tally.states(), tally.failures()
        for state in STATES:
            # A state that was left is 0, not its last figure.
            self._put("study_trials", states.get(state, 0), {"state": state})
        for one in FAILURES:
            self._put("study_failed", failed.get(one, 0), {"class": one})
        trials = tally.trials.values()
        self._put("study_expected_trials", tally.expected)
        self._put("study_diverged", sum(one.reason == "diverged" for one in trials))
        self._put("study_halted", bool(self.conductor.halted))
        left = tally.eta(datetime.now(UTC))
        if left is not None:
            self._put("study_eta_seconds", left[0])
        self._put("study_reports", tally.epochs)
        self._put("study_retries", tally.retries)
        for name in tally.arms:
            own, arm = tally.of(name), {"arm": " x ".join(name)}
            self._put("study_epochs", sum(one.epoch for one in own), arm)
            spent = tally.device_s(own) + tally.devices * sum(one.test_s for one in own)
            self._put("study_device_seconds", spent, arm)
            for metric in tally.objectives:
                if (best := tally.best(name, metric)) is not None:
                    self._put("study_best", best, arm | {"metric": metric})

    def _put(self, name: str, value: float, tags: Mapping[str, str] | None = None) -> None:
        # Ray takes tags of ASCII only; labels of arms may be anything.
        tags = {"study": self._tally.study} | {
            key: value.encode("ascii", "xmlcharrefreplace").decode()
            for key, value in (tags or {}).items()
        }
        known = self._known.get(name) or self._make(name)
        if FIGURES[name].kind == "gauge":
            known.set(float(value), tags=tags)
            return
        before = self._counted.get((name, str(tags)), 0.0)
        if value > before:  # a counter takes no 0
            known.inc(float(value) - before, tags=tags)
            self._counted[name, str(tags)] = float(value)

    def _make(self, name: str) -> Any:
        from ray.util import metrics

        figure = FIGURES[name]
        kind = metrics.Counter if figure.kind == "counter" else metrics.Gauge
        self._known[name] = kind(name, description=figure.about, tag_keys=figure.tags)
        return self._known[name]
