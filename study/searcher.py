"""Searchers: which configuration an arm tries next, by ask and tell; no Ray, no state on disk.

One searcher serves one arm, so that every arm gets the same number of trials. Trials are numbered
k = 0, 1, ... within the arm; k = 0 is always the default configuration, the one of the papers.

What `ask(k)` answers is a function of the seed, the arm, k and the trials it was told about, in
whatever order. A study that was killed is resumed by telling a new searcher what the ledger holds;
it then asks exactly what the uninterrupted one would have asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import optuna

from search_spaces.ranges import (
    Choice,
    Float,
    Integer,
    Range,
    RangeError,
    Scalar,
    default,
    sample,
    uniform,
)
from trainables.core.errors import SettingError, nearest

Params = Mapping[str, Scalar]
State = Literal["COMPLETE", "PRUNED", "FAIL"]

# Draws (the default configuration and random ones) before TPE starts to model. Optuna's own 10 is
# for long searches; an arm here has about 16 trials. Measured on noisy quadratics of three ranges,
# 16 trials, 60 repetitions: mean regret 0.010 with 5, 0.012 with 10, 0.033 with random search.
STARTUP_TRIALS = 5


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without its log lines and without the warning that groups are experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@dataclass(frozen=True)
class Draw:
    """What a searcher answers: the config without ranges, the drawn leaves, and their ranges."""

    config: Any
    params: dict[str, Scalar]
    distributions: dict[str, dict[str, Any]]


class Searcher(Protocol):
    """What the engine needs of a searcher."""

    def ask(self, k: int) -> Draw:
        """The configuration of the arm's k-th trial; the trial counts as running from now on."""

    def planned(self, k: int, params: Params) -> None:
        """A trial that an earlier driver asked for and that has not ended."""

    def tell(self, k: int, params: Params, value: float | None, epochs: int, state: State) -> None:
        """How a trial ended, whether this object asked for it or not."""


class RandomSearch:
    """Draws every range on its own, from the study's seed, the arm, k and the path alone."""

    def __init__(self, tree: Any, *, seed: int, arm: str) -> None:
        self._tree = tree
        self._seed = seed
        self._arm = arm

    def ask(self, k: int) -> Draw:
        """The default configuration for k = 0, a random one for the others."""
        return _draw(self._tree, default if k == 0 else uniform(_text(self._seed, self._arm, k)))

    def planned(self, k: int, params: Params) -> None:
        """Nothing to remember, but a ledger of another search space is found out."""
        _replay(self._tree, k, params)

    def tell(self, k: int, params: Params, value: float | None, epochs: int, state: State) -> None:
        """Nothing to learn, but a ledger of another search space is found out."""
        _replay(self._tree, k, params)


