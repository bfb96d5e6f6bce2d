from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.grids.ranks import ranks
from analysis.metrics import metric as metric_of
from analysis.plots import save
from analysis.ranks import (
    _friedman,
    _iman_davenport,
    _signed_rank,
    critical_difference,
    nemenyi,
    rank_table,
)
from analysis.statistics import mean_interval
from analysis.tables import Benchmark, Cell, RobustnessTable, TableRow

from .fake_study import TECATOR, tiny

NAN = math.nan


def study(
    name: str, figures: Mapping[str, float], metric: str = "accuracy", **more: str
) -> RobustnessTable:
    known = metric_of(metric)
    rows = [
        TableRow(
            arm=arm,
            weighter="Fixed",
            reference=place == 0,
            n_seeds=1,
            n_planned=1,
            cells={"clean": Cell(mean_interval([one]), one, one, None, by_seed={0: one})},
            trials=0,
            epochs=0,
            time_ratio=None,
            extra_forwards=None,
            extra_backwards=None,
            selected_trial=None,
            selected={},
        )
        for place, (arm, one) in enumerate(figures.items())
    ]
    return RobustnessTable(
        study=name,
        question="",
        data=more.get("data", f"data of {name}"),
        status="finished",
        metric=known,
        split=more.get("split", "test"),
        benchmarks=(Benchmark("clean", "clean", None, None, None, None, 100, False, metric=known),),
        rows=tuple(rows),
        caption="",
    )


def studies(rows: Sequence[Sequence[float]], metric: str = "accuracy") -> list[RobustnessTable]:
    return [
        study(f"s{place}", dict(zip("abcdefghijklmnop", one, strict=False)), metric)
        for place, one in enumerate(rows)
    ]


# Three data sets, three rows: ranks 3 2 1, 3 1.5 1.5, 2 3 1.
SMALL = [[0.7, 0.8, 0.9], [0.5, 0.6, 0.6], [0.2, 0.1, 0.3]]


def test_ranks_by_hand() -> None:
    found = rank_table(studies(SMALL), "clean")
    assert found.ranks == ((3, 2, 1), (3, 1.5, 1.5), (2, 3, 1))
    assert found.average == pytest.approx((8 / 3, 6.5 / 3, 3.5 / 3))
    assert found.rows == ("a × Fixed", "b × Fixed", "c × Fixed")
    assert found.studies == ("s0", "s1", "s2")
    # 12·3/12 (64/9 + 42.25/9 + 12.25/9 - 12) = 3.5, over 1 - 6/72 for one tie of two.
    assert found.chi_square == pytest.approx(3.5 / (1 - 6 / 72))
    assert found.f == pytest.approx(2 * found.chi_square / (6 - found.chi_square))


def test_errors_are_ranked_from_below() -> None:
    up, down = (rank_table(studies(SMALL, one), "clean") for one in ("accuracy", "rmse"))
    assert down.ranks == tuple(tuple(4 - rank for rank in one) for one in up.ranks)


def test_a_diverged_row_comes_last_whatever_the_metric() -> None:
    rows = [[NAN, 0.8, 0.9], [0.1, 0.2, 0.3]]
    for metric in ("accuracy", "rmse"):
        assert rank_table(studies(rows, metric), "clean").ranks[0][0] == 3


@pytest.mark.parametrize("ties", [False, True])
def test_friedman_agrees_with_scipy(ties: bool) -> None:
    values = np.random.default_rng(1).normal(size=(9, 5)) + np.arange(5) / 2
    values = values.round(0) if ties else values
    expected = stats.friedmanchisquare(*values.T)
    found = rank_table(studies(values.tolist()), "clean")
    assert found.chi_square == pytest.approx(expected.statistic)


def test_iman_davenport_of_a_published_example() -> None:
    # Demšar 2006, section 3.2.2: four classifiers on 14 data sets, average ranks 3.143, 2.000,
    # 2.893, 1.964; chi-square 9.28, F = 3.69, above the critical 2.85 of F(3, 39).
    chi_square = 12 * 14 / 20 * (3.143**2 + 2.0**2 + 2.893**2 + 1.964**2 - 4 * 25 / 4)
    assert chi_square == pytest.approx(9.28, abs=0.01)
    f, p = _iman_davenport(chi_square, 14, 4)
    assert f == pytest.approx(3.69, abs=0.01)
    assert p == pytest.approx(stats.f.sf(f, 3, 39))
    assert p < 0.05
    assert nemenyi(4, 14) == pytest.approx(1.25, abs=0.005)


