from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.pareto import best, crowding, hypervolume, over_time, ranks, worst

NAN, INF = math.nan, math.inf


def slow_ranks(rows: Sequence[Sequence[float]], modes: Sequence[str]) -> list[int]:
    """Rank = the longest chain of rows that dominate one another above it."""
    signs = [1 if one == "max" else -1 for one in modes]
    gains = [[sign * value for sign, value in zip(signs, row, strict=True)] for row in rows]

    def beats(a: list[float], b: list[float]) -> bool:
        pairs = list(zip(a, b, strict=True))
        return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)

    known: dict[int, int] = {}

    def rank(place: int) -> int:
        if place not in known:
            above = [i for i in range(len(gains)) if beats(gains[i], gains[place])]
            known[place] = 1 + max((rank(one) for one in above), default=-1)
        return known[place]

    return [rank(place) for place in range(len(gains))]


def test_ranks_by_hand() -> None:
    # Accuracy up, loss down: b dominates c, c dominates d; a and b cannot be compared.
    rows = [(0.9, 0.5), (0.8, 0.2), (0.7, 0.3), (0.7, 0.4)]
    assert ranks(rows, ("max", "min")).tolist() == [0, 0, 1, 2]
    assert ranks(rows, ("max", "max")).tolist() == [0, 1, 2, 1]


def test_rows_that_are_not_finite_dominate_nothing_and_come_last() -> None:
    rows = [(0.5, 0.5), (NAN, 0.9), (0.4, 0.4), (INF, 0.9), (0.9, NAN)]
    assert ranks(rows, ("max", "max")).tolist() == [0, 2, 1, 2, 2]
    assert best(rows, ("max", "max"), 5) == [0, 2]
    assert crowding(rows, ("max", "max")).tolist() == [INF, 0, INF, 0, 0]
    assert ranks([(NAN, 1.0)], ("max", "max")).tolist() == [0]
    assert best([(NAN, 1.0)], ("max", "max"), 3) == []


@given(
    st.integers(1, 4).flatmap(
        lambda m: st.tuples(
            st.lists(st.tuples(*[st.integers(0, 4)] * m), max_size=12),
            st.tuples(*[st.sampled_from(["max", "min"])] * m),
        )
    )
)
def test_ranks_equal_the_longest_chain_above(drawn: tuple[Any, Any]) -> None:
    rows, modes = drawn
    assert ranks(rows, modes).tolist() == slow_ranks(rows, modes)


def test_crowding_by_hand() -> None:
    rows = [(0.0, 4.0), (1.0, 3.0), (3.0, 1.0), (4.0, 0.0), (0.0, 0.0)]
    found = crowding(rows, ("max", "max"))
    # Each inner one: 3 of 4 between its neighbours in both objectives; the last is rank 1, alone.
    assert found.tolist() == [INF, 1.5, 1.5, INF, INF]
    # The same row twice has the same room, wherever it stands.
    assert crowding([rows[1], *rows, rows[1]], ("max", "max")).tolist()[0] == 1.5


def test_best_takes_the_front_and_then_the_less_crowded() -> None:
    rows = [(0.0, 0.0), (2.1, 1.9), (2.0, 2.0), (0.0, 4.0), (4.0, 0.0), (1.0, 3.0)]
    # The front is all but the first; its ends come first, in order; then the one with most room.
    room = dict(zip(range(6), crowding(rows, ("max", "max")), strict=True))
    inner = sorted((1, 2, 5), key=lambda place: (-room[place], place))
    assert best(rows, ("max", "max"), 6) == [3, 4, *inner, 0]
    assert best(rows, ("max", "max"), 2) == [3, 4]
    assert best([], ("max", "max"), 2) == []


def test_best_of_one_objective_is_its_order() -> None:
    assert best([[3.0], [5.0], [NAN], [5.0], [5.0], [1.0]], ("max",), 9) == [1, 3, 4, 0, 5]
    assert best([[3.0], [5.0], [1.0]], ("min",), 2) == [2, 0]


@given(st.permutations(range(8)))
def test_the_order_of_rows_has_no_say(order: list[int]) -> None:
    rows = [(0, 4), (1, 3), (3, 1), (4, 0), (1, 3), (2, 2), (0, 0), (2, 2)]
    room, rank = crowding(rows, ("max", "max")), ranks(rows, ("max", "max"))
    mixed = [rows[place] for place in order]
    assert crowding(mixed, ("max", "max")).tolist() == [room[place] for place in order]
    assert ranks(mixed, ("max", "max")).tolist() == [rank[place] for place in order]


