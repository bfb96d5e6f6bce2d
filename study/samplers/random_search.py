"""Random search: every range on its own, which needs no other trial and can be run in any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search_spaces.ranges import Chooser, uniform
from study.searcher import Mode, Question, Told, every


class RandomSearch:
    """Draws every range from the study's seed, the arm, k and the path alone.

    Earlier studies and other trials teach it nothing, so it is what samplers that learn are
    compared with (Bergstra and Bengio, JMLR 2012).
    """

    levels = staticmethod(every)

    def __init__(self, tree: Any, modes: Sequence[Mode], past: Sequence[Told]) -> None:
        pass

    def chooser(self, question: Question, trials: Sequence[Told]) -> Chooser:
        """Every range evenly, or evenly in the logarithm."""
        return uniform(question.text)
