from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from analysis.export import tables
from analysis.plots import NothingToPlotError, clean_robust, learning_curves, save, write_figures

from .fake_study import BASELINE, CLEAN, KL, NOISE, Ledger, realistic, regression, row, three, tiny


def texts(figure: object) -> set[str]:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    assert isinstance(figure, Figure)
    return {one.get_text() for one in figure.findobj(Text) if isinstance(one, Text)}


def test_figures_are_files_with_text_as_text(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    paths, notes = write_figures(tables(tmp_path / "s"), tmp_path / "figures")
    assert notes == []
    assert list(paths) == ["clean_robust", "learning_curves", "response", "best_of_k", "spending"]
    for path in paths.values():
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        words = {one.text for one in root.iter("{http://www.w3.org/2000/svg}text")}
        assert words & {"gaussian-kl × CoV", "2  gaussian-kl × CoV"}
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "figures").iterdir())) == 2 * len(paths)


def test_curves_hold_every_trial_where_it_ended(tmp_path: Path) -> None:
    realistic(tmp_path / "s", per_arm=6, seeds=2)
    made = tables(tmp_path / "s")
    figure = learning_curves(made)
    panels = [one for one in figure.axes if one.get_visible()]
    assert [one.get_title(loc="left") for one in panels] == [
        "baseline × Fixed",
        "gaussian-kl × Fixed",
        "gaussian-kl × CoV",
        "adversarial × Fixed",
        "adversarial × CoV",
    ]
    trials = made["trials"].to_pylist()
    for panel in panels:
        mine = [
            one
            for one in trials
            if f"{one['arm']} × {one['weighter']}" == panel.get_title(loc="left")
            and one["phase"] == "search"
        ]
        crosses = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "x"]
        stopped = [one["epochs_done"] for one in mine if one["state"] == "PRUNED"]
        assert sorted(crosses) == sorted(stopped)
        dotted = [line.get_xdata()[0] for line in panel.lines if line.get_linestyle() == ":"]
        assert dotted == [2, 6]
        whole = [line for line in panel.lines if line.get_linewidth() == 1.4]
        assert len(whole) == sum(one["state"] == "COMPLETE" for one in mine)
        assert all(list(line.get_xdata()) == list(range(1, 13)) for line in whole)
    assert sum(line.get_marker() == "*" for panel in panels for line in panel.lines) == 1


