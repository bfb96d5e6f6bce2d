from __future__ import annotations

from html import unescape
from pathlib import Path
from typing import Any

import pytest

from analysis.export import tables
from analysis.objectives import (
    front,
    objectives,
    objectives_of,
    points,
    reading,
    reference,
    shares,
    volume_over_time,
)
from analysis.plots import FIGURES, NothingToPlotError, write_figures
from analysis.report import write_report
from analysis.tables import robustness_table

from .fake_study import BASELINE, KL, TWO, Ledger, regression, several, three, tiny

ROBUST = list(TWO)[1]


def of_size(axes: Any, size: float) -> list[tuple[float, float]]:
    return sorted(
        (float(x), float(y))
        for line in axes.lines
        if line.get_markersize() == size and line.get_marker() not in ("None", "")
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    )


def test_points_are_trials_at_their_last_figures(tmp_path: Path) -> None:
    several(tmp_path / "s")
    found = points(tables(tmp_path / "s"))
    assert [one.trial for one in found] == [0, 1, 2, 3, 4]
    assert [one.values for one in found[:4]] == [(0.9, 0.1), (0.7, 0.5), (0.8, 0.2), (0.6, 0.4)]
    assert [one.sound for one in found] == [True] * 4 + [False]
    assert [one.whole for one in found] == [True, True, False, False, False]
    # Epochs of 2 s and half a second of evaluation, on one processor.
    assert [one.device_s for one in found] == [7.5, 7.5, 5.0, 5.0, 5.0]


def test_device_seconds_are_those_of_all_gpus(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE], resources={"cpu": 4, "gpu": 2})
    ledger.report(ledger.plan(BASELINE), 1, 0.5)
    ledger.start(0)
    assert points(tables(tmp_path / "s"))[0].device_s == 5.0


def test_objectives_of_two_epochs_are_not_mixed(tmp_path: Path) -> None:
    ledger = several(tmp_path / "s")
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    ledger.report(trial, 1, 0.4, metrics={ROBUST: 0.3})
    # The benchmark is measured at rungs only: the later accuracy is of another model.
    ledger.report(trial, 2, 0.99)
    last = points(tables(tmp_path / "s"))[-1]
    assert (last.trial, last.values, last.ended) == (5, (0.4, 0.3), False)


def test_shares_by_hand(tmp_path: Path) -> None:
    several(tmp_path / "s")
    made = tables(tmp_path / "s")
    # Seen from 0: plain .9 x .1 + .8 x .1, gaussian-kl .7 x .5, all .9 x .1 + .8 x .1 + .7 x .3.
    assert shares(made) == pytest.approx({BASELINE: 0.17 / 0.38, KL: 0.35 / 0.38})
    assert reading(made) == (
        "Share of the hypervolume of all arms together, seen from validation accuracy 0.00 % and "
        "validation pgd_linf_8/255_20 accuracy 0.00 %: "
        "gaussian-kl × CoV 92.1 %, plain × Fixed 44.7 %."
    )


def test_the_reference_is_the_worst_of_what_has_no_bound(tmp_path: Path) -> None:
    wanted = {"validation/accuracy": "max", "validation/loss": "min"}
    several(tmp_path / "s", wanted)
    made = tables(tmp_path / "s")
    assert objectives_of(made["studies"].to_pylist()[0]) == wanted
    # Losses are 2.3 (1 - accuracy): the highest of a sound trial is that of accuracy .6.
    assert reference(points(made), wanted) == pytest.approx((0, 2.3 * 0.4))
    assert reference([], wanted)[0] == 0
    # plain from .92: .9 high, .69 wide; gaussian-kl .7 by .23; both fall and rise together.
    assert shares(made) == pytest.approx({BASELINE: 1.0, KL: 0.7 * 0.23 / (0.9 * 0.69)})


