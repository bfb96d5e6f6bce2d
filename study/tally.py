"""A study's counts from its ledger, an event at a time.

Status, the live view, the metrics and the list of studies all count here, so that they agree; and
because an event costs the same whenever it comes, a reader who stays never reads a line twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from analysis.events import Event
from study.controls import MATCHED_COMPUTE, foreseen

STATES = ("WAITING", "RUNNING", "PAUSED", "COMPLETE", "PRUNED", "FAIL")
ENDED = ("COMPLETE", "PRUNED", "FAIL")
FAILURES = ("error", "oom", "lost")  # a diverged trial is an outcome
# What the next driver, or a command beside it, records of the time before its own.
_FROM_OUTSIDE = ("upgraded", "extended", "reopened", "stopped", "ended")
Name = tuple[str, str]  # an arm: its label and its weighter's


@dataclass
class Counted:
    """What is counted of one trial; `seconds` are of training and validation, without the test."""

    number: int
    phase: str
    name: Name
    seed: int
    place: int
    full: int = 0  # epochs of its whole training
    control: str = ""
    group: str = ""
    state: str = "WAITING"
    reason: str = ""
    epoch: int = 0
    values: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    test_s: float = 0.0
    rung: int | None = None  # the last one that it reached
    started: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ENDED

    @property
    def title(self) -> str:
        """How the terminal calls the trial."""
        control = f" ({self.control})" if self.control else ""
        return f"{self.number:04d} {shown(self.name)}{control} seed {self.seed}"


@dataclass
class Segment:
    """One driver's time on the study."""

    segment: int
    command: str
    began: datetime
    last: datetime

    @property
    def wall_s(self) -> float:
        """Seconds from its beginning to its last event."""
        return (self.last - self.began).total_seconds()


