from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from analysis import formats
from analysis.export import tables
from analysis.grid import Column, Entry, Grid, counted, figure, joined, numbers, words
from analysis.metrics import metric
from analysis.robustness import differences, figures, robustness
from analysis.statistics import Interval
from analysis.tables import RobustnessTable, robustness_table
from analysis.verdicts import Verdict, verdicts

from .fake_study import BASELINE, KL, Ledger, realistic, three

EVIL = r"a_b & 50 % of $x$ #1 {y} ~ ^ \input [1] <b> | ± × ▲"


def evil() -> Grid:
    rows = ((Entry(EVIL), Entry("w"), Entry("1.5 ± 0.5", 1.5, 0.5, strong=True), Entry("–")),)
    columns = (*words("arm", "weighter"), *numbers(f"{EVIL} [%]", "other"))
    return Grid("evil", EVIL, EVIL, columns, rows, notes=(EVIL,))


def confirmed(folder: Path, values: dict[Any, Any], seeds: int = 5) -> RobustnessTable:
    """A study whose rows have these clean, noisy and attacked accuracies on every seed."""
    ledger = Ledger(folder, list(values))
    for pair, (clean, noise, attacked) in values.items():
        for at in range(seeds):
            trial = ledger.plan(pair, "confirm", 100 + at, f"g{pair[0]}")
            ledger.start(trial)
            wobble = 0.005 * (at % 2) + 0.001 * (at % 3)
            rows = three(clean + wobble, noise, attacked + wobble, split="test")
            ledger.report(trial, 1, 0.9, rows)
            ledger.end(trial)
    return robustness_table(folder)


def said(word: str, mean: float = 0.1, p: float | None = 0.01) -> Verdict:
    found = Interval(mean, mean - 0.01, mean + 0.01, 5)
    return Verdict(word, found, None, p, p, 1.0, 0.05)  # type: ignore[arg-type]


def test_bold_needs_the_best_mean_and_a_verdict(tmp_path: Path) -> None:
    table = confirmed(tmp_path / "s", {BASELINE: (0.9, 0.8, 0.1), KL: (0.92, 0.8, 0.3)})
    assert not any(one.strong for row in figures(table).body for one in row)
    key = KL
    bold = {(key, "clean"): said("helps"), (key, "pgd_linf_8/255_20"): said("no difference seen")}
    shown = figures(table, bold)
    assert [[one.strong for one in row[3:6]] for row in shown.body] == [
        [False, False, False],
        [True, False, False],
    ]
    assert "Bold:" in shown.caption
    # The reference is the best where every other row is worse for certain.
    worse = {(key, name): said("hurts") for name in ("clean", "gaussian_0.1")}
    flipped = confirmed(tmp_path / "t", {BASELINE: (0.9, 0.8, 0.1), KL: (0.85, 0.8, 0.3)})
    strong = [[one.strong for one in row[3:6]] for row in figures(flipped, worse).body]
    # Equal means have no best one.
    assert strong == [[True, False, False], [False, False, False]]


def test_differences_say_verdict_and_corrected_p(tmp_path: Path) -> None:
    table = confirmed(tmp_path / "s", {BASELINE: (0.9, 0.8, 0.1), KL: (0.92, 0.8, 0.3)})
    found = {
        (KL, "clean"): said("helps", p=0.0004),
        (KL, "gaussian_0.1"): said("no difference seen", p=1.0),
        (KL, "pgd_linf_8/255_20"): said("hurts", p=0.0123),
    }
    (grid,) = differences(table, found)
    assert [one.text.split(" ", 3)[-1] for one in grid.body[0][3:]] == [
        "▲ p<0.001", "p=1", "▼ p=0.012",
    ]  # fmt: skip
    assert [one.word for one in grid.body[0][3:]] == ["helps", "no difference seen", "hurts"]
    assert "corrected after Holm for 3 comparisons" in grid.caption
    none = {key: said("not enough seeds", p=None) for key in found}
    (grid,) = differences(table, none)
    assert grid.caption.endswith("No verdicts: not enough seeds.")
    assert "?" not in "".join(grid.texts[0])
    html = formats.to_html(table, found)
    assert '<span class="unseen">hurts</span>' in html


