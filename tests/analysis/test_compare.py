from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from analysis import formats
from analysis.compare import Comparison, compare, grids, to_plain, welch

from .fake_study import BASELINE, KL, PGD, TECATOR, Ledger, row

DIGITS: dict[str, Any] = {
    "title": "Digits",
    "provenance": "own",
    "units": "pixel [0, 1]",
    "shape": [1, 8, 8],
    "classes": 10,
    "train": 1000,
    "validation": 250,
    "test": 100,
}


def study(
    folder: Path,
    values: dict[int, float],
    *,
    described: Any = DIGITS,
    pgd: dict[str, Any] | None = None,
    **resolved: Any,
) -> Path:
    """A study of one row with a clean accuracy for each seed, and twice that less 1 under PGD."""
    ledger = Ledger(folder, [BASELINE], described=described, version=2, **resolved)
    searched = ledger.plan(BASELINE, group="g")
    ledger.start(searched)
    ledger.report(searched, 1, 0.9, [row("clean", 0.9, family="clean")], decision="complete")
    ledger.end(searched)
    for seed, value in values.items():
        trial = ledger.plan(BASELINE, "confirm", seed, "g")
        ledger.start(trial)
        attack = PGD | {"steps": 20, "restarts": 1} | (pgd or {})
        rows = [
            row("clean", value, 100, "test", family="clean"),
            row("pgd_linf_8/255_20", 2 * value - 1, 100, "test", **attack),
        ]
        ledger.report(trial, 1, 0.9, rows, decision="complete")
        ledger.end(trial)
    ledger.event("finished", failed=0)
    return folder


A = {1000: 0.90, 1001: 0.92, 1002: 0.94}
B = {1000: 0.91, 1001: 0.94, 1002: 0.97}


def by_benchmark(found: Comparison) -> dict[str, Any]:
    return {one.benchmark: one for one in found.differences}


def test_the_same_seeds_data_and_split_are_paired(tmp_path: Path) -> None:
    found = compare([study(tmp_path / "a", A), study(tmp_path / "b", B)])
    clean = by_benchmark(found)["clean"]
    assert clean.how == "paired"
    # Differences 1, 2, 3 pp: mean 2, deviation 1, t(0.975, 2) = 4.302653.
    half = 4.302653 * 0.01 / 3**0.5
    assert clean.interval.mean == pytest.approx(0.02)
    assert clean.interval.high - clean.interval.mean == pytest.approx(half, rel=1e-5)
    assert by_benchmark(found)["pgd_linf_8/255_20"].interval.mean == pytest.approx(0.04)


def test_other_seeds_are_welch(tmp_path: Path) -> None:
    other = dict(zip((7, 8, 9), B.values(), strict=True))
    found = compare([study(tmp_path / "a", A), study(tmp_path / "b", other)])
    clean = by_benchmark(found)["clean"]
    assert clean.how == "Welch"
    test = stats.ttest_ind(list(B.values()), list(A.values()), equal_var=False)
    low, high = test.confidence_interval(0.95)
    assert (clean.interval.low, clean.interval.high) == pytest.approx((low, high))


