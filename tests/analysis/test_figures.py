"""What the figures of the search, the weights, the corruptions and the costs draw."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.best_of_k import best_of_k
from analysis.corrupted import reported
from analysis.curves import learning_curves
from analysis.export import tables
from analysis.importance import LEAST, importance, measured, ranks
from analysis.metrics import metric
from analysis.objectives import Point, close_up
from analysis.operations import operations, shares
from analysis.parallel import parallel, place_on
from analysis.plots import FIGURES, write_figures
from analysis.response import response
from analysis.schema import schema
from analysis.severities import severities
from analysis.spending import seconds, spending
from analysis.style import MANY, NothingToPlotError
from analysis.weighting import weighting

from .fake_study import BASELINE, KL, Ledger, Pair, realistic, row, tiny
from .test_plots import texts
from .test_searched import AUX, LR, trial

LOG = {AUX: {"low": 0.01, "high": 10.0, "log": True}}


def searched(folder: Path, values: list[tuple[float, float]], **more: Any) -> Ledger:
    """A baseline of .80 and .82, and trials of (coefficient, accuracy) of full budget."""
    ledger = Ledger(folder, [BASELINE, KL], **more)
    for value in (0.80, 0.82):
        trial(ledger, BASELINE, value)
    for coefficient, value in values:
        trial(ledger, KL, value, settings={AUX: coefficient}, distributions=LOG)
    return ledger


def lines(axes: Any, **wanted: Any) -> list[Any]:
    return [
        one
        for one in axes.lines
        if all(getattr(one, f"get_{name}")() == value for name, value in wanted.items())
    ]


# Response of a coefficient.


def test_dots_reference_curve_and_choice(tmp_path: Path) -> None:
    dots = [(0.01 * 2**place, 0.80 + 0.01 * place) for place in range(9)]
    ledger = searched(tmp_path / "s", dots)
    trial(ledger, KL, 0.78, state="PRUNED", reason="rung", epochs=1, settings={AUX: 5.0})
    trial(ledger, KL, math.nan, state="FAIL", reason="diverged", settings={AUX: 9.0})
    (axes,) = response(tables(tmp_path / "s")).axes
    assert axes.get_xscale() == "log"
    (full,) = lines(axes, label="full budget")
    assert list(full.get_xdata()) == pytest.approx([one for one, _ in dots])
    assert list(full.get_ydata()) == pytest.approx([100 * one for _, one in dots])
    (early,) = lines(axes, label="stopped or not ended")
    assert list(early.get_xdata()) == [5.0]
    (diverged,) = lines(axes, label="diverged")
    assert list(diverged.get_xdata()) == [9.0]
    (base,) = lines(axes, label="coefficient 0: the baseline's search")
    assert base.get_ydata()[0] == pytest.approx(81)
    (curve,) = lines(axes, label="local mean, 95 % band")
    assert curve.get_xdata()[0] == pytest.approx(0.01)
    assert curve.get_xdata()[-1] == pytest.approx(2.56)
    assert (np.diff(curve.get_ydata()) > 0).all()
    (best,) = lines(axes, label="chosen")
    assert best.get_xdata()[0] == pytest.approx(2.56)
    assert axes.get_xlabel() == "aux coefficient"


def test_the_arms_own_control_is_the_reference_where_there_is_one(tmp_path: Path) -> None:
    ledger = searched(tmp_path / "s", [(0.1, 0.8), (1.0, 0.9)])
    for seed, value in enumerate((0.84, 0.86)):
        trial(ledger, KL, value, phase="control", control="coefficient_0", seed=seed)
    made = tables(tmp_path / "s")
    (axes,) = response(made).axes
    (line,) = lines(axes, label="coefficient 0: the arm's control")
    assert line.get_ydata()[0] == pytest.approx(85)
    assert "2 of full budget: no curve" in axes.get_xlabel()
    assert not lines(axes, label="local mean, 95 % band")


def test_trials_far_below_do_not_press_the_others_together(tmp_path: Path) -> None:
    dots = [(0.01 * 2**place, 0.90 + 0.001 * place) for place in range(8)] + [(9.0, 0.1)]
    searched(tmp_path / "s", dots)
    (axes,) = response(tables(tmp_path / "s")).axes
    low, high = axes.get_ylim()
    assert 60 < low < 90
    assert high < 100
    (beyond,) = lines(axes, marker="v", markersize=4)
    assert list(beyond.get_xdata()) == [9.0]


def test_no_coefficient_or_one_trial_is_no_response(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "a", [BASELINE])
    trial(ledger, BASELINE, 0.9, settings={LR: 0.1})
    with pytest.raises(NothingToPlotError, match="no coefficient"):
        response(tables(tmp_path / "a"))
    searched(tmp_path / "b", [(0.1, 0.8)])
    with pytest.raises(NothingToPlotError, match="two search trials"):
        response(tables(tmp_path / "b"))
    ledger = Ledger(tmp_path / "c", [BASELINE, KL])
    for _ in range(2):
        trial(ledger, KL, math.nan, state="FAIL", reason="diverged", settings={AUX: 0.1})
    with pytest.raises(NothingToPlotError, match="no search trial has reported"):
        response(tables(tmp_path / "c"))


# Importance.


def test_a_setting_that_orders_all_trials_explains_all() -> None:
    order = ranks([0.1 * one for one in range(10)])
    up = measured([float(one) for one in range(10)], order)
    assert (up.share, up.rho) == pytest.approx((1, 1))
    # A peak in the middle has no rank correlation, and is found all the same.
    peak = measured(
        [float(one) for one in range(11)], ranks([-abs(one - 5.0) for one in range(11)])
    )
    assert peak.share > 0.9
    assert peak.rho == pytest.approx(0, abs=1e-12)
    assert peak.share > peak.chance


def test_rho_is_spearmans_and_categories_have_eta_squared() -> None:
    from scipy import stats

    draws = np.random.default_rng(3)
    x, y = draws.normal(size=14), draws.normal(size=14)
    y[3] = y[7]
    found = measured(list(x), ranks(list(y)))
    assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    np.testing.assert_allclose(ranks(list(y)), stats.rankdata(y))
    names = ["a", "b", "a", "c", "b", "a", "c", "c", "a"]
    order = ranks([3.0, 1, 4, 1.5, 9, 2, 6, 5, 3.5])
    groups = [order[[one == name for one in names]] for name in "abc"]
    between = sum(len(one) * (one.mean() - order.mean()) ** 2 for one in groups)
    eta = between / ((order - order.mean()) ** 2).sum()
    assert measured(names, order).share == pytest.approx(eta)
    assert measured(names, order).rho is None


def test_chance_is_passed_by_chance_in_one_of_twenty() -> None:
    draws = np.random.default_rng(5)
    passed = 0
    for seed in range(300):
        found = measured(list(draws.normal(size=10)), ranks(list(draws.normal(size=10))), seed=seed)
        passed += found.share > found.chance
    # 15 are expected; 29 is beyond the 99.9 % point of Binomial(300, 0.05).
    assert 3 <= passed <= 28


def test_one_value_explains_nothing() -> None:
    order = ranks([1.0, 2, 3])
    assert math.isnan(measured([0.1] * 3, order).share)
    assert math.isnan(measured(["a"] * 3, order).share)
    assert math.isnan(measured([1.0, 2, 3], ranks([5.0] * 3)).share)


def test_importance_says_when_there_are_too_few_trials(tmp_path: Path) -> None:
    searched(tmp_path / "a", [(0.1 * one, 0.8) for one in range(1, LEAST)])
    with pytest.raises(NothingToPlotError, match=f"no arm has {LEAST} .* the most is {LEAST - 1}"):
        importance(tables(tmp_path / "a"))
    ledger = searched(tmp_path / "b", [(0.1 * one, 0.8 + 0.01 * one) for one in range(1, LEAST)])
    trial(ledger, KL, math.nan, state="FAIL", reason="diverged", settings={AUX: 9.0})
    figure = importance(tables(tmp_path / "b"))
    (axes,) = figure.axes
    # More was better but for the one that diverged, which comes last: ranks 2 … 8 and 1.
    from scipy import stats

    rho = stats.spearmanr([*range(1, LEAST), 90], [*range(1, LEAST), -1]).statistic
    assert f"ρ {rho:+.2f}" in texts(figure)
    assert axes.get_title(loc="left") == f"gaussian-kl × CoV (n = {LEAST})"


# Parallel coordinates.


def test_places_on_axes() -> None:
    log = {"low": 0.01, "high": 1.0, "log": True}
    assert place_on(0.1, log, [0.1]) == pytest.approx(0.5)
    assert place_on(3.0, {"low": 1, "high": 5, "log": False}, [3.0]) == pytest.approx(0.5)
    options = {"values": ["SGD", {"name": "Adam"}, "AdamW"]}
    assert [place_on(one, options, []) for one in ("SGD", "Adam", "AdamW")] == [0, 0.5, 1]
    assert place_on(16.0, {"values": [16, 32]}, []) == 0
    # Without a range, as of ledgers that do not say: what was seen.
    assert place_on(2.0, {}, [1.0, 2.0, 3.0]) == pytest.approx(0.5)
    assert place_on("b", {}, ["a", "b"]) == 1
    assert place_on(7.0, {}, [7.0]) == 0.5


def test_lines_go_through_settings_to_the_metric(tmp_path: Path) -> None:
    searched(tmp_path / "s", [(0.01, 0.80), (10.0, 0.86), (math.sqrt(0.1), 0.83)])
    axes = parallel(tables(tmp_path / "s")).axes[0]
    drawn = sorted(
        tuple(round(float(y), 6) for y in one.get_ydata())
        for one in axes.lines
        if len(one.get_ydata()) == 2 and list(one.get_xdata()) == [0.0, 1.0]
    )
    # .80 to .86 is the range of all arms.
    assert drawn == [(0, 0), (0.5, 0.5), (1, 1)]
    (best,) = lines(axes, linewidth=1.8)
    assert list(best.get_ydata()) == pytest.approx([1, 1])


def test_a_setting_that_a_trial_does_not_have_is_a_gap(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    ranges = {LR: {"low": 0.1, "high": 1.0, "log": True}, "m": {"low": 0.0, "high": 1.0}}
    for place in range(3):
        settings = {LR: 0.1} | ({"m": 0.5} if place else {})
        trial(ledger, BASELINE, 0.5 + 0.1 * place, settings=settings, distributions=ranges)
    axes = parallel(tables(tmp_path / "s")).axes[0]
    gaps = [one for one in axes.lines if np.isnan(np.asarray(one.get_ydata(), float)).any()]
    assert len(gaps) == 1


# Expected best of k.


def test_expected_best_of_one_two_and_three(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    for value in (0.5, 0.9, 0.7):
        trial(ledger, BASELINE, value)
    trial(ledger, KL, 0.8)
    trial(ledger, KL, math.nan, state="FAIL", reason="diverged")
    (axes,) = best_of_k(tables(tmp_path / "s")).axes
    base, kl = axes.lines
    assert list(base.get_xdata()) == [1, 2, 3]
    by_hand = [70, (50 + 3 * 70 + 5 * 90) / 9, (50 + 7 * 70 + 19 * 90) / 27]
    assert list(base.get_ydata()) == pytest.approx(by_hand)
    # The diverged one counts as the worst of the study, .5.
    assert list(kl.get_ydata()) == pytest.approx([65, (50 + 3 * 80) / 4])


# Weights and cosines.


def gave(main: float, aux: float, cosine: float | None = None) -> dict[str, Any]:
    rest = {"raw_loss": 1.0, "weighted_loss": 1.0, "loss_ratio": 1.0, "grad_norm": 1.0}
    share = None if cosine is None else float(cosine < 0)
    return {
        "main": {**rest, "weight": main, "grad_cos": 1.0 if share is not None else None}
        | {"grad_conflict": 0.0 if share is not None else None},
        "aux": {**rest, "weight": aux, "grad_cos": cosine, "grad_conflict": share},
    }


def test_weights_are_means_over_confirmed_trials(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    trial(ledger, BASELINE, 0.8, weights=[gave(1, 1)] * 3)
    trial(ledger, KL, 0.8, group="g", weights=[gave(9, 9)] * 3)
    for seed, plus in enumerate((0.0, 0.2)):
        given = [gave(1 - 0.1 * epoch, 0.5 + plus, -0.5 + epoch / 2) for epoch in range(3)]
        trial(ledger, KL, 0.8, phase="confirm", seed=seed, group="g", weights=given)
    figure = weighting(tables(tmp_path / "s"))
    weights, _, cosines, _ = figure.axes
    # The baseline's are constant, and the search trial's are not the confirmed one's.
    assert weights.get_title(loc="left") == "gaussian-kl × CoV"
    main, aux = weights.lines
    assert list(main.get_ydata()) == pytest.approx([1, 0.9, 0.8])
    assert list(aux.get_ydata()) == pytest.approx([0.6] * 3)
    (band,) = (one for one in weights.collections if max(one.get_paths()[0].vertices[:, 1]) < 0.71)
    assert min(band.get_paths()[0].vertices[:, 1]) == pytest.approx(0.5)
    assert max(band.get_paths()[0].vertices[:, 1]) == pytest.approx(0.7)
    zero, cosine, conflict = cosines.lines
    assert list(zero.get_ydata()) == [0, 0]
    assert list(cosine.get_ydata()) == pytest.approx([-0.5, 0, 0.5])
    assert list(conflict.get_ydata()) == pytest.approx([1, 0, 0])


def test_constant_weights_are_no_figure(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    trial(ledger, KL, 0.8, weights=[gave(0.5, 0.5)] * 3)
    with pytest.raises(NothingToPlotError, match="all weights are constant"):
        weighting(tables(tmp_path / "s"))


# Corruptions.


def corrupted(value: float, **more: Any) -> list[Any]:
    return [
        row(f"{kind}_{level}", value - 0.1 * level, split="test", family="corruption")
        | {"severity": level, "source": "generated"}
        | more
        for kind in ("fog", "motion_blur")
        for level in (1, 2)
    ]


def test_differences_are_paired_and_superseded_trials_are_left_out(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    for pair in (BASELINE, KL):
        trial(ledger, pair, 0.9, group=pair[0])
    for pair, seed, value in ((BASELINE, 1, 0.8), (BASELINE, 2, 0.6), (KL, 1, 0.9)):
        rows = corrupted(value)
        trial(ledger, pair, 0.9, phase="confirm", seed=seed, group=pair[0], evaluations=rows)
    # Of the configurations the table shows the better one by validation.
    trial(ledger, KL, 0.1, phase="confirm", seed=3, group="poor", evaluations=corrupted(0.3))
    made = tables(tmp_path / "s")
    assert reported(made).split == "test"
    assert reported(made).values[KL]["fog", 1] == {1: pytest.approx(0.8)}
    figure = severities(made)
    base, kl = figure.axes[:2]
    shown = [one.get_text() for one in base.texts]
    # (.8 + .6) / 2 - .1 and - .2, for both types.
    assert shown == ["60", "50", "60", "50"]
    # Only seed 1 is shared: .9 - .8.
    assert [one.get_text() for one in kl.texts] == ["+10"] * 4
    low, high = kl.images[0].get_clim()
    assert (low, high) == pytest.approx((-10, 10))
    assert [one.get_text() for one in base.get_yticklabels()] == ["fog", "motion blur"]


def test_official_and_generated_corruptions_never_mix(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial(ledger, BASELINE, 0.9, group="g")
    rows = [*corrupted(0.9), *corrupted(0.5, source="official")]
    trial(ledger, BASELINE, 0.9, phase="confirm", group="g", evaluations=rows)
    values = reported(tables(tmp_path / "s")).values[BASELINE]
    assert values["fog", 1] == {0: pytest.approx(0.4)}


# Costs.


def test_every_second_is_counted_once(tmp_path: Path) -> None:
    realistic(tmp_path / "s", per_arm=6, seeds=2)
    made = tables(tmp_path / "s")
    trials = made["trials"].drop_columns(["config_json"]).to_pylist()
    labels = {(one["arm"], one["weighter"]) for one in trials}
    spent = sum(sum(seconds(trials, label, 2.0).values()) for label in labels)
    assert spent == pytest.approx(
        2 * sum((one["train_s"] or 0) + (one["eval_s"] or 0) for one in trials)
    )
    baseline = seconds(trials, ("baseline", "Fixed"), 1.0)
    epochs = sum(one["epochs_done"] for one in trials if one["arm"] == "baseline")
    assert baseline["evaluation"] == pytest.approx(0.5 * epochs)
    figure = spending(made)
    words = " ".join(texts(figure))
    assert f"6 search, 8 trials, {epochs} epochs" in words
    with pytest.raises(NothingToPlotError, match="any time"):
        Ledger(tmp_path / "t", [BASELINE])
        spending(tables(tmp_path / "t"))


# Policies.


def policies_table(study: str, rows: list[dict[str, Any]]) -> Any:
    whole = [{"study_id": study, "view": "policy", "update": 0, "policy": 0} | one for one in rows]
    return pa.Table.from_pylist(whole, schema("policies", study))


def test_shares_of_operations_weigh_steps_and_not_trials(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    for _ in range(2):
        trial(ledger, BASELINE, 0.9)
    made = tables(tmp_path / "s")
    first, second = made["trials"]["trial_id"].to_pylist()
    study = made["studies"]["study_id"][0].as_py()
    made["policies"] = policies_table(
        study,
        [
            {"trial_id": first, "epoch": 1, "steps": 3, "operations": ["Rotate", "Rotate"]},
            {"trial_id": first, "epoch": 1, "steps": 1, "operations": ["Invert", "Rotate"]},
            {"trial_id": second, "epoch": 1, "steps": 9, "operations": ["Invert"]},
            {"trial_id": second, "epoch": 2, "steps": 9, "operations": ["Invert"]},
        ],
    )
    (found,) = shares(made).values()
    # 7 of 8 and 0 of 1; 1 of 8 and 1 of 1.
    assert found[1] == {"Rotate": pytest.approx(7 / 16), "Invert": pytest.approx(9 / 16)}
    assert found[2] == {"Invert": 1.0}
    axes = operations(made).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[56.25, 100], [43.75, 0]])
    assert [one.get_text() for one in axes.get_yticklabels()] == ["Invert", "Rotate"]
    del made["policies"]
    with pytest.raises(NothingToPlotError, match="no policy"):
        operations(made)


# Objectives.


def test_the_crowded_front_is_enlarged(tmp_path: Path) -> None:
    named = [metric("accuracy"), metric("accuracy")]

    def point(x: float, y: float) -> Point:
        return Point(0, BASELINE, (x, y), True, True, 1.0)

    crowd = [point(0.90 + 0.005 * one, 0.75 - 0.01 * one) for one in range(6)]
    assert close_up(crowd, crowd, (0, 1), named) is None
    across, upward = close_up([*crowd, point(0.1, 0.1)], crowd, (0, 1), named) or ((0, 0), (0, 0))
    assert 0.5 < across[0] < 0.90 < 0.925 < across[1]
    assert 0.5 < upward[0] < 0.70 < 0.75 < upward[1]
    # A trial of the front is never cut off, however far it lies.
    far = point(0.2, 0.99)
    assert close_up([*crowd, far], [*crowd, far], (0, 1), named) is None


# All of them.


def test_every_figure_has_its_texts_and_its_place_in_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
    for name, plot in FIGURES.items():
        assert plot.alternative.endswith(".")
        assert plot.caption.endswith(".")
        assert f"`{name}`" in page


def test_learning_curves_are_thinned_and_say_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    for place in range(MANY + 50):
        whole = place % 10 == 0
        state, reason = ("COMPLETE", "budget") if whole else ("PRUNED", "rung")
        trial(ledger, BASELINE, 0.5 + 0.001 * place, state=state, reason=reason, epochs=2)
    figure = learning_curves(tables(tmp_path / "s"))
    (axes,) = figure.axes
    whole = lines(axes, linewidth=1.4)
    assert len(whole) == 35
    assert len(lines(axes, marker="x")) == MANY - 35
    assert f"stopped at a rung ({MANY - 35} of 315 shown)" in texts(figure)
    assert "full budget" in texts(figure)


def test_a_study_that_only_failed_still_has_its_costs(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    for pair in (BASELINE, KL):
        trial(ledger, pair, math.nan, state="FAIL", reason="diverged", settings={AUX: 1.0})
    paths, notes = write_figures(tables(tmp_path / "s"), tmp_path / "figures")
    assert list(paths) == ["learning_curves", "spending"]
    assert [one.partition(":")[0] for one in notes] == ["No figure clean_robust"]


def overlaps(figure: Any) -> list[tuple[str, str]]:
    """Titles and labels of axes that lie over each other."""
    figure.draw_without_rendering()
    found = []
    for axes in figure.axes:
        if axes.get_visible():
            found += [axes._left_title, axes.xaxis.label, axes.yaxis.label]
    boxes = [(one.get_text(), one.get_window_extent()) for one in found if one.get_text()]
    return [
        (text, other)
        for place, (text, box) in enumerate(boxes)
        for other, there in boxes[place + 1 :]
        if box.overlaps(there)
    ]


LONG = "adversarial_training_with_a_$very$_long_name"


@pytest.mark.slow
def test_twelve_arms_with_long_names_are_drawn_the_same_twice(tmp_path: Path) -> None:
    pairs: list[Pair] = [BASELINE, *((f"{LONG}_{place}", "GradNorm") for place in range(11))]
    ledger = Ledger(tmp_path / "s", pairs)
    for place, pair in enumerate(pairs):
        for index in range(9):
            coefficient = 0.01 * 2.0**index
            trial(
                ledger, pair, 0.7 + 0.01 * index, group=f"{place}-{index}", epochs=2,
                settings={AUX: coefficient} if place else {}, distributions=LOG,
                weights=[gave(1 - 0.1 * epoch, 0.5, 0.1) for epoch in range(2)],
            )  # fmt: skip
        for seed in range(2):
            trial(
                ledger, pair, 0.78, phase="confirm", seed=seed, group=f"{place}-8", epochs=2,
                evaluations=corrupted(0.9 - 0.01 * place),
                weights=[gave(1 - 0.1 * epoch, 0.5, 0.1) for epoch in range(2)],
            )  # fmt: skip
    made = tables(tmp_path / "s")
    drawn = {name for name in FIGURES if name not in ("clean_robust", "objectives")}
    drawn -= {"hypervolume", "policies", "operations"}
    for name in sorted(drawn):
        assert overlaps(FIGURES[name].draw(made)) == [], name
    first, _ = write_figures(made, tmp_path / "a")
    second, _ = write_figures(made, tmp_path / "b")
    assert set(first) == drawn
    for name in first:
        assert first[name].read_bytes() == second[name].read_bytes(), name


def test_tiny_studies_draw_what_they_have(tmp_path: Path) -> None:
    tiny(tmp_path / "s", finished=False)
    paths, _ = write_figures(tables(tmp_path / "s"), tmp_path / "figures")
    assert {"learning_curves", "spending"} <= set(paths)
