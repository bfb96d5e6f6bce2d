from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from analysis import export
from analysis.comparisons import holm, mixed, paired_t
from analysis.metrics import Metric
from analysis.metrics import metric as metric_of
from analysis.power import detectable
from analysis.statistics import mean_interval
from analysis.tables import Benchmark, Cell, Label, RobustnessTable, TableRow, robustness_table
from analysis.verdicts import Mask, Masks, Verdict, answer, masks, verdicts

from .fake_study import Ledger, realistic, tiny

BASELINE: Label = ("baseline", "Fixed")
Figures = Mapping[str, Sequence[float] | Mapping[int, float]]


def column(name: str, metric: Metric, examples: int = 0) -> Benchmark:
    return Benchmark(name, "clean", None, None, None, None, examples, False, metric=metric)


def row(key: Label, figures: Figures, first: int = 0, **more: Any) -> TableRow:
    """A row of one trial per seed, numbered from `first`."""
    by_seed = {
        name: dict(values) if isinstance(values, Mapping) else dict(enumerate(values))
        for name, values in figures.items()
    }
    n = max((len(one) for one in by_seed.values()), default=0)
    against = None if key == BASELINE else BASELINE
    return TableRow(
        arm=key[0],
        weighter=key[1],
        reference=key == BASELINE,
        n_seeds=n,
        n_planned=n,
        cells={
            name: Cell(
                mean_interval(list(one.values())), min(one.values()), max(one.values()), None,
                by_seed=one,
            )
            for name, one in by_seed.items()
        },
        trials=0,
        epochs=0,
        time_ratio=None,
        extra_forwards=None,
        extra_backwards=None,
        selected_trial=None,
        selected={},
        members=tuple(range(first, first + n)),
        **{"against": against, **more},
    )  # fmt: skip


def table(
    rows: Sequence[TableRow], metric: str = "accuracy", *, examples: int = 0, split: str = "test"
) -> RobustnessTable:
    known = metric_of(metric)
    names = list(dict.fromkeys(name for one in rows for name in one.cells))
    return RobustnessTable(
        study="study",
        question="Does it help?",
        data="Digits",
        status="finished",
        metric=known,
        split=split,
        benchmarks=tuple(column(name, known, examples) for name in names),
        rows=tuple(rows),
        caption="",
    )


def two(
    reference: Sequence[float], treated: Sequence[float], metric: str = "accuracy", **more: Any
) -> RobustnessTable:
    return table(
        [row(BASELINE, {"clean": reference}), row(("kl", "Fixed"), {"clean": treated})],
        metric,
        **more,
    )


def only(found: Mapping[Any, Verdict]) -> Verdict:
    (one,) = found.values()
    return one


SPREAD = [0.001, -0.001, 0.002, -0.002, 0.0]


def test_a_clear_gain_helps_and_a_clear_loss_hurts() -> None:
    low, high = [0.5] * 5, [0.6 + one for one in SPREAD]
    found = only(verdicts(two(low, high)))
    assert found.word == "helps"
    assert found.difference.mean == pytest.approx(0.1)
    assert found.p == pytest.approx(float(stats.ttest_1samp([0.1 + x for x in SPREAD], 0).pvalue))
    assert found.p_holm == found.p
    assert found.wider is None
    assert only(verdicts(two(high, low))).word == "hurts"


@pytest.mark.parametrize("metric", ["rmse", "ece", "error"])
def test_less_is_better_where_the_metric_says_so(metric: str) -> None:
    low, high = [0.5] * 5, [0.6 + one for one in SPREAD]
    assert only(verdicts(two(low, high, metric))).word == "hurts"
    assert only(verdicts(two(high, low, metric))).word == "helps"


def test_chance_is_no_difference_seen() -> None:
    found = only(verdicts(two([0.5] * 5, [0.5 + one for one in [*SPREAD[:4], 0.001]])))
    assert found.word == "no difference seen"
    assert found.p is not None
    assert found.p > 0.05


def test_two_pairs_are_not_enough_whatever_they_show() -> None:
    found = only(verdicts(two([0.1, 0.1], [0.9, 0.9001])))
    assert (found.word, found.p_holm) == ("not enough seeds", None)
    assert found.p is not None
    assert found.p < 0.001


