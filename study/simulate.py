"""The search of a study, once more under another schedule: who would be stopped, and when.

The trials that a study has recorded are sent through a schedule, as many at a time as asked for and
each epoch as long as it took, so that they arrive at the rungs in an order that could have been.
Nothing is trained, and nothing is made up: a trial that was stopped in the study has no curve
beyond, and one that would have gone on there is unknown. What the outcome is worth, `hindsight`
tells.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.history import History, TrialHistory
from study.schedules import FORMS, NAMES, Decision, Schedule, Verdict, schedule
from study.spec import Study
from trainables.core.errors import SettingError, nearest
from trainables.core.quantities import number, one_of, whole

SETTABLE = ("grace_epochs", "reduction_factor")
FACTORS = (2.0, 3.0, 4.0)
Arm = tuple[str, str]


@dataclass(frozen=True)
class Setting:
    """A schedule to simulate; what `study.schedules.schedule` reads of a study file."""

    name: str
    form: str
    max_epochs: int
    grace_epochs: int
    reduction_factor: float

    @property
    def title(self) -> str:
        """How tables call it; settings that it does not have are left out."""
        if self.name == "none":
            return "none"
        grace = f"{self.name}, grace {self.grace_epochs}"
        if self.name == "median":
            return grace
        form = " promotion" if self.form == "promotion" else ""
        return f"{self.name}{form}, grace {self.grace_epochs}, factor {self.reduction_factor:g}"


@dataclass(frozen=True)
class Curve:
    """What one trial of a search has recorded.

    `metrics[i]` and `seconds[i]` are those of epoch i + 1. `whole`: nothing could follow, because
    it came to its end, diverged or failed; else it was cut off.
    """

    trial: int
    arm: Arm
    group: str
    metrics: tuple[Mapping[str, float], ...]
    seconds: tuple[float, ...]
    whole: bool
    failed: bool = False

    def at(self, epoch: int, metric: str) -> float | None:
        """The metric's last value at or before the epoch; None where it has none."""
        for known in reversed(self.metrics[:epoch]):
            if metric in known:
                return float(known[metric])
        return None

    def final(self, max_epochs: int, metric: str) -> float | None:
        """The metric after the full budget; None for a trial that has no such value."""
        if len(self.metrics) < max_epochs or self.failed:
            return None
        found = self.at(max_epochs, metric)
        return found if found is not None and math.isfinite(found) else None


@dataclass
class Outcome:
    """What became of a trial in a simulation.

    `state` is complete, diverged, failed, stopped (or never promoted), or unknown: it would have
    gone on beyond what was recorded. `stale` counts values that had to stand for later ones, and
    `missing` rungs without any value.
    """

    epochs: int = 0
    state: str = "unknown"
    verdict: Verdict | None = None
    stale: int = 0
    missing: int = 0


@dataclass(frozen=True)
class Simulated:
    """A whole search under another schedule: every trial's outcome, and how long it takes."""

    outcomes: Mapping[int, Outcome]
    wall_s: float


def curves(history: History, max_epochs: int) -> list[Curve]:
    """The curves of a study's search in the order of its trials."""
    return [
        _curve(one, max_epochs) for one in history.in_order() if one.planned["phase"] == "search"
    ]


def slots_of(recorded: Iterable[Mapping[str, Any]]) -> int:
    """How many trials of the search ran at once at most, at least 1."""
    searched: set[int] = set()
    running: set[int] = set()
    most = 1
    for event in recorded:
        kind, trial = event["event"], event.get("trial")
        if kind == "planned" and event["phase"] == "search":
            searched.add(event["trial"])
        elif kind == "segment":
            running.clear()  # whatever the last driver ran went with it
        elif kind == "started" and trial in searched:
            running.add(event["trial"])
            most = max(most, len(running))
        elif kind == "ended" or (kind == "report" and event["decision"] == "pause"):
            running.discard(event["trial"])
    return most


def simulate(
    trials: Sequence[Curve], setting: Setting, *, metric: str, mode: str, slots: int = 1
) -> Simulated:
    """Send the trials through a schedule, arm by arm one of its own, `slots` of them at a time.

    Whoever is free takes a trial that a rung promotes, else the next one in order, as a study does.
    The schedule is told the metric after every epoch that has it. At a rung without it (benchmarks
    are measured at the rungs of the study that ran) it is told the last value before.
    """
    search = _Search(trials, setting, metric, mode)
    while True:
        while len(search.running) < slots and search.begin():
            pass
        if not search.running:
            break
        search.step()
    search.close()
    return Simulated(search.outcomes, search.now)


def sweep(max_epochs: int) -> list[Setting]:
    """No schedule, and every kind with a few graces (up to a quarter of the budget) and factors."""
    graces = sorted({max(1, round(max_epochs / part)) for part in (16, 8, 4)} | {1})
    every = [Setting("none", FORMS[0], max_epochs, 1, 3.0)]
    every += [Setting("median", FORMS[0], max_epochs, grace, 3.0) for grace in graces]
    every += [
        Setting("ASHA", form, max_epochs, grace, factor)
        for form in FORMS
        for grace in graces
        for factor in FACTORS
    ]
    return every if max_epochs > 1 else every[:1]


