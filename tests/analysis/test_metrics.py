from __future__ import annotations

import math

import pytest

from analysis.metrics import metric, readable


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("accuracy", 0.85714, "85.71 %"),
        ("validation/pgd_linf_8/255_20/accuracy", 0.5, "50.00 %"),
        ("rmse", 11.4689, "11.47"),
        ("validation/rmse", 0.0123456, "0.01235"),
        ("mae", 123456.7, "123457"),
        ("r2", 0.98765, "0.9877"),
        ("r2", -3.0, "-3.000"),
        ("map", 0.3741, "37.41"),
        ("map_50", 1.0, "100.00"),
        ("loss", 1e-7, "1e-07"),
        ("loss", 2.5e9, "2.5e+09"),
        ("loss", 0.0, "0.00"),
        ("loss", math.nan, "nan"),
        ("accuracy", math.nan, "nan %"),
    ],
)
def test_a_value_alone(name: str, value: float, shown: str) -> None:
    assert metric(name).shown(value) == shown


def test_only_a_share_of_examples_is_percent() -> None:
    names = ("accuracy", "loss", "rmse", "mae", "r2", "map", "map_50", "map_75", "mar_100")
    assert [one for one in names if metric(one).unit == "%"] == ["accuracy"]
    assert [one for one in names if metric(one).scale == 100] == [
        "accuracy", "map", "map_50", "map_75", "mar_100",
    ]  # fmt: skip


def test_every_metric_of_every_task_is_known_with_its_direction() -> None:
    from trainables.core.tasks import TASKS

    for task in TASKS.values():
        for name, better in task.best.items():
            found = metric(name)
            assert (found.better, found.lower) == (better, better == "min")
            # What is not known would be called by its bare name without a scale or a bound.
            assert found.title != name or name in ("accuracy", "loss")


def test_an_unknown_metric_is_shown_as_it_is_and_the_goal_says_its_direction() -> None:
    found = metric("validation/regret", "min")
    assert (found.title, found.lower, found.heading) == ("regret", True, "regret")
    assert not metric("regret").lower


def test_the_decimals_of_a_column_are_those_of_its_middle() -> None:
    rmse = metric("rmse")
    column = [11.47, 11.53, 1234567.0]
    assert [rmse.text(one, rmse.decimals(column)) for one in column] == [
        "11.47", "11.53", "1234567.00",
    ]  # fmt: skip
    assert rmse.decimals([0.0, math.nan]) == 2
    assert rmse.text(-0.001, 2, sign=True) == "+0.00"
    assert rmse.text(0.06036, 2, sign=True) == "+0.06"
    assert metric("accuracy").decimals([1e-9]) == 2


def test_readable() -> None:
    assert readable("validation/rmse") == "validation RMSE"
    assert readable("validation/pgd_linf_8/255_20/map") == "validation pgd_linf_8/255_20 AP"
    assert readable("accuracy") == "accuracy"