def test_one_pair_and_a_diverged_pair_are_not_enough() -> None:
    single = only(verdicts(two([0.1], [0.9])))
    assert (single.word, single.p, single.difference.low) == ("not enough seeds", None, None)
    found = only(verdicts(two([1.0] * 5, [2.0, 2.1, math.nan, 2.2, 2.3], "rmse")))
    assert (found.word, found.p, found.effect) == ("not enough seeds", None, None)
    assert math.isnan(found.difference.mean)


def test_only_common_seeds_are_pairs() -> None:
    reference, treated = {1: 0.5, 2: 0.5, 3: 0.5}, {2: 0.6, 3: 0.7, 4: 0.8}
    rows = [row(BASELINE, {"clean": reference}), row(("kl", "Fixed"), {"clean": treated})]
    assert only(verdicts(table(rows))).difference.n == 2
    rows[1] = row(("kl", "Fixed"), {"clean": {9: 0.5}})
    assert verdicts(table(rows)) == {}


def test_a_spread_that_would_hide_everything_is_not_enough_seeds() -> None:
    # Differences of -.3, 0, .3: only 1.05 and more would be found, and accuracy ends at 1.
    found = only(verdicts(two([0.5, 0.5, 0.5], [0.2, 0.5, 0.8])))
    assert found.detectable == pytest.approx(detectable(0.3 / math.sqrt(3), 2))
    assert found.detectable > 0.5
    assert found.word == "not enough seeds"
    # An error has no upper end, so that a difference could always be found.
    assert only(verdicts(two([0.5] * 3, [0.2, 0.5, 0.8], "rmse"))).word == "no difference seen"


def test_what_the_correction_takes_back_is_not_enough_seeds() -> None:
    noise = [0.01, -0.01, 0.02, -0.02]
    clear = [0.53, 0.51, 0.54, 0.52]
    names = [f"b{place}" for place in range(8)]
    reference = row(BASELINE, {name: [0.5] * 4 for name in names})
    figures = {name: [0.5 + one for one in noise] for name in names[1:]} | {"b0": clear}
    found = verdicts(table([reference, row(("kl", "Fixed"), figures)]))
    first = found[("kl", "Fixed"), "b0"]
    assert first.p is not None
    assert first.p_holm == pytest.approx(8 * first.p)
    assert first.p < 0.05 < 8 * first.p
    assert first.word == "not enough seeds"
    alone_p, corrected_p = f"(p = {first.p:.2g})", f"p = {8 * first.p:.2g}"
    told = table([reference, row(("kl", "Fixed"), figures)])
    assert answer(told, found) == (
        "Not enough seeds: kl × Fixed on b0: accuracy +2.50 pp [+0.45, +4.55] against baseline × "
        f"Fixed over 4 paired seeds, {corrected_p}, corrected for 8 comparisons; alone it would "
        f"count {alone_p}, among so many it does not."
    )
    alone = verdicts(table([row(BASELINE, {"b0": [0.5] * 4}), row(("kl", "Fixed"), {"b0": clear})]))
    assert only(alone).word == "helps"


def test_the_family_is_every_comparison_that_could_be_claimed() -> None:
    random = np.random.default_rng(0)
    rows = [row(BASELINE, {"a": [0.5] * 5, "b": [0.5] * 5, "c": [0.5] * 2})]
    for arm in ("kl", "mart", "uda"):
        draws = {name: (0.5 + 0.1 * random.normal(size=5)).tolist() for name in "ab"}
        rows.append(row((arm, "Fixed"), {**draws, "c": [0.1, 0.2]}))
    found = verdicts(table(rows))
    assert len(found) == 9
    counted = {key: one for key, one in found.items() if key[1] != "c"}
    expected = holm([one.p or 0.0 for one in counted.values()])
    assert [one.p_holm for one in counted.values()] == pytest.approx(expected)
    assert all(one.p_holm is None for key, one in found.items() if key[1] == "c")