def test_the_front_is_a_table(tmp_path: Path) -> None:
    several(tmp_path / "s")
    heads, body = front(tables(tmp_path / "s"))
    assert heads[2:4] == ("validation accuracy [%]", "validation pgd_linf_8/255_20 accuracy [%]")
    assert body == [
        ["plain × Fixed", "0", "90.00", "10.00", "full budget"],
        ["plain × Fixed", "2", "80.00", "20.00", "stopped"],
        ["gaussian-kl × CoV", "1", "70.00", "50.00", "full budget"],
    ]


def test_plane_of_two_objectives(tmp_path: Path) -> None:
    several(tmp_path / "s")
    (axes,) = objectives(tables(tmp_path / "s")).axes
    assert of_size(axes, 4.0) == [(60, 40), (70, 50), (80, 20), (90, 10)]
    assert of_size(axes, 8.0) == [(70, 50), (80, 20), (90, 10)]
    grey, plain = (line for line in axes.lines if line.get_drawstyle().startswith("steps"))
    assert (list(grey.get_xdata()), list(grey.get_ydata())) == ([70, 80, 90], [50, 20, 10])
    assert list(plain.get_xdata()) == [80, 90]
    # Between 70 and 80 only those from 80 on dominate.
    assert grey.get_drawstyle() == "steps-pre"
    colours = {line.get_color() for line in axes.lines if line.get_markersize() == 4}
    assert plain.get_color() in colours
    assert axes.get_xlabel() == "validation accuracy [%]"


def test_three_objectives_are_three_planes_with_one_front(tmp_path: Path) -> None:
    several(tmp_path / "s", TWO | {"validation/loss": "min"})
    figure = objectives(tables(tmp_path / "s"))
    assert len(figure.axes) == 3
    # The losses order the trials as the accuracies do: the front stays the same.
    assert all(len(of_size(axes, 8.0)) == 3 for axes in figure.axes)
    assert not any(
        line.get_drawstyle().startswith("steps") for axes in figure.axes for line in axes.lines
    )
    assert figure.axes[2].get_ylabel() == "validation loss (lower is better)"


def test_errors_far_apart_are_on_a_logarithmic_scale(tmp_path: Path) -> None:
    wanted = {"validation/rmse": "min", "validation/mae": "min"}
    ledger = Ledger(tmp_path / "s", [BASELINE], search={"metric": "validation/rmse"} | {
        "mode": "min", "objectives": wanted,
    })  # fmt: skip
    for rmse, mae in ((10.0, 9.0), (100.0, 8.0)):
        trial = ledger.plan(BASELINE)
        ledger.start(trial)
        metrics = {"validation/rmse": rmse, "validation/mae": mae}
        ledger.report(trial, 1, 0.0, metrics=metrics, decision="complete")
        ledger.end(trial)
    made = tables(tmp_path / "s")
    (axes,) = objectives(made).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    # To be made small: up to the next one to the right the left one dominates.
    assert axes.lines[0].get_drawstyle() == "steps-post"
    # Each is the worst in one objective: no volume is seen from there.
    assert shares(made) == {}
    assert reading(made) == ""
    with pytest.raises(NothingToPlotError, match="hypervolume above 0"):
        volume_over_time(made)


def test_volume_grows_with_trials_and_seconds(tmp_path: Path) -> None:
    several(tmp_path / "s")
    by_trials, by_seconds = volume_over_time(tables(tmp_path / "s")).axes
    plain, kl = by_trials.lines
    assert list(plain.get_xdata()) == [0, 1, 2]
    assert list(plain.get_ydata()) == pytest.approx([0, 9 / 0.38, 17 / 0.38])
    assert list(kl.get_xdata()) == [0, 1, 2, 3]
    assert list(kl.get_ydata()) == pytest.approx([0, *[35 / 0.38] * 3])
    plain, kl = by_seconds.lines
    assert list(plain.get_xdata()) == [0, 7.5, 12.5]
    assert list(kl.get_xdata()) == [0, 7.5, 12.5, 17.5]


