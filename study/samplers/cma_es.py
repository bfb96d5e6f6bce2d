"""CMA-ES by the package cmaes, its generations replayed from the other trials for every draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces.ranges import Chooser, Float, Range, Scalar, sample
from study.samplers.losses import losses
from study.samplers.position import position
from study.searcher import Mode, Params, Question, Told, every
from trainables.core.errors import MissingDataError, SettingError

if TYPE_CHECKING:
    from cmaes import CMA

# The first generation's standard deviation, as a share of each range. Measured on quadratics of
# three ranges, 16 trials, 40 repetitions, mean regret without a past, after a related one and after
# an unrelated one: 0.018, 0.006, 0.030 with 0.25; 0.020, 0.009, 0.022 with 0.33.
SIGMA = 0.3


class CMAES:
    """Covariance matrix adaptation (Hansen, arXiv 1604.00772) of one objective over real numbers.

    It moves in the unit cube of the ranges (in the logarithm if `log`), from the default
    configuration with a standard deviation of 0.3 of each range. A generation is 4 + 3 ln(d)
    trials: those told, in order of their numbers, whichever distribution they were drawn from,
    points given by hand among them. While a generation is not complete, all draws come from the
    last distribution, so that any number of trials runs at once. Only the order of the trials'
    losses counts. With an earlier study the search begins at its best configuration.

    Raises `SettingError` for several objectives and for a range that is no real number, and
    `MissingDataError` without the package.
    """

    levels = staticmethod(every)

    def __init__(self, tree: Any, modes: Sequence[Mode], past: Sequence[Told]) -> None:
        if len(modes) > 1:
            raise SettingError(
                f"search.sampler CMA-ES searches one objective, found {len(modes)}; TPE and "
                "NSGA-II search several."
            )
        try:
            import cmaes  # noqa: F401 - a study with it shall fail before it begins
        except ImportError as error:
            raise MissingDataError(
                "search.sampler CMA-ES needs the package cmaes: "
                f"pip install 'auxiliary-loss-studies[search]' ({error})"
            ) from None
        self._modes = modes
        self._ranges: dict[str, Float] = {}
        _, start = sample(tree, self._only_floats)
        ranked = [
            (one, trial.params)
            for one, trial in zip(losses(past, modes), past, strict=True)
            if one is not None
        ]
        if ranked:
            start = dict(min(ranked, key=lambda one: one[0])[1])
        self._start = self._point(start)

    def chooser(self, question: Question, trials: Sequence[Told]) -> Chooser:
        """A point of the distribution after all complete generations, within the ranges."""
        point = self._distribution(question, trials).ask() if self._ranges else ()
        drawn = dict(zip(self._ranges, point, strict=True))

        def choose(path: str, found: Range) -> Scalar:
            return found.at(float(drawn[path]))

        return choose

    def _distribution(self, question: Question, trials: Sequence[Told]) -> CMA:
        from cmaes import CMA

        found = CMA(
            mean=self._start,
            sigma=SIGMA,
            bounds=np.array([[0.0, 1.0]] * len(self._ranges)),
            seed=question.number,
        )
        told = [
            (self._point(trial.params), one[0])
            for trial, one in zip(trials, losses(trials, self._modes), strict=True)
            if one is not None
        ]
        size = found.population_size
        for begin in range(0, len(told) - size + 1, size):
            found.tell(told[begin : begin + size])
        return found

    def _point(self, params: Params) -> Any:
        """The params as a point of the unit cube [d]."""
        return np.array([position(one, float(params[path])) for path, one in self._ranges.items()])  # type: ignore[arg-type]

    def _only_floats(self, path: str, found: Range) -> Scalar:
        if not isinstance(found, Float):
            raise SettingError(
                f"search.sampler CMA-ES searches real numbers, and {path} is none: found "
                f"{found.plain()!r}; TPE, NSGA-II, random and quasi-random search it."
            )
        self._ranges[path] = found
        return found.middle()