def test_a_control_is_compared_with_the_row_that_it_controls() -> None:
    kl: Label = ("kl", "CoV")
    rows = [
        row(BASELINE, {"clean": [0.5] * 3}),
        row(kl, {"clean": [0.6, 0.61, 0.62]}),
        row(("kl", "CoV (replay)"), {"clean": [0.6, 0.61, 0.62]}, control="replay", against=kl),
    ]
    found = verdicts(table(rows))
    assert found[("kl", "CoV (replay)"), "clean"].difference.mean == 0
    assert found[kl, "clean"].difference.mean == pytest.approx(0.11)


def test_ties() -> None:
    same = only(verdicts(two([0.9, 0.8, 0.7], [0.9, 0.8, 0.7], examples=100)))
    assert (same.word, same.p, same.effect) == ("no difference seen", 1.0, 0.0)
    # One example more in every seed: not p = 0, but that of a spread of rounding.
    one = only(verdicts(two([0.90, 0.80, 0.70], [0.91, 0.81, 0.71], examples=100)))
    assert one.p == pytest.approx(2 * stats.t.sf(math.sqrt(18), 2))
    assert one.word == "no difference seen"
    # Without a count nothing says how much seeds vary.
    unknown = only(verdicts(two([3.0, 2.0, 1.0], [3.5, 2.5, 1.5], "rmse")))
    assert (unknown.word, unknown.p) == ("not enough seeds", None)


def test_nothing_is_compared_on_the_validation_split() -> None:
    assert verdicts(two([0.1] * 5, [0.9] * 5, split="validation")) == {}


def test_a_wrong_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found 5; usual is 0\.05"):
        verdicts(two([0.1] * 5, [0.9] * 5), level=5)


def masked(correct: Mapping[Label, np.ndarray]) -> tuple[RobustnessTable, Masks]:
    """A table and masks from what was right: row -> [seed, example], on one benchmark."""
    rows, found, first = [], {}, 0
    for key, of in correct.items():
        seeds, examples = of.shape
        rows.append(row(key, {"clean": of.mean(axis=1).tolist()}, first))
        for seed in range(seeds):
            mask = Mask(seed, np.arange(examples), of[seed].astype(float))
            found[first + seed, "clean"] = mask
        first += seeds
    return table(rows, examples=examples), found


def gain(examples: int, gained: int, lost: int, seeds: int = 5) -> dict[Label, np.ndarray]:
    """Every seed wins and loses the same examples."""
    base = np.zeros((seeds, examples), dtype=bool)
    base[:, :lost] = True
    treated = np.zeros_like(base)
    treated[:, lost : lost + gained] = True
    return {BASELINE: base, ("kl", "Fixed"): treated}


def test_a_gain_on_few_test_examples_is_none_for_new_ones() -> None:
    # 11 won and 7 lost of 50 in every seed: sure for these examples, chance for others.
    told, found = masked(gain(50, 11, 7))
    without, beside = only(verdicts(told)), only(verdicts(told, found))
    assert without.word == "helps"
    assert beside.word == "no difference seen"
    expected = paired_t([1.0] * 11 + [-1.0] * 7 + [0.0] * 32)
    assert beside.p == pytest.approx(expected.p)
    assert beside.wider is not None
    assert beside.wider.half_width == pytest.approx(expected.interval.half_width)
    # The same shares of 5,000 examples are no chance.
    told, found = masked(gain(5000, 1100, 700))
    assert only(verdicts(told, found)).word == "helps"


def test_the_wider_interval_is_never_the_shorter_one() -> None:
    random = np.random.default_rng(5)
    for seeds in (2, 3, 5):
        rates = 0.7 + 0.1 * random.normal(size=(2, seeds, 1))
        drawn = random.random((2, seeds, 200)) < rates
        told, found = masked({BASELINE: drawn[0], ("kl", "Fixed"): drawn[1]})
        one = only(verdicts(told, found))
        over_both = mixed(drawn[1].astype(float) - drawn[0])
        assert one.wider is not None
        assert one.wider.half_width == max(
            one.difference.half_width or 0.0, over_both.interval.half_width or 0.0
        )
        assert one.p is not None
        assert over_both.p is not None
        assert one.p >= over_both.p


