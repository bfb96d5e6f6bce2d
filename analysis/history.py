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
    work_s: float = 0.0
    retries: int = 0
    reports: dict[int, Event] = field(default_factory=dict)
    _since: datetime | None = None

    @property
    def number(self) -> int:
        return int(self.planned["trial"])

    @property
    def state(self) -> str:
        """Optuna's words: WAITING before the first start, RUNNING until an end is recorded."""
        if self.ended is not None:
            return str(self.ended["state"])
        return "WAITING" if self.started_at is None else "RUNNING"

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
            # The time since the last event was spent waiting for a resume, not working.
            self._since = now
            return
        if self._since is not None:
            self.work_s += (now - self._since).total_seconds()
            self._since = now
        if kind == "report":
            self.reports.setdefault(int(event["epoch"]), event)
        elif kind == "ended":
            self.ended = event
        elif kind == "retried":
            self.retries += 1


@dataclass
class History:
    """The whole ledger: the first line, the trials by number and where the study stands."""

    study: Event = field(default_factory=dict)
    trials: dict[int, TrialHistory] = field(default_factory=dict)
    status: str = "created"
    finished_at: datetime | None = None

    def in_order(self) -> list[TrialHistory]:
        """The trials by number."""
        return [self.trials[number] for number in sorted(self.trials)]


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
            history.status, history.finished_at = "running", None
        elif kind == "interrupted":
            history.status = "interrupted"
        elif kind == "finished":
            history.status, history.finished_at = "finished", when(event)
        elif kind == "planned":
            history.trials.setdefault(int(event["trial"]), TrialHistory(planned=event))
        elif event.get("trial") in history.trials:
            history.trials[event["trial"]].add(event)
    return history


def when(event: Event) -> datetime:
    """The event's time, with its zone."""
    return datetime.fromisoformat(event["time"])
