from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.cautions import weight_warnings
from analysis.formats import (
    console,
    latex_text,
    records,
    to_csv,
    to_latex,
    to_markdown,
    to_rich,
)
from analysis.robustness import differences, figures
from analysis.tables import robustness_table

from .fake_study import (
    BASELINE,
    CLEAN,
    KL,
    PGD,
    TECATOR,
    Ledger,
    errors,
    realistic,
    regression,
    row,
    three,
    tiny,
)

# By hand: two seeds give a half width of t(.975, 1) · |a - b| / 2 = 6.3531 · |a - b|.
GOLDEN = """\
tiny: accuracy in percent on the test split; mean over n seeds ± half width of the 95 % Student-t \
interval.

| arm | weighter | n | clean [%] | gaussian_0.1 [%] | pgd_linf_8/255_20 [%] | trials | epochs | \
time/epoch | device [s] |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| plain (ref.) | Fixed | 2 | 91.00 ± 12.71 | 80.00 ± 0.00 | 15.00 ± 63.53 | 2 | 4 | 1.00× | 2.0 |
| gaussian-kl | CoV | 2 | 91.00 ± 0.00 | 85.00 ± 12.71 | 40.00 ± 127.06 | 2 | 4 | 1.50× | 3.0 |

Difference to plain × Fixed in percentage points: mean over the n seeds that both have, paired by \
seed, ± half width of the 95 % Student-t interval of the differences.

| arm | weighter | n | clean [pp] | gaussian_0.1 [pp] | pgd_linf_8/255_20 [pp] |
| --- | --- | ---: | ---: | ---: | ---: |
| gaussian-kl | CoV | 2 | +0.00 ± 12.71 | +5.00 ± 12.71 | +25.00 ± 63.53 |

- **Warning:** Fewer than 3 seeds: plain × Fixed, gaussian-kl × CoV. Intervals over so few seeds \
are very wide or absent.
- clean: 100 examples.
- gaussian_0.1: noise, GaussianNoise, 100 examples.
- pgd_linf_8/255_20: adversarial, PGD with norm linf, eps 8/255 (in units of the input), steps 20, \
restarts 1, 100 examples.
- Selection: highest validation/accuracy among each arm's search trials; test figures chose nothing.
- Intervals are over seeds (100, 101), not over examples or data splits.
"""


def test_golden_markdown(tmp_path: Path) -> None:
    tiny(tmp_path / "tiny")
    assert to_markdown(robustness_table(tmp_path / "tiny")) == GOLDEN


# Half widths as above: 6.3531 · 0.2 = 1.27, · 1.0 = 6.35, · 0.5 = 3.18.
REGRESSION = """\
reg: RMSE (in units of the target; lower is better) on the test split of TSER Tecator subset; mean \
over n seeds ± half width of the 95 % Student-t interval.

| arm | weighter | n | clean [RMSE] | gaussian_0.1 [RMSE] | pgd_linf_8/255_20 [RMSE] | trials | \
epochs | time/epoch | extra passes | device [s] |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| plain (ref.) | Fixed | 2 | 10.10 ± 1.27 | 12.00 ± 0.00 | 20.50 ± 6.35 | 2 | 2 | 1.00× | 0 | 2.0 |
| gaussian-kl | CoV | 2 | 10.50 ± 0.00 | 11.10 ± 1.27 | 15.25 ± 3.18 | 2 | 2 | 1.00× | 1 bwd | 2.0 |

Difference to plain × Fixed in RMSE (below 0 is better): mean over the n seeds that both have, \
paired by seed, ± half width of the 95 % Student-t interval of the differences.

| arm | weighter | n | clean [RMSE] | gaussian_0.1 [RMSE] | pgd_linf_8/255_20 [RMSE] |
| --- | --- | ---: | ---: | ---: | ---: |
| gaussian-kl | CoV | 2 | +0.40 ± 1.27 | -0.90 ± 1.27 | -5.25 ± 3.18 |

- **Warning:** Fewer than 3 seeds: plain × Fixed, gaussian-kl × CoV. Intervals over so few seeds \
are very wide or absent.
- Data: TSER Tecator subset: TSER archive Tecator from .ts, published split; examples: 1,380 train\
, 34 validation, 43 test.
- clean: 43 examples.
- gaussian_0.1: noise, GaussianNoise, 43 examples.
- pgd_linf_8/255_20: adversarial, PGD with norm linf, eps 8/255 (in units of the input), steps 20, \
restarts 1, 43 examples.
- Selection: lowest validation/rmse among each arm's search trials; test figures chose nothing.
- Intervals are over seeds (100, 101), not over examples or data splits.
- Extra passes: forward (fwd) and backward (bwd) passes per training step beyond those of a plain \
sum of the losses; with a scope each backward pass is a partial one.
"""


