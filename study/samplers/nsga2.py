"""NSGA-II, written here because Optuna's keeps its generations where no ledger can restore them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from typing import Any

from search_spaces.ranges import Choice, Chooser, Float, Integer, Range, Scalar, uniform
from study.samplers.losses import Losses, losses
from study.samplers.position import position
from study.searcher import Mode, Params, Question, Told, every, number_of

# Configurations that children are bred of, and random draws before there are any.
POPULATION = 8
# Chance that a number is crossed rather than copied, and how close to its parents and to itself a
# crossed or mutated one stays (Deb's distribution indices; 20 in the paper, whose populations are
# of hundreds and which therefore can afford to move slowly).
CROSSED = 0.9
CLOSENESS = 5.0


class NSGA2:
    """Non-dominated sorting genetic algorithm (Deb et al., IEEE TEVC 2002), for any objectives.

    Every draw breeds one child: two parents are each the better of two of the population (first by
    the front that it lies in, then by its crowding distance), numbers are crossed by simulated
    binary crossover in the unit of the range (in the logarithm if `log`) and mutated polynomially,
    choices come from either parent or are drawn anew. A range that no parent has is drawn evenly.

    The population is the best 8 trials told so far, as selection from parents and children would
    leave it, without waiting for a generation to end (steady state; Durillo et al., EMO 2009). So
    it is known from the ledger alone, however many trials run at once. While it is not full, draws
    are random; after earlier studies their best trials fill it, and every other draw is random.
    """

    levels = staticmethod(every)

    def __init__(self, tree: Any, modes: Sequence[Mode], past: Sequence[Told]) -> None:
        self._modes = modes
        self._past = [one.params for one in selected(past, losses(past, modes), POPULATION)]

    def chooser(self, question: Question, trials: Sequence[Told]) -> Chooser:
        """A child of the population."""
        own = selected(trials, losses(trials, self._modes), POPULATION)
        population = [*(one.params for one in own), *self._past][:POPULATION]
        drawn = uniform(question.text)
        # The past may be of another kind: half of the first population does not go by it.
        alone = len(own) < POPULATION and question.place % 2 == 1
        if alone or len(population) < POPULATION:
            return drawn
        chance = random.Random(number_of(json.dumps([question.text, "parents"])))
        parents = [_better(population, chance) for _ in range(2)]

        def choose(path: str, found: Range) -> Scalar:
            values = [one[path] for one in parents if path in one and found.contains(one[path])]
            if not values:
                return drawn(path, found)
            # By path, so that a range more or less leaves the other ones as they were.
            luck = random.Random(number_of(json.dumps([question.text, path])))
            mutates = luck.random() < 1 / max(len(one) for one in parents)
            if isinstance(found, Choice):
                return drawn(path, found) if mutates else _either(values, luck)
            return _bred(found, [float(one) for one in values], mutates, luck)  # type: ignore[arg-type]

        return choose


def selected(trials: Sequence[Told], found: Sequence[Losses | None], count: int) -> list[Told]:
    """The best `count` trials, by front and then by crowding distance, or all where fewer."""
    sound = [(trial, one) for trial, one in zip(trials, found, strict=True) if one is not None]
    rows = [one for _, one in sound]
    ranks = fronts(rows)
    distances = [0.0] * len(rows)
    for rank in set(ranks):
        members = [place for place, one in enumerate(ranks) if one == rank]
        apart = crowding([rows[place] for place in members])
        for place, distance in zip(members, apart, strict=True):
            distances[place] = distance
    order = sorted(range(len(rows)), key=lambda place: (ranks[place], -distances[place], place))
    return [sound[place][0] for place in order[:count]]


def fronts(rows: Sequence[Losses]) -> list[int]:
    """The front of each row of losses: 0 is dominated by none, n + 1 by some of front n."""
    ranks = [-1] * len(rows)
    left = list(range(len(rows)))
    rank = 0
    while left:
        free = [one for one in left if not any(_dominates(rows[it], rows[one]) for it in left)]
        for one in free:
            ranks[one] = rank
        left = [one for one in left if ranks[one] < 0]
        rank += 1
    return ranks


def crowding(rows: Sequence[Losses]) -> list[float]:
    """How far each row of a front is from its neighbours, summed over the objectives.

    Distances are shares of the front's extent; the first and last of each objective are infinite.
    An objective in which all are equal says nothing.
    """
    found = [0.0] * len(rows)
    for column in zip(*rows, strict=True):
        order = sorted(range(len(rows)), key=lambda place: column[place])
        extent = column[order[-1]] - column[order[0]]
        if not extent:
            continue
        found[order[0]] = found[order[-1]] = math.inf
        for before, place, after in zip(order, order[1:], order[2:], strict=False):
            found[place] += (column[after] - column[before]) / extent
    return found


def _dominates(one: Losses, other: Losses) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _better(population: Sequence[Params], chance: random.Random) -> Params:
    """The better of two: the population is in order of merit."""
    return population[min(int(chance.random() * len(population)) for _ in range(2))]


def _either(values: Sequence[Scalar], luck: random.Random) -> Scalar:
    return values[int(luck.random() * len(values))]


def _bred(
    found: Float | Integer, values: Sequence[float], mutates: bool, luck: random.Random
) -> Scalar:
    """A number from those of the parents that have it."""
    places = [position(found, one) for one in values]
    if len(places) == 2 and luck.random() < CROSSED:
        place = _crossed(places[0], places[1], luck)
    else:
        place = places[int(luck.random() * len(places))]
    if mutates:
        place = _mutated(place, luck)
    # Below 1, where a whole number would be one too large.
    return found.at(min(max(place, 0.0), 1 - 2**-53))


def _crossed(one: float, other: float, luck: random.Random) -> float:
    """One of the two children of simulated binary crossover (Deb and Agrawal, 1995)."""
    u = luck.random()
    power = 1.0 / (CLOSENESS + 1.0)
    spread: float = (2 * u) ** power if u <= 0.5 else (1 / (2 * (1 - u))) ** power
    side = 1 if luck.random() < 0.5 else -1
    return (one + other + side * spread * (one - other)) / 2


def _mutated(place: float, luck: random.Random) -> float:
    """Polynomial mutation, further towards the end that is further away (Deb's bounded form)."""
    u = luck.random()
    power = 1.0 / (CLOSENESS + 1.0)
    place = min(max(place, 0.0), 1.0)
    shift: float
    if u < 0.5:
        shift = (2 * u + (1 - 2 * u) * (1 - place) ** (CLOSENESS + 1)) ** power - 1
    else:
        shift = 1 - (2 * (1 - u) + (2 * u - 1) * place ** (CLOSENESS + 1)) ** power
    return place + shift
