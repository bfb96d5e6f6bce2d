from __future__ import annotations

import math

import pytest

from study.confirm import Candidate, seeds, winners, with_seed


def candidate(number: int, value: float, epochs: int = 4, state: str = "COMPLETE") -> Candidate:
    return Candidate(number, f"group {number}", state, epochs, (value,))


def numbers(found: list[Candidate]) -> list[int]:
    return [one.number for one in found]


def test_the_best_come_first_in_the_direction_of_the_metric() -> None:
    tried = [candidate(0, 0.5), candidate(1, 0.9), candidate(2, 0.7)]
    assert numbers(winners(tried, 2, ("max",))) == [1, 2]
    assert numbers(winners(tried, 2, ("min",))) == [0, 2]


def test_trials_that_trained_longer_come_first_whatever_their_value() -> None:
    tried = [
        candidate(0, 0.9, epochs=1, state="PRUNED"),
        candidate(1, 0.6, epochs=4),
        candidate(2, 0.8, epochs=2, state="PRUNED"),
        candidate(3, 0.7, epochs=4),
    ]
    assert numbers(winners(tried, 9, ("max",))) == [3, 1, 2, 0]
    assert numbers(winners(tried, 9, ("min",))) == [1, 3, 2, 0]


def test_ties_go_to_the_lower_number_in_whatever_order_they_come() -> None:
    tried = [candidate(2, 0.5), candidate(0, 0.5), candidate(1, 0.5)]
    for mode in ("max", ("min",)):
        assert numbers(winners(tried, 2, (mode,))) == [0, 1]


def test_failed_and_diverged_trials_are_never_winners() -> None:
    tried = [
        candidate(0, math.nan, state="FAIL"),
        candidate(1, 0.9, state="FAIL"),
        candidate(2, math.inf),
        candidate(3, math.nan),
    ]
    assert winners(tried, 3, ("max",)) == []
    assert winners(tried, 3, ("min",)) == []
    assert numbers(winners([*tried, candidate(4, 0.1)], 3, ("max",))) == [4]


def test_a_configuration_that_was_tried_twice_wins_once() -> None:
    again = Candidate(1, "group 0", "COMPLETE", 4, (0.8,))
    assert numbers(winners([candidate(0, 0.9), again, candidate(2, 0.1)], 2, ("max",))) == [0, 2]


def test_several_objectives_are_ranked_by_fronts_and_the_loneliest_first() -> None:
    pairs = [(0.5, 0.5), (0.9, 0.9), (0.4, 0.6), (0.3, 0.1), (0.8, 0.7)]
    tried = [Candidate(i, f"group {i}", "COMPLETE", 4, pair) for i, pair in enumerate(pairs)]
    tried.append(Candidate(5, "group 5", "COMPLETE", 4, (1.0, math.nan)))
    found = numbers(winners(tried, 5, ("max", "min")))
    # 0, 1, 3 and 4 are better than each other in one; 2 is worse than 0 in both. 5 is nothing.
    assert set(found[:2]) == {1, 3}  # the ends of the front
    assert found[4] == 2


def test_nothing_wins_where_nothing_was_tried() -> None:
    assert winners([], 1, ("max",)) == []


@pytest.mark.parametrize("study_seed", [0, 1, 999, 1000, 1001, 12345])
def test_seeds_are_distinct_and_never_the_studys_own(study_seed: int) -> None:
    found = seeds(study_seed, 50)
    assert len(set(found)) == 50
    assert study_seed not in found
    assert found[:3] == seeds(study_seed, 3)  # more seeds keep the earlier ones


def test_the_seeds_of_a_study_are_written_down_here_because_a_ledger_holds_them() -> None:
    assert seeds(0, 3) == [1000, 1001, 1002]
    assert seeds(7, 2) == [8000, 8001]
    assert seeds(0, 0) == []


def test_another_seed_changes_nothing_else() -> None:
    recipe = {"seed": 0, "data": {"seed": 0}}
    assert with_seed(recipe, 1000) == {"seed": 1000, "data": {"seed": 0}}
    assert recipe["seed"] == 0