def test_golden_markdown_of_errors(tmp_path: Path) -> None:
    regression(tmp_path / "reg")
    assert to_markdown(robustness_table(tmp_path / "reg")) == REGRESSION


def test_every_format_names_the_data(tmp_path: Path) -> None:
    regression(tmp_path / "reg")
    table = robustness_table(tmp_path / "reg")
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert {one["data"] for one in rows} == {TECATOR["title"]}
    assert {one["metric"] for one in rows} == {"rmse"}
    assert TECATOR["title"] in to_latex(table)
    console = Console(file=io.StringIO(), width=200)
    console.print(to_rich(table))
    assert TECATOR["title"] in console.file.getvalue()  # type: ignore[attr-defined]
    found = CliRunner().invoke(app, ["tables", str(tmp_path / "reg"), "--json"])
    plain = json.loads(found.stdout)
    assert (plain["data"], plain["metric"], plain["better"]) == (TECATOR["title"], "rmse", "min")
    assert [one["extra_backwards"] for one in plain["rows"]] == [0, 1]


def test_another_metric_of_the_same_study(tmp_path: Path) -> None:
    regression(tmp_path / "reg")
    table = robustness_table(tmp_path / "reg", metric="mae")
    assert figures(table).head[3] == "clean [MAE]"
    assert table.rows[0].cells["clean"].interval.mean == pytest.approx(5.05)


def test_the_table_goes_by_the_metric_of_the_search_where_nothing_is_counted(
    tmp_path: Path,
) -> None:
    search = {"metric": "validation/mae", "mode": "min"}
    ledger = Ledger(tmp_path / "s", [BASELINE], search=search, task="regression")
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    rows = [*errors(2.0, 2.0, 2.0), *errors(1.0, 1.0, 1.0, metric="mae")]
    ledger.report(trial, 1, 0.0, rows, metrics={"validation/mae": 1.0})
    assert robustness_table(tmp_path / "s").metric.name == "mae"


def test_average_precision_is_on_the_scale_of_a_hundred_without_a_percent_sign(
    tmp_path: Path,
) -> None:
    search = {"metric": "validation/map", "mode": "max"}
    ledger = Ledger(tmp_path / "s", [BASELINE], search=search, task="detection")
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    rows = errors(0.3741, 0.2, 0.1, metric="map")
    ledger.report(trial, 1, 0.0, rows, metrics={"validation/map": 0.3741})
    table = robustness_table(tmp_path / "s")
    text = to_markdown(table)
    assert "| 37.41 | 20.00 | 10.00 |" in text
    assert figures(table).head[3] == "clean (validation) [AP]"
    assert "from 0 to 100" in table.caption
    assert "%" not in text
    # Programs get the fraction.
    assert next(csv.DictReader(io.StringIO(to_csv(table))))["mean"] == "0.3741"