def test_masks_of_something_else_are_not_used() -> None:
    told, found = masked(gain(50, 11, 7))
    plain = only(verdicts(told))
    wrong = dict(found)
    wrong[0, "clean"] = replace(wrong[0, "clean"], correct=np.ones(50))
    assert only(verdicts(told, wrong)) == plain
    wrong[0, "clean"] = replace(found[0, "clean"], numbers=np.arange(50) + 1)
    assert only(verdicts(told, wrong)) == plain
    del wrong[0, "clean"]
    assert only(verdicts(told, wrong)) == plain


def recorded(ledger: Ledger, correct: Mapping[int, Mapping[str, Sequence[bool]]]) -> dict[str, Any]:
    """The study's tables with `examples`: trial -> benchmark -> what was right, backwards."""
    made = export.tables(ledger.folder)
    prefix = made["studies"]["study_id"][0].as_py()
    rows = [
        {"trial_id": f"{prefix}-{trial:04d}", "name": name, "number": number, "correct": one}
        for trial, by_name in correct.items()
        for name, values in by_name.items()
        for number, one in reversed(list(enumerate(values)))
    ]
    return dict(made) | {"examples": pa.Table.from_pylist(rows)}


def test_masks_are_those_of_confirmed_trials(tmp_path: Path) -> None:
    made = recorded(
        tiny(tmp_path / "tiny"),
        {
            0: {"clean": [True] * 100},  # a search trial
            4: {"clean": [True] * 90 + [False] * 10, "never_evaluated": [True] * 100},
            5: {"clean": [False] * 8 + [True] * 92},
            6: {"clean": [True] * 91 + [False] * 9},
            7: {"clean": [True] * 91 + [False] * 9},
        },
    )
    found = masks(made)
    assert set(found) == {(number, "clean") for number in (4, 5, 6, 7)}
    assert (found[4, "clean"].seed, found[5, "clean"].seed) == (100, 101)
    assert found[5, "clean"].numbers.tolist() == list(range(100))
    assert found[5, "clean"].correct.tolist() == [0.0] * 8 + [1.0] * 92
    told = robustness_table(made)
    one = verdicts(told, found)[("gaussian-kl", "CoV"), "clean"]
    assert one.wider is not None
    assert one.word == "not enough seeds"
    assert verdicts(told, found)[("gaussian-kl", "CoV"), "gaussian_0.1"].wider is None


def test_a_column_of_several_evaluations_has_the_mean_of_each_example() -> None:
    trials = pa.table({"trial_id": ["s-1"], "number": [1], "seed": [7]})
    base = {"trial_id": "s-1", "split": "test", "metric": "accuracy", "step": 2, "source": None}
    corruption = {**base, "family": "corruption", "source": "generated"}
    evaluations = [
        {**base, "step": 1, "family": "clean", "name": "old", "severity": None, "value": 1.0},
        {**corruption, "name": "fog_1", "severity": 1, "value": 0.5},
        {**corruption, "name": "fog_5", "severity": 5, "value": 0.5},
        {**corruption, "name": "fog", "severity": None, "value": 0.5},
        {**base, "family": "clean", "name": "clean", "severity": None, "value": 1.0},
    ]
    examples = [
        {"trial_id": "s-1", "name": name, "number": number, "correct": right}
        for name, rights in {"fog_1": (True, False), "fog_5": (True, None), "clean": (True, True)}
        .items()
        for number, right in enumerate(rights)
    ]  # fmt: skip
    made = {
        "trials": trials,
        "evaluations": pa.Table.from_pylist(evaluations),
        "examples": pa.Table.from_pylist(examples),
    }
    # fog_5 is not known of example 1, so the column is not known.
    assert set(masks(made)) == {(1, "clean")}
    examples[3]["correct"] = False
    found = masks(made | {"examples": pa.Table.from_pylist(examples)})
    assert found[1, "corruptions"].correct.tolist() == [1.0, 0.0]
    examples[3]["correct"] = True
    found = masks(made | {"examples": pa.Table.from_pylist(examples)})
    assert found[1, "corruptions"].correct.tolist() == [1.0, 0.5]
    assert found[1, "corruptions"].seed == 7


def test_a_study_without_examples_has_no_masks(tmp_path: Path) -> None:
    assert masks(export.tables(tiny(tmp_path / "tiny").folder)) == {}