class Tally:
    """Counts of one study; `resolved` is its `resolved.json`, of any schema version."""

    def __init__(self, resolved: Mapping[str, Any]) -> None:
        self._ask(resolved)
        self.first: Event = {}
        self.last: datetime | None = None
        self.status, self.why = "created", ""
        self.segments: list[Segment] = []
        self._open = False  # whether the last segment goes on
        self.trials: dict[int, Counted] = {}
        self.retries = 0  # how often a trial went on in another process after one was lost
        self.cutoffs: dict[tuple[Name, int], float] = {}
        self._winners: dict[int, Name] | None = None
        self._controls: dict[tuple[str, int], Event] = {}  # by name and the search's trial
        self._exhausted: set[Name] = set()
        self._rungs: dict[tuple[Name, int], int] = {}
        self._promoted: Counter[tuple[Name, int]] = Counter()
        self._worked = 0.0  # seconds reported since this segment began

    def _ask(self, resolved: Mapping[str, Any]) -> None:
        """What was asked for; a study that is extended is asked for more."""
        search, confirm = resolved["search"], resolved["confirm"]
        resources = resolved["resources"]
        self.study = str(resolved["study"])
        self.question = str(resolved.get("question") or "")
        self.arms: list[Name] = [(one["arm"], one["weighter"]) for one in resolved["arms"]]
        self.objectives: dict[str, str] = dict(
            search.get("objectives") or {search["metric"]: search["mode"]}
        )
        self.metric, self.mode = next(iter(self.objectives.items()))
        self.full = int(resolved["schedule"]["max_epochs"])
        # Budgets count a trial's GPUs, or its processors where it has none.
        self.devices = float(resources.get("gpu") or resources["cpu"])
        self.budget: dict[str, float] = dict(resolved.get("budget") or {})
        self._each = int(search["trials_per_arm"])
        self._top, self._seeds = int(confirm["top"]), int(confirm["seeds"])
        asked = confirm.get("controls") or []
        reference = [one for one in self.arms if one[0] == resolved.get("baseline")][:1]
        self._foreseen: dict[Name, list[str]] = {
            name: foreseen(asked, one.get("recipe") or {}, [name] == reference)
            for name, one in zip(self.arms, resolved["arms"], strict=True)
        }

    def extend(self, events: Iterable[Event]) -> None:
        """Take up more events, in the ledger's order."""
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take up one more event; kinds that are not known here are passed over."""
        now = datetime.fromisoformat(event["time"])
        self.last = now
        kind = event["event"]
        if kind == "segment":
            one = Segment(int(event["segment"]), str(event.get("command", "")), now, now)
            self.segments.append(one)
            self.status, self.why, self._worked = "running", "", 0.0
            self._open = True
        elif kind in ("interrupted", "paused", "aborted", "finished"):
            if self._open:
                self.segments[-1].last = now
            self.status, self.why = kind, str(event.get("reason", ""))
            self._open = False
        elif self._open and kind not in _FROM_OUTSIDE:
            self.segments[-1].last = now
        trial = self.trials.get(event.get("trial", -1))
        if kind == "planned":
            self.trials[event["trial"]] = _planned(event, self.full)
        elif trial is not None:
            self._of(trial, kind, event)
        elif kind == "study":
            self.first = event
        elif kind == "confirming":
            self._confirming(event)
        elif kind == "controlling":
            self._controls[event["control"], event["place"]] = event
            self._sort()
        elif kind == "exhausted":
            self._exhausted.add((event["arm"], event["weighter"]))
        elif kind == "extended":
            self._extended(event)

    def _of(self, trial: Counted, kind: str, event: Event) -> None:
        if kind == "started":
            trial.state, trial.started = "RUNNING", True
        elif kind == "report":
            self._report(trial, event)
        elif kind == "retried":
            self.retries += 1
        elif kind == "ended":
            trial.state, trial.reason = str(event["state"]), str(event["reason"])
        elif kind == "stopped" and event.get("cutoff") is not None:
            self.cutoffs[trial.name, int(event["rung"])] = float(event["cutoff"])
        elif kind == "promoted":
            self._promoted[trial.name, int(event["rung"])] += 1
        elif kind == "reopened":
            trial.group, trial.full = str(event.get("group", "")), self.full
            if trial.state in ENDED:  # else it has only further to go
                trial.state, trial.reason = "RUNNING" if trial.started else "WAITING", ""

    def _report(self, trial: Counted, event: Event) -> None:
        epoch = int(event["epoch"])
        if epoch <= trial.epoch:
            return
        spent = float(event.get("train_s") or 0.0)
        judged = float(event.get("eval_s") or 0.0)
        self._worked += spent + judged
        if trial.phase != "search" and event["decision"] == "complete":
            # The last epoch's validation took as long as those before it; the rest is the test.
            usual = trial.seconds / trial.epoch - spent if trial.epoch else 0.0
            trial.test_s = max(0.0, judged - max(0.0, usual))
        trial.seconds += spent + judged - trial.test_s
        trial.epoch = epoch
        trial.state = "PAUSED" if event["decision"] == "pause" else "RUNNING"
        for metric in self.objectives:
            if metric in event["metrics"]:
                trial.values[metric] = float(event["metrics"][metric])
        if event["decision"] == "diverged":
            trial.values = {}
        if event.get("rung") is not None and trial.phase == "search":
            trial.rung = int(event["rung"])
            key = (trial.name, trial.rung)
            self._rungs[key] = self._rungs.get(key, 0) + 1

    def _confirming(self, event: Event) -> None:
        self._winners = {
            number: self.trials[number].name
            for numbers in event["winners"].values()
            for number in numbers
            if number in self.trials
        }
        self._sort()

    def _sort(self) -> None:
        """Tell the trials that belong to the answer from those that did."""
        for trial in self.trials.values():
            if trial.phase == "search" or self._winners is None:
                continue
            decided = self._controls.get((trial.control, trial.place))
            past = trial.place not in self._winners or (
                decided is not None and decided["group"] != trial.group
            )
            trial.phase = "superseded" if past else "control" if trial.control else "confirm"

    def _extended(self, event: Event) -> None:
        self.status, self.why = "interrupted", "extended"
        self._ask(event["study"])
        # The winners are chosen again when the longer search has ended.
        self._winners = None
        self._exhausted.clear()

    def of(self, name: Name, *phases: str) -> list[Counted]:
        """The trials of an arm, of these phases if any are named."""
        return [
            one
            for one in self.trials.values()
            if one.name == name and (not phases or one.phase in phases)
        ]

    def controls_of(self, name: Name) -> list[Counted]:
        """The trials that control an arm's configurations; some are trained as the baseline."""
        return [
            one
            for one in self.trials.values()
            if one.phase == "control" and self.trials[one.place].name == name
        ]

    def best(self, name: Name, metric: str) -> float | None:
        """The best last value of an arm's trials, without controls; None if nothing is finite."""
        own = [one for one in self.of(name) if not one.control]
        values = [one.values[metric] for one in own if metric in one.values]
        values = [one for one in values if math.isfinite(one)]
        if not values:
            return None
        return max(values) if self.objectives[metric] == "max" else min(values)

    def device_s(self, trials: Iterable[Counted]) -> float:
        """Seconds of training and validation times GPUs, or processors where there is none."""
        return self.devices * sum(one.seconds for one in trials)

    def limits(self) -> dict[str, float | None]:
        """What the search of one arm may spend: trials, epochs, device_s; None for no limit."""
        each = {
            key: (self.budget.get(key) or 0) / len(self.arms)
            for key in ("trials", "epochs", "device_s")
        }
        trials = min(self._each, math.floor(each["trials"])) if each["trials"] else self._each
        return {
            "trials": trials,
            "epochs": each["epochs"] or None,
            "device_s": each["device_s"] or None,
        }

    def unplanned(self, name: Name) -> int:
        """How many trials of an arm's search are still to come."""
        own, limits = self.of(name, "search"), self.limits()
        spent = {"epochs": sum(one.epoch for one in own), "device_s": self.device_s(own)}
        over = any((limit := limits[key]) and used >= limit for key, used in spent.items())
        if over or self._winners is not None or name in self._exhausted:
            return 0
        return max(0, int(limits["trials"] or 0) - len(own))

    def finalists(self, name: Name) -> int:
        """How many confirmations an arm has in all, planned or not."""
        if self._winners is None:
            known = {one.place for one in self.of(name, "confirm")}
            return max(self._top, len(known)) * self._seeds if self._seeds else 0
        return sum(one == name for one in self._winners.values()) * self._seeds

    def controls(self, name: Name) -> int:
        """How many trials the controls of an arm have in all, planned or not, as far as known."""
        if self._winners is None:
            none = {
                control
                for (control, place), one in self._controls.items()
                if one["group"] is None and self.trials[place].name == name
            }
            likely = sum(one not in none for one in self._foreseen[name])
            return max(self._top * self._seeds * likely, len(self.controls_of(name)))
        count = 0
        for place in (number for number, one in self._winners.items() if one == name):
            decided = {control for control, of in self._controls if of == place}
            count += sum(self._controls[one, place]["group"] is not None for one in decided)
            count += sum(one not in decided for one in self._foreseen[name])
        return count * self._seeds

    @property
    def expected(self) -> int:
        """How many trials the study will have."""
        known = sum(one.phase not in ("confirm", "control") for one in self.trials.values())
        return known + sum(
            self.unplanned(one) + self.finalists(one) + self.controls(one) for one in self.arms
        )

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return sum(one.ended for one in self.trials.values())

    @property
    def epochs(self) -> int:
        """Epochs reported, of all trials."""
        return sum(one.epoch for one in self.trials.values())

    def failures(self) -> dict[str, int]:
        """Failed trials by class: error, oom, lost; those that diverged are no failures."""
        found = Counter(one.reason for one in self.trials.values())
        return {one: found[one] for one in FAILURES if found[one]}

    def states(self) -> dict[str, int]:
        """Trials by state, in the order of a trial's life; states without trials are left out."""
        found = Counter(one.state for one in self.trials.values())
        return {one: found[one] for one in STATES if found[one]}

    def rungs(self) -> list[dict[str, Any]]:
        """Per arm and rung: how many reached it, were stopped or wait there, and went on.

        `cutoff` is the value that the last trial stopped there fell short of, None if unknown.
        """
        rows = []
        for name in self.arms:
            own = self.of(name, "search")
            for rung in sorted(rung for key, rung in self._rungs if key == name):
                here = [one for one in own if one.rung == rung]
                stopped = sum(one.reason == "rung" for one in here)
                paused = sum(one.state == "PAUSED" for one in here)
                reached = self._rungs[name, rung]
                rows.append(
                    {
                        "arm": name[0],
                        "weighter": name[1],
                        "rung": rung,
                        "reached": reached,
                        "stopped": stopped,
                        "paused": paused,
                        "went_on": reached - stopped - paused,
                        "promoted": self._promoted[name, rung],
                        "cutoff": self.cutoffs.get((name, rung)),
                    }
                )
        return rows

    def wall_s(self, now: datetime | None = None) -> float:
        """Seconds that drivers have worked on the study, until `now` where one still does."""
        whole = sum(one.wall_s for one in self.segments)
        if now is not None and self.segments:
            whole += max(0.0, (now - self.segments[-1].last).total_seconds())
        return whole

    def eta(self, now: datetime) -> tuple[float, bool] | None:
        """Seconds until the end, and whether the test of finalists is in it; None at first.

        What is left is counted in seconds of work: an arm's own time per epoch, and what a
        finalist's test took where one has ended. The speed is that of this segment.
        """
        if self._worked <= 0 or self.last is None:
            return None
        began = self.segments[-1].began if self.segments else _time(self.first)
        elapsed = (max(now, self.last) - began).total_seconds()
        if elapsed <= 0:
            return None
        speed = self._worked / elapsed
        search, confirm, unknown = 0.0, 0.0, False
        for name in self.arms:
            search += self._search_left(name)
            finalists, epochs = self._finalists_left(name)
            test = _mean([one.test_s for one in self._tested(name)])
            tests, seconds = self._controls_left(name)
            unknown |= finalists + tests > 0 and test is None
            confirm += epochs * self._epoch_s(name) + (finalists + tests) * (test or 0.0) + seconds
        left = search / speed
        if self.budget.get("wall_s"):
            left = min(left, max(0.0, self.budget["wall_s"] - self.wall_s(now)))
        return left + confirm / speed, not unknown

    def _search_left(self, name: Name) -> float:
        own = self.of(name, "search")
        whole = [one for one in self.trials.values() if one.phase == "search"]
        lengths = [one.epoch for one in own if one.ended] or [
            one.epoch for one in whole if one.ended
        ]
        typical = _mean(lengths)
        typical = self.full if typical is None else typical
        epochs = self.unplanned(name) * typical
        for one in own:
            # Most of those that wait at a rung are never promoted.
            if not one.ended and one.state != "PAUSED":
                epochs += (typical if one.epoch < typical else self.full) - one.epoch
        limits = self.limits()
        if (limit := limits["epochs"]) is not None:
            epochs = min(epochs, max(0.0, limit - sum(one.epoch for one in own)))
        seconds = epochs * self._epoch_s(name)
        if (limit := limits["device_s"]) is not None:
            seconds = min(seconds, max(0.0, limit - self.device_s(own)) / self.devices)
        return seconds

    def _finalists_left(self, name: Name) -> tuple[int, int]:
        """How many are still to be tested, and the epochs that they have before them."""
        own = self.of(name, "confirm")
        left = self.finalists(name) - sum(one.ended for one in own)
        done = sum(one.epoch for one in own if not one.ended)
        return max(0, left), max(0, left * self.full - done)

    def _controls_left(self, name: Name) -> tuple[int, float]:
        """How many of an arm's controls are still to be tested, and seconds until they are trained.

        One that is not planned takes as long as the arm: the baseline's further epochs, too.
        """
        own = self.controls_of(name)
        unplanned = max(0, self.controls(name) - len(own))
        left = [one for one in own if not one.ended]
        seconds = sum((one.full - one.epoch) * self._epoch_s(one.name) for one in left)
        return unplanned + len(left), seconds + unplanned * self.full * self._epoch_s(name)

    def _tested(self, name: Name) -> list[Counted]:
        known = [one for one in self.trials.values() if one.state == "COMPLETE" and one.test_s > 0]
        return [one for one in known if one.name == name] or known

    def _epoch_s(self, name: Name) -> float:
        for trials in (self.of(name), list(self.trials.values())):
            if epochs := sum(one.epoch for one in trials):
                return sum(one.seconds for one in trials) / epochs
        return 0.0


def shown(name: Name) -> str:
    """How people are shown an arm."""
    return f"{name[0]} × {name[1]}"


def _planned(event: Event, full: int) -> Counted:
    control = str(event.get("control", ""))
    if control == MATCHED_COMPUTE:
        full = int(event["recipe"]["training"]["epochs"])
    return Counted(
        number=int(event["trial"]),
        phase=str(event["phase"]),
        name=(str(event["arm"]), str(event["weighter"])),
        seed=int(event["seed"]),
        place=int(event["place"]),
        full=full,
        control=control,
        group=str(event.get("group", "")),
    )


def _time(event: Event) -> datetime:
    return datetime.fromisoformat(event["time"])


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
