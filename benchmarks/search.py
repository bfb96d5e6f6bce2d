"""How good what samplers find is, on problems whose best value is known; random search beside it.

    python -m benchmarks.search [--repetitions 40] [--trials 16] [--json]

Every repetition draws a problem of its own (where its optimum lies) and a seed. One trial runs at a
time and is told at once. No library of another kind is compared with: it is about our own choices
(how many random draws come first, how past trials are told), which docs/searching.md reports.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.searcher import Mode, Past, searcher

Params = Mapping[str, Any]
UNIT = {"low": 0.0, "high": 1.0}


@dataclass(frozen=True)
class Problem:
    """A search space and what is measured of a configuration: one or several losses."""

    tree: Any
    measure: Callable[[Params], tuple[float, ...]]
    objectives: int = 1


def bowl(chance: random.Random) -> Problem:
    """Three real numbers that matter unequally."""
    centre = [chance.random() for _ in range(3)]
    return around(centre)


def around(centre: Sequence[float], shift: float = 0.0) -> Problem:
    """A bowl with its lowest point, of value `shift`, at `centre`."""

    def measure(params: Params) -> tuple[float, ...]:
        offsets = [params[path] - one for path, one in zip("xyz", centre, strict=True)]
        parts = [w * one**2 for w, one in zip((1.0, 0.3, 0.1), offsets, strict=True)]
        return (shift + sum(parts),)

    return Problem(dict.fromkeys("xyz", UNIT), measure)


def valley(chance: random.Random) -> Problem:
    """A narrow valley across two real numbers, and one that does not matter."""
    slope, offset = chance.uniform(-1, 1), chance.uniform(0.3, 0.7)

    def measure(params: Params) -> tuple[float, ...]:
        across = params["y"] - offset - slope * (params["x"] - 0.5)
        return (across**2 + 0.1 * (params["x"] - offset) ** 2,)

    return Problem(dict.fromkeys("xyz", UNIT), measure)


def conditional(chance: random.Random) -> Problem:
    """A learning rate in the logarithm, a whole number, and a choice with a setting inside."""
    best, steps, inner = 10 ** chance.uniform(-3, 0), chance.randint(1, 12), chance.random()
    tree = {
        "lr": {"low": 0.001, "high": 1.0, "log": True},
        "x": {"low": 1, "high": 12},
        "way": {"values": ["short", {"name": "long", "inner": UNIT}, "none"]},
    }

    def measure(params: Params) -> tuple[float, ...]:
        loss = math.log10(params["lr"] / best) ** 2 / 4 + ((params["x"] - steps) / 12) ** 2
        if params["way"] == "long":
            return (loss + (params["way/inner"] - inner) ** 2,)
        return (loss + (0.1 if params["way"] == "short" else 0.3),)

    return Problem(tree, measure)


def trade(chance: random.Random) -> Problem:
    """Two losses that cannot both be least: distances from two points, in three real numbers."""
    points = [[chance.random() for _ in range(3)] for _ in range(2)]

    def measure(params: Params) -> tuple[float, ...]:
        return tuple(
            sum((params[path] - one) ** 2 for path, one in zip("xyz", point, strict=True))
            for point in points
        )

    return Problem(dict.fromkeys("xyz", UNIT), measure, objectives=2)


SINGLE: dict[str, Callable[[random.Random], Problem]] = {
    "bowl": bowl,
    "valley": valley,
    "conditional": conditional,
}
SAMPLERS = ("random", "quasi-random", "grid", "TPE", "NSGA-II", "CMA-ES")


def run(
    name: str, problem: Problem, trials: int, seed: int, past: Sequence[Past] = ()
) -> list[tuple[dict[str, Any], tuple[float, ...]]]:
    """What a search with this sampler tries, and what it measures."""
    modes: list[Mode] = ["min"] * problem.objectives
    one = searcher(name, problem.tree, seed=seed, arm="a", modes=modes, past=past)
    found = []
    for k in range(trials):
        draw = one.ask(k)
        if draw is None:
            break
        values = problem.measure(draw.params)
        one.tell(k, draw.params, values, 1, "COMPLETE")
        found.append((draw.params, values))
    return found


def regret(name: str, problem: Problem, trials: int, seed: int, past: Sequence[Past] = ()) -> float:
    """How far the best trial is from the least loss, which is 0 in every problem here."""
    return min(values[0] for _, values in run(name, problem, trials, seed, past))


def hypervolume(rows: Sequence[Sequence[float]], corner: float = 1.0) -> float:
    """The area that points of two losses dominate, up to `corner` in both."""
    area, lowest = 0.0, corner
    for first, second in sorted((row[0], row[1]) for row in rows):
        if first < corner and second < lowest:
            area += (corner - first) * (lowest - second)
            lowest = second
    return area


def earlier(problem: Problem, trials: int, seed: int) -> list[Past]:
    """The trials of an earlier study of a problem, as another one is told them."""
    return [
        Past(params, values, 1, "COMPLETE") for params, values in run("TPE", problem, trials, seed)
    ]


def samplers(repetitions: int, trials: int) -> list[dict[str, Any]]:
    """Mean regret of every sampler on every problem of one objective."""
    rows = []
    for label, make in SINGLE.items():
        for name in SAMPLERS:
            if name == "CMA-ES" and label == "conditional":
                continue
            found = [
                regret(name, make(random.Random(seed)), trials, seed) for seed in range(repetitions)
            ]
            rows.append(_row(label, name, found))
    return rows


def fronts(repetitions: int, trials: int) -> list[dict[str, Any]]:
    """Mean hypervolume of every sampler with two objectives."""
    rows = []
    for name in SAMPLERS:
        if name != "CMA-ES":
            found = [
                hypervolume([values for _, values in run(name, problem, trials, seed)])
                for seed in range(repetitions)
                for problem in [trade(random.Random(seed))]
            ]
            rows.append(_row("trade", name, found))
    return rows


def warm(repetitions: int, trials: int) -> list[dict[str, Any]]:
    """Mean regret on bowls after earlier studies of 24 trials: of none, a near and another bowl."""
    rows = []
    for name in ("TPE", "NSGA-II", "CMA-ES"):
        for label in ("none", "related", "unrelated"):
            found = []
            for seed in range(repetitions):
                chance = random.Random(seed)
                centre = [chance.random() for _ in range(3)]
                near = [min(max(one + chance.gauss(0, 0.05), 0.0), 1.0) for one in centre]
                far = [chance.random() for _ in range(3)]
                # Another data set: what is measured lies elsewhere, too.
                source = around(near, 0.2) if label == "related" else around(far, -0.2)
                past = [] if label == "none" else earlier(source, 24, seed + 1000)
                found.append(regret(name, around(centre), trials, seed, past))
            rows.append(_row(f"after {label}", name, found))
    return rows


def _row(problem: str, name: str, found: Sequence[float]) -> dict[str, Any]:
    spread = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else 0.0
    return {
        "problem": problem,
        "sampler": name,
        "mean": statistics.fmean(found),
        "error": spread,
        "n": len(found),
    }


PARTS = {"samplers": samplers, "fronts": fronts, "warm": warm}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table for each part."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--part", choices=PARTS, action="append", help="all of them by default")
    asked.add_argument("--repetitions", type=int, default=40)
    asked.add_argument("--trials", type=int, default=16)
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args(arguments)
    tables = {}
    for part in given.part or PARTS:
        print(f"{part} ...", file=sys.stderr)
        tables[part] = PARTS[part](given.repetitions, given.trials)
    if given.json:
        print(json.dumps(tables, indent=1))
        return
    for part, rows in tables.items():
        what = "hypervolume, more is better" if part == "fronts" else "regret, less is better"
        print(f"{part}: mean {what}; ± standard error, n = {given.repetitions}")
        for row in rows:
            print(
                f"  {row['problem']:16} {row['sampler']:13} {row['mean']:.4f} ± {row['error']:.4f}"
            )


if __name__ == "__main__":
    main()
