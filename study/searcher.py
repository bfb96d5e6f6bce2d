"""Searchers: which configuration an arm tries next, by ask and tell; no Ray, no state on disk.

One searcher serves one arm, so that every arm gets the same number of trials. Trials are numbered
k = 0, 1, ... within the arm: k = 0 is always the default configuration, the one of the papers, then
come the points given by hand, then the best trial of earlier studies, if there are any, then what
the sampler draws. No arm tries a configuration twice.

What `ask(k)` answers is a function of the seed, the arm, k and the trials it was told about, in
whatever order. A study that was killed is resumed by telling a new searcher what the ledger holds;
it then asks exactly what the uninterrupted one would have asked. That is why samplers (a file each
in `study/samplers`) hold no state: they are handed the other trials whenever they draw.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from search_spaces.ranges import (
    Choice,
    Chooser,
    Float,
    Integer,
    Range,
    RangeError,
    Scalar,
    default,
    distributions,
    sample,
)
from trainables.core.errors import SettingError, nearest
from trainables.core.quantities import number, several

Params = Mapping[str, Scalar]
Mode = Literal["max", "min"]
State = Literal["COMPLETE", "PRUNED", "FAIL"]
# All values that a sampler may draw of a range; None where they are too many to count.
Levels = Callable[[Range], Sequence[Scalar] | None]

# By the name in a study file: module and class. Imported when asked for, so that a study pays for
# the libraries of its own sampler alone.
SAMPLERS = {
    "TPE": ("tpe", "TPE"),
    "random": ("random_search", "RandomSearch"),
    "grid": ("grid", "Grid"),
    "quasi-random": ("quasi_random", "QuasiRandom"),
    "NSGA-II": ("nsga2", "NSGA2"),
    "CMA-ES": ("cma_es", "CMAES"),
}
# How often a configuration that was tried is drawn again.
ATTEMPTS = 64
# A finite space of at most so many configurations is counted, and used up to the last one. There
# fewer attempts do: one of those left can be taken.
COUNTED = 4096
ATTEMPTS_COUNTED = 8


@dataclass(frozen=True)
class Draw:
    """What a searcher answers: the config without ranges, the drawn leaves, and their ranges."""

    config: Any
    params: dict[str, Scalar]
    distributions: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Past:
    """A trial of an earlier study: its params by path, and how it ended (see `Searcher.tell`)."""

    params: Params
    values: tuple[float, ...] | None
    epochs: int
    state: State


@dataclass(frozen=True)
class Told:
    """A trial as samplers see it; one that has not ended is RUNNING and has no values."""

    params: Params
    values: tuple[float, ...] | None
    epochs: int
    state: State | Literal["RUNNING"]


@dataclass(frozen=True)
class Question:
    """Which draw is asked for: `place` counts the sampler's draws in the arm, from 0.

    `attempt` is 0, and more where what was drawn before had been tried already.
    """

    seed: int
    arm: str
    k: int
    place: int
    attempt: int

    @property
    def text(self) -> str:
        """What all chance of this draw comes from."""
        again = [self.attempt] if self.attempt else []
        return json.dumps([self.seed, self.arm, self.k, *again])

    @property
    def number(self) -> int:
        """The same as a whole number of 32 bits."""
        return number_of(self.text)


class Sampler(Protocol):
    """What a file of `study/samplers` holds; made of the arm's tree, modes and past trials."""

    levels: Levels

    def __init__(self, tree: Any, modes: Sequence[Mode], past: Sequence[Told]) -> None:
        """Raises `SettingError` for a tree or modes that it cannot search."""

    def chooser(self, question: Question, trials: Sequence[Told]) -> Chooser:
        """How one configuration is drawn, after the arm's other trials in order of k."""


class Searcher(Protocol):
    """What the conductor needs of a searcher."""

    def ask(self, k: int) -> Draw | None:
        """The configuration of the arm's k-th trial, which counts as running from now on.

        None: no new configuration is left.
        """

    def planned(self, k: int, params: Params) -> None:
        """A trial that an earlier driver asked for and that has not ended."""

    def tell(
        self, k: int, params: Params, values: Sequence[float] | None, epochs: int, state: State
    ) -> None:
        """How a trial ended, whether this object asked for it or not.

        `values` are the objectives' at its last report, in the order of the modes: None where there
        are none, NaN or infinite where it diverged. `epochs` is how many it trained. Telling a
        trial again replaces what was told.
        """


