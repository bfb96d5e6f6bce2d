from __future__ import annotations

import math
from pathlib import Path

import pytest

from analysis.export import tables_with_history
from analysis.tables import robustness_table

from .fake_study import BASELINE, KL, Ledger, row, three


def warnings(folder: Path) -> tuple[str, ...]:
    return robustness_table(folder).warnings


def confirm(ledger: Ledger, pair: tuple[str, str], values: list[float]) -> None:
    for at, value in enumerate(values):
        trial = ledger.plan(pair, "confirm", 100 + at, f"g{pair[0]}")
        ledger.start(trial)
        ledger.report(trial, 1, 0.9, three(value, 0.8, 0.1, split="test"))
        ledger.end(trial)


def test_a_mean_that_hangs_on_one_seed_is_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    confirm(ledger, BASELINE, [0.90, 0.91, 0.95])  # wide, but nobody is apart
    confirm(ledger, KL, [0.90, 0.91, 0.11])
    (found,) = (one for one in warnings(tmp_path / "s") if "hangs on" in one)
    assert found == (
        "gaussian-kl × CoV, clean: the mean hangs on seed 102 (11.00; the others 90.00 to 91.00)."
    )


def test_a_benchmark_that_a_row_lacks_is_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    confirm(ledger, BASELINE, [0.9])
    trial = ledger.plan(KL, "confirm", 100, "g")
    ledger.start(trial)
    ledger.report(trial, 1, 0.9, three(0.9, 0.8, 0.1, split="test")[:2])
    assert "gaussian-kl × CoV: no figure on pgd_linf_8/255_20." in warnings(tmp_path / "s")


def test_a_benchmark_of_the_study_that_nobody_ran_is_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE, "confirm", 100, "g")
    ledger.start(trial)
    rows = [one | {"benchmark": at} for at, one in enumerate(three(0.9, 0.8, 0.1, split="test"))]
    ledger.report(trial, 1, 0.9, rows[:2])
    found = "Benchmarks of the study without a test figure: PGD."
    assert found in warnings(tmp_path / "s")


def test_a_figure_that_is_no_number_is_said_and_shown(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    for seed, value in ((100, 0.9), (101, math.nan)):
        trial = ledger.plan(BASELINE, "confirm", seed, "g")
        ledger.start(trial)
        clean = row("clean", 0.5, split="test", family="clean") | {"value": value}
        ledger.report(trial, 1, 0.9, [clean])
        ledger.end(trial)
    table = robustness_table(tmp_path / "s")
    assert math.isnan(table.rows[0].cells["clean"].interval.mean)
    assert (
        "plain × Fixed: clean is not a finite number on seed 101; neither is the mean."
    ) in table.warnings


def test_generated_corruptions_are_said_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    fog = row("fog_1", 0.5, family="corruption", severity=1, source="generated")
    ledger.report(trial, 1, 0.9, [fog])
    found = [one for one in warnings(tmp_path / "s") if "made here (corruptions)" in one]
    assert len(found) == 1


def test_a_chosen_value_at_the_end_of_its_range_is_said(tmp_path: Path) -> None:
    # Trial 0 has the coefficient 0.1, the lower end of 0.1 to 10; trial 1 has 0.2.
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    for score in (0.9, 0.8):
        trial = ledger.plan(KL)
        ledger.start(trial)
        ledger.report(trial, 1, score, three(score, 0.5, 0.1))
        ledger.end(trial)
    (found,) = (one for one in warnings(tmp_path / "s") if "end of its range" in one)
    assert found == (
        "gaussian-kl × CoV: the chosen losses/aux/coefficient = 0.1 lies at the lower end of its "
        "range (0.1 to 10, log); the best value may lie outside."
    )


@pytest.mark.parametrize("scores", [(0.97, 0.9), (0.97,)])
def test_a_search_figure_above_its_repetition_is_said(
    tmp_path: Path, scores: tuple[float, ...]
) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    for score in scores:
        trial = ledger.plan(BASELINE)
        ledger.start(trial)
        ledger.report(trial, 1, score, three(score, 0.5, 0.1))
        ledger.end(trial)
    for seed, score in ((100, 0.900), (101, 0.901), (102, 0.902)):
        trial = ledger.plan(BASELINE, "confirm", seed, "group0000000")
        ledger.start(trial)
        ledger.report(trial, 1, score, three(0.9, 0.8, 0.1, split="test"))
        ledger.end(trial)
    said = [one for one in warnings(tmp_path / "s") if "too good" in one]
    if len(scores) == 1:
        # It was not chosen by its figure.
        assert not said
        return
    (found,) = said
    assert "validation/accuracy 97.00 %, the best of 2; on fresh seeds the same is 90.10 %" in found


def late(folder: Path, *, reverse: bool) -> tuple[str, ...]:
    """Five trials of full budget whose order at the rung is that of the end, or the reverse."""
    ledger = Ledger(folder, [BASELINE], version=2)
    for at in range(5):
        trial = ledger.plan(BASELINE)
        ledger.start(trial)
        ledger.report(trial, 1, 0.5 + 0.01 * (4 - at if reverse else at), rung=1)
        ledger.report(trial, 2, 0.8 + 0.01 * at, three(0.8, 0.7, 0.1), decision="complete")
        ledger.end(trial)
    for before, last, cutoff in ((0.30, 0.49, 0.5), (0.39, 0.40, 0.5)):
        trial = ledger.plan(BASELINE)
        ledger.start(trial)
        ledger.report(trial, 1, before)
        ledger.report(trial, 2, last, decision="stop", rung=2)
        ledger.stop(trial, 2, cutoff)
    made, history = tables_with_history(folder)
    return robustness_table(made, history=history).warnings


def test_late_bloomers_are_said(tmp_path: Path) -> None:
    found = late(tmp_path / "s", reverse=True)
    assert any(
        one.startswith("plain × Fixed: what its schedule stopped may have become good. Over its 5")
        and one.endswith("at epoch 1 and at the end is -1.00.")
        for one in found
    )
    # The first of the two stopped trials gained .19 and lacked .01, the second .01 and lacked .10.
    assert any(one.startswith("plain × Fixed: 1 of 2 stopped trials gained") for one in found)
    other = late(tmp_path / "t", reverse=False)
    assert not any("may have become good" in one for one in other)


def test_an_arm_of_which_everything_failed_is_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    for _ in range(2):
        trial = ledger.plan(KL)
        ledger.start(trial)
        ledger.end(trial, "FAIL", "error")
    found = warnings(tmp_path / "s")
    assert "gaussian-kl × CoV: every search trial failed; the arm has no answer." in found
    assert "2 trials failed: gaussian-kl × CoV (search) 2." in found
    assert not any(one.startswith("plain × Fixed: every") for one in found)
