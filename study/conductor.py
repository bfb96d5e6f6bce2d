"""The conductor: what a study does next and what becomes of each trial; no Ray, no torch at rest.

It answers three questions from the study and its ledger alone: which trial is next, whether a trial
goes on after a report, and whether the study is done. Every answer is in the ledger before it is
given, and a new conductor that reads the ledger goes on where the last one was killed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from study import confirm, controls
from study.ledger import Ledger
from study.schedules import Decision, NoSchedule, Schedule, Verdict, schedule
from study.searcher import Past, Searcher, searcher
from study.spec import Arm, Study, group
from trainables.core.errors import SettingError

ENDED = ("COMPLETE", "PRUNED", "FAIL")
# Ends of a trial that are no outcome of its configuration's training.
FAILURES = ("error", "oom", "lost")

P = ParamSpec("P")
R = TypeVar("R")


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
    # Of a search: the how-manieth of its arm, from 0; else the trial that it confirms or controls.
    place: int
    control: str = ""
    state: str = "WAITING"
    reason: str = ""
    epoch: int = 0
    value: float = math.nan  # the first objective at the last report that had it
    decision: Decision = Decision.CONTINUE
    running: bool = False
    device_s: float = 0.0
    train_s: float = 0.0
    weights: dict[str, float] = field(default_factory=dict)  # by loss, summed over the epochs
    retries: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    summary: dict[str, Any] | None = None  # of a report that ended it in an earlier driver's time
    said: bool = False  # why its schedule stopped it

    @property
    def name(self) -> str:
        """How the terminal and the dashboard call the trial."""
        control = f" ({self.control})" if self.control else ""
        return f"{self.number:04d} {self.arm.name}{control} seed {self.seed}"

    @property
    def failed(self) -> bool:
        """Whether an error ended it; a divergence is an outcome."""
        return self.reason in FAILURES

    @property
    def epochs(self) -> int:
        """Its full budget, which the schedule of its learning rate is stretched over."""
        return int(self.recipe["training"]["epochs"])


def _together(
    method: Callable[Concatenate[Conductor, P], R],
) -> Callable[Concatenate[Conductor, P], R]:
    """What the method records goes to the disk at once, before it answers."""

    @wraps(method)
    def recorded(self: Conductor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.ledger.together():
            return method(self, *args, **kwargs)

    return recorded


class Conductor:
    """The life of one study, from its ledger; the only writer of trial events.

    `halted` is why no more trials begin for now ("" while they do): those that run are let go
    after their next report, to be taken up again by the next driver.
    """

    def __init__(self, study: Study, ledger: Ledger) -> None:
        self.study = study
        self.ledger = ledger
        self.halted = ""
        self.trials: list[Trial] = []
        earlier = {
            (one["arm"], one["weighter"]): [
                Past(row["params"], tuple(row["values"]), row["epochs"], row["state"])
                for row in one["past"]
            ]
            for one in ledger.events[0].get("warm_start", ())
        }
        self._searchers: list[Searcher] = [
            searcher(
                study.search.sampler,
                arm.tree,
                seed=study.seed,
                arm=arm.name,
                modes=tuple(study.search.objectives.values()),
                points=arm.points,
                past=earlier.get((arm.arm, arm.weighter), ()),
            )
            for arm in study.arms
        ]
        self._places = {(one.arm, one.weighter): i for i, one in enumerate(study.arms)}
        self._schedules: list[Schedule] = [schedule(study.schedule, study.mode) for _ in study.arms]
        self._full = NoSchedule(max_epochs=study.epochs)
        self._planned_of = [0] * len(study.arms)  # trials of the search, by arm
        self._exhausted: set[int] = set()
        self._winners: dict[str, list[int]] = {}
        self._confirming: dict[tuple[int, int], Trial] = {}
        # By control and the trial that it controls, what was decided on last.
        self._controls: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._open: dict[int, Trial] = {}
        self._wall_s = 0.0
        self._latest: datetime | None = None
        for event in list(ledger.events):
            self._replay(event)

    @property
    def rungs(self) -> list[int]:
        """The epochs after which a trial of the search may be stopped or has to wait."""
        return self._schedules[0].rungs()

    def decided_at(self, trial: Trial) -> list[int] | None:
        """The epochs after which the trial may be stopped, diverged or not; None: any."""
        return self._of(trial).judged()

    @property
    def searching(self) -> int:
        """How many trials the search has in all, as far as is known."""
        return sum(
            self._planned_of[i] if i in self._exhausted else max(self._planned_of[i], self._cap)
            for i in range(len(self.study.arms))
        )

    @property
    def expected(self) -> int:
        """How many trials the study will have; arms without a sound trial are not confirmed."""
        superseded = len(self._confirming) - len(self._wanted_that_exist()) if self._winners else 0
        confirmed = len(self.study.arms) * self._confirmations + superseded
        return self.searching + confirmed + self._controls_expected()

    @property
    def running(self) -> list[Trial]:
        """The trials in progress now."""
        return [one for one in self._open.values() if one.running]

    @property
    def finished(self) -> bool:
        """Whether every trial of all phases was planned and has ended."""
        return (
            not self._open
            and self._next_of_search() is None
            and self._next_to_confirm() is None
            and not self._controls_left()
        )

    @property
    def failures(self) -> int:
        """How many trials were ended by an error."""
        return sum(one.failed for one in self.trials)

    @property
    def too_many_failures(self) -> bool:
        """Whether more trials failed than `budget.max_failed` allows."""
        return 0 <= self.study.budget.max_failed < self.failures

    def spent(self, arm: Arm) -> dict[str, float]:
        """What the search of an arm has used up: trials, epochs, device_s."""
        own = [one for one in self.trials if one.phase == "search" and one.arm is arm]
        return {
            "trials": len(own),
            "epochs": sum(one.epoch for one in own),
            "device_s": sum(one.device_s for one in own),
        }

    @_together
    def next(self) -> Trial | None:
        """The next trial to run, recorded as planned; None while there is none right now.

        Trials that an earlier driver left unfinished come first, in order of their numbers, then
        trials that a rung promotes, then new ones.
        """
        if self.halted or self.too_many_failures:
            return None
        for trial in self._open.values():
            if not trial.running and trial.state != "PAUSED":
                return self._take(trial)
        for one in self._schedules:
            number = one.promotable()
            if number is not None:
                trial = self.trials[number]
                self._append("promoted", trial=number, rung=trial.epoch)
                one.promoted(number)
                trial.state = "RUNNING"
                return self._take(trial)
        arm = self._next_of_search()
        while arm is not None:
            found = self._searched(arm)
            if found is not None:
                return self._take(found)
            arm = self._next_of_search()
        if self._close_paused():
            return None
        wanted = self._next_to_confirm()
        if wanted is not None:
            return self._take(self._confirmed(*wanted))
        control = self._next_control()
        return None if control is None else self._take(control)

    def started(self, number: int) -> None:
        """A process has taken up the trial; nothing is recorded of one that has ended or waits.

        A process may be lost just after the report that ended its trial; Ray then starts it again.
        """
        if number in self._open and self.trials[number].running:
            # Should it be lost with the driver, the trial is started again anyway.
            self._clock(self.ledger.note("started", trial=number))
            self.trials[number].state = "RUNNING"

    def retried(self, number: int, reason: str) -> None:
        """The trial's process was lost and it goes on in another one."""
        if number in self._open:
            self._append("retried", trial=number, reason=reason)
            self.trials[number].retries += 1

    def let_go(self, number: int, reason: str = "") -> None:
        """Nobody works on the trial any more, for a reason that lies outside it.

        It is the next to be taken up again, by this driver or another one.
        """
        if number in self._open:
            if reason:
                self.retried(number, reason)
            self.trials[number].running = False

    @_together
    def report(self, number: int, report: Mapping[str, Any]) -> bool:
        """Record an epoch's report; whether the trial goes on.

        A report that is in the ledger already (a process died between its checkpoint and the
        driver's answer) is not recorded again and gets the same answer.
        """
        trial = self.trials[number]
        if trial.state in ENDED:
            return False
        if report["epoch"] <= trial.epoch:
            return trial.state != "PAUSED"
        if report["epoch"] > trial.epoch + 1:
            raise RuntimeError(
                f"trial {number} reported epoch {report['epoch']} after epoch {trial.epoch}"
            )
        if report.get("checkpoint"):
            self._append("checkpoint", trial=number, **report["checkpoint"])
        event = {
            "trial": number,
            "epoch": report["epoch"],
            "metrics": report["metrics"],
            # What a loss was not measured for is left out: most of a ledger is reports.
            "weights": {
                loss: {key: value for key, value in row.items() if value is not None}
                for loss, row in report["weights"].items()
            },
            "evaluations": report["evaluations"],
            "rung": self._of(trial).rung(report["epoch"]),
            "train_s": round(report["train_s"], 6),
            "eval_s": round(report["eval_s"], 6),
        }
        verdict = self._decide(trial, report["epoch"], report["metrics"])
        if verdict.decision is not Decision.CONTINUE:
            # The end may have to be recorded by the next driver, which has no other source for it.
            event["summary"] = report.get("summary")
        written = self._append("report", **event, decision=str(verdict.decision))
        self._note(trial, written, verdict.decision)
        if verdict.decision is Decision.CONTINUE:
            if self.halted:
                trial.running = False
            return not self.halted
        if verdict.decision is Decision.PAUSE:
            trial.running = False
            return False
        self._end(trial, report.get("summary"), verdict)
        return False

    @_together
    def failed(self, number: int, kind: str, text: str, of_class: str = "error") -> None:
        """The trial ended by an error that is not retried; `of_class` is error, oom or lost."""
        trial = self.trials[number]
        if trial.state in ENDED:
            return
        self._append("failed", trial=number, **{"class": of_class, "type": kind, "text": text})
        self._record_end(trial, "FAIL", of_class, {"type": kind, "text": text}, None)

    @_together
    def settle(self) -> None:
        """Bring the trials to where the ledger says that they are.

        Ends those whose last report decided so but whose end was not recorded. Where the study was
        extended by epochs, those that were complete are opened again, and those that are not have
        further to go.
        """
        undecided = (Decision.CONTINUE, Decision.PAUSE)
        over = [one for one in self._open.values() if one.decision not in undecided]
        further = [
            one
            for one in self.trials
            # What other controls train follows from reports, and is decided on again.
            if one.control in ("", controls.COEFFICIENT_0)
            and (one.state == "COMPLETE" or one.number in self._open)
            and one.recipe["training"]["epochs"] < self.study.epochs
        ]
        if over or further:
            # A driver begins: the time since the last event is nobody's.
            self._append("settled")
        for trial in over:
            verdict = self._decide(trial, trial.epoch, trial.metrics)
            self._end(trial, trial.summary, verdict)
        for trial in further:
            if trial.state in ("PRUNED", "FAIL"):
                continue  # it was over
            self._reopen(trial)

    @property
    def _confirmations(self) -> int:
        return self.study.confirm.top * self.study.confirm.seeds

    @property
    def _cap(self) -> int:
        """At most so many trials of the search for each arm."""
        share = self.study.budget.trials // len(self.study.arms)
        asked = self.study.search.trials_per_arm
        return min(asked, share) if self.study.budget.trials else asked

    def _index(self, arm: Arm) -> int:
        return self._places[arm.arm, arm.weighter]

    def _of(self, trial: Trial) -> Schedule:
        if trial.phase == "search":
            return self._schedules[self._index(trial.arm)]
        return NoSchedule(max_epochs=trial.epochs) if trial.control else self._full

    def _last(self, trial: Trial) -> int:
        """The epoch after which the trial is complete."""
        return trial.epochs if trial.control else self.study.epochs

    def _take(self, trial: Trial) -> Trial:
        trial.running = True
        return trial

    def _append(self, event: str, **fields: Any) -> dict[str, Any]:
        written = self.ledger.append(event, **fields)
        self._clock(written)
        return written

    def _clock(self, event: Mapping[str, Any]) -> None:
        """Seconds in which a driver worked: the gaps between segments are not the search's."""
        now = datetime.fromisoformat(event["time"])
        begins = event["event"] in ("segment", "settled", "extended", "upgraded")
        if self._latest is not None and not begins:
            self._wall_s += (now - self._latest).total_seconds()
        self._latest = now

    def _within_budget(self, arm: int) -> bool:
        budget, arms = self.study.budget, len(self.study.arms)
        if not (budget.epochs or budget.device_s or budget.wall_s):
            return True
        spent = self.spent(self.study.arms[arm])
        return not (
            (budget.wall_s and self._wall_s >= budget.wall_s)
            or (budget.epochs and spent["epochs"] >= budget.epochs / arms)
            or (budget.device_s and spent["device_s"] >= budget.device_s / arms)
        )

    def _next_of_search(self) -> int | None:
        """The arm whose turn it is: the one with the fewest trials of those that may have more.

        Arms take turns, so that a study stopped early has given each the same.
        """
        counts = self._planned_of
        for i in sorted(range(len(counts)), key=counts.__getitem__):
            if i not in self._exhausted and counts[i] < self._cap and self._within_budget(i):
                return i
        return None

    def _searched(self, arm: int) -> Trial | None:
        """The arm's next trial, planned; None where it has no configuration left to try."""
        from trainables.core.recipe import resolve

        draw = self._searchers[arm].ask(self._planned_of[arm])
        if draw is None:
            one = self.study.arms[arm]
            self._append("exhausted", arm=one.arm, weighter=one.weighter)
            self._exhausted.add(arm)
            return None
        recipe = draw.config | {"seed": self.study.seed}
        # Settings that do not go together were drawn: the trial fails, and says so in its row.
        with suppress(SettingError):
            recipe = resolve(recipe)
        return self._plan("search", arm, recipe, draw.params, draw.distributions, place=None)

    def _close_paused(self) -> bool:
        """Whether the confirmation has to wait for the search; paused trials end with it."""
        if any(one.running for one in self._open.values() if one.phase == "search"):
            return True
        for trial in [one for one in self._open.values() if one.state == "PAUSED"]:
            trial.decision = Decision.STOP
            self._end(trial, trial.summary, self._of(trial).why(trial.number))
        return False

    def _next_to_confirm(self) -> tuple[int, int] | None:
        """The trial of the search to confirm next, and the seed: seeds outside, arms inside."""
        if any(one.phase == "search" for one in self._open.values()):
            return None
        asked = self.study.confirm
        chosen = self._chosen()
        for seed in confirm.seeds(self.study.seed, asked.seeds):
            for numbers in chosen.values():
                for number in numbers:
                    if (number, seed) not in self._confirming:
                        return number, seed
        return None

    def _chosen(self) -> dict[str, list[int]]:
        """By arm the numbers of the trials to confirm."""
        asked = self.study.confirm
        found = {}
        for arm in self.study.arms:
            tried = [
                confirm.Candidate(one.number, one.group, one.state, one.epoch, self._values(one))
                for one in self.trials
                if one.phase == "search" and one.arm is arm
            ]
            modes = tuple(self.study.search.objectives.values())
            found[arm.name] = [one.number for one in confirm.winners(tried, asked.top, modes)]
        return found

    def _wanted_that_exist(self) -> list[Trial]:
        """The planned trials of the confirmation that are part of the answer."""
        chosen = {one for numbers in self._winners.values() for one in numbers}
        return [one for (number, _), one in self._confirming.items() if number in chosen]

    def _values(self, trial: Trial) -> tuple[float, ...]:
        """The objectives at the trial's last report that had them."""
        found = [trial.metrics.get(one, math.nan) for one in self.study.search.objectives]
        found[0] = trial.value
        return tuple(found)

    def _confirmed(self, number: int, seed: int) -> Trial:
        chosen = self._chosen()
        if chosen != self._winners:
            self._append("confirming", winners=chosen)
            self._winners = chosen
        one = self.trials[number]
        recipe = confirm.with_seed(one.recipe, seed)
        return self._plan("confirm", self._index(one.arm), recipe, one.params, {}, place=number)

    def _next_control(self) -> Trial | None:
        """The next trial of a control, planned: seeds outside, controls inside.

        None while there is none, or while what it follows from is still being trained.
        """
        if not self.study.confirm.controls or any(
            one.phase == "search" for one in self._open.values()
        ):
            return None
        chosen = self._chosen()
        if chosen != self._winners and any(chosen.values()):
            self._append("confirming", winners=chosen)
            self._winners = chosen
        wanted = self._controls_of(chosen)
        for control, number in wanted:
            if self._decided(control, number) is None:
                self._decide_control(control, number)
        planned = self._planned_controls()
        for seed in confirm.seeds(self.study.seed, self.study.confirm.seeds):
            for control, number in wanted:
                found = self._decided(control, number)
                if found is None or found["recipe"] is None:
                    continue
                if (control, number, found["group"], seed) not in planned:
                    return self._controlled(control, number, found["recipe"], seed)
        return None

    def _controls_of(self, chosen: Mapping[str, list[int]]) -> list[tuple[str, int]]:
        """The controls of the configurations to confirm, each with the trial of the search."""
        found = []
        for control in self.study.confirm.controls:
            for numbers in chosen.values():
                for number in numbers:
                    arm = self.trials[number].arm
                    # Why an arm without auxiliary losses has no such control is on record.
                    told = control == controls.COEFFICIENT_0 and arm is not self.study.reference
                    if told or controls.foreseen([control], arm.tree, arm is self.study.reference):
                        found.append((control, number))
        return found

    def _decided(self, control: str, number: int) -> Mapping[str, Any] | None:
        """What was decided on a control, as long as what it follows from has not changed."""
        found = self._controls.get((control, number))
        if found is None or found["epochs"] != self.study.epochs:
            return None
        if control == controls.MATCHED_COMPUTE and found["baseline"] != self._baseline():
            return None
        # More seeds do not change a control that there is, but may give one that there was not.
        if found["recipe"] is None and found["seeds"] != self.study.confirm.seeds:
            return None
        return found

    def _baseline(self) -> int | None:
        """The trial of the search that the baseline's confirmation is of."""
        return next(iter(self._winners.get(self.study.reference.name, ())), None)

    def _decide_control(self, control: str, number: int) -> None:
        """Record what a control trains, or why there is none; nothing where that is not known."""
        baseline = self._baseline() if control == controls.MATCHED_COMPUTE else None
        needed = [] if control == controls.COEFFICIENT_0 else [number]
        needed += [] if baseline is None else [baseline]
        if any(one.state not in ENDED for each in needed for one in self._confirmed_as(each)):
            return
        recipe: dict[str, Any] | None = None
        why = ""
        try:
            recipe = self._control_recipe(control, number, baseline)
        except controls.NoControlError as error:
            why = str(error)
        self._controls[control, number] = self._append(
            "controlling",
            control=control,
            place=number,
            arm=self.trials[number].arm.arm,
            weighter=self.trials[number].arm.weighter,
            recipe=recipe,
            group=None if recipe is None else group(recipe),
            why=why,
            epochs=self.study.epochs,
            seeds=self.study.confirm.seeds,
            baseline=baseline,
        )

    def _control_recipe(self, control: str, number: int, baseline: int | None) -> dict[str, Any]:
        """The recipe of a control, with the study's seed as that of the search."""
        recipe = self.trials[number].recipe
        if control == controls.COEFFICIENT_0:
            return controls.without_auxiliary(recipe)
        if control == controls.RANDOM_WEIGHTS:
            return controls.with_random_weights(recipe, self._measured(number))
        if control == controls.REPLAY:
            return controls.replayed(recipe, self._measured(number))
        if baseline is None:
            raise controls.NoControlError("the baseline has no configuration that was confirmed")
        its = self._measured(baseline)
        return controls.as_long(self.trials[baseline].recipe, its, self._measured(number))

    def _confirmed_as(self, number: int) -> list[Trial]:
        """The trials that confirm a trial of the search, in the order of their seeds."""
        wanted = confirm.seeds(self.study.seed, self.study.confirm.seeds)
        return [self._confirming[number, seed] for seed in wanted]

    def _measured(self, number: int) -> controls.Measured:
        """What the confirmed trials of a configuration came to, over those that completed."""
        trials = [one for one in self._confirmed_as(number) if one.state == "COMPLETE"]
        if not trials:
            name = self.trials[number].arm.name
            raise controls.NoControlError(f"no confirmed trial of {name} trained to its end")
        losses = self.trials[number].recipe["losses"]
        # Every epoch has as many steps, so that a mean over epochs is one over steps.
        epochs = sum(one.epoch for one in trials)
        return controls.Measured(
            train_s=sum(one.train_s for one in trials) / len(trials),
            weights={
                loss: sum(one.weights.get(loss, math.nan) for one in trials) / epochs
                for loss in losses
            },
        )

    def _controlled(self, control: str, number: int, recipe: Mapping[str, Any], seed: int) -> Trial:
        baseline = self._baseline() if control == controls.MATCHED_COMPUTE else None
        one = self.trials[number if baseline is None else baseline]
        params = controls.kept(one.params, one.recipe, recipe)
        made = confirm.with_seed(dict(recipe), seed)
        arm = self._index(one.arm)
        return self._plan("control", arm, made, params, {}, place=number, control=control)

    def _planned_controls(self) -> set[tuple[str, int, str, int]]:
        return {(one.control, one.place, one.group, one.seed) for one in self.trials if one.control}

    def _controls_left(self) -> bool:
        """Whether a control is still to be decided on or to be planned."""
        if not self.study.confirm.controls:
            return False
        planned = self._planned_controls()
        seeds = confirm.seeds(self.study.seed, self.study.confirm.seeds)
        for control, number in self._controls_of(self._chosen()):
            found = self._decided(control, number)
            if found is None:
                return True
            if found["recipe"] is not None and any(
                (control, number, found["group"], seed) not in planned for seed in seeds
            ):
                return True
        return False

    def _controls_expected(self) -> int:
        """How many trials controls will have, as far as is known, with those of the past."""
        asked = self.study.confirm
        if not asked.controls:
            return 0
        if not self._winners:
            return self._confirmations * sum(
                len(controls.foreseen(asked.controls, one.tree, one is self.study.reference))
                for one in self.study.arms
            )
        count, groups = 0, set()
        for control, number in self._controls_of(self._winners):
            found, arm = self._decided(control, number), self.trials[number].arm
            if found is None:
                own = controls.foreseen([control], arm.tree, arm is self.study.reference)
                count += asked.seeds * len(own)
            elif found["recipe"] is not None:
                count += asked.seeds
                groups.add((control, number, found["group"]))
        return count + sum(one[:3] not in groups for one in self._planned_controls())

    def _plan(
        self,
        phase: str,
        arm: int,
        recipe: Mapping[str, Any],
        params: Mapping[str, Any],
        ranges: Mapping[str, Any],
        place: int | None,
        control: str = "",
    ) -> Trial:
        event = self._append(
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
            place=self._planned_of[arm] if place is None else place,
            **({"control": control} if control else {}),
        )
        return self._add(event)

    def _add(self, event: Mapping[str, Any]) -> Trial:
        arm = self._places[event["arm"], event["weighter"]]
        trial = Trial(
            number=event["trial"],
            phase=event["phase"],
            arm=self.study.arms[arm],
            seed=event["seed"],
            group=event["group"],
            recipe=event["recipe"],
            params=event["params"],
            place=event["place"],
            control=event.get("control", ""),
        )
        self.trials.append(trial)
        self._open[trial.number] = trial
        if trial.phase == "search":
            self._planned_of[arm] += 1
        elif not trial.control:
            self._confirming[trial.place, trial.seed] = trial
        return trial

    def _decide(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> Verdict:
        if not all(math.isfinite(one) for one in metrics.values()):
            return Verdict(Decision.DIVERGED)
        if self.study.metric not in metrics:
            # Benchmarks are measured at rungs and at the end only; nothing is decided in between.
            done = epoch >= self._last(trial)
            return Verdict(Decision.COMPLETE if done else Decision.CONTINUE)
        return self._of(trial).report(trial.number, epoch, metrics[self.study.metric])

    def _note(self, trial: Trial, report: Mapping[str, Any], decision: Decision) -> None:
        metrics = report["metrics"]
        trial.state = "PAUSED" if decision is Decision.PAUSE else "RUNNING"
        trial.epoch = report["epoch"]
        trial.metrics |= metrics
        devices = self.study.resources.gpu or self.study.resources.cpu
        trial.device_s += devices * (report["train_s"] + report["eval_s"])
        trial.train_s += report["train_s"]
        for loss, row in (report.get("weights") or {}).items():
            weight = row.get("weight")
            weight = math.nan if weight is None else weight
            trial.weights[loss] = trial.weights.get(loss, 0.0) + weight
        if decision is Decision.DIVERGED:
            trial.value = math.nan
        elif self.study.metric in metrics:
            trial.value = metrics[self.study.metric]
        trial.decision = decision
        trial.summary = report.get("summary")

    def _end(self, trial: Trial, summary: Mapping[str, Any] | None, verdict: Verdict) -> None:
        state, reason = {
            Decision.STOP: ("PRUNED", "rung"),
            Decision.COMPLETE: ("COMPLETE", "budget"),
            Decision.DIVERGED: ("FAIL", "diverged"),
        }[trial.decision]
        if state == "PRUNED" and not trial.said:
            trial.said = True
            self._append(
                "stopped",
                trial=trial.number,
                epoch=trial.epoch,
                rung=verdict.rung,
                cutoff=verdict.cutoff,
                rank=verdict.rank,
                of=verdict.of,
            )
        self._record_end(trial, state, reason, None, summary)

    def _record_end(
        self,
        trial: Trial,
        state: str,
        reason: str,
        error: Mapping[str, str] | None,
        summary: Mapping[str, Any] | None,
    ) -> None:
        self._append(
            "ended", trial=trial.number, state=state, reason=reason, error=error, summary=summary
        )
        self._close(trial, state, reason)

    def _close(self, trial: Trial, state: str, reason: str) -> None:
        trial.state, trial.reason, trial.running = state, reason, False
        self._open.pop(trial.number, None)
        if trial.phase == "search":
            if state != "COMPLETE" or trial.epoch >= self.study.epochs:  # else it is opened again
                self._of(trial).withdrawn(trial.number)
            values = None if trial.failed else self._values(trial)
            told: Any = state
            self._searchers[self._index(trial.arm)].tell(
                trial.place, trial.params, values, trial.epoch, told
            )

    def _reopen(self, trial: Trial) -> None:
        """The study has more epochs than when the trial was complete: it has further to go."""
        recipe = dict(trial.recipe)
        recipe["training"] = recipe["training"] | {"epochs": self.study.epochs}
        written = self._append("reopened", trial=trial.number, recipe=recipe, group=group(recipe))
        verdict = self._opened(written)
        if verdict is not None and verdict.decision not in (Decision.CONTINUE, Decision.PAUSE):
            self._end(trial, trial.summary, verdict)

    def _rejudge(self, trial: Trial) -> Verdict:
        """What the longer schedule says of a trial that was complete under the shorter one."""
        verdict = self._decide(trial, trial.epoch, trial.metrics)
        trial.decision = verdict.decision
        if verdict.decision is Decision.PAUSE:
            trial.state = "PAUSED"
        return verdict

    def _opened(self, event: Mapping[str, Any]) -> Verdict | None:
        """What the longer schedule says of the trial; None for one that was not over anyway."""
        trial = self.trials[event["trial"]]
        trial.recipe, trial.group = event["recipe"], event["group"]
        if trial.number in self._open:
            return None
        trial.state, trial.reason, trial.decision = "RUNNING", "", Decision.CONTINUE
        self._open[trial.number] = trial
        # In order of the numbers, as if it had never been away.
        self._open = dict(sorted(self._open.items()))
        return self._rejudge(trial)

    def _replay(self, event: Mapping[str, Any]) -> None:
        """Take up what an earlier driver recorded."""
        kind = event["event"]
        self._clock(event)
        if kind == "planned":
            trial = self._add(event)
            if trial.phase == "search":
                self._searchers[self._index(trial.arm)].planned(trial.place, trial.params)
        elif kind == "exhausted":
            self._exhausted.add(self._places[event["arm"], event["weighter"]])
        elif kind == "extended":
            # More may be asked of an arm now; if there is nothing it is said again.
            self._exhausted.clear()
        elif kind == "confirming":
            self._winners = event["winners"]
        elif kind == "controlling":
            self._controls[event["control"], event["place"]] = event
        elif kind in ("started", "promoted", "retried", "report", "stopped", "reopened", "ended"):
            self._replay_trial(kind, event, self.trials[event["trial"]])

    def _replay_trial(self, kind: str, event: Mapping[str, Any], trial: Trial) -> None:
        if kind == "started":
            trial.state = "RUNNING"
        elif kind == "promoted":
            trial.state = "RUNNING"
            self._of(trial).promoted(trial.number)
        elif kind == "retried":
            trial.retries += 1
        elif kind == "report":
            # The rungs are rebuilt by the same calls in the same order.
            self._decide(trial, event["epoch"], event["metrics"])
            self._note(trial, event, Decision(event["decision"]))
        elif kind == "stopped":
            trial.said = True
        elif kind == "reopened":
            self._opened(event)
        else:
            self._close(trial, event["state"], event["reason"])


def plan(
    conductor: Conductor,
    trial: Trial,
    folder: str,
    data_root: str,
    storage: str = "",
    *,
    ahead: bool = False,
) -> str:
    """What a trial's process needs to know, as JSON text: Ray neither flattens nor merges it.

    `ahead`: it need not wait for answers that are known beforehand.
    """
    study = conductor.study
    search = trial.phase == "search"
    # A metric that is a benchmark's figure is needed at the end of a confirmed trial, too.
    of_benchmark = any(one.count("/") > 1 for one in study.search.objectives)
    at_end = [trial.epochs if trial.control else study.epochs] if of_benchmark else []
    probe_at = [*conductor.rungs, study.epochs] if search else at_end
    return json.dumps(
        {
            "number": trial.number,
            "name": trial.name,
            "folder": folder,
            "storage": storage,
            "recipe": trial.recipe,
            "data_root": data_root,
            "cpus": study.resources.cpu,
            "gpus": study.resources.gpu,
            "memory": study.resources.memory,
            "processes": study.resources.processes,
            "reported": trial.epoch,
            "decided_at": conductor.decided_at(trial) if ahead else None,
            "benchmarks": list(study.benchmarks),
            "probe_benchmarks": study.probe.benchmarks,
            "probe_at": probe_at,
            "probe_limit": study.probe.limit,
            "test": not search,
            "test_limit": study.test.limit,
            "metric": study.metric,
            "mode": study.mode,
            "eval_seed": study.seed,
        }
    )
