"""The ledger's events, folded into one history per trial and a status of the study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Event = Mapping[str, Any]


@dataclass
class TrialHistory:
    """What the ledger says about one trial; `reports` is keyed by epoch."""

    planned: Event
    started_at: datetime | None = None
    ended: Event | None = None
    stopped: Event | None = None  # why its schedule ended it
    failed: Event | None = None  # of which class its failure was
    work_s: float = 0.0
    retries: int = 0
    fallbacks: int = 0  # how often a checkpoint could not be read and an earlier one was taken
    superseded: bool = False  # what it confirms or controls is no longer part of the answer
    reports: dict[int, Event] = field(default_factory=dict)
    _since: datetime | None = None
    _paused: bool = False

    @property
    def number(self) -> int:
        return int(self.planned["trial"])

    @property
    def state(self) -> str:
        """Optuna's words: WAITING before the first start, RUNNING until an end is recorded.

        PAUSED is ours: the trial waits at a rung for its promotion.
        """
        if self.ended is not None:
            return str(self.ended["state"])
        if self._paused:
            return "PAUSED"
        return "WAITING" if self.started_at is None else "RUNNING"

    @property
    def phase(self) -> str:
        """search, confirm, control, or superseded: of the latter two, no part of the answer now."""
        return "superseded" if self.superseded else str(self.planned["phase"])

    @property
    def control(self) -> str | None:
        """Which control it is: coefficient_0, random_weights, replay or matched_compute."""
        return self.planned.get("control")

    @property
    def of(self) -> int | None:
        """The trial of the search that it confirms or controls; None for one of the search."""
        return None if self.planned["phase"] == "search" else self.planned.get("place")

    @property
    def diverged(self) -> bool:
        return self.ended is not None and self.ended.get("reason") == "diverged"

    def in_order(self) -> list[Event]:
        """The reports by epoch."""
        return [self.reports[epoch] for epoch in sorted(self.reports)]

    def add(self, event: Event) -> None:
        """Take one more event of this trial, in the ledger's order."""
        now = when(event)
        kind = event["event"]
        if kind == "started":
            self.started_at = self.started_at or now
            self._paused = False
            # The time since the last event was spent waiting for a resume, not working.
            self._since = now
            return
        if self._since is not None:
            self.work_s += (now - self._since).total_seconds()
            self._since = now
        if kind == "report":
            self.reports.setdefault(int(event["epoch"]), event)
            self._paused = event["decision"] == "pause"
            if self._paused:
                self._since = None
        elif kind == "ended":
            self.ended = event
        elif kind == "stopped":
            self.stopped = event
        elif kind == "failed":
            self.failed = event
        elif kind == "retried":
            self.retries += 1
        elif kind == "checkpoint":
            self.fallbacks += 1
        elif kind == "reopened":
            # The study was extended by epochs: the same trial has further to go.
            self.planned = {**self.planned, "recipe": event["recipe"], "group": event["group"]}
            if self.ended is not None:
                self.ended = self._since = None


@dataclass
class History:
    """The whole ledger: the first line, the trials by number and where the study stands."""

    study: Event = field(default_factory=dict)
    trials: dict[int, TrialHistory] = field(default_factory=dict)
    status: str = "created"
    why: str = ""  # it is paused or was ended
    finished_at: datetime | None = None
    extensions: list[Event] = field(default_factory=list)
    finishes: int = 0
    exhausted: set[tuple[str, str]] = field(default_factory=set)  # arms without a new configuration
    winners: set[int] = field(default_factory=set)  # trials of the search that are confirmed
    # By name and the trial of the search: what each control trains, or why there is none.
    controls: dict[tuple[str, int], Event] = field(default_factory=dict)

    def in_order(self) -> list[TrialHistory]:
        """The trials by number."""
        return [self.trials[number] for number in sorted(self.trials)]

    def left_out(self) -> list[Event]:
        """The controls that configurations of the answer were asked for and cannot have."""
        return [
            one
            for (_, place), one in self.controls.items()
            if place in self.winners and one.get("group") is None
        ]

    def supersede(self) -> None:
        """Tell the trials that belong to the answer from those that did."""
        for trial in self.trials.values():
            if trial.of is None:
                continue
            trial.superseded = trial.of not in self.winners
            decided = self.controls.get((trial.control or "", trial.of))
            if decided is not None and decided["group"] != trial.planned["group"]:
                trial.superseded = True


def fold(events: Iterable[Event]) -> History:
    """One pass over the events of a ledger.

    A killed driver leaves no event: its study reads "running" as long as nobody resumes it.
    Events of kinds that this version does not know are passed over.
    """
    history = History()
    for event in events:
        kind = event["event"]
        if kind == "study":
            history.study = event
        elif kind == "segment":
            history.status, history.why, history.finished_at = "running", "", None
        elif kind in ("interrupted", "paused", "aborted"):
            history.status, history.why = kind, str(event.get("reason", ""))
        elif kind == "finished":
            history.status, history.finished_at = "finished", when(event)
            history.finishes += 1
        elif kind == "extended":
            # A finished study that was extended is not finished any more.
            history.status, history.finished_at = "interrupted", None
            history.exhausted.clear()
            history.extensions.append(event)
        elif kind == "exhausted":
            history.exhausted.add((event["arm"], event["weighter"]))
        elif kind == "confirming":
            history.winners = {one for numbers in event["winners"].values() for one in numbers}
            history.supersede()
        elif kind == "controlling":
            history.controls[event["control"], event["place"]] = event
            history.supersede()
        elif kind == "planned":
            history.trials.setdefault(int(event["trial"]), TrialHistory(planned=event))
        elif event.get("trial") in history.trials:
            history.trials[event["trial"]].add(event)
    return history


def when(event: Event) -> datetime:
    """The event's time, with its zone."""
    return datetime.fromisoformat(event["time"])