def test_nemenyi_has_the_table_of_demsar() -> None:
    # Demšar 2006, table 5(a): q of .05 for 2 to 10 rows. √(k (k + 1) / (6 n)) is 1 at this n.
    table = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    for k, q in enumerate(table, start=2):
        assert nemenyi(k, 1) / math.sqrt(k * (k + 1) / 6) == pytest.approx(q, abs=0.0012)
    assert nemenyi(4, 56) == pytest.approx(nemenyi(4, 14) / 2)


def test_the_same_order_everywhere_has_the_chance_of_that_order() -> None:
    found = rank_table(studies([[0.1, 0.2, 0.3]] * 4), "clean")
    assert found.f == math.inf
    assert found.p == pytest.approx(1 / 6**3)
    tied = rank_table(studies([[0.1, 0.1, 0.1]] * 4), "clean")
    assert (tied.chi_square, tied.p) == (0, 1)
    assert all(one.p == 1 for one in tied.pairs)
    assert _friedman(np.asarray([[1, 2, 3], [2, 3, 1], [3, 1, 2]])) == pytest.approx(0)


def test_wilcoxon_agrees_with_scipy() -> None:
    random = np.random.default_rng(2)
    for n in (4, 7, 12):
        a, b = random.normal(size=n), random.normal(0.5, 1, size=n)
        assert _signed_rank(a, b) == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue)


def test_wilcoxon_with_ties_and_a_zero_is_exact() -> None:
    # .1 and -.1 share ranks 1.5, .2 has 3, 0 is left out: W+ 4.5 of 6, as far in 6 of 8 patterns.
    a = np.asarray([0.6, 0.4, 0.7, 0.5])
    assert _signed_rank(a, np.full(4, 0.5)) == pytest.approx(6 / 8)


def test_wilcoxon_counts_a_diverged_row_as_the_worst() -> None:
    a, b = np.asarray([0.5, 0.6, NAN, 0.5]), np.asarray([0.4, 0.4, 0.9, NAN])
    # Signed ranks: + 1, + 2, - 3.5, + 3.5.
    signs = np.asarray([[1 if place & bit else -1 for bit in (1, 2, 4, 8)] for place in range(16)])
    sums = np.abs(signs @ np.asarray([1, 2, 3.5, 3.5]))
    assert _signed_rank(a, b) == pytest.approx(float((sums >= 3).mean()))
    assert _signed_rank(np.asarray([NAN]), np.asarray([NAN])) == 1


def test_pairs_and_cliques() -> None:
    # c beats a and b on all ten data sets; a and b take turns.
    rows = [[0.5 + 0.01 * (i % 2), 0.5 + 0.01 * ((i + 1) % 2), 0.9 + i / 1e3] for i in range(10)]
    found = rank_table(studies(rows), "clean")
    by_rows = {(one.first[0], one.second[0]): one for one in found.pairs}
    assert by_rows["a", "c"].p == 2 / 2**10
    assert by_rows["a", "c"].p_holm == pytest.approx(3 * 2 / 2**10)
    assert by_rows["a", "b"].p == 1
    assert found.cliques == (("c × Fixed",), ("a × Fixed", "b × Fixed"))
    assert found.note == ""


def test_cliques_may_overlap_and_none_lies_within_another() -> None:
    # a is above c on all ten data sets, a above b and b above c on seven and six.
    b = [0.87] * 3 + [0.75] * 7
    c = [0.70] * 3 + [0.79] * 4 + [0.70] * 3
    rows = [[0.80, *one] for one in zip(b, c, strict=True)]
    found = rank_table(studies(rows), "clean")
    apart = {(one.first[0], one.second[0]) for one in found.pairs if one.p_holm < 0.05}
    assert apart == {("a", "c")}
    assert found.cliques == (("a × Fixed", "b × Fixed"), ("b × Fixed", "c × Fixed"))


def test_too_few_data_sets_to_tell_a_pair_apart_are_named() -> None:
    assert rank_table(studies(SMALL), "clean").note == (
        "Over 3 data sets Wilcoxon's p cannot fall below 0.25, so that no pair out of 3 can differ "
        "at 0.05."
    )


def test_control_rows_are_left_out() -> None:
    tables = studies(SMALL)
    extra = replace(tables[0].rows[0], weighter="Fixed (replay)", control="replay")
    tables[0] = replace(tables[0], rows=(*tables[0].rows, extra))
    assert rank_table(tables, "clean") == rank_table(studies(SMALL), "clean")


