"""ASHA: asynchronous successive halving (arXiv 1810.05934) in the form that only stops trials.

Rungs lie at grace, grace * rf, grace * rf^2, ... epochs, below max_epochs. A trial that reaches a
rung goes on unless its value is worse than the (1 - 1/rf) quantile of the values that other trials
recorded there before; the first to arrive always goes on. The decisions are those of Ray's
`ASHAScheduler` with one bracket, with three differences that a resumable study needs: a value that
is not finite ends the trial and is never recorded (Ray lets such a trial run to the end), the same
report gets the same decision again, and the rungs are rebuilt by replaying the reports of the
ledger in their order.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Protocol

import numpy as np

from trainables.core.errors import SettingError


class Decision(StrEnum):
    """What happens to a trial after a report."""

    CONTINUE = "continue"
    STOP = "stop"
    COMPLETE = "complete"
    DIVERGED = "diverged"


class Schedule(Protocol):
    """What the engine needs of a schedule."""

    def report(self, trial: int, epoch: int, value: float) -> Decision:
        """What happens to the trial that has trained `epoch` epochs (1-based) and has `value`."""

    def rungs(self) -> list[int]:
        """The epochs after which a trial may be stopped."""

    def rung(self, epoch: int) -> int | None:
        """The rung at this epoch, which is the epoch itself, or None between rungs."""


class ASHA:
    """Stops trials that fall behind at a rung; epochs are whole and 1-based.

    Args:
        max_epochs: a trial that has trained this long is complete.
        grace_epochs: the first rung; nothing is stopped before it.
        reduction_factor: the ratio of two rungs, above 1; about 1 in this many goes on.
        mode: "max" where larger values are better, else "min".

    Raises `SettingError` for a setting out of its range.
    """

    def __init__(
        self,
        *,
        max_epochs: int,
        grace_epochs: int = 1,
        reduction_factor: float = 4,
        mode: str = "max",
    ) -> None:
        _check_max_epochs(max_epochs)
        if not 1 <= grace_epochs <= max_epochs:
            raise SettingError(
                f"schedule/grace_epochs must lie in [1, max_epochs = {max_epochs}],"
                f" found {grace_epochs}."
            )
        if not 1 < reduction_factor < math.inf:
            raise SettingError(
                f"schedule/reduction_factor must be finite and above 1, found {reduction_factor}."
            )
        if mode not in ("min", "max"):
            raise SettingError(f"mode must be min or max, found {mode!r}.")
        self.max_epochs = max_epochs
        self._percentile = (1 - 1 / reduction_factor) * 100
        self._sign = 1.0 if mode == "max" else -1.0
        self._recorded: dict[int, dict[int, float]] = {
            rung: {} for rung in _rungs(max_epochs, grace_epochs, reduction_factor)
        }
        self._decided: dict[tuple[int, int], Decision] = {}

    def report(self, trial: int, epoch: int, value: float) -> Decision:
        """Decide about a trial that has trained `epoch` epochs and has `value`, once and for all.

        Trials are compared in the order of these calls. A report that skipped rungs counts for the
        highest rung at or below its epoch that the trial has no record at.
        """
        if (trial, epoch) not in self._decided:
            self._decided[trial, epoch] = self._decide(trial, epoch, value)
        return self._decided[trial, epoch]

    def rungs(self) -> list[int]:
        """The epochs after which a trial may be stopped, ascending."""
        return list(self._recorded)

    def rung(self, epoch: int) -> int | None:
        """The rung at this epoch, which is the epoch itself, or None between rungs."""
        return epoch if epoch in self._recorded else None

    def _decide(self, trial: int, epoch: int, value: float) -> Decision:
        if not math.isfinite(value):
            return Decision.DIVERGED
        if epoch >= self.max_epochs:
            return Decision.COMPLETE
        for rung in reversed(self._recorded):
            recorded = self._recorded[rung]
            if epoch < rung or trial in recorded:
                continue
            signed = self._sign * value
            behind = bool(recorded) and signed < np.percentile(
                list(recorded.values()), self._percentile
            )
            recorded[trial] = signed
            return Decision.STOP if behind else Decision.CONTINUE
        return Decision.CONTINUE


class NoSchedule:
    """Lets every trial train `max_epochs` epochs unless it diverges."""

    def __init__(self, *, max_epochs: int) -> None:
        _check_max_epochs(max_epochs)
        self.max_epochs = max_epochs

    def report(self, trial: int, epoch: int, value: float) -> Decision:
        """Complete at `max_epochs`, diverged where `value` is not finite."""
        if not math.isfinite(value):
            return Decision.DIVERGED
        return Decision.COMPLETE if epoch >= self.max_epochs else Decision.CONTINUE

    def rungs(self) -> list[int]:
        """None: no trial is stopped early."""
        return []

    def rung(self, epoch: int) -> int | None:
        """None: there are no rungs."""
        return None


def _rungs(max_epochs: int, grace_epochs: int, reduction_factor: float) -> list[int]:
    """The first whole epochs at or above grace * rf^i that lie below max_epochs."""
    rungs: list[int] = []
    power = 0
    while (milestone := math.ceil(grace_epochs * reduction_factor**power)) < max_epochs:
        # Factors below 2 can put two milestones on one epoch.
        if not rungs or milestone > rungs[-1]:
            rungs.append(milestone)
        power += 1
    return rungs


def _check_max_epochs(max_epochs: int) -> None:
    if max_epochs < 1:
        raise SettingError(f"schedule/max_epochs must be at least 1, found {max_epochs}.")
