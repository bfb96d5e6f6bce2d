"""ASHA as its paper has it (arXiv 1810.05934, algorithm 2): trials pause at rungs and are promoted.

Every trial waits at each rung that it reaches. Whenever there is room, the rungs are looked at from
the top: a trial that is among the best floor(n / rf) of the n recorded at its rung goes on to the
next one; where none is, a new trial begins. So, unlike in the form that only stops trials, the
first to arrive is not let through unseen and a trial that looked poor may go on later, at the price
of checkpoints that wait. A trial that was promoted early may fall out of the best later on; it
stays promoted, so more than floor(n / rf) can be in the end.
"""

from __future__ import annotations

import math
from bisect import insort

from study.schedules import Decision, Judge, Verdict, ladder, sign


class Promotion(Judge):
    """Pauses trials at rungs and says which of them may go on; epochs are whole and 1-based.

    Args:
        max_epochs: a trial that has trained this long is complete.
        grace_epochs: the first rung.
        reduction_factor: the ratio of two rungs, above 1; the best 1 in this many go on.
        mode: "max" where larger values are better, else "min".

    A report that skipped rungs counts for the highest one at or below its epoch. Of equal values
    the one that was recorded first has the better place. Raises `SettingError` for a setting out
    of its range.
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
        self._factor = reduction_factor
        self._sign = sign(mode)
        # By rung what is recorded there, the best first: value, order of arrival, trial.
        self._recorded: dict[int, list[tuple[float, int, int]]] = {one: [] for one in self._rungs}
        self._reached: dict[int, set[int]] = {one: set() for one in self._rungs}
        self._paused: dict[int, int] = {}  # trial -> the rung at which it waits

    def promotable(self) -> int | None:
        """The best trial waiting at the highest rung at which one is among the best 1 in rf."""
        for rung in reversed(self._rungs):
            for _, _, trial in self._recorded[rung][: self._places(rung)]:
                if self._paused.get(trial) == rung and trial not in self._withdrawn:
                    return trial
        return None

    def promoted(self, trial: int) -> None:
        """The trial goes on to the next rung; raises `RuntimeError` where it was not paused."""
        self._rung_of(trial)
        del self._paused[trial]

    def why(self, trial: int) -> Verdict:
        """Its place among all that were recorded at its rung, and the least value that may go on.

        There is no such value while fewer trials than rf have come. Raises `RuntimeError` where the
        trial is not paused.
        """
        return self._placed(trial, self._rung_of(trial), Decision.STOP)

    def _compare(self, trial: int, epoch: int, value: float) -> Verdict:
        rung = max((one for one in self._rungs if one <= epoch), default=None)
        if rung is None or trial in self._reached[rung]:
            return Verdict(Decision.CONTINUE)
        insort(self._recorded[rung], (-self._sign * value, len(self._reached[rung]), trial))
        self._reached[rung].add(trial)
        self._paused[trial] = rung
        return self._placed(trial, rung, Decision.PAUSE)

    def _rung_of(self, trial: int) -> int:
        if trial not in self._paused:
            raise RuntimeError(f"trial {trial} is not paused at a rung")
        return self._paused[trial]

    def _placed(self, trial: int, rung: int, decision: Decision) -> Verdict:
        recorded, places = self._recorded[rung], self._places(rung)
        cutoff = -self._sign * recorded[places - 1][0] if places else None
        rank = 1 + [one for _, _, one in recorded].index(trial)
        return Verdict(decision, rung, cutoff, rank, len(recorded))

    def _places(self, rung: int) -> int:
        return math.floor(len(self._recorded[rung]) / self._factor)