def test_passes_of_a_refreshed_gradient_and_of_a_second_forward() -> None:
    from dataclasses import replace

    from analysis.robustness import passes
    from analysis.tables import TableRow

    row = TableRow("a", "w", False, 0, 0, {}, 0, 0, None, 1.0, 0.2, None, {})
    assert passes(row).text == "1 fwd + 0.2 bwd"
    assert passes(replace(row, extra_forwards=None)).text == "–"


def test_csv_has_full_precision_and_fractions(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    rows = list(csv.DictReader(io.StringIO(to_csv(robustness_table(tmp_path / "s")))))
    assert len(rows) == 2 * 3
    found = next(one for one in rows if (one["arm"], one["family"]) == ("gaussian-kl", "noise"))
    half = 0.01 * math.tan(0.475 * math.pi)
    assert float(found["mean"]) == pytest.approx(0.85, abs=1e-15)
    assert float(found["ci_low"]) == pytest.approx(0.85 - half)
    assert float(found["ci_high"]) == pytest.approx(0.85 + half)
    assert (found["min"], found["max"]) == ("0.84", "0.86")
    assert (found["n_seeds"], found["n_examples"], found["split"]) == ("2", "100", "test")
    assert float(found["difference"]) == pytest.approx(0.05)
    reference = next(one for one in rows if one["arm"] == "plain")
    assert (reference["reference"], reference["difference"]) == ("True", "")


def test_unfinished_study_says_validation_not_test(tmp_path: Path) -> None:
    tiny(tmp_path / "s", finished=False)
    table = robustness_table(tmp_path / "s")
    assert table.split == "validation"
    assert "validation split, not test" in table.caption
    assert figures(table).head[3] == "clean (validation) [%]"
    assert "not finished (status: running)" in table.notes[0]
    # The best trial by its last validation accuracy: .85 and .88.
    assert [one.cells["clean"].interval.mean for one in table.rows] == [0.85, 0.88]
    assert [one.selected_trial for one in table.rows] == [1, 2]
    assert differences(table) == []
    assert (
        "Unequal search budget (trials per row): plain × Fixed 2, gaussian-kl × CoV 4."
        in table.warnings
    )
    assert "± " not in to_markdown(table).split("\n\n")[1]


def test_selection_reads_validation_never_test(tmp_path: Path) -> None:
    # Of the two confirmed configurations the one with the better validation mean has the worse
    # test figures: it must be the one that is shown.
    ledger = Ledger(tmp_path / "s", [BASELINE], confirm={"top": 2, "seeds": 2})
    for group, validation, test in (("good", 0.9, 0.5), ("bad", 0.8, 0.7)):
        ledger.plan(BASELINE, group=group)
        for seed in (100, 101):
            trial = ledger.plan(BASELINE, "confirm", seed, group)
            ledger.start(trial)
            ledger.report(trial, 1, validation, three(test, test, test, split="test"))
            ledger.end(trial)
    table = robustness_table(tmp_path / "s")
    assert table.rows[0].cells["clean"].interval.mean == 0.5
    assert table.rows[0].selected_trial == 0
    assert any(
        "best of the top 2 by its mean over the confirmation seeds" in one for one in table.notes
    )


def test_a_diverged_seed_is_said_and_ranks_its_configuration_last(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE], confirm={"top": 2, "seeds": 2})
    for group, validation in (("risky", 0.9), ("safe", 0.8)):
        ledger.plan(BASELINE, group=group)
        for seed in (100, 101):
            trial = ledger.plan(BASELINE, "confirm", seed, group)
            ledger.start(trial)
            if group == "risky" and seed == 101:
                ledger.report(trial, 1, math.nan, decision="diverged")
                ledger.end(trial, "FAIL", "diverged")
                continue
            ledger.report(trial, 1, validation, three(validation, 0.5, 0.1, split="test"))
            ledger.end(trial)
    table = robustness_table(tmp_path / "s")
    assert table.rows[0].cells["clean"].interval.mean == 0.8
    assert "1 trial diverged: plain × Fixed (confirm) 1." in table.warnings