def test_confirmed_arms_stand_at_their_test_means(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    every, near = clean_robust(tables(tmp_path / "s")).axes
    large = [line for line in near.lines if line.get_markersize() == 9]
    at = [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in large]
    assert at == [pytest.approx((91, 15)), pytest.approx((91, 40))]
    small = [line for line in every.lines if line.get_markersize() == 4]
    at = [float(x) for line in small for x in line.get_xdata()]
    assert sorted(at) == pytest.approx([80, 85, 86, 88])
    assert large[0].get_color() != large[1].get_color()
    assert large[0].get_marker() != large[1].get_marker()


def test_errors_are_not_percent_and_the_worst_attack_is_the_highest(tmp_path: Path) -> None:
    ledger = regression(tmp_path / "s")
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    attacks = [
        row(f"pgd_linf_{eps}_20", value, family="adversarial", metric="rmse", n_correct=None)
        for eps, value in ((1, 14.0), (2, 18.0))
    ]
    clean = row("clean", 13.0, **CLEAN, metric="rmse", n_correct=None)
    ledger.report(trial, 1, 0.0, [clean, *attacks], metrics={"validation/rmse": 13.0})
    figure = clean_robust(tables(tmp_path / "s"))
    every, near = figure.axes
    small = [line for line in every.lines if line.get_markersize() == 4]
    at = [
        (float(x), float(y))
        for one in small
        for x, y in zip(one.get_xdata(), one.get_ydata(), strict=True)
    ]
    # Attacked errors are those of the clean ones plus 2, of the last trial its highest.
    assert sorted(at) == [(11, 13), (12, 14), (13, 15), (13, 18), (60, 62)]
    assert (every.get_xscale(), every.get_yscale()) == ("log", "log")
    assert (near.get_xscale(), near.get_yscale()) == ("linear", "linear")
    large = [line for line in near.lines if line.get_markersize() == 9]
    assert [float(line.get_xdata()[0]) for line in large] == pytest.approx([10.1, 10.5])
    assert [float(line.get_ydata()[0]) for line in large] == pytest.approx([20.5, 15.25])
    assert "clean RMSE (lower is better)" in texts(figure)
    assert "highest RMSE over the attacks" in texts(figure)
    assert not any("%" in one and "95 %" not in one for one in texts(figure))
    # A mean of 10.1 ± 1.27 with a tenth of the width as room: no axis is cut at 104 or at -4.
    assert near.get_xlim()[0] == pytest.approx(10.1 - 1.2706 - 0.1 * 2.5412, abs=1e-3)


def test_curves_of_errors_far_apart_are_on_a_logarithmic_scale(tmp_path: Path) -> None:
    regression(tmp_path / "s")
    figure = learning_curves(tables(tmp_path / "s"))
    assert [one.get_yscale() for one in figure.axes] == ["log", "log"]
    assert "validation RMSE (lower is better)" in texts(figure)
    figure.draw_without_rendering()  # type: ignore[attr-defined]
    shown = {one.get_text() for one in figure.axes[0].get_yticklabels()}
    assert {"20", "50"} <= shown
    realistic(tmp_path / "t", per_arm=3, seeds=1)
    figure = learning_curves(tables(tmp_path / "t"))
    assert {one.get_yscale() for one in figure.axes} == {"linear"}
    assert "validation accuracy [%]" in texts(figure)


def test_right_panel_holds_the_confirmed_arms_with_their_bars(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    for score, state in ((0.10, "PRUNED"), (0.20, "COMPLETE"), (0.90, "COMPLETE")):
        trial = ledger.plan(BASELINE)
        ledger.start(trial)
        ledger.report(trial, 1, score, three(score, score, score / 2))
        ledger.end(trial, state, "budget")
    for pair, clean, robust in ((BASELINE, 0.90, 0.40), (KL, 0.92, 0.50)):
        for seed, change in ((100, -0.001), (101, 0.001)):
            trial = ledger.plan(pair, "confirm", seed, pair[0])
            ledger.start(trial)
            rows = three(clean + change, 0.8, robust + 2 * change, split="test")
            ledger.report(trial, 1, 0.9, rows)
            ledger.end(trial)
    every, near = clean_robust(tables(tmp_path / "s")).axes
    # Half widths over two seeds: 12.7062 · s / √2 with s = |a - b| / √2.
    wide, high = 12.7062 * 0.1, 12.7062 * 0.2
    # A tenth of 4.54 points is less than the half point that is always left free.
    assert near.get_xlim() == pytest.approx((90 - wide - 0.5, 92 + wide + 0.5), abs=1e-3)
    room = 0.1 * (10 + 2 * high)
    assert near.get_ylim() == pytest.approx((40 - high - room, 50 + high + room), abs=1e-3)
    assert every.get_xlim()[0] < 10
    # Of the search trials only the one of full budget inside.
    small = [float(line.get_xdata()[0]) for line in near.lines if line.get_markersize() == 4]
    assert small == pytest.approx([90])
    assert [one.get_text() for one in near.texts] == ["1", "2"]


@pytest.mark.parametrize("count", [2, 5, 12])
def test_numbers_hide_no_marker_and_no_number(tmp_path: Path, count: int) -> None:
    pairs = [BASELINE, *((f"arm-{place}", "CoV") for place in range(count - 1))]
    ledger = Ledger(tmp_path / "s", pairs)
    for place, pair in enumerate(pairs):
        for seed in range(3):
            trial = ledger.plan(pair, "confirm", seed, pair[0])
            ledger.start(trial)
            # Some close by, none in one place.
            clean = 0.9 + 0.002 * (place % 4) + 0.0005 * seed
            rows = three(clean, 0.8, 0.4 + 0.01 * (place // 4) + 0.003 * seed, split="test")
            ledger.report(trial, 1, 0.9, rows)
            ledger.end(trial)
    figure = clean_robust(tables(tmp_path / "s"))
    near = figure.axes[1]
    figure.draw_without_rendering()  # type: ignore[attr-defined]
    numbers = [one.get_window_extent() for one in near.texts]
    assert len(numbers) == count
    large = [line for line in near.lines if line.get_markersize() == 9]
    at = [near.transData.transform((line.get_xdata()[0], line.get_ydata()[0])) for line in large]
    for place, box in enumerate(numbers):
        assert near.get_window_extent().containsx(box.x0)
        assert near.get_window_extent().containsx(box.x1)
        assert not any(box.contains(x, y) for x, y in at)
        assert not any(box.overlaps(other) for other in numbers[place + 1 :])
    legend = [one.get_text() for one in figure.legends[0].get_texts()]
    assert [one for one in legend if one[:1].isdigit()] == [
        f"{place}  {arm} × {weighter}" for place, (arm, weighter) in enumerate(pairs, start=1)
    ]


def test_same_figure_gives_the_same_svg(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    made = tables(tmp_path / "s")
    for name in ("a.svg", "b.svg"):
        save(clean_robust(made), tmp_path / name)
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()


def test_noise_stands_in_for_attacks(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    rows = [row("clean", 0.9, **CLEAN), *(row(f"gaussian_{x}", x, **NOISE) for x in (0.1, 0.2))]
    ledger.report(trial, 1, 0.9, rows)
    figure = clean_robust(tables(tmp_path / "s"))
    assert "accuracy on gaussian_0.2 [%]" in texts(figure)
    assert float(figure.axes[0].lines[0].get_ydata()[0]) == pytest.approx(20)


def test_without_figures_the_plots_are_skipped_with_a_note(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    paths, notes = write_figures(tables(tmp_path / "s"), tmp_path / "figures")
    assert paths == {}
    assert [one.partition(":")[0] for one in notes] == [
        "No figure clean_robust",
        "No figure learning_curves",
    ]
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    ledger.report(trial, 1, 0.9, [row("clean", 0.9, **CLEAN)])
    with pytest.raises(NothingToPlotError, match="a clean and a noise or attack benchmark"):
        clean_robust(tables(tmp_path / "s"))


def test_labels_are_no_mathematics(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, ("a$_b$ <&>", "Fixed")])
    trial = ledger.plan(("a$_b$ <&>", "Fixed"))
    ledger.start(trial)
    ledger.report(trial, 1, 0.5)
    path = tmp_path / "x.svg"
    save(learning_curves(tables(tmp_path / "s")), path)
    words = {one.text for one in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")}
    assert "a$_b$ <&> × Fixed" in words


def test_long_labels_stay_inside_their_panel(tmp_path: Path) -> None:
    pair = ("a" * 80, "CoV")
    ledger = Ledger(tmp_path / "s", [pair])
    trial = ledger.plan(pair)
    ledger.start(trial)
    ledger.report(trial, 1, 0.5)
    title = learning_curves(tables(tmp_path / "s")).axes[0].get_title(loc="left")
    assert title == "a" * 30 + "…\n× CoV"


def test_legend_explains_only_what_occurs(tmp_path: Path) -> None:
    tiny(tmp_path / "s", finished=False)
    figure = clean_robust(tables(tmp_path / "s"))
    shown = {one.get_text() for one in figure.legends[0].get_texts()}
    assert {"full budget", "stopped or not ended", "gaussian-kl × CoV"} <= shown
    assert "Large: confirmed, test" not in shown
    assert len(figure.axes) == 1
    curves = learning_curves(tables(tmp_path / "s"))
    assert [one.get_text() for one in curves.legends[0].get_texts()] == [
        "full budget",
        "stopped at a rung",
        "still running",
        "rung",
    ]


def test_many_arms_keep_their_own_look(tmp_path: Path) -> None:
    arms = [BASELINE, *((f"arm-{place}", "CoV") for place in range(11))]
    ledger = Ledger(tmp_path / "s", arms)
    for place, arm in enumerate(arms):
        trial = ledger.plan(arm)
        ledger.start(trial)
        rows = [row("clean", 0.9, **CLEAN), row("gaussian_0.1", 0.05 * place, **NOISE)]
        ledger.report(trial, 1, 0.9, rows)
    axes = clean_robust(tables(tmp_path / "s")).axes[0]
    looks = {(one.get_color(), one.get_marker(), one.get_fillstyle()) for one in axes.lines}
    assert len(looks) == 12


def test_figures_of_two_epochs_are_not_mixed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    ledger.report(trial, 1, 0.5, [row("clean", 0.5, **CLEAN), row("gaussian_0.1", 0.4, **NOISE)])
    ledger.report(trial, 2, 0.9, [row("clean", 0.9, **CLEAN)])
    # The noise figure belongs to the model of the first epoch, the clean one to the second's.
    assert list(clean_robust(tables(tmp_path / "s")).axes[0].lines) == []