class ArmSearcher:
    """The one searcher: what all samplers share, around one of them."""

    def __init__(
        self,
        sampler: Sampler,
        tree: Any,
        *,
        seed: int,
        arm: str,
        objectives: int,
        points: Sequence[Params],
    ) -> None:
        self._sampler = sampler
        self._tree = tree
        self._seed = seed
        self._arm = arm
        self._objectives = objectives
        self._given = [_draw(tree, _from(one)) for one in points]
        self._trials: dict[int, Told] = {}
        self._keys: dict[int, str] = {}
        self._counted: list[dict[str, Scalar]] | None = None
        self._were_counted = False

    def ask(self, k: int) -> Draw | None:
        """The k-th configuration: given, or the first one drawn that no other trial has."""
        draw = self._given[k] if k < len(self._given) else self._new(k)
        if draw is not None:
            self.planned(k, draw.params)
        return draw

    def planned(self, k: int, params: Params) -> None:
        """A running trial: samplers that model keep away from it until it has ended."""
        if k not in self._trials:
            self._keep(k, Told(self._checked(k, params), None, 0, "RUNNING"))

    def tell(
        self, k: int, params: Params, values: Sequence[float] | None, epochs: int, state: State
    ) -> None:
        """How the k-th trial ended; a trial of another search space is a `RangeError`."""
        if state not in get_args(State):
            raise ValueError(f"state must be COMPLETE, PRUNED or FAIL, found {state!r}")
        if values is not None and len(values) != self._objectives:
            raise ValueError(f"{self._objectives} values are told of a trial, found {values!r}")
        found = None if values is None else tuple(float(one) for one in values)
        self._keep(k, Told(self._checked(k, params), found, epochs, state))

    def _keep(self, k: int, told: Told) -> None:
        self._trials[k] = told
        self._keys[k] = _key(told.params)

    def _new(self, k: int) -> Draw | None:
        others = [self._trials[one] for one in sorted(self._trials) if one != k]
        taken = {_key(one.params) for one in self._given}
        taken |= {key for one, key in self._keys.items() if one != k}
        left: list[dict[str, Scalar]] | None = None
        for attempt in range(ATTEMPTS):
            question = Question(self._seed, self._arm, k, k - len(self._given), attempt)
            draw = _draw(self._tree, self._sampler.chooser(question, others))
            if _key(draw.params) not in taken:
                return draw
            if left is None and (counted := self._every()) is not None:
                left = [one for one in counted if _key(one) not in taken]
            if left is not None and (not left or attempt + 1 == ATTEMPTS_COUNTED):
                break
        if not left:
            return None
        last = Question(self._seed, self._arm, k, 0, ATTEMPTS)
        return _draw(self._tree, _from(left[last.number % len(left)]))

    def _every(self) -> list[dict[str, Scalar]] | None:
        """All configurations that the sampler may draw; counted when one was drawn twice."""
        if not self._were_counted:
            self._counted = configurations(self._tree, self._sampler.levels)
            self._were_counted = True
        return self._counted

    def _checked(self, k: int, params: Params) -> dict[str, Scalar]:
        try:
            return walked(self._tree, params)[0]
        except RangeError as error:
            raise RangeError(f"trial {k} of {self._arm}: {error}") from None


def searcher(
    name: str,
    tree: Any,
    *,
    seed: int,
    arm: str,
    modes: Sequence[Mode],
    points: Sequence[Mapping[str, Any]] = (),
    past: Sequence[Past] = (),
) -> Searcher:
    """The searcher of an arm, its sampler named in any case.

    `modes` says of each objective whether more or less of it is better. `points` are tried after
    the defaults, each a mapping of paths to values; paths that it does not name have their default,
    and a point that repeats an earlier one is left out. Of `past` those trials are told to the
    sampler first whose params fit into the tree; the best of them is tried after the points.

    Raises `SettingError` for an unknown name, mode or point, and where the sampler cannot search
    this tree or these objectives; `MissingDataError` where its library is not installed.
    """
    by_case = {one.lower(): found for one, found in SAMPLERS.items()}
    found = by_case.get(str(name).lower())
    if found is None:
        raise SettingError(f"Unknown sampler {name!r}.{nearest(str(name), SAMPLERS)}")
    if isinstance(modes, str) or not modes:
        raise SettingError(f"modes must list max or min for each objective, found {modes!r}.")
    for mode in modes:
        if mode not in get_args(Mode):
            raise SettingError(f"mode must be min or max, found {mode!r}.")
    module, kind = found
    make: type[Sampler] = getattr(importlib.import_module(f"study.samplers.{module}"), kind)
    fitting = [
        Told(walked(tree, one.params)[0], one.values, one.epochs, one.state)
        for one in past
        if fits(tree, one.params) and len(one.values or modes) == len(modes)
    ]
    return ArmSearcher(
        make(tree, tuple(modes), fitting),
        tree,
        seed=seed,
        arm=arm,
        objectives=len(modes),
        points=starts(tree, [*points, *_best(fitting, modes)]),
    )


def _best(past: Sequence[Told], modes: Sequence[Mode]) -> list[Params]:
    """The params of the best trial of the past; of several objectives none outweighs another."""
    from study.samplers.losses import losses

    known = [(sum(found), place) for place, found in enumerate(losses(past, modes)) if found]
    return [past[min(known)[1]].params] if known else []