def test_records_have_the_verdict_in_full(tmp_path: Path) -> None:
    table = confirmed(tmp_path / "s", {BASELINE: (0.9, 0.8, 0.1), KL: (0.92, 0.8, 0.3)})
    found = verdicts(table)
    rows = list(csv.DictReader(io.StringIO(formats.to_csv(table, found))))
    mine = next(one for one in rows if one["arm"] == KL[0] and one["family"] == "adversarial")
    verdict = found[KL, "pgd_linf_8/255_20"]
    assert mine["verdict"] == verdict.word == "helps"
    assert mine["compared_with"] == "plain × Fixed"
    assert float(mine["p_holm"]) == pytest.approx(verdict.p_holm)
    assert (rows[0]["verdict"], rows[0]["compared_with"]) == ("", "")
    # Without verdicts the same columns are empty.
    plain = list(csv.DictReader(io.StringIO(formats.to_csv(table))))
    assert plain[0].keys() == mine.keys()
    assert {one["verdict"] for one in plain} == {""}


def controlled(folder: Path) -> RobustnessTable:
    """gaussian-kl × CoV with its replay and more training for the baseline; three seeds."""
    ledger = Ledger(folder, [BASELINE, KL])
    plain, kl = ledger.plan(BASELINE, group="gp"), ledger.plan(KL, group="gk")
    for trial in (plain, kl):
        ledger.start(trial)
        ledger.report(trial, 1, 0.9, three(0.9, 0.8, 0.1))
        ledger.end(trial)
    planned = (
        (BASELINE, "confirm", "gp", {"place": plain}, 0.90),
        (KL, "confirm", "gk", {"place": kl}, 0.94),
        (KL, "control", "gr", {"place": kl, "control": "replay"}, 0.93),
        (KL, "control", "g0", {"place": kl, "control": "coefficient_0"}, 0.91),
        (BASELINE, "control", "gm", {"place": kl, "control": "matched_compute"}, 0.92),
    )
    for pair, phase, group, more, clean in planned:
        for seed in (100, 101, 102):
            trial = ledger.plan(pair, phase, seed, group, **more)
            ledger.start(trial)
            wobble = 0.002 * (seed - 100)
            ledger.report(trial, 1, 0.9, three(clean + wobble, 0.8, 0.1, split="test"))
            ledger.end(trial)
    path = folder / "ledger.jsonl"
    # Controls that train longer say for how long in their recipe.
    path.write_text(
        path.read_text().replace('"recipe": {', '"recipe": {"training": {"epochs": 1}, ')
    )
    return robustness_table(folder)


def test_controls_are_rows_below_their_arm(tmp_path: Path) -> None:
    table = controlled(tmp_path / "s")
    assert [one.label for one in table.rows] == [
        "plain × Fixed",
        "gaussian-kl × CoV",
        "gaussian-kl × CoV (coefficient 0)",
        "gaussian-kl × CoV (replay)",
        "plain × Fixed (as long as gaussian-kl × CoV)",
    ]
    assert [one.control for one in table.rows] == [
        "", "", "coefficient_0", "replay", "matched_compute",
    ]  # fmt: skip
    assert [one.against for one in table.rows] == [None, BASELINE, BASELINE, KL, BASELINE]
    assert [one.cells["clean"].interval.mean for one in table.rows] == pytest.approx(
        [0.902, 0.942, 0.912, 0.932, 0.922]
    )
    replay = table.rows[3].cells["clean"].difference
    assert replay is not None
    assert replay.mean == pytest.approx(-0.01)
    to_reference, own = differences(table)
    assert [one[1] for one in to_reference.texts] == [
        "CoV", "CoV (coefficient 0)", "Fixed (as long as gaussian-kl × CoV)",
    ]  # fmt: skip
    assert own.texts[0][:2] == ["gaussian-kl × CoV (replay)", "gaussian-kl × CoV"]
    # What a control cost is not the search's.
    assert not any("Unequal search budget" in one for one in table.warnings)
    assert [one["control"] for one in formats.records(table)][-1] == "matched_compute"


