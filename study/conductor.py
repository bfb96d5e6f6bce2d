"""The conductor: what a study does next and what becomes of each trial; no Ray, no torch at rest.

It answers three questions from the study and its ledger alone: which trial is next, whether a trial
goes on after a report, and whether the study is done. Every answer is in the ledger before it is
given, and a new conductor that reads the ledger goes on where the last one was killed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from study import confirm
from study.asha import ASHA, Decision, NoSchedule, Schedule
from study.ledger import Ledger
from study.searcher import Searcher, searcher
from study.spec import Arm, Study, group
from trainables.core.errors import SettingError

ENDED = ("COMPLETE", "PRUNED", "FAIL")


@dataclass
class Trial:
    """A planned trial and what is known of it."""

    number: int
    phase: str
    arm: Arm
    seed: int
    group: str
    recipe: dict[str, Any]
    params: dict[str, Any]
    place: int  # the how-manieth trial of its arm, from 0
    state: str = "WAITING"
    reason: str = ""
    epoch: int = 0
    value: float = math.nan  # the study's metric at the last report that had it
    decision: str = "continue"
    running: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    summary: dict[str, Any] | None = None  # of a report that ended it in an earlier driver's time

    @property
    def name(self) -> str:
        """How the terminal and the dashboard call the trial."""
        return f"{self.number:04d} {self.arm.name} seed {self.seed}"


class Conductor:
    """The life of one study, from its ledger; the only writer of trial events."""

    def __init__(self, study: Study, ledger: Ledger) -> None:
        self.study = study
        self.ledger = ledger
        self.trials: list[Trial] = []
        self._searchers: list[Searcher] = [
            searcher(
                study.search.sampler,
                arm.tree,
                seed=study.seed,
                arm=arm.name,
                mode=study.search.mode,
            )
            for arm in study.arms
        ]
        self._schedules: list[Schedule] = [self._schedule() for _ in study.arms]
        self._full = NoSchedule(max_epochs=study.epochs)
        for event in list(ledger.events):
            self._replay(event)

    @property
    def rungs(self) -> list[int]:
        """The epochs after which a trial of the search may be stopped."""
        return self._schedules[0].rungs()

    @property
    def searching(self) -> int:
        """How many trials the search has in all."""
        return len(self.study.arms) * self.study.search.trials_per_arm

    @property
    def expected(self) -> int:
        """How many trials the study will have; arms without a sound trial are not confirmed."""
        return self.searching + len(self.study.arms) * self._confirmations

    @property
    def running(self) -> list[Trial]:
        """The trials in progress now."""
        return [one for one in self.trials if one.running]

    @property
    def finished(self) -> bool:
        """Whether every trial of both phases was planned and has ended."""
        return not self._open and self._place() is None

    def next(self) -> Trial | None:
        """The next trial to run, recorded as planned; None while there is none right now.

        Trials that an earlier driver left unfinished come first, in order of their numbers.
        """
        for trial in self._open:
            if not trial.running:
                trial.running = True
                return trial
        place = self._place()
        if place is None:
            return None
        trial = self._planned(*place)
        trial.running = True
        return trial

    def started(self, number: int) -> None:
        """A process has taken up the trial; nothing is recorded of one that has ended.

        A process may be lost just after the report that ended its trial; Ray then starts it again.
        """
        if self.trials[number].state not in ENDED:
            self.ledger.append("started", trial=number)
            self.trials[number].state = "RUNNING"

    def retried(self, number: int, reason: str) -> None:
        """The trial's process was lost and it goes on in another one."""
        if self.trials[number].state not in ENDED:
            self.ledger.append("retried", trial=number, reason=reason)

    def report(self, number: int, report: Mapping[str, Any]) -> bool:
        """Record an epoch's report; whether the trial goes on.

        A report that is in the ledger already (a process died between its checkpoint and the
        driver's answer) is not recorded again and gets the same answer.
        """
        trial = self.trials[number]
        if trial.state in ENDED:
            return False
        if report["epoch"] <= trial.epoch:
            return True
        if report["epoch"] > trial.epoch + 1:
            raise RuntimeError(
                f"trial {number} reported epoch {report['epoch']} after epoch {trial.epoch}"
            )
        event = {
            "trial": number,
            "epoch": report["epoch"],
            "metrics": report["metrics"],
            "weights": report["weights"],
            "evaluations": report["evaluations"],
            "rung": self._of(trial).rung(report["epoch"]),
            "train_s": report["train_s"],
            "eval_s": report["eval_s"],
        }
        decision = self._decide(trial, report["epoch"], report["metrics"])
        if decision is not Decision.CONTINUE:
            # The end may have to be recorded by the next driver, which has no other source for it.
            event["summary"] = report.get("summary")
        self.ledger.append("report", **event, decision=str(decision))
        self._note(trial, report["epoch"], report["metrics"], decision)
        if decision is Decision.CONTINUE:
            return True
        self._end(trial, report.get("summary"))
        return False

    def failed(self, number: int, kind: str, text: str) -> None:
        """The trial ended by an error that is not retried."""
        trial = self.trials[number]
        if trial.state not in ENDED:
            self._record_end(trial, "FAIL", "error", {"type": kind, "text": text}, None)

    def _schedule(self) -> Schedule:
        asked = self.study.schedule
        if asked.name == "none":
            return NoSchedule(max_epochs=asked.max_epochs)
        return ASHA(
            max_epochs=asked.max_epochs,
            grace_epochs=asked.grace_epochs,
            reduction_factor=asked.reduction_factor,
            mode=self.study.search.mode,
        )

    @property
    def _open(self) -> list[Trial]:
        return [one for one in self.trials if one.state not in ENDED]

    @property
    def _confirmations(self) -> int:
        return self.study.confirm.top * self.study.confirm.seeds

    def _index(self, arm: Arm) -> int:
        return next(i for i, one in enumerate(self.study.arms) if one.name == arm.name)

    def _of(self, trial: Trial) -> Schedule:
        return self._schedules[self._index(trial.arm)] if trial.phase == "search" else self._full

    def _place(self) -> tuple[Any, ...] | None:
        """What to plan next; None when nothing is left or the search has to end first."""
        n = len(self.trials)
        if n < self.searching:
            # Arms take turns, so that a study stopped early has given each the same.
            return ("search", n % len(self.study.arms), n // len(self.study.arms))
        if any(one.phase == "search" and one.state not in ENDED for one in self.trials):
            return None
        left = self._to_confirm()[n - self.searching :]
        return left[0] if left else None

    def _to_confirm(self) -> list[tuple[Any, ...]]:
        """Every trial of the confirmation in order: seeds outside, arms inside."""
        asked = self.study.confirm
        chosen = []
        for i, arm in enumerate(self.study.arms):
            tried = [
                confirm.Candidate(one.number, one.group, one.state, one.epoch, one.value)
                for one in self.trials
                if one.phase == "search" and one.arm.name == arm.name
            ]
            best = confirm.winners(tried, asked.top, self.study.search.mode)
            chosen += [(i, one.number) for one in best]
        return [
            ("confirm", i, number, seed)
            for seed in confirm.seeds(self.study.seed, asked.seeds)
            for i, number in chosen
        ]

    def _planned(self, phase: str, arm: int, place: int, seed: int | None = None) -> Trial:
        from trainables.core.recipe import resolve

        if phase == "search":
            draw = self._searchers[arm].ask(place)
            recipe = draw.config | {"seed": self.study.seed}
            # Settings that do not go together were drawn: the trial fails, and says so in its row.
            with suppress(SettingError):
                recipe = resolve(recipe)
            params, ranges = draw.params, draw.distributions
        else:
            chosen = self.trials[place]
            recipe = confirm.with_seed(chosen.recipe, int(seed or 0))
            params, ranges = chosen.params, {}
        event = self.ledger.append(
            "planned",
            trial=len(self.trials),
            phase=phase,
            arm=self.study.arms[arm].arm,
            weighter=self.study.arms[arm].weighter,
            seed=recipe["seed"],
            group=group(recipe),
            recipe=recipe,
            params=params,
            distributions=ranges,
            place=place,
        )
        return self._add(event)

    def _add(self, event: Mapping[str, Any]) -> Trial:
        arm = next(
            one
            for one in self.study.arms
            if (one.arm, one.weighter) == (event["arm"], event["weighter"])
        )
        trial = Trial(
            number=event["trial"],
            phase=event["phase"],
            arm=arm,
            seed=event["seed"],
            group=event["group"],
            recipe=event["recipe"],
            params=event["params"],
            place=event["place"],
        )
        self.trials.append(trial)
        return trial

    def _decide(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> Decision:
        if not all(math.isfinite(one) for one in metrics.values()):
            return Decision.DIVERGED
        schedule = self._of(trial)
        if self.study.search.metric not in metrics:
            # Benchmarks are measured at rungs and at the end only; nothing is decided in between.
            return Decision.COMPLETE if epoch >= self.study.epochs else Decision.CONTINUE
        return schedule.report(trial.number, epoch, metrics[self.study.search.metric])

    def _note(
        self, trial: Trial, epoch: int, metrics: Mapping[str, float], decision: Decision
    ) -> None:
        trial.state = "RUNNING"
        trial.epoch = epoch
        trial.metrics |= metrics
        if self.study.search.metric in metrics or decision is Decision.DIVERGED:
            trial.value = metrics.get(self.study.search.metric, math.nan)
        if decision is Decision.DIVERGED:
            trial.value = math.nan
        trial.decision = str(decision)

    def _end(self, trial: Trial, summary: Mapping[str, Any] | None) -> None:
        state, reason = {
            "stop": ("PRUNED", "rung"),
            "complete": ("COMPLETE", "budget"),
            "diverged": ("FAIL", "diverged"),
        }[trial.decision]
        self._record_end(trial, state, reason, None, summary)

    def _record_end(
        self,
        trial: Trial,
        state: str,
        reason: str,
        error: Mapping[str, str] | None,
        summary: Mapping[str, Any] | None,
    ) -> None:
        self.ledger.append(
            "ended", trial=trial.number, state=state, reason=reason, error=error, summary=summary
        )
        self._close(trial, state, reason)

    def _close(self, trial: Trial, state: str, reason: str) -> None:
        trial.state, trial.reason, trial.running = state, reason, False
        if trial.phase == "search":
            value = None if reason == "error" else trial.value
            told: Any = state
            self._searchers[self._index(trial.arm)].tell(
                trial.place, trial.params, value, trial.epoch, told
            )

    def _replay(self, event: Mapping[str, Any]) -> None:
        """Take up what an earlier driver recorded; a decision without its end is ended now."""
        kind = event["event"]
        if kind == "planned":
            trial = self._add(event)
            if trial.phase == "search":
                self._searchers[self._index(trial.arm)].planned(trial.place, trial.params)
        elif kind == "started":
            self.trials[event["trial"]].state = "RUNNING"
        elif kind == "report":
            trial = self.trials[event["trial"]]
            decision = Decision(event["decision"])
            # The rungs are rebuilt by the same calls in the same order.
            self._decide(trial, event["epoch"], event["metrics"])
            self._note(trial, event["epoch"], event["metrics"], decision)
            trial.summary = event.get("summary")
        elif kind == "ended":
            self._close(self.trials[event["trial"]], event["state"], event["reason"])

    def settle(self) -> None:
        """End the trials whose last report decided so but whose end was not recorded."""
        for trial in self._open:
            if trial.decision != "continue":
                self._end(trial, trial.summary)


def plan(conductor: Conductor, trial: Trial, folder: str, data_root: str) -> str:
    """What a trial's process needs to know, as JSON text: Ray neither flattens nor merges it."""
    study = conductor.study
    search = trial.phase == "search"
    # A metric that is a benchmark's figure is needed at the end of a confirmed trial, too.
    of_benchmark = study.search.metric.count("/") > 1
    at_end = [study.epochs] if of_benchmark else []
    probe_at = [*conductor.rungs, study.epochs] if search else at_end
    return json.dumps(
        {
            "number": trial.number,
            "name": trial.name,
            "folder": folder,
            "recipe": trial.recipe,
            "data_root": data_root,
            "cpus": study.resources.cpu,
            "gpus": study.resources.gpu,
            "reported": trial.epoch,
            "benchmarks": list(study.benchmarks),
            "probe_benchmarks": study.probe.benchmarks,
            "probe_at": probe_at,
            "probe_limit": study.probe.limit,
            "test": not search,
            "test_limit": study.test.limit,
            "metric": study.search.metric,
            "mode": study.search.mode,
            "eval_seed": study.seed,
        }
    )