def starts(tree: Any, points: Sequence[Mapping[str, Any]]) -> list[dict[str, Scalar]]:
    """The params that an arm begins with: of the defaults, then of the points given by hand.

    Each once. Numbers may be texts such as "8/255"; of a choice the value or its label is given.
    Raises `SettingError` naming the point and the path, for a path that is no range of the tree or
    has no value with the point's other ones, and for a value outside its range.
    """
    found: dict[str, dict[str, Scalar]] = {}
    known = distributions(tree)
    for place, point in enumerate([{}, *several("points", points)]):
        where = f"points.{place - 1}"
        if not isinstance(point, Mapping):
            raise SettingError(f"{where} must be a mapping of paths to values, found {point!r}.")
        for path in point:
            if path not in known:
                raise SettingError(
                    f"{where}: {path!r} is no range of this arm.{nearest(str(path), known)}"
                )
        draw = _draw(tree, _by_hand(where, point))
        for path in point:
            if path not in draw.params:
                raise SettingError(
                    f"{where}: {path} has no value with the other values of this point; those that "
                    f"have one: {', '.join(draw.params)}."
                )
        found.setdefault(_key(draw.params), draw.params)
    return list(found.values())


def walked(tree: Any, params: Params) -> tuple[dict[str, Scalar], dict[str, Range]]:
    """These params as the tree has them, and the ranges that they come from, in its order.

    Raises `RangeError` for a missing path, one that is no range, and a value outside its range.
    """
    met: dict[str, Range] = {}

    def choose(path: str, found: Range) -> Scalar:
        if path not in params:
            raise RangeError(f"{path}: there is no value for this range")
        met[path] = found
        return params[path]

    _, drawn = sample(tree, choose)
    for path in params:
        if path not in met:
            raise RangeError(f"{path}: there is a value, but this is no range")
    return drawn, {path: met[path] for path in drawn}


def fits(tree: Any, params: Params) -> bool:
    """Whether these params are one configuration of the tree, no more and no less."""
    try:
        walked(tree, params)
    except RangeError:
        return False
    return True


def every(found: Range) -> Sequence[Scalar] | None:
    """All values of a range; None for a real number, and for more whole ones than are counted."""
    if isinstance(found, Choice):
        return found.labels
    if isinstance(found, Integer) and found.high - found.low < COUNTED:
        return range(found.low, found.high + 1)
    return None


def configurations(tree: Any, levels: Levels) -> list[dict[str, Scalar]] | None:
    """All configurations of these levels, ranges that others rule out left out; None: too many.

    Walks the tree once for each, as an odometer turns: the digit of the last range first.
    """
    all_of_them: list[dict[str, Scalar]] = []
    odometer = _Odometer(levels)
    while len(all_of_them) < COUNTED:
        all_of_them.append(sample(tree, odometer.choose)[1])
        if odometer.uncounted:
            return None
        if not odometer.turn():
            return all_of_them
    return None


def number_of(text: str) -> int:
    """32 bits of the text's SHA-256, so that no version of a library can change them."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class _Odometer:
    """A digit for every range of one way through a tree: the place of its value."""

    def __init__(self, levels: Levels) -> None:
        self.uncounted = False  # a range was met whose values are too many
        self._levels = levels
        self._digits: list[int] = []
        self._sizes: list[int] = []  # of the ranges met on this way, as far as it has gone

    def choose(self, path: str, found: Range) -> Scalar:
        values = self._levels(found)
        if values is None:
            self.uncounted = True
            return found.middle()
        if len(self._sizes) == len(self._digits):
            self._digits.append(0)
        self._sizes.append(len(values))
        return values[self._digits[len(self._sizes) - 1]]

    def turn(self) -> bool:
        """To the next way; False after the last one."""
        while self._digits and self._digits[-1] + 1 == self._sizes[len(self._digits) - 1]:
            self._digits.pop()
        if self._digits:
            self._digits[-1] += 1
        self._sizes = []
        return bool(self._digits)


def _draw(tree: Any, choose: Chooser) -> Draw:
    seen: dict[str, dict[str, Any]] = {}

    def remember(path: str, found: Range) -> Scalar:
        seen[path] = found.plain()
        return choose(path, found)

    config, params = sample(tree, remember)
    return Draw(config, params, seen)


def _from(params: Params) -> Chooser:
    return lambda path, found: params[path]


def _by_hand(where: str, point: Mapping[str, Any]) -> Chooser:
    def choose(path: str, found: Range) -> Scalar:
        if path not in point:
            return default(path, found)
        return _value(f"{where}: {path}", point[path], found)

    return choose


def _value(where: str, given: Any, found: Range) -> Scalar:
    """What was given by hand as a value of the range."""
    if isinstance(found, Choice):
        for label, meant in zip(found.labels, found.values, strict=True):
            if any(type(given) is type(one) and given == one for one in (label, meant)):
                return label
        raise SettingError(
            f"{where} cannot be {given!r}.{nearest(str(given), [str(one) for one in found.labels])}"
        )
    value: float = number(where, given)
    if isinstance(found, Integer) and value == int(value):
        value = int(value)
    if not found.contains(value):
        rule = "a number" if isinstance(found, Float) else "a whole number"
        nearby = min(max(value, found.low), found.high)
        raise SettingError(
            f"{where} must be {rule} in [{found.low:g}, {found.high:g}], found {given!r}; the "
            f"nearest is {nearby if isinstance(found, Float) else round(nearby):g}."
        )
    return value


def _key(params: Params) -> str:
    """Equal for equal configurations; 0, 0.0 and False are three."""
    return json.dumps(dict(params), sort_keys=True)