def test_tables_without_the_columns_of_controls_have_none(tmp_path: Path) -> None:
    controlled(tmp_path / "s")
    made = tables(tmp_path / "s")
    trials = made["trials"]
    kept = [one for one in trials.column_names if one not in ("control", "place")]
    table = robustness_table({**made, "trials": trials.select(kept)})
    assert [one.label for one in table.rows] == ["plain × Fixed", "gaussian-kl × CoV"]


class Parsed(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":
            self.open.append(tag)
        self.values += [value for name, value in attrs if name == "data-value" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_escapes_and_keeps_the_values() -> None:
    page = Parsed(formats.to_html(evil()))
    assert "\n".join(page.texts).count("<b>") == 4  # caption, head, label, note
    assert page.values == ["1.5"]
    assert "<b>" not in formats.to_html(evil())


def test_csv_of_a_grid_has_values_and_half_widths() -> None:
    columns = (*words("arm", "weighter"), Column("clean [%]", "clean"), *numbers("n"))
    body = (
        (
            Entry("a"),
            Entry("w"),
            figure(Interval(0.9, 0.8, 1.0, 3), metric("accuracy")),
            counted(3),
        ),
        (Entry("b"), Entry("w"), Entry("–"), counted(0)),
    )
    text = formats.to_csv(Grid("g", "t", "c", columns, body))
    assert text == "arm,weighter,clean,clean_half_width,n\na,w,0.9,0.09999999999999998,3\nb,w,,,0\n"


def test_keys_of_columns_are_plain_words() -> None:
    assert [one.key for one in numbers("time/epoch", "device [s]", "arm × weighter")] == [
        "time_epoch", "device", "arm_weighter",
    ]  # fmt: skip
    assert joined(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert joined(["a"]) == "a"


def test_an_empty_grid_is_its_caption() -> None:
    grid = Grid("g", "t", "nothing found", words("arm"), ())
    assert formats.to_markdown(grid) == "nothing found\n"
    assert "nothing found" in formats.to_html(grid)
    assert "table" not in formats.to_html(grid)
    assert "% nothing found" in formats.to_latex(grid)
    assert r"\begin" not in formats.to_latex(grid)


def wide(columns: int = 16, rows: int = 60) -> Grid:
    """Wider and longer than a page."""
    heads = [f"benchmark_{at} [%]" for at in range(columns)]
    body = tuple(
        (Entry(f"arm-{at}"), Entry("Fixed"), *(Entry(f"{at}.00 ± 1.00", at, 1.0) for _ in heads))
        for at in range(rows)
    )
    return Grid(
        "wide", "Wide", "A wide table.", (*words("arm", "weighter"), *numbers(*heads)), body
    )


def test_latex_cuts_wide_and_long_tables_and_loses_nothing() -> None:
    text = formats.to_latex(wide())
    for at in range(16):
        assert f"benchmark\\_{at}\\\\" in text
    # Every part of the columns has all 60 rows, each with the labels.
    parts = text.count("arm-59 & Fixed")
    assert parts > 2
    assert text.count("arm-0 & Fixed") == parts
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels)) == text.count(r"\begin{table}")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles_and_fits_the_page(tmp_path: Path) -> None:
    realistic(tmp_path / "s", per_arm=3, seeds=3)
    table = robustness_table(tmp_path / "s")
    parts = [formats.to_latex(one) for one in (*robustness(table, verdicts(table)), evil(), wide())]
    parts.append(formats.to_latex(table))
    document = "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage{booktabs,graphicx}",
            r"\begin{document}",
            *(f"{part}\n\\clearpage" for part in parts),
            r"\end{document}",
        ]
    )
    # The same table twice has the same labels.
    document = re.sub(r"\\label\{[^}]*\}", "", document)
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    found = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    assert found.returncode == 0, found.stdout[-2000:]
    log = (tmp_path / "t.log").read_text(encoding="utf-8", errors="replace")
    assert not re.findall(r"Overfull \\hbox|Float too large|LaTeX Warning.*", log)