def test_one_objective_has_none_of_it(tmp_path: Path) -> None:
    for name, make in (("a", tiny), ("b", regression)):
        make(tmp_path / name)
        made = tables(tmp_path / name)
        for draw in (objectives, volume_over_time):
            with pytest.raises(NothingToPlotError, match="one objective"):
                draw(made)
        assert (shares(made), reading(made), front(made)[1]) == ({}, "", [])
        paths, notes = write_figures(made, tmp_path / "figures")
        assert "objectives" not in paths
        assert notes == []


def test_a_search_without_a_figure_says_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE], search={"metric": "a", "mode": "max"} | {
        "objectives": TWO,
    })  # fmt: skip
    ledger.plan(BASELINE)
    made = tables(tmp_path / "s")
    with pytest.raises(NothingToPlotError, match="no search trial has reported all objectives"):
        objectives(made)
    assert front(made)[1] == []
    assert reading(made) == ""


def test_the_report_holds_the_front_and_the_reading(tmp_path: Path) -> None:
    ledger = several(tmp_path / "s")
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    assert "Several objectives" in html
    assert "gaussian-kl × CoV 92.1 %, plain × Fixed 44.7 %." in html
    drawn = ("learning_curves", "objectives", "hypervolume", "spending")
    assert all(FIGURES[name].caption in unescape(html) for name in drawn)
    assert "objectives validation/accuracy (max) and validation/pgd_linf_8/255_20" in html
    assert (
        "Selection: highest validation/accuracy among each arm's search trials, the first of "
        "several objectives; nothing is confirmed on fresh seeds yet."
    ) in robustness_table(tmp_path / "s").notes
    trial = ledger.plan(KL, "confirm", 1000, "group0000001", place=1)
    ledger.start(trial)
    ledger.report(trial, 3, 0.7, three(0.7, 0.5, 0.5, split="test"), decision="complete")
    ledger.end(trial)
    assert (
        "Selection: of each arm's longest trained search trials the first 1 by validation accuracy "
        "(max) and validation pgd_linf_8/255_20 accuracy (max) together, Pareto front by front, "
        "the least crowded first; test figures chose nothing."
    ) in robustness_table(tmp_path / "s").notes


@pytest.mark.slow
def test_a_real_search_is_confirmed_as_the_analysis_ranks_it(tmp_path: Path) -> None:
    from analysis import events, pareto
    from tests.study.in_process import Runner, begin
    from tests.study.in_process import tiny as study

    metrics = ["validation/accuracy", "validation/pgd_linf_0.1_2/accuracy"]
    file = study(
        search={"sampler": "NSGA-II", "trials_per_arm": 4, "metric": metrics},
        schedule={"form": "promotion"},
        weighters=["Fixed"],
        confirm={"top": 2, "seeds": 1},
    )
    folder = begin(tmp_path / "s", file)
    Runner().run(folder)
    made = tables(folder)
    assert list(objectives_of(made["studies"].to_pylist()[0])) == metrics
    epochs = dict(
        zip(
            made["trials"]["number"].to_pylist(),
            made["trials"]["epochs_done"].to_pylist(),
            strict=True,
        )
    )
    (confirming,) = (one for one in events.read(folder) if one["event"] == "confirming")
    for name, winners in confirming["winners"].items():
        mine = [one for one in points(made) if " × ".join(one.label) == name and one.sound]
        expected: list[int] = []
        for longest in sorted({epochs[one.trial] for one in mine}, reverse=True):
            equals = sorted(
                (one for one in mine if epochs[one.trial] == longest), key=lambda one: one.trial
            )
            order = pareto.best([one.values for one in equals], ("max", "max"), len(equals))
            expected += [equals[place].trial for place in order]
        assert winners == expected[:2]
    found = shares(made)
    assert 0 < max(found.values()) <= 1 + 1e-12
    html = write_report(folder).read_text(encoding="utf-8")
    assert "place " in html
    assert "the cutoff " in html