def test_another_split_of_the_same_data_is_welch(tmp_path: Path) -> None:
    split = {"name": "Digits", "validation": 0.2, "seed": 3}
    found = compare([study(tmp_path / "a", A), study(tmp_path / "b", B, data=split)])
    assert by_benchmark(found)["clean"].how == "Welch"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"described": TECATOR}, "other test set"),
        ({"described": DIGITS | {"test": 99}}, "other test set"),
        ({"data": {"name": "Digits", "validation": 0.2, "classes": [0, 1]}}, "other test set"),
        ({"pgd": {"steps": 40}}, "other steps: 20, 40"),
        ({"pgd": {"eps_text": "4/255"}}, "other eps_text: 8/255, 4/255"),
        ({"pgd": {"restarts": 5}}, "other restarts: 1, 5"),
    ],
)
def test_what_does_not_measure_the_same_has_no_difference(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    found = compare([study(tmp_path / "a", A), study(tmp_path / "b", B, **change)])
    attacked = by_benchmark(found)["pgd_linf_8/255_20"]
    assert attacked.interval is None
    assert why in attacked.how
    assert attacked.first is not None and attacked.other is not None
    assert f"not compared: {attacked.how}" in formats.to_markdown(grids(found)[1])


@pytest.mark.parametrize(("n", "seeds"), [(100, True), (50, False)])
def test_some_of_the_test_examples_are_those_of_the_studys_seed(
    tmp_path: Path, n: int, seeds: bool
) -> None:
    folders = []
    for name, seed in (("a", 0), ("b", 1)):
        ledger = Ledger(tmp_path / name, [BASELINE], described=DIGITS, version=2, seed=seed)
        for at, value in A.items():
            trial = ledger.plan(BASELINE, "confirm", at, "g")
            ledger.start(trial)
            rows = [row("clean", value, n, "test", family="clean")]
            ledger.report(trial, 1, 0.9, rows, decision="complete")
            ledger.end(trial)
        folders.append(tmp_path / name)
    (clean,) = compare(folders).differences
    assert (clean.interval is not None) == seeds


def test_official_and_generated_corruptions_are_not_compared(tmp_path: Path) -> None:
    folders = []
    for source in ("official", "generated"):
        ledger = Ledger(tmp_path / source, [BASELINE], described=DIGITS, version=2)
        for seed, value in A.items():
            trial = ledger.plan(BASELINE, "confirm", seed, "g")
            ledger.start(trial)
            more = {"family": "corruption", "severity": 3, "source": source}
            rows = [row("fog", value, 100, "test", **more)]
            ledger.report(trial, 1, 0.9, rows, decision="complete")
            ledger.end(trial)
        folders.append(tmp_path / source)
    found = compare(folders).differences
    assert len(found) == 2
    for one in found:
        assert one.interval is None
        assert one.how == "official and generated corruptions are not compared"


def test_settings_are_compared_path_by_path(tmp_path: Path) -> None:
    schedule = {"name": "ASHA", "max_epochs": 20, "grace_epochs": 2, "reduction_factor": 3}
    found = compare(
        [study(tmp_path / "a", A), study(tmp_path / "b", B, schedule=schedule, extra={"x": 1})]
    )
    assert found.settings == {"schedule/max_epochs": ("12", "20"), "extra/x": (None, "1")}
    assert compare([tmp_path / "a", tmp_path / "a"]).settings == {}


def test_arms_that_only_one_has_are_named(tmp_path: Path) -> None:
    Ledger(tmp_path / "b", [BASELINE, KL], version=2, described=DIGITS)
    found = compare([study(tmp_path / "a", A), tmp_path / "b"])
    notes = "\n".join(found.notes)
    assert "Only in b, not in a: gaussian-kl × CoV." in notes
    assert "b has no confirmed trials" in notes
    assert "b is not finished (running)" in notes
    assert {one.how for one in found.differences} == {"other split: test, validation"}


def test_json_has_figures_and_reasons(tmp_path: Path) -> None:
    folders = [study(tmp_path / "a", A), study(tmp_path / "b", B, pgd={"steps": 40})]
    plain = json.loads(json.dumps(to_plain(compare(folders)), allow_nan=False))
    clean, attacked = plain["differences"]
    assert (clean["how"], clean["difference"]["n"]) == ("paired", 3)
    assert attacked["difference"] is None
    assert attacked["first"]["mean"] == pytest.approx(0.84)


def test_three_studies_are_each_compared_with_the_first(tmp_path: Path) -> None:
    folders = [study(tmp_path / name, values) for name, values in (("a", A), ("b", B), ("c", A))]
    found = compare(folders)
    assert [one.study for one in found.differences] == ["b", "b", "c", "c"]
    assert found.differences[2].interval is not None
    assert found.differences[2].interval.mean == 0
    assert [grid.title for grid in grids(found)] == ["Settings", "b against a", "c against a"]


def test_one_study_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two studies or more, found 1"):
        compare([tmp_path])


def test_welch_in_its_limits() -> None:
    a, b = [1.0, 2.0, 4.0], [3.0, 3.5, 7.0, 8.0]
    low, high = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.9)
    found = welch(a, b, confidence=0.9)
    assert (found.low, found.high, found.n) == (pytest.approx(low), pytest.approx(high), 3)
    assert welch([1.0], b).low is None
    constant = welch([1.0, 1.0], [2.0, 2.0])
    assert (constant.low, constant.mean, constant.high) == (1, 1, 1)
    with pytest.raises(ValueError, match="at least one value"):
        welch([], b)