def setting_of(
    study: Study, name: str = "", form: str = "", changes: Sequence[str] = ()
) -> Setting:
    """The study's own schedule, or ASHA where it has none, with changes such as "grace_epochs=2".

    Raises `SettingError` for what is unknown, out of range, or no business of a simulation.
    """
    given: dict[str, str] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        key = key.strip().removeprefix("schedule.")
        if key == "max_epochs":
            raise SettingError(
                f"--set max_epochs must stay {study.epochs}: the curves were trained with a "
                "learning rate that is stretched over so many epochs."
            )
        if not equals or key not in SETTABLE:
            raise SettingError(f"--set cannot be {change!r}.{nearest(key, SETTABLE)}")
        given[key] = value.strip()
    own = study.schedule
    usual = "ASHA" if form or (given and own.name == "none") else own.name
    kind = one_of("--schedule", name or usual, NAMES)
    if given and kind == "none":
        raise SettingError(f"--schedule none has nothing to set, found --set {', '.join(given)}.")
    if form and kind != "ASHA":
        raise SettingError(f"--form is a setting of ASHA, found --schedule {kind}.")
    found = Setting(
        name=kind,
        form=one_of("--form", form or own.form, FORMS) if kind == "ASHA" else FORMS[0],
        max_epochs=study.epochs,
        grace_epochs=whole("grace_epochs", given.get("grace_epochs", own.grace_epochs)),
        reduction_factor=number(
            "reduction_factor", given.get("reduction_factor", own.reduction_factor)
        ),
    )
    schedule(found, "max")  # raises for what is out of its range
    return found


class _Search:
    """The state of a simulation: who waits, who runs until when, and the clock."""

    def __init__(self, trials: Sequence[Curve], setting: Setting, metric: str, mode: str) -> None:
        self.setting, self.metric = setting, metric
        self.curves = {one.trial: one for one in trials}
        self.schedules: dict[Arm, Schedule] = {}
        for one in trials:
            if one.arm not in self.schedules:
                self.schedules[one.arm] = schedule(setting, mode)
        self.waiting = deque(self.curves)
        self.outcomes = {one: Outcome() for one in self.curves}
        self.running: list[tuple[float, int, int]] = []  # a heap: end of the epoch, turn, trial
        self.now = 0.0
        self._turn = 0

    def begin(self) -> bool:
        """Start one more trial; whether there was one."""
        for one in self.schedules.values():
            trial = one.promotable()
            if trial is not None:
                one.promoted(trial)
                self._train(trial)
                return True
        if self.waiting:
            self._train(self.waiting.popleft())
            return True
        return False

    def step(self) -> None:
        """The next end of an epoch: its trial is judged and goes on, waits or ends."""
        self.now, _, trial = heapq.heappop(self.running)
        one, found = self.curves[trial], self.outcomes[trial]
        found.epochs += 1
        found.verdict = self._judge(one, found)
        if found.verdict.decision is Decision.CONTINUE:
            self._train(trial)
        elif found.verdict.decision in (Decision.STOP, Decision.PAUSE):
            found.state = "stopped"
        else:
            found.state = str(found.verdict.decision.value)

    def close(self) -> None:
        """The search is over: trials that wait at a rung learn why."""
        for trial, found in self.outcomes.items():
            if found.verdict is not None and found.verdict.decision is Decision.PAUSE:
                found.verdict = self.schedules[self.curves[trial].arm].why(trial)

    def _train(self, trial: int) -> None:
        one, found = self.curves[trial], self.outcomes[trial]
        if found.epochs < len(one.metrics):
            self._turn += 1
            end = self.now + one.seconds[found.epochs]
            heapq.heappush(self.running, (end, self._turn, trial))
            return
        found.verdict = None
        found.state = "failed" if one.failed else "unknown"

    def _judge(self, one: Curve, found: Outcome) -> Verdict:
        """As the conductor does; only a rung at which nothing was measured is another matter."""
        epoch, own = found.epochs, self.schedules[one.arm]
        known = one.metrics[epoch - 1]
        if not all(math.isfinite(value) for value in known.values()):
            return Verdict(Decision.DIVERGED)
        value = known.get(self.metric)
        if value is None and own.rung(epoch) is not None:
            value = one.at(epoch, self.metric)
            found.stale += value is not None
            found.missing += value is None
        if value is None:
            done = epoch >= self.setting.max_epochs
            return Verdict(Decision.COMPLETE if done else Decision.CONTINUE)
        return own.report(one.trial, epoch, value)


def _curve(one: TrialHistory, max_epochs: int) -> Curve:
    reports = one.in_order()
    reason = "" if one.ended is None else str(one.ended["reason"])
    failed = reason in ("error", "oom")  # a trial whose machine was lost could have gone on
    whole = failed or reason == "diverged" or len(reports) >= max_epochs
    return Curve(
        trial=one.number,
        arm=(str(one.planned["arm"]), str(one.planned["weighter"])),
        group=str(one.planned["group"]),
        metrics=tuple(report["metrics"] for report in reports),
        seconds=tuple(float(report["train_s"]) + float(report["eval_s"]) for report in reports),
        whole=whole,
        failed=failed,
    )