def test_hypervolume_by_hand() -> None:
    # Two boxes 3 x 1 and 1 x 2 that share 1 x 1.
    rows = [(3.0, 1.0), (1.0, 2.0)]
    assert hypervolume(rows, (0, 0), ("max", "max")) == 4
    # To be made small, seen from (4, 4): boxes 1 x 3 and 3 x 2 that share 1 x 2.
    assert hypervolume(rows, (4, 4), ("min", "min")) == 7
    # Up and down, seen from (0, 3): 3 x 2 and 1 x 1, the second inside.
    assert hypervolume(rows, (0, 3), ("max", "min")) == 6
    assert hypervolume([(2.0,), (5.0,)], (1,), ("max",)) == 4
    # Three cubes at the corners of one: 3 x (1 x 1 x 2) that share the unit cube.
    corners = [(2.0, 1.0, 1.0), (1.0, 2.0, 1.0), (1.0, 1.0, 2.0)]
    assert hypervolume(corners, (0, 0, 0), ("max",) * 3) == 4


def test_hypervolume_of_nothing() -> None:
    assert hypervolume([], (0, 0), ("max", "max")) == 0
    rows = [(NAN, 1.0), (1.0, INF), (-1.0, 5.0), (0.0, 5.0)]
    assert hypervolume(rows, (0, 0), ("max", "max")) == 0
    # Seen from the worst row of two that cannot be compared each is worst in something.
    rows = [(1.0, 2.0), (2.0, 1.0)]
    assert hypervolume(rows, worst(rows, ("max", "max")), ("max", "max")) == 0


@pytest.mark.parametrize("m", [2, 3, 4])
def test_hypervolume_is_optunas(m: int) -> None:
    from optuna._hypervolume import compute_hypervolume

    for seed in range(12):
        random = np.random.default_rng(seed)
        # Coarse values, so that there are ties in every objective.
        rows = random.integers(0, 7, size=(20, m)) / 7 if seed % 2 else random.random((20, m))
        expected = compute_hypervolume(rows, np.full(m, 1.1))
        assert hypervolume(rows, [1.1] * m, ("min",) * m) == pytest.approx(expected, rel=1e-12)
        assert hypervolume(-rows, [-1.1] * m, ("max",) * m) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_hypervolume_is_the_share_of_random_points_that_are_dominated(m: int) -> None:
    random = np.random.default_rng(m)
    rows = random.random((12, m))
    points = random.random((200_000, m))
    hit = np.zeros(len(points), dtype=bool)
    for row in rows:
        hit |= (points <= row).all(axis=1)
    share = hit.mean()
    error = math.sqrt(share * (1 - share) / len(points))
    assert hypervolume(rows, [0] * m, ("max",) * m) == pytest.approx(share, abs=5 * error)


def test_a_dominated_row_adds_no_volume() -> None:
    rows = np.random.default_rng(0).random((9, 3))
    whole = hypervolume(rows, (0, 0, 0), ("max",) * 3)
    assert hypervolume([*rows, rows[0] / 2], (0, 0, 0), ("max",) * 3) == pytest.approx(whole)
    front = rows[ranks(rows, ("max",) * 3) == 0]
    assert hypervolume(front, (0, 0, 0), ("max",) * 3) == pytest.approx(whole)


def test_over_time_is_the_volume_of_every_beginning() -> None:
    rows = np.random.default_rng(1).random((15, 2))
    rows[4] = NAN
    found = over_time(rows, (0, 1), ("max", "min"))
    each = [hypervolume(rows[:count], (0, 1), ("max", "min")) for count in range(1, 16)]
    assert found.tolist() == pytest.approx(each)
    assert all(one <= other for one, other in itertools.pairwise(found))
    assert over_time([], (0, 1), ("max", "min")).tolist() == []


def test_the_worst_of_each_objective() -> None:
    rows = [(0.9, 3.0), (0.5, 2.0), (NAN, 9.0), (0.7, INF)]
    assert worst(rows, ("max", "min")).tolist() == [0.5, 9.0]
    assert all(map(math.isnan, worst([(NAN, NAN)], ("max", "min"))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranks([(1.0, 2.0)], ("max",)), r"array \[n, 1\], found one of shape \(1, 2\)"),
        (lambda: ranks([(1.0,)], ("up",)), "max or min"),
        (lambda: hypervolume([(1.0, 2.0)], (0.0,), ("max", "max")), "2 finite values"),
        (lambda: hypervolume([(1.0, 2.0)], (0.0, NAN), ("max", "max")), "2 finite values"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
