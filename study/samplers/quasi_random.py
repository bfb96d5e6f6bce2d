"""Quasi-random search: a scrambled Sobol sequence, which fills the space better than chance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from scipy.stats import qmc

from search_spaces.ranges import Chooser, Range, Scalar, distributions
from study.searcher import Mode, Question, Told, every, number_of


class QuasiRandom:
    """Point by point of a Sobol sequence (Sobol, 1967) with random scrambling (Owen, 1998).

    One dimension for every path of the tree, those inside the options of choices, too: a range that
    does not apply leaves its coordinate unused, so that the others keep their spread. A coordinate
    is the share of the range below the value, as in random search. Any 2^m draws in a row that
    begin at a multiple of 2^m are balanced in each range. Earlier studies teach it nothing.
    """

    levels = staticmethod(every)

    def __init__(self, tree: Any, modes: Sequence[Mode], past: Sequence[Told]) -> None:
        self._dimension = {path: place for place, path in enumerate(distributions(tree))}

    def chooser(self, question: Question, trials: Sequence[Told]) -> Chooser:
        """The point at the question's place; one that was tried gives way to another sequence's."""
        scramble = json.dumps([question.seed, question.arm, "Sobol", question.attempt])
        sequence = qmc.Sobol(max(len(self._dimension), 1), seed=number_of(scramble))
        if question.place:  # SciPy cannot go forward by nothing
            sequence.fast_forward(question.place)
        point = sequence.random(1)[0]

        def choose(path: str, found: Range) -> Scalar:
            return found.at(float(point[self._dimension[path]]))

        return choose