def test_missing_seeds_are_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    for seed in (100, 101):
        trial = ledger.plan(BASELINE, "confirm", seed, "g")
        ledger.start(trial)
        if seed == 100:
            ledger.report(trial, 1, 0.9, three(0.9, 0.8, 0.1, split="test"))
            ledger.end(trial)
    table = robustness_table(tmp_path / "s")
    assert (table.rows[0].n_seeds, table.rows[0].n_planned) == (1, 2)
    assert any(
        one.startswith("plain × Fixed: 1 of 2 seeds have test figures") for one in table.warnings
    )
    assert "n = 1 are a single seed" in table.caption
    assert "| 90.00 |" in to_markdown(table)


def test_failed_trials_are_not_chosen(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    for score, end in ((0.99, ("FAIL", "error")), (0.7, ("COMPLETE", "budget"))):
        trial = ledger.plan(BASELINE)
        ledger.start(trial)
        ledger.report(trial, 1, score, three(score, 0.5, 0.1))
        ledger.end(trial, *end)
    table = robustness_table(tmp_path / "s")
    assert table.rows[0].selected_trial == 1
    assert "1 trial failed: plain × Fixed (search) 1." in table.warnings


def test_minimised_metric_without_accuracy(tmp_path: Path) -> None:
    search = {"metric": "validation/loss", "mode": "min"}
    ledger = Ledger(tmp_path / "s", [BASELINE], search=search, task="regression")
    for accuracy in (0.9, 0.5):  # the loss is 2.3 · (1 - accuracy)
        trial = ledger.plan(BASELINE)
        ledger.start(trial)
        loss = 2.3 * (1 - accuracy)
        ledger.report(
            trial, 1, accuracy, [row("clean", loss, **CLEAN, metric="loss", n_correct=None)]
        )
        ledger.end(trial)
    table = robustness_table(tmp_path / "s")
    assert (table.metric.name, table.metric.lower) == ("loss", True)
    assert table.rows[0].selected_trial == 0
    assert "| 0.2300 |" in to_markdown(table)
    assert figures(table).head[3] == "clean (validation) [loss]"
    assert table.caption.startswith("s: loss (lower is better) on the validation split")
    with pytest.raises(ValueError, match=r"'accuracy'\. Known: loss"):
        robustness_table(tmp_path / "s", metric="accuracy")


def test_baseline_comes_first_and_unconfirmed_rows_stay(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [KL, BASELINE], baseline="plain")
    trial = ledger.plan(BASELINE, "confirm", 100, "g")
    ledger.start(trial)
    ledger.report(trial, 1, 0.9, three(0.9, 0.8, 0.1, split="test"))
    table = robustness_table(tmp_path / "s")
    assert [one.arm for one in table.rows] == ["plain", "gaussian-kl"]
    assert [one.reference for one in table.rows] == [True, False]
    assert table.rows[1].cells == {}
    assert "gaussian-kl × CoV: not confirmed." in table.warnings
    assert "| gaussian-kl | CoV | 0 | – | – | – | 0 | 0 | – | – |" in to_markdown(table)


def test_corruptions_are_one_column_by_their_mean(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    corruption = {"family": "corruption"}
    rows = [
        row(name, 0.1 * level, severity=level, **corruption)
        for name in ("fog", "blur")
        for level in (1, 3)
    ]
    ledger.report(trial, 1, 0.9, [row("clean", 0.9, **CLEAN), *rows])
    table = robustness_table(tmp_path / "s")
    assert [one.name for one in table.benchmarks] == ["clean", "corruptions"]
    assert table.rows[0].cells["corruptions"].interval.mean == pytest.approx(0.2)


def test_a_doubtful_figure_is_marked_and_the_reason_given(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    rows = [
        row("clean", 0.9, **CLEAN),
        row(
            "pgd_linf_0.1_20",
            0.8,
            **PGD,
            unreliable=True,
            unreliable_why="zero gradients at 90 %",
        ),
    ]
    ledger.report(trial, 1, 0.9, rows)
    table = robustness_table(tmp_path / "s")
    (clean, attacked) = figures(table).texts[0][3:5]
    assert (clean, attacked) == ("90.00", "80.00 †")
    (note,) = (one for one in table.warnings if one.startswith("†"))
    assert "pgd_linf_0.1_20, plain × Fixed, 1 of 1 seeds: zero gradients at 90 %." in note
    assert [one["unreliable"] for one in records(table)] == [False, True]


def test_calibration_stands_beside_accuracy_under_its_own_metric(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    scores = {"metric": "ece", "family": "calibration", "n_correct": None}
    rows = [
        row("clean", 0.9, **CLEAN),
        row("calibration_clean", 0.031, **scores),
        row("calibration_clean", 0.2, **scores | {"metric": "nll"}),
    ]
    ledger.report(trial, 1, 0.9, rows)
    table = robustness_table(tmp_path / "s")
    assert figures(table).head[3:5] == (
        "clean (validation) [%]",
        "calibration_clean ECE (validation) [%]",
    )
    assert figures(table).texts[0][3:5] == ["90.00", "3.10"]
    assert [one["metric"] for one in records(table)] == ["accuracy", "ece"]
    only = robustness_table(tmp_path / "s", metric="nll")
    assert [one.name for one in only.benchmarks] == ["calibration_clean"]


def test_generated_and_official_corruptions_have_columns_of_their_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    rows = [
        row(f"fog_{level}", value, family="corruption", severity=level, source=source)
        for source, value in (("generated", 0.5), ("official", 0.4))
        for level in (1, 2)
    ]
    ledger.report(trial, 1, 0.9, [row("clean", 0.9, **CLEAN), *rows])
    table = robustness_table(tmp_path / "s")
    names = [one.name for one in table.benchmarks]
    assert names == ["clean", "corruptions", "corruptions (official)"]
    means = [cell.interval.mean for cell in table.rows[0].cells.values()]
    assert means == pytest.approx([0.9, 0.5, 0.4])
    assert any("read from the official files" in one for one in table.notes)
    assert any("made here, not the official files" in one for one in table.notes)


def test_study_without_trials_has_an_empty_table(tmp_path: Path) -> None:
    Ledger(tmp_path / "s", [BASELINE])
    table = robustness_table(tmp_path / "s")
    assert table.benchmarks == ()
    assert "| plain (ref.) | Fixed | 0 | 0 | 0 | – | – |" in to_markdown(table)


def test_latex_escapes_every_command_letter() -> None:
    text = latex_text(r"a_b & 50 % of $x$ #1 {y} ~ ^ \input [1] ± ×")
    assert text == (
        r"a\_b \& 50 \% of \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} "
        r"\textbackslash{}input {[}1{]} $\pm$ $\times$"
    )


def test_latex_tables(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    text = to_latex(robustness_table(tmp_path / "s"))
    # The figures are cut into two parts, the differences fit beside each other.
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 3
    assert text.count(r"\begin{table}") == 2
    head = r"\begin{tabular}[b]{@{}r@{}}pgd\_linf\_8/255\_20\\{[}\%{]}\end{tabular}"
    assert text.count(head) == 1
    line = r"gaussian-kl & CoV & 2 & 91.00 $\pm$ 0.00 & 85.00 $\pm$ 12.71 & 40.00 $\pm$ 127.06"
    assert line + r" & 2 & 4" in text
    begun = [one for one in text.splitlines() if one.strip().startswith(r"\begin{tabular}")]
    assert begun[0].endswith("{llrrrrrr}")


def test_markdown_survives_a_pipe_in_a_label(tmp_path: Path) -> None:
    Ledger(tmp_path / "s", [("a|b*", "Fixed")])
    line = to_markdown(robustness_table(tmp_path / "s")).splitlines()[4]
    assert line.startswith(r"| a\|b\* (ref.) | Fixed |")


def test_terminal_shows_labels_as_they_are(tmp_path: Path) -> None:
    Ledger(tmp_path / "s", [("[red]x[/red]", "Fixed")])
    console = Console(file=io.StringIO(), width=200)
    console.print(to_rich(robustness_table(tmp_path / "s")))
    assert "[red]x[/red] (ref.)" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [30, 44, 60, 80, 100])
def test_terminal_of_any_width_cuts_nothing(tmp_path: Path, width: int) -> None:
    long = "z" * 33
    ledger = Ledger(tmp_path / "s", [BASELINE, (long, "CoV")])
    for pair in (BASELINE, (long, "CoV")):
        for seed in (100, 101):
            trial = ledger.plan(pair, "confirm", seed, f"of {pair[0]}")
            ledger.start(trial)
            clean = 0.9 + 0.01 * (seed - 100)
            ledger.report(trial, 1, 0.9, three(clean, 0.8, 0.1, split="test"))
            ledger.end(trial)
    table = robustness_table(tmp_path / "s")

    def shown(width: int) -> str:
        console = Console(file=io.StringIO(), width=width)
        console.print(to_rich(table))
        return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]

    text, whole = shown(width), shown(400)
    assert max(map(len, text.splitlines())) <= width
    # No label has a digit, so each figure and each benchmark's name is there as often as in the
    # table that nothing had to be folded for; labels come again in every part of the table.
    for letter in "0123456789±%_":
        assert text.count(letter) == whole.count(letter), letter
    assert whole.count(long) >= 2
    assert text.count("z") >= whole.count("z")
    assert text.count("z") % len(long) == 0
    # 30 columns cannot hold such a number beside two labels; from 44 on none is folded.
    assert ("90.50 ± 6.35" in text) == (width > 30)


def test_console_of_a_pipe_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert (console().is_terminal, console().width) == (False, 160)


def test_notes_list_the_settings_of_each_benchmark(tmp_path: Path) -> None:
    benchmarks = [
        {"name": "Clean"},
        {"name": "GaussianNoise", "sigma": 0.1, "clip": True},
        {"name": "PGD", "norm": "linf", "eps": 0.0314, "steps": 20, "step_size": "auto"},
        {"name": "Fog", "severity": 1},
        {"name": "Fog", "severity": 5},
    ]
    ledger = Ledger(tmp_path / "s", [BASELINE], benchmarks=benchmarks)
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    fog = [row("fog", 0.5, severity=level, family="corruption") for level in (1, 5)]
    ledger.report(trial, 1, 0.9, [*three(0.9, 0.8, 0.1), *fog])
    notes = robustness_table(tmp_path / "s").notes
    assert notes[1:5] == (
        "clean: 200 examples.",
        "gaussian_0.1: noise, GaussianNoise with sigma 0.1 (standard deviation, in units of the "
        "input), clip true, 200 examples.",
        "pgd_linf_8/255_20: adversarial, PGD with norm linf, eps 8/255 (in units of the input), "
        "steps 20, restarts 1, step_size auto, 200 examples.",
        "corruptions: corruption, mean over 2 benchmarks, Fog with severity 1, Fog with severity "
        "5, 200 examples.",
    )


@pytest.mark.parametrize(
    "benchmarks",
    [[], [{"name": "Clean"}], [{"name": "Clean"}, {"name": "A"}, {"name": "PGD", "steps": 7}]],
)
def test_notes_name_no_settings_that_may_be_those_of_another(
    tmp_path: Path, benchmarks: list[dict[str, object]]
) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE], benchmarks=benchmarks)
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    ledger.report(trial, 1, 0.9, three(0.9, 0.8, 0.1))
    notes = robustness_table(tmp_path / "s").notes
    assert notes[2] == "gaussian_0.1: noise, 200 examples."
    assert "norm linf, eps 8/255 (in units of the input), steps 20, restarts 1" in notes[3]


def weigh(trial: str, step: int, **weights: float | None) -> list[dict[str, object]]:
    return [
        {"trial_id": trial, "step": step, "loss": loss, "weight": weight}
        for loss, weight in weights.items()
    ]


def test_a_main_loss_without_weight_is_said() -> None:
    whole = {"arm": "kl", "weighter": "CoV", "phase": "confirm", "state": "COMPLETE"}
    trials = [{**whole, "trial_id": str(one), "number": one} for one in range(7)]
    trials[6]["state"] = "PRUNED"
    weights = [
        *weigh("0", 1, main=0.9, kl=0.1),
        *weigh("0", 2, main=0.01, kl=0.99),  # 1 % in the last epoch
        *weigh("1", 1, main=0.01, kl=0.99),
        *weigh("1", 2, main=0.9, kl=0.1),  # little in the first epoch only
        *weigh("2", 2, main=0.1, kl=0.9),  # exactly 10 %
        *weigh("3", 2, **dict.fromkeys(("main", *"abcdefghijk"), 1.0)),  # 1/12, but not adapted
        *weigh("4", 2, main=math.nan, kl=1.0),
        *weigh("5", 2, main=0.1, kl=4.9),  # 2 % of a sum of 5
        *weigh("6", 2, main=0.0, kl=1.0),  # stopped: not its last epoch
    ]
    assert weight_warnings(trials, weights, {str(one): "main" for one in range(7)}) == [
        "kl × CoV (confirm): in the last epoch the main loss had less than 10 % of the sum of "
        "weights (coefficients aside) in 2 of 6 trials of full budget (trial 0: 1.0 %, 5: 2.0 %)."
    ]


def test_weight_notes_know_the_main_loss_from_the_recipe(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    trial = ledger.plan(KL)
    ledger.start(trial)
    ledger.report(trial, 1, 0.9, three(0.9, 0.8, 0.1), weights={"aux": 0.98, "main": 0.02})
    ledger.end(trial)
    notes = robustness_table(tmp_path / "s").warnings
    assert notes[-1].startswith("gaussian-kl × CoV (search): in the last epoch the main loss")
    assert notes[-1].endswith("(trial 0: 2.0 %).")


def test_command_writes_every_format(tmp_path: Path) -> None:
    realistic(tmp_path / "s", per_arm=3, seeds=2)
    folder = str(tmp_path / "s")
    starts = {"markdown": "s: accuracy", "csv": "study,data,arm,", "latex": "% Needs"}
    for name, start in starts.items():
        found = CliRunner().invoke(app, ["tables", folder, "--format", name])
        assert (found.exit_code, found.stdout.startswith(start)) == (0, True), name
    terminal = CliRunner().invoke(app, ["tables", folder])
    assert "baseline (ref.)" in terminal.stdout
    found = json.loads(CliRunner().invoke(app, ["tables", folder, "--json"]).stdout)
    assert found["split"] == "test"
    assert len(found["figures"]) == 5 * 3
    assert found["rows"][1]["selected"].keys() == {"losses/aux/coefficient"}


@pytest.mark.parametrize("command", ["export", "tables", "plot", "report"])
def test_folder_that_is_no_study_ends_with_code_2(tmp_path: Path, command: str) -> None:
    found = CliRunner().invoke(app, [command, str(tmp_path)])
    assert found.exit_code == 2
    assert found.stdout == ""
    assert found.stderr.strip().count("\n") == 0
    assert "is not a study folder: it has no resolved.json" in found.stderr


def test_help_is_light() -> None:
    import subprocess
    import sys

    code = (
        "import sys, analysis.__main__\n"
        "print([one for one in ('pandas', 'pyarrow', 'matplotlib', 'torch', 'ray', 'scipy')"
        " if one in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