def test_a_whole_study_from_its_ledger(tmp_path: Path) -> None:
    told = robustness_table(realistic(tmp_path / "study").folder)
    found = verdicts(told)
    assert len(found) == 4 * 3
    for (key, name), one in found.items():
        mine, reference = told.row(key), told.reference
        assert mine is not None
        assert reference is not None
        a, b = (list(of.cells[name].by_seed.values()) for of in (mine, reference))
        assert one.p == pytest.approx(float(stats.ttest_rel(a, b).pvalue))
    # Robust accuracy rises from arm to arm by 6 points, at a spread of 2 each.
    assert found[("adversarial", "CoV"), "pgd_linf_8/255_20"].word == "helps"
    text = answer(told, found)
    assert text.startswith("adversarial × ")
    assert " helps on pgd_linf_8/255_20 (linf ≤ 8/255, 20 steps): accuracy +" in text
    assert " against baseline × Fixed over 5 paired seeds, p = " in text
    assert "corrected for 12 comparisons" in text


def test_the_answer_names_the_surest_claim() -> None:
    rows = [
        row(BASELINE, {"clean": [0.5] * 5, "noise": [0.5] * 5}),
        row(
            ("kl", "CoV"),
            {"clean": [0.6 + one for one in SPREAD], "noise": [0.4 + one for one in SPREAD]},
        ),
        row(("uda", "Fixed"), {"clean": [0.55 + 2 * one for one in SPREAD]}),
    ]
    told = table(rows)
    p = 3 * stats.ttest_1samp([0.1 + one for one in SPREAD], 0).pvalue
    assert answer(told, verdicts(told)) == (
        "kl × CoV helps on clean: accuracy +10.00 pp [+9.80, +10.20] against baseline × Fixed over "
        f"5 paired seeds, p = {p:.2g}, corrected for 3 comparisons; it also hurts on noise; 1 "
        "other row differs from its reference as well."
    )


def test_the_answer_says_that_nothing_was_found_and_what_would_have_been() -> None:
    told = two([0.5] * 5, [0.5 + one for one in SPREAD])
    size = 100 * detectable(float(np.std(SPREAD, ddof=1)) / math.sqrt(5), 4)
    assert answer(told, verdicts(told)) == (
        "No difference seen: no row differs from its reference by more than chance over 5 paired "
        "seeds; nearest to one is kl × Fixed on clean: accuracy +0.00 pp [-0.20, +0.20] against "
        "baseline × Fixed over 5 paired seeds, p = 1, where differences of "
        f"{size:.2f} pp or more would have been found four times in five."
    )


def test_the_answer_where_there_is_none() -> None:
    def of(told: RobustnessTable) -> str:
        return answer(told, verdicts(told))

    assert of(two([0.5] * 2, [0.6, 0.7])) == (
        "Not enough seeds: 2 paired seeds cannot tell a difference to baseline × Fixed from chance "
        "at the spread found."
    )
    assert of(two([0.5] * 5, [0.6] * 5, split="validation")).startswith("No answer yet: nothing")
    assert of(table([row(BASELINE, {"clean": [0.5]})])).endswith("nothing to compare it with.")
    empty = table([row(BASELINE, {}), row(("kl", "Fixed"), {"clean": [0.5] * 5})])
    assert of(empty).endswith("which the others are compared with, has no confirmed figures.")
    other = table([row(BASELINE, {"a": [0.5]}), row(("kl", "Fixed"), {"b": [0.5] * 5})])
    assert of(other) == "No answer: no row shares a benchmark and a seed with baseline × Fixed."
    assert of(table([])) == "No answer: the study has no row to compare with."


def test_the_answer_of_an_error_keeps_its_unit() -> None:
    told = two([12.0] * 4, [10.0, 10.1, 9.9, 10.2], "rmse")
    text = answer(told, verdicts(told))
    assert text.startswith("kl × Fixed helps on clean: RMSE -1.95 [-2.16, -1.74] against")


def test_the_snippets_of_the_page_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "statistics.md"
    folder = realistic(tmp_path / "study").folder
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace("studies/quickstart", folder.as_posix()), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + 12
    assert printed[0].startswith("adversarial × ")


