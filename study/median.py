"""The median stopping rule of Vizier (Golovin et al., KDD 2017, section 3.2.1).

A trial is stopped at an epoch if its best value until then is strictly worse than the median, over
the other trials that came as far, of the mean of all values that they had until then. It assumes
nothing about the form of the curves and stops about half of what is hopeless, at any epoch. Two
readings are ours: others count as soon as they have come as far, not only once they are complete,
because a search that runs many trials at once would otherwise stop nothing; and with fewer than
`min_trials` others nothing is stopped. A value that is not finite is in no mean.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from statistics import median

from study.schedules import Decision, Judge, Verdict, ladder, sign
from trainables.core.errors import SettingError


@dataclass
class _Curve:
    """A trial until its last report; larger is better."""

    epoch: int = 0
    count: int = 0
    mean: float = 0.0
    best: float = -float("inf")


class Median(Judge):
    """Stops trials whose best is worse than the others' median mean; epochs are whole, 1-based.

    It judges at every epoch from `grace_epochs` on at which there is a value, so that a metric that
    is measured every epoch is made full use of. Its `rungs` are where benchmarks are measured on
    top: ASHA's for the same settings, because probing after every epoch would cost more than is
    saved. A trial's reports come in the order of its epochs.

    Args:
        max_epochs: a trial that has trained this long is complete.
        grace_epochs: nothing is stopped before it.
        reduction_factor: the ratio of two epochs at which benchmarks are measured, above 1.
        mode: "max" where larger values are better, else "min".
        min_trials: so many others must have come as far, at least 1.

    Raises `SettingError` for a setting out of its range.
    """

    def __init__(
        self,
        *,
        max_epochs: int,
        grace_epochs: int = 1,
        reduction_factor: float = 4,
        mode: str = "max",
        min_trials: int = 3,
    ) -> None:
        super().__init__(max_epochs)
        self._rungs = ladder(max_epochs, grace_epochs, reduction_factor)
        self._grace = grace_epochs
        self._sign = sign(mode)
        if min_trials < 1:
            raise SettingError(f"min_trials must be at least 1, found {min_trials}.")
        self._min_trials = min_trials
        self._curves: dict[int, _Curve] = {}
        # By epoch the means until then of all trials that came as far, ascending.
        self._means: dict[int, list[float]] = {}

    def judged(self) -> None:
        """Any epoch."""

    def _compare(self, trial: int, epoch: int, value: float) -> Verdict:
        curve = self._curves.setdefault(trial, _Curve())
        signed = self._sign * value
        # It came past epochs at which it had no value: its mean until then is the last one.
        if curve.count:
            for passed in range(curve.epoch + 1, epoch):
                insort(self._means.setdefault(passed, []), curve.mean)
        curve.epoch, curve.count = epoch, curve.count + 1
        curve.mean += (signed - curve.mean) / curve.count
        curve.best = max(curve.best, signed)
        others = self._means.setdefault(epoch, [])
        verdict = Verdict(Decision.CONTINUE)
        if epoch >= self._grace and len(others) >= self._min_trials:
            cutoff = median(others)
            rank = 1 + len(others) - bisect_right(others, curve.best)
            decision = Decision.STOP if curve.best < cutoff else Decision.CONTINUE
            verdict = Verdict(decision, epoch, self._sign * cutoff, rank, len(others) + 1)
        insort(others, curve.mean)
        return verdict
