"""The tree-structured Parzen estimator of Optuna, rebuilt from the other trials for every draw."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import optuna

from search_spaces.ranges import Choice, Chooser, Float, Integer, Range, Scalar
from study.quiet import quiet
from study.samplers.losses import Losses, losses
from study.searcher import Mode, Params, Question, Told, every, walked

# Draws (the default configuration and random ones) before TPE starts to model. Optuna's own 10 is
# for long searches; an arm here has about 16 trials. Measured on noisy quadratics of three ranges,
# 16 trials, 60 repetitions: mean regret 0.010 with 5, 0.012 with 10, 0.033 with random search.
STARTUP_TRIALS = 5
# So many trials of earlier studies are told to an arm without trials, one less for each of its own.
# Measured on quadratics of three ranges after 24 earlier trials, 16 trials, 40 repetitions, before
# the best of the past was also tried as it is: mean regret 0.0092 without a past; 0.0065 after a
# related and 0.0116 after an unrelated one; with twice as many 0.0026 and 0.0398, and so an
# unrelated past costs more than a related one gains.
PAST_TRIALS = 16
# Optuna's TPE takes at most so many trials for good ones, however many there are: a tenth of 250.
GOOD = 25
MODELLED = 250


class TPE:
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) through Optuna.

    Multivariate, with conditional settings modelled in the group in which they occur; running
    trials count as bad ones, so that concurrent trials spread out (constant liar). With several
    objectives it is the multi-objective one (Ozaki et al., GECCO 2020).

    Optuna takes no intermediate values of several objectives, and would count stopped trials for
    good ones where few have completed. So it is told the `losses` as if all trials had completed:
    what completed before what was stopped early, that by the epoch it reached, what diverged last.
    With one objective this is Optuna's own order.

    Trials of earlier studies are told with losses of their own, since the figures of another data
    set are on another scale, and they fade: each trial of the arm takes the place of one of them.

    With one objective it models the 25 best trials and the latest others, 250 in all, so that a
    draw costs the same however long the arm is. Beyond 250 Optuna's good ones stay as many and the
    same; what is left out are the oldest bad ones, which it gives the least weight.
    """

    levels = staticmethod(every)

    def __init__(self, tree: Any, modes: Sequence[Mode], past: Sequence[Told]) -> None:
        self._tree = tree
        self._modes = modes
        self._past = [
            (trial, found)
            for trial, found in zip(past, losses(past, modes), strict=True)
            if found is not None
        ]

    def chooser(self, question: Question, trials: Sequence[Told]) -> Chooser:
        """A few random configurations, then what the model proposes."""
        trial = self._study(question, trials).ask()
        # Params of one path may belong to different options: Optuna sees them as two.
        chosen: dict[str, Scalar] = {}
        return lambda path, found: _suggest(trial, path, found, chosen)

    @quiet()
    def _study(self, question: Question, trials: Sequence[Told]) -> optuna.Study:
        """A fresh study of the past and all other trials, so that no history of calls matters."""
        sampler = optuna.samplers.TPESampler(
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=STARTUP_TRIALS,
            seed=question.number,
        )
        study = optuna.create_study(sampler=sampler, directions=["minimize"] * len(self._modes))
        for trial, known in self._remembered(len(trials)):
            study.add_trial(self._frozen(trial, known))
        told = [
            (trial, found)
            for trial, found in zip(trials, losses(trials, self._modes), strict=True)
            if trial.state == "RUNNING" or found is not None
        ]
        for trial, found in told if len(self._modes) > 1 else _modelled(told):
            study.add_trial(self._frozen(trial, found))
        return study

    def _remembered(self, own: int) -> list[tuple[Told, Losses]]:
        """Those past trials that still count, good and bad in proportion."""
        count = min(max(PAST_TRIALS - own, 0), len(self._past))
        by_merit = sorted(self._past, key=lambda one: sum(one[1]))
        return [by_merit[place * len(by_merit) // count] for place in range(count)]

    def _frozen(self, told: Told, found: Losses | None) -> optuna.trial.FrozenTrial:
        names: dict[str, Any] = {}
        ranges: dict[str, optuna.distributions.BaseDistribution] = {}
        chosen: dict[str, Scalar] = {}
        for path, one in walked(self._tree, told.params)[1].items():
            name = _name(path, chosen)
            ranges[name] = _distribution(one)
            value = told.params[path]
            names[name] = _place(one, value) if isinstance(one, Choice) else value
            chosen[path] = value
        states = optuna.trial.TrialState
        return optuna.trial.create_trial(
            state=states.RUNNING if found is None else states.COMPLETE,
            params=names,
            distributions=ranges,
            values=found,
        )


def _modelled(known: list[tuple[Told, Losses | None]]) -> list[tuple[Told, Losses | None]]:
    """The best trials and the latest other ones, in their order."""
    if len(known) <= MODELLED:
        return known
    ended = [(found, place) for place, (_, found) in enumerate(known) if found is not None]
    good = {place for _, place in heapq.nsmallest(GOOD, ended)}
    others = [place for place in range(len(known)) if place not in good]
    return [known[place] for place in sorted(good | {*others[-(MODELLED - len(good)) :]})]


def _suggest(trial: optuna.Trial, path: str, found: Range, chosen: dict[str, Scalar]) -> Scalar:
    name = _name(path, chosen)
    if isinstance(found, Float):
        chosen[path] = trial.suggest_float(name, found.low, found.high, log=found.log)
    elif isinstance(found, Integer):
        chosen[path] = trial.suggest_int(name, found.low, found.high, log=found.log)
    else:
        chosen[path] = found.labels[trial.suggest_categorical(name, list(range(len(found.values))))]
    return chosen[path]


def _distribution(found: Range) -> optuna.distributions.BaseDistribution:
    if isinstance(found, Float):
        return optuna.distributions.FloatDistribution(found.low, found.high, log=found.log)
    if isinstance(found, Integer):
        return optuna.distributions.IntDistribution(found.low, found.high, log=found.log)
    # Places, not values: Optuna compares with ==, to which 0, 0.0 and False are one.
    return optuna.distributions.CategoricalDistribution(list(range(len(found.values))))


def _place(found: Choice, label: Scalar) -> int:
    return next(
        place for place, one in enumerate(found.labels) if type(one) is type(label) and one == label
    )


def _name(path: str, chosen: Params) -> str:
    conditions = [f"[{one}={label}]" for one, label in chosen.items() if path.startswith(f"{one}/")]
    return path + "".join(conditions)
