"""ASHA: asynchronous successive halving (arXiv 1810.05934) in the form that only stops trials.

Rungs lie at grace, grace * rf, grace * rf^2, ... epochs, below max_epochs. A trial that reaches a
rung goes on unless its value is worse than the (1 - 1/rf) quantile of the values that other trials
recorded there before; the first to arrive always goes on. The decisions are those of Ray's
`ASHAScheduler` with one bracket, with three differences that a resumable study needs: a value that
is not finite ends the trial and is never recorded (Ray lets such a trial run to the end), the same
report gets the same decision again, and the rungs are rebuilt by replaying the reports of the
ledger in their order. The paper's own form, which pauses trials, is `study.promotion`.
"""

from __future__ import annotations

import numpy as np

from study.schedules import Decision, Judge, Verdict, ladder, sign


class ASHA(Judge):
    """Stops trials that fall behind at a rung; epochs are whole and 1-based.

    Args:
        max_epochs: a trial that has trained this long is complete.
        grace_epochs: the first rung; nothing is stopped before it.
        reduction_factor: the ratio of two rungs, above 1; about 1 in this many goes on.
        mode: "max" where larger values are better, else "min".

    A report that skipped rungs counts for the highest rung at or below its epoch that the trial has
    no record at. Ranks are among those who came before; equal values share the better place.
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
        super().__init__(max_epochs)
        self._rungs = ladder(max_epochs, grace_epochs, reduction_factor)
        self._percentile = (1 - 1 / reduction_factor) * 100
        self._sign = sign(mode)
        self._recorded: dict[int, dict[int, float]] = {rung: {} for rung in self._rungs}

    def _compare(self, trial: int, epoch: int, value: float) -> Verdict:
        for rung in reversed(self._rungs):
            recorded = self._recorded[rung]
            if epoch < rung or trial in recorded:
                continue
            signed = self._sign * value
            before = list(recorded.values())
            recorded[trial] = signed
            rank = 1 + sum(one > signed for one in before)
            if not before:
                return Verdict(Decision.CONTINUE, rung, None, rank, 1)
            cutoff = float(np.percentile(before, self._percentile))
            decision = Decision.STOP if signed < cutoff else Decision.CONTINUE
            return Verdict(decision, rung, self._sign * cutoff, rank, len(recorded))
        return Verdict(Decision.CONTINUE)
