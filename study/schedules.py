"""Schedules: whether a trial goes on after a report, and why; no Ray.

A schedule sees reports in the order of the ledger and answers each once and for all, so a driver
that replays the reports gets every answer again, and with them the state in which the last driver
was killed. The answer says why: a trial that was stopped without a reason has to be run again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trainables.core.errors import SettingError
from trainables.core.quantities import one_of

NAMES = ("ASHA", "median", "none")
FORMS = ("stopping", "promotion")


class Decision(StrEnum):
    """What happens to a trial after a report."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"  # it waits at a rung until it is promoted or the search is over
    COMPLETE = "complete"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Verdict:
    """A decision and its reason; nothing but the decision where the trial was not compared.

    `rung` is the epoch at which it was compared, `cutoff` what its value had to reach (in the
    metric's own units; None where nothing was asked of it), `rank` its place there, 1 for the best,
    among `of` trials with itself.
    """

    decision: Decision
    rung: int | None = None
    cutoff: float | None = None
    rank: int | None = None
    of: int | None = None


class Schedule(Protocol):
    """What a driver needs of a schedule; one schedule judges the trials of one arm."""

    def report(self, trial: int, epoch: int, value: float) -> Verdict:
        """What happens to the trial that has trained `epoch` epochs (1-based) and has `value`."""

    def rungs(self) -> list[int]:
        """The epochs after which benchmarks are measured, ascending; a trial may end at them."""

    def rung(self, epoch: int) -> int | None:
        """The rung at this epoch, which is the epoch itself, or None between rungs."""

    def judged(self) -> list[int] | None:
        """The epochs after which a sound trial may not go on; None: any."""

    def promotable(self) -> int | None:
        """A paused trial that may go on now, or None."""

    def promoted(self, trial: int) -> None:
        """The paused trial goes on."""

    def withdrawn(self, trial: int) -> None:
        """The trial was ended while it may have been paused; it is not promoted any more."""

    def why(self, trial: int) -> Verdict:
        """Why a paused trial was not promoted until now."""


class Settings(Protocol):
    """What a study file says of its schedule (`study.spec.Schedule`)."""

    @property
    def name(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def max_epochs(self) -> int: ...
    @property
    def grace_epochs(self) -> int: ...
    @property
    def reduction_factor(self) -> float: ...


def schedule(settings: Settings, mode: str) -> Schedule:
    """A fresh schedule for one arm; `mode` is "max" where larger values are better, else "min".

    Raises `SettingError` for an unknown name or form and for a setting out of its range.
    """
    # The schedules are built on this module, so it cannot import them before it is there itself.
    from study.asha import ASHA
    from study.median import Median
    from study.promotion import Promotion

    one_of("schedule/name", settings.name, NAMES)
    one_of("schedule/form", settings.form, FORMS)
    if settings.name == "none":
        return NoSchedule(max_epochs=settings.max_epochs)
    kind: type[ASHA | Median | Promotion] = Median
    if settings.name == "ASHA":
        kind = Promotion if settings.form == "promotion" else ASHA
    return kind(
        max_epochs=settings.max_epochs,
        grace_epochs=settings.grace_epochs,
        reduction_factor=settings.reduction_factor,
        mode=mode,
    )


class Judge(ABC):
    """What all schedules share; a kind of schedule says how it compares.

    The same report gets its first verdict again. A value that is not finite ends the trial and is
    never compared with others; at `max_epochs` a trial is complete. No trial is paused unless a
    kind says so.
    """

    def __init__(self, max_epochs: int) -> None:
        if max_epochs < 1:
            raise SettingError(f"schedule/max_epochs must be at least 1, found {max_epochs}.")
        self.max_epochs = max_epochs
        self._verdicts: dict[tuple[int, int], Verdict] = {}
        self._rungs: list[int] = []
        self._withdrawn: set[int] = set()

    def report(self, trial: int, epoch: int, value: float) -> Verdict:
        """Judge a trial that has trained `epoch` epochs and has `value`, once and for all.

        Trials are compared in the order of these calls.
        """
        if (trial, epoch) not in self._verdicts:
            self._verdicts[trial, epoch] = self._judge(trial, epoch, value)
        return self._verdicts[trial, epoch]

    def rungs(self) -> list[int]:
        """The epochs after which benchmarks are measured, ascending; none without a schedule."""
        return list(self._rungs)

    def rung(self, epoch: int) -> int | None:
        """The rung at this epoch, which is the epoch itself, or None between rungs."""
        return epoch if epoch in self._rungs else None

    def judged(self) -> list[int] | None:
        """The epochs after which a sound trial may not go on: the rungs and the last one."""
        return [*self._rungs, self.max_epochs]

    def promotable(self) -> int | None:
        """None: no trial is paused."""
        return None

    def promoted(self, trial: int) -> None:
        """No trial is paused: raises `RuntimeError`."""
        raise RuntimeError(f"trial {trial} was promoted, but this schedule pauses no trial")

    def withdrawn(self, trial: int) -> None:
        """The trial is not promoted any more; what it had still counts for the others."""
        self._withdrawn.add(trial)

    def why(self, trial: int) -> Verdict:
        """No trial is paused: raises `RuntimeError`."""
        raise RuntimeError(f"trial {trial} was never paused: this schedule pauses no trial")

    def _judge(self, trial: int, epoch: int, value: float) -> Verdict:
        if not math.isfinite(value):
            return Verdict(Decision.DIVERGED)
        if epoch >= self.max_epochs:
            return Verdict(Decision.COMPLETE)
        return self._compare(trial, epoch, value)

    @abstractmethod
    def _compare(self, trial: int, epoch: int, value: float) -> Verdict:
        """The verdict on a finite value before `max_epochs`; it is remembered."""


class NoSchedule(Judge):
    """Lets every trial train `max_epochs` epochs unless it diverges."""

    def __init__(self, *, max_epochs: int) -> None:
        super().__init__(max_epochs)

    def _compare(self, trial: int, epoch: int, value: float) -> Verdict:
        return Verdict(Decision.CONTINUE)


def ladder(max_epochs: int, grace_epochs: int, reduction_factor: float) -> list[int]:
    """The first whole epochs at or above grace * factor^i that lie below max_epochs.

    Raises `SettingError` for a setting out of its range.
    """
    if not 1 <= grace_epochs <= max_epochs:
        raise SettingError(
            f"schedule/grace_epochs must lie in [1, max_epochs = {max_epochs}],"
            f" found {grace_epochs}."
        )
    if not 1 < reduction_factor < math.inf:
        raise SettingError(
            f"schedule/reduction_factor must be finite and above 1, found {reduction_factor}."
        )
    rungs: list[int] = []
    power = 0
    while (milestone := math.ceil(grace_epochs * reduction_factor**power)) < max_epochs:
        # Factors below 2 can put two milestones on one epoch.
        if not rungs or milestone > rungs[-1]:
            rungs.append(milestone)
        power += 1
    return rungs


def sign(mode: str) -> float:
    """What makes larger values better: 1.0 for "max", -1.0 for "min"; else a `SettingError`."""
    if mode not in ("min", "max"):
        raise SettingError(f"mode must be min or max, found {mode!r}.")
    return 1.0 if mode == "max" else -1.0
