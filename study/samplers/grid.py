"""Grid search: a few values of every range, all combinations, in an order that spreads early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search_spaces.ranges import Choice, Chooser, Float, Range, Scalar, uniform
from study.searcher import Mode, Question, Told

# Of a real number, and at most of a whole one. The ends are always among them.
FLOATS = 5
INTEGERS = 10


class Grid:
    """Every combination of the ranges' levels once, in an order drawn from the seed.

    A `Choice` has all its values, an `Integer` all of them up to 10, else 10 spaced evenly (evenly
    in the logarithm if `log`), a `Float` 5 spaced so; both ends are levels. Conditional ranges
    are varied only where they apply. The order is a random one, so that a study with fewer trials
    than the grid has points has seen all of it coarsely, not one corner. When no point is left, no
    trial is. Earlier studies teach it nothing.
    """

    def __init__(self, tree: Any, modes: Sequence[Mode], past: Sequence[Told]) -> None:
        pass

    @staticmethod
    def levels(found: Range) -> Sequence[Scalar]:
        """The values of a range that the grid has, in increasing order."""
        if isinstance(found, Choice):
            return found.labels
        if isinstance(found, Float):
            inner = [found.at(place / (FLOATS - 1)) for place in range(1, FLOATS - 1)]
            return [found.low, *inner, found.high]
        if found.high - found.low < INTEGERS:
            return range(found.low, found.high + 1)
        line = Float(found.low, found.high, found.log)
        return sorted({round(line.at(place / (INTEGERS - 1))) for place in range(INTEGERS)})

    def chooser(self, question: Question, trials: Sequence[Told]) -> Chooser:
        """A level of every range; the searcher asks again where the combination was tried."""
        draw = uniform(question.text)

        def choose(path: str, found: Range) -> Scalar:
            levels = self.levels(found)
            place = draw(path, Choice(tuple(range(len(levels)))))
            return levels[int(place)]  # type: ignore[arg-type]  # one of range(...)

        return choose