# Calibration. Arms are the same model in all but name, so that every claim is a false one: a
# logistic model of an example's difficulty, what a seed does to all arms, and what it does to one.
EXAMPLES = 200
STUDIES = 400
# If the true share is 5 %, more than this many of 400 come up with a probability below 1 %.
MOST = int(stats.binom.ppf(0.99, STUDIES, 0.05))
BENCHES = {"clean": (2.5, 0.1), "noise": (1.5, 0.2), "pgd": (-0.5, 0.3), "fog": (0.5, 0.15)}
ARMS = [BASELINE, ("a", "Fixed"), ("b", "Fixed"), ("c", "Fixed")]


def simulated(
    random: np.random.Generator, seeds: int, *, heavy: bool, taste: float = 0.0, gain: float = 0.0
) -> tuple[RobustnessTable, Masks]:
    """A study of arms that differ by `gain` (logits, last arm) and by their `taste` in examples."""
    correct: dict[Label, dict[str, np.ndarray]] = {key: {} for key in ARMS}
    hard = 1.5 * random.normal(size=EXAMPLES)
    for name, (base, spread) in BENCHES.items():
        example = hard + random.normal(size=EXAMPLES)
        of_all = spread * random.normal(size=(seeds, 1))
        for key in ARMS:
            draw = random.standard_t(2.5, (seeds, 1)) if heavy else random.normal(size=(seeds, 1))
            logit = base + example + of_all + spread * draw + taste * random.normal(size=EXAMPLES)
            logit += gain * (key == ARMS[-1])
            correct[key][name] = random.random((seeds, EXAMPLES)) < 1 / (1 + np.exp(-logit))
    rows, found = [], {}
    for place, key in enumerate(ARMS):
        figures = {name: one.mean(axis=1).tolist() for name, one in correct[key].items()}
        rows.append(row(key, figures, place * seeds))
        for name, one in correct[key].items():
            for seed in range(seeds):
                mask = Mask(seed, np.arange(EXAMPLES), one[seed].astype(float))
                found[place * seeds + seed, name] = mask
    return table(rows, examples=EXAMPLES), found


def false_claims(seeds: int, *, heavy: bool, taste: float = 0.0) -> tuple[int, int]:
    """Studies out of 400 with any claim: by seeds alone, and with masks."""
    random = np.random.default_rng(1000 * seeds + heavy)
    alone = both = 0
    for _ in range(STUDIES):
        told, found = simulated(random, seeds, heavy=heavy, taste=taste)
        alone += claims(verdicts(told))
        both += claims(verdicts(told, found))
    return alone, both


def claims(found: Mapping[Any, Verdict]) -> bool:
    return any(one.word in ("helps", "hurts") for one in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy-tailed"])
def test_arms_that_are_the_same_are_seldom_called_different(seeds: int, heavy: bool) -> None:
    alone, both = false_claims(seeds, heavy=heavy)
    print(f"n = {seeds}, heavy {heavy}: {alone} without and {both} with masks of {STUDIES}")
    assert alone <= MOST
    assert both <= MOST


@pytest.mark.slow
def test_without_masks_a_taste_for_the_test_set_passes_for_a_gain() -> None:
    # Arms equally good on all examples there are, each with a taste of its own in examples.
    alone, both = false_claims(5, heavy=False, taste=2.0)
    print(f"taste: {alone} without and {both} with masks of {STUDIES}")
    assert both <= MOST < alone


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_a_planted_difference_is_found_with_the_power_promised(seeds: int) -> None:
    # One of 12 comparisons differs, by what 80 % are promised for at a twelfth of the level.
    random, spread = np.random.default_rng(seeds), 0.3
    size = detectable(spread / math.sqrt(seeds), seeds - 1, level=0.05 / 12)
    names = [f"b{place}" for place in range(12)]
    found = 0
    for _ in range(STUDIES):
        reference = row(BASELINE, {name: [10.0] * seeds for name in names})
        draws = 10 + spread * random.normal(size=(12, seeds))
        draws[0] -= size
        treated = row(("kl", "Fixed"), dict(zip(names, draws.tolist(), strict=True)))
        words = verdicts(table([reference, treated], "rmse"))
        found += words[("kl", "Fixed"), "b0"].word == "helps"
    print(f"n = {seeds}: {found} of {STUDIES}")
    low, high = stats.binom.interval(0.99, STUDIES, 0.8)
    assert low <= found <= high