class TPESearch:
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) through Optuna.

    Multivariate, with conditional settings modelled in the group in which they occur; running
    trials count as bad ones, so that concurrent trials spread out (constant liar). What failed
    teaches nothing; what diverged (a value that is not finite) counts as the worst of the trials
    that were stopped early; these are compared at the epoch that they reached.
    """

    def __init__(self, tree: Any, *, seed: int, arm: str, mode: str = "max") -> None:
        if mode not in ("min", "max"):
            raise SettingError(f"mode must be min or max, found {mode!r}.")
        self._tree = tree
        self._seed = seed
        self._arm = arm
        self._direction = "maximize" if mode == "max" else "minimize"
        self._trials: dict[int, optuna.trial.FrozenTrial] = {}

    def ask(self, k: int) -> Draw:
        """The default configuration for k = 0, a few random ones, then what the model proposes."""
        if k == 0:
            draw = _draw(self._tree, default)
        else:
            trial = self._study(k).ask()
            # Params of one path may belong to different options: Optuna sees them as two.
            chosen: dict[str, Scalar] = {}
            draw = _draw(self._tree, lambda path, found: _suggest(trial, path, found, chosen))
        self.planned(k, draw.params)
        return draw

    def planned(self, k: int, params: Params) -> None:
        """A running trial: its neighbourhood is avoided until it has ended."""
        if k not in self._trials:
            self._trials[k] = self._frozen(k, params, optuna.trial.TrialState.RUNNING)

    def tell(self, k: int, params: Params, value: float | None, epochs: int, state: State) -> None:
        """How the k-th trial ended.

        `value` is the metric at its last report: None where there is none, NaN or infinite where
        it diverged. `epochs` is how many it trained. Telling a trial again replaces what was told.
        """
        states = optuna.trial.TrialState
        if state not in ("COMPLETE", "PRUNED", "FAIL"):
            raise ValueError(f"state must be COMPLETE, PRUNED or FAIL, found {state!r}")
        if value is None:
            self._trials[k] = self._frozen(k, params, states.FAIL)
        elif not math.isfinite(value):
            # A pruned trial without a value: Optuna ranks it behind all others.
            self._trials[k] = self._frozen(k, params, states.PRUNED)
        elif state == "FAIL":
            self._trials[k] = self._frozen(k, params, states.FAIL)
        elif state == "PRUNED":
            self._trials[k] = self._frozen(
                k, params, states.PRUNED, intermediate_values={epochs: float(value)}
            )
        else:
            self._trials[k] = self._frozen(k, params, states.COMPLETE, value=float(value))

    @_quiet()
    def _study(self, k: int) -> optuna.Study:
        """A fresh study of all other trials in order of k, so that no history of calls matters."""
        seed = int.from_bytes(
            hashlib.sha256(_text(self._seed, self._arm, k).encode()).digest()[:4], "big"
        )
        sampler = optuna.samplers.TPESampler(
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=STARTUP_TRIALS,
            seed=seed,
        )
        study = optuna.create_study(sampler=sampler, direction=self._direction)
        study.add_trials([self._trials[one] for one in sorted(self._trials) if one != k])
        return study

    def _frozen(
        self, k: int, params: Params, state: optuna.trial.TrialState, **outcome: Any
    ) -> optuna.trial.FrozenTrial:
        names: dict[str, Any] = {}
        ranges: dict[str, optuna.distributions.BaseDistribution] = {}
        chosen: dict[str, Scalar] = {}
        for path, found in _replay(self._tree, k, params).items():
            name = _name(path, chosen)
            ranges[name] = _distribution(found)
            value = params[path]
            names[name] = _place(found, value) if isinstance(found, Choice) else value
            chosen[path] = value
        return optuna.trial.create_trial(state=state, params=names, distributions=ranges, **outcome)


SAMPLERS: dict[str, type[RandomSearch] | type[TPESearch]] = {
    "random": RandomSearch,
    "TPE": TPESearch,
}


def searcher(name: str, tree: Any, *, seed: int, arm: str, mode: str) -> Searcher:
    """The searcher of this name, in any case; raises `SettingError` for an unknown one."""
    by_case = {one.lower(): found for one, found in SAMPLERS.items()}
    found = by_case.get(str(name).lower())
    if found is None:
        raise SettingError(f"Unknown sampler {name!r}.{nearest(str(name), SAMPLERS)}")
    if found is TPESearch:
        return TPESearch(tree, seed=seed, arm=arm, mode=mode)
    return RandomSearch(tree, seed=seed, arm=arm)


def _text(seed: int, arm: str, k: int) -> str:
    return json.dumps([seed, arm, k])


def _draw(tree: Any, choose: Any) -> Draw:
    seen: dict[str, dict[str, Any]] = {}

    def remember(path: str, found: Range) -> Scalar:
        seen[path] = found.plain()
        value: Scalar = choose(path, found)
        return value

    config, params = sample(tree, remember)
    return Draw(config, params, seen)


def _replay(tree: Any, k: int, params: Params) -> dict[str, Range]:
    """The ranges by path from which these params were drawn, in the order of the tree."""
    met: dict[str, Range] = {}

    def choose(path: str, found: Range) -> Scalar:
        if path not in params:
            raise RangeError(f"{path}: trial {k} of the arm has no value for this range")
        met[path] = found
        return params[path]

    sample(tree, choose)
    for path in params:
        if path not in met:
            raise RangeError(f"{path}: trial {k} of the arm has a value, but this is no range")
    return met


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