def test_what_cannot_be_ranked_is_refused() -> None:
    one, two, three = studies(SMALL)
    with pytest.raises(ValueError, match="two data sets or more, found 1"):
        rank_table([one], "clean")
    with pytest.raises(ValueError, match="s0 and s1 are both of data of s0"):
        rank_table([one, replace(two, data=one.data)], "clean")
    with pytest.raises(ValueError, match="c × Fixed is not in both s0 and s1"):
        rank_table([one, replace(two, rows=two.rows[:2])], "clean")
    with pytest.raises(ValueError, match="two rows or more, s0 has 1"):
        rank_table([replace(each, rows=each.rows[:1]) for each in (one, two)], "clean")
    with pytest.raises(ValueError, match=r"s0 has no benchmark 'fog'. Known: clean\."):
        rank_table([one, two], "fog")
    with pytest.raises(ValueError, match="s2 has no confirmed figures yet"):
        rank_table([one, two, replace(three, split="validation")], "clean")
    with pytest.raises(ValueError, match="clean is accuracy in s0, but RMSE in s1"):
        rank_table([one, study("s1", {"a": 1, "b": 2, "c": 3}, "rmse")], "clean")
    empty = replace(two.rows[1], cells={})
    with pytest.raises(ValueError, match="s1: b × Fixed has no figure on clean"):
        rank_table([one, replace(two, rows=(two.rows[0], empty, two.rows[2]))], "clean")
    with pytest.raises(ValueError, match="found 5"):
        rank_table([one, two], "clean", level=5)


def test_the_diagram_shows_ranks_names_and_cliques(tmp_path: Path) -> None:
    rows = [[0.5 + 0.01 * (i % 2), 0.5 + 0.01 * ((i + 1) % 2), 0.9 + i / 1e3] for i in range(10)]
    figure = critical_difference(rank_table(studies(rows), "clean"))
    (axes,) = figure.axes
    texts = [one.get_text() for one in axes.texts]
    assert {"a × Fixed", "b × Fixed", "c × Fixed", "1.00", "2.50"} <= set(texts)
    thick = [one for one in axes.lines if one.get_linewidth() == 3]
    assert [one.get_xdata()[0] for one in thick] == pytest.approx([2.5 - 0.03])
    for name in ("one.svg", "two.svg"):
        save(critical_difference(rank_table(studies(rows), "clean")), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_the_diagram_of_many_rows_with_long_names() -> None:
    random = np.random.default_rng(0)
    names = [f"adversarial-autoaugment_{place}$" for place in range(12)]
    tables = [
        study(f"s{place}", dict(zip(names, random.random(12).tolist(), strict=True)))
        for place in range(3)
    ]
    found = rank_table(tables, "clean")
    (axes,) = critical_difference(found).axes
    # The critical difference is longer than the axis.
    assert found.critical < 11 or any("beyond the axis" in one.get_text() for one in axes.texts)
    assert sum("autoaugment" in one.get_text() for one in axes.texts) == 12


def test_as_a_table_the_best_comes_first_with_every_figure_and_its_rank() -> None:
    found = rank_table(
        [
            study("one", {"baseline": 0.8, "kl": 0.9, "adv": 0.7}),
            study("two", {"baseline": 0.5, "kl": 0.5, "adv": 0.6}),
        ],
        "clean",
    )
    grid = ranks(found)
    assert grid.head == ("arm", "average rank", "one [%] (rank)", "two [%] (rank)", "p")
    assert grid.texts == [
        ["kl × Fixed", "1.75", "90.00 (1)", "50.00 (2.5)", "–"],
        ["adv × Fixed", "2.00", "70.00 (3)", "60.00 (1)", "1"],
        ["baseline × Fixed", "2.25", "80.00 (2)", "50.00 (2.5)", "1"],
    ]
    assert "on 2 data sets" in grid.caption
    assert grid.notes[0].startswith("Not told apart: kl × Fixed, adv × Fixed, baseline × Fixed")


def test_the_command_ranks_studies_and_draws_them(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tiny(tmp_path / name)
        # The two are of different data.
        place = tmp_path / name / "ledger.jsonl"
        first, rest = place.read_text().split("\n", 1)
        place.write_text(
            json.dumps(json.loads(first) | {"data": TECATOR | {"title": name}}) + "\n" + rest
        )
    words = ["ranks", *(str(tmp_path / name) for name in ("one", "two")), "--benchmark"]
    picture = tmp_path / "ranks.svg"
    done = CliRunner().invoke(app, [*words, "gaussian_0.1", "--plot", str(picture), "--json"])
    assert done.exit_code == 0, done.output
    rows = {row["arm"]: row["average_rank"] for row in json.loads(done.stdout)["rows"]}
    assert rows == {"gaussian-kl × CoV": 1.0, "plain × Fixed": 2.0}
    assert "<svg" in picture.read_text()
    wrong = CliRunner().invoke(app, [*words, "gaussian_0.2"])
    assert wrong.exit_code == 2
    assert "gaussian_0.1" in wrong.output
    wrong = CliRunner().invoke(app, [*words, "clean", "--plot", "ranks.doc"])
    assert (wrong.exit_code, "--plot must end in" in wrong.output) == (2, True)
