from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.as_error import as_error
from analysis.bloomers import kendall
from analysis.export import tables, tables_with_history
from analysis.grids.ablation import ablation
from analysis.grids.coefficients import coefficients
from analysis.grids.corruptions import corruptions, severities
from analysis.grids.selection import selection
from analysis.grids.transfer import transfer
from analysis.grids.weighters import weighters
from analysis.ranges import edge, position, text

from .fake_study import BASELINE, CLEAN, KL, Ledger, realistic, regression, row, three, tiny

BOTH = ("both", "Fixed")


def recipe(ledger: Ledger, pair: tuple[str, str], losses: Any, views: Any, **more: Any) -> int:
    """A confirmed trial with this objective."""
    number, ledger.trials = ledger.trials, ledger.trials + 1
    planned = {
        "trial": number,
        "phase": "confirm",
        "arm": pair[0],
        "weighter": pair[1],
        "group": f"of {pair}",
        "recipe": {"losses": losses, "views": views, "weighter": {"name": pair[1]}},
        "params": {},
        "distributions": {},
        **more,
    }
    ledger.event("planned", **planned)
    ledger.start(number)
    return number


def corrupted(fog: float, blur: float, source: str = "generated", **more: Any) -> list[Any]:
    """Two types in two severities; the second severity is 0.1 worse."""
    about = {"family": "corruption", "source": source, "split": "test"} | more
    end = "_official" if source == "official" else ""
    rows = [
        row(f"{kind}_{level}{end}", value - 0.1 * (level == 5), severity=level, **about)
        for kind, value in (("fog", fog), ("glass_blur", blur))
        for level in (1, 5)
    ]
    return [*rows, row(f"corruptions{end}", (fog + blur) / 2 - 0.05, **about)]


def test_types_of_corruption_are_means_over_severities_and_seeds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    for pair, fog in ((BASELINE, 0.6), (KL, 0.8)):
        for seed in (100, 101):
            trial = ledger.plan(pair, "confirm", seed, f"g{pair[0]}")
            ledger.start(trial)
            rows = corrupted(fog + 0.02 * (seed == 101), 0.5)
            clean = [row("clean", 0.9, split="test", **CLEAN)]
            ledger.report(trial, 1, 0.9, [*clean, *rows])
            ledger.end(trial)
    grid = corruptions(tables(tmp_path / "s"))
    assert grid.head == (
        "arm", "weighter", "n", "mean [%]", "mean error [%]", "fog [%]", "glass blur [%]",
    )  # fmt: skip
    # Fog: (.60 + .50 + .62 + .52) / 4 = .56; blur .45; the mean of both .505.
    line = grid.body[0]
    assert [one.text for one in line[:3]] == ["plain (ref.)", "Fixed", "2"]
    assert line[3].value == pytest.approx(0.505)
    assert line[4].value == pytest.approx(0.495)
    assert [one.text for one in line[5:]] == ["56.0", "45.0"]
    assert grid.body[1][5].value == pytest.approx(0.76)
    turned = corruptions(as_error(tables(tmp_path / "s")))
    assert turned.body[0][3].value == pytest.approx(0.495)
    assert [one.text for one in turned.body[0][5:]] == ["44.0", "55.0"]
    assert "error in percent (lower is better)" in turned.caption
    by_level = severities(tables(tmp_path / "s"))
    assert by_level.texts[0] == ["plain × Fixed", "fog", "2", "61.0", "51.0"]
    assert len(by_level.body) == 4


def test_official_and_generated_corruptions_stand_in_rows_of_their_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE, "confirm", 100, "g")
    ledger.start(trial)
    ledger.report(trial, 1, 0.9, [*corrupted(0.6, 0.5), *corrupted(0.4, 0.3, "official")])
    grid = corruptions(tables(tmp_path / "s"))
    assert [one[:2] for one in grid.texts] == [
        ["plain (ref.)", "Fixed, generated"],
        ["plain (ref.)", "Fixed, official"],
    ]
    assert [one[5] for one in grid.texts] == ["55.0", "35.0"]


def test_indices_over_alexnet_are_shown_where_trials_reported_them(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE, "confirm", 100, "g")
    ledger.start(trial)
    about = {"family": "corruption", "source": "official", "split": "test", "n_correct": None}
    indices = [
        row("corruptions_official", 0.767, **about | {"metric": "mce"}),
        row("corruptions_official", 1.05, **about | {"metric": "relative_mce"}),
    ]
    ledger.report(trial, 1, 0.9, [*corrupted(0.6, 0.5, "official"), *indices])
    grid = corruptions(tables(tmp_path / "s"))
    assert grid.head[5:7] == ("mCE [%]", "relative mCE [%]")
    assert grid.texts[0][5:7] == ["76.70", "105.00"]


def test_errors_turn_differences_and_directions(tmp_path: Path) -> None:
    from analysis.tables import robustness_table

    tiny(tmp_path / "s")
    made = tables(tmp_path / "s")
    plain = robustness_table(made)
    turned = robustness_table(as_error(made), metric="error")
    assert turned.metric.lower
    assert [one.selected_trial for one in turned.rows] == [one.selected_trial for one in plain.rows]
    for mine, theirs in zip(turned.rows, plain.rows, strict=True):
        for name, cell in mine.cells.items():
            other = theirs.cells[name]
            assert cell.interval.mean == pytest.approx(1 - other.interval.mean)
            assert cell.low == pytest.approx(1 - other.high)
            if cell.difference is not None and other.difference is not None:
                assert cell.difference.mean == pytest.approx(-other.difference.mean)
                assert cell.difference.low == pytest.approx(-other.difference.high)
    evaluations = as_error(made)["evaluations"].to_pylist()[0]
    before = made["evaluations"].to_pylist()[0]
    assert evaluations["ci_low"] == pytest.approx(1 - before["ci_high"])
    assert as_error(made)["studies"]["goal"].to_pylist() == ["min"]
    # The tables that were given are as they were.
    assert made["evaluations"].to_pylist()[0] == before


def test_a_study_without_accuracies_has_no_errors_to_show(tmp_path: Path) -> None:
    regression(tmp_path / "s")
    made = tables(tmp_path / "s")
    turned = as_error(made)
    assert turned["evaluations"].equals(made["evaluations"])
    assert turned["studies"].equals(made["studies"])


def test_weighters_are_told_by_their_weights_and_gradients(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    for pair in (BASELINE, KL):
        trial = ledger.plan(pair, "confirm", 100, f"g{pair[0]}")
        ledger.start(trial)
        for epoch, main in enumerate((0.5, 0.2), start=1):
            weights = {"main": main, "aux": 1 - main} if pair == KL else {"main": 1.0}
            rows = three(0.9, 0.8, 0.1, split="test") if epoch == 2 else []
            ledger.report(trial, epoch, 0.9, rows, weights=weights)
        ledger.end(trial)
    lines = (tmp_path / "s" / "ledger.jsonl").read_text().splitlines()
    kept = []
    for line in lines:
        event = json.loads(line)
        if event["event"] == "report" and "aux" in event["weights"]:
            cosine = 0.4 if event["epoch"] == 1 else -0.2
            event["weights"]["aux"] |= {"grad_cos": cosine, "grad_conflict": 0.25}
        kept.append(json.dumps(event))
    (tmp_path / "s" / "ledger.jsonl").write_text("\n".join(kept) + "\n")
    grid = weighters(tables(tmp_path / "s"))
    # The baseline has one loss: its weighter has nothing to weigh.
    (line,) = grid.texts
    assert line[:2] == ["gaussian-kl", "CoV"]
    at = grid.head.index("weight of main [%]")
    assert line[at : at + 4] == ["20.0", "+0.10", "25.0", "1.00×"]


def test_coefficients_by_thirds_of_a_logarithmic_range(tmp_path: Path) -> None:
    # The fake study's range is 0.1 to 10: its thirds end at 0.464 and 2.154.
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    scores = {2: 0.80, 3: 0.84, 6: 0.90, 7: 0.70}
    for number in range(8):
        pair = KL if number in scores else BASELINE
        trial = ledger.plan(pair)
        ledger.start(trial)
        score = scores.get(number, 0.6)
        ledger.report(trial, 1, score, three(score, 0.5, 0.1))
        ledger.end(trial, *(("PRUNED", "rung") if number == 7 else ("COMPLETE", "budget")))
    grid = coefficients(tables(tmp_path / "s"))
    (line,) = grid.texts
    # Coefficients 0.3 and 0.4 in the lowest third, 0.7 in the middle; the stopped 0.8 counts not.
    assert line[:6] == ["gaussian-kl × CoV", "aux", "0.1 to 10, log", "4", "0.7", "no"]
    assert line[6:] == ["82.00 (2)", "90.00 (1)", "–", "60.00 (baseline, 4)"]


def test_places_in_ranges() -> None:
    logarithmic = {"low": 0.01, "high": 1.0, "log": True}
    assert position(0.1, logarithmic) == pytest.approx(0.5)
    assert position(5.05, {"low": 0.1, "high": 10.0, "log": False}) == pytest.approx(0.5)
    assert position(4, {"values": [1, 2, 4]}) == 1.0
    assert position("b", {"values": ["a", "b", "c"]}) is None
    assert position(1, {"values": [0, 1]}) is None  # of two values each is an end
    assert position(None, logarithmic) is None
    assert position(True, {"low": 0, "high": 1}) is None
    assert position(0.0, logarithmic) is None
    assert [edge(one) for one in (0.0, 0.05, 0.06, 0.94, 0.95, None)] == [
        "lower", "lower", "", "", "upper", "",
    ]  # fmt: skip
    assert text(logarithmic) == "0.01 to 1, log"


def test_ablation_pairs_arms_by_what_their_losses_are_and_read(tmp_path: Path) -> None:
    noisy = {"name": "GaussianNoise", "sigma": 0.1}
    adv = {"name": "PGD", "eps": 0.1}
    main = {"name": "CrossEntropy", "view": "clean"}
    kl = {"name": "KL", "views": ["clean", "noisy"], "coefficient": 1.0}
    # In the larger arm the same loss has another label, another coefficient and other view labels.
    kl_too = {"name": "KL", "views": ["clean", "n"], "coefficient": 3.0}
    robust = {"name": "CrossEntropy", "view": "adv", "coefficient": 1.0}
    a, b = ("a", "Fixed"), ("b", "CoV")
    objectives = {
        BASELINE: ({"main": main}, {}, 0.80),
        a: ({"main": main, "kl": kl}, {"noisy": noisy}, 0.82),
        b: ({"main": main, "robust": robust}, {"adv": adv}, 0.84),
        BOTH: ({"m": main, "x": robust, "y": kl_too}, {"adv": adv, "n": noisy}, 0.90),
    }
    ledger = Ledger(tmp_path / "s", list(objectives))
    for pair, (losses, views, value) in objectives.items():
        for seed in (100, 101):
            trial = recipe(ledger, pair, losses, views, seed=seed)
            values = three(value + 0.01 * (seed - 100), 0.5, 0.1, split="test")
            ledger.report(trial, 1, 0.9, values)
            ledger.end(trial)
    grid = ablation(tables(tmp_path / "s"))
    # b's weighter is another one, so the two differ in more than a loss.
    assert [one[:5] for one in grid.texts] == [
        ["both × Fixed", "plain × Fixed", "CrossEntropy (PGD), KL (clean + GaussianNoise)", "2",
         "+10.00 ± 0.00"],
        ["both × Fixed", "a × Fixed", "CrossEntropy (PGD)", "2", "+8.00 ± 0.00"],
    ]  # fmt: skip
    tiny(tmp_path / "t")
    empty = ablation(tables(tmp_path / "t"))
    assert empty.body == ()
    assert "nothing to take apart" in empty.caption


def test_transfer_names_the_study_that_wrote_the_policies(tmp_path: Path) -> None:
    view = {"name": "ReplayedPolicies", "trial": "3f9c1a7be204-0007", "view": ""}
    files = {
        ("from-table", "Fixed"): "/data/studies/policies/tables/policies.parquet",
        ("from-trial", "Fixed"): "/data/studies/other/trials/0012/policies.jsonl",
    }
    ledger = Ledger(tmp_path / "s", [BASELINE, *files])
    main = {"main": {"name": "CrossEntropy", "view": "policy"}}
    for pair in (BASELINE, *files):
        own = {"trial": ""} if pair[0] == "from-trial" else {}
        views = {"policy": {**view, "file": files[pair], **own}} if pair in files else {}
        trial = recipe(ledger, pair, main, views, seed=100)
        ledger.report(trial, 1, 0.9, three(0.9, 0.8, 0.1, split="test"))
        ledger.end(trial)
    grid = transfer(tables(tmp_path / "s"))
    assert [one[2] for one in grid.texts] == ["none", "policies, trial 7", "other, trial 12"]
    assert "/data" not in repr(grid)
    tiny(tmp_path / "t")
    assert transfer(tables(tmp_path / "t")).body == ()


def test_selection_sets_the_search_beside_its_repetition(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    grid = selection(tables(tmp_path / "s"))
    # plain was chosen with .85; on two fresh seeds validation was .90 and the test .91.
    assert grid.texts[0] == [
        "plain × Fixed", "2", "85.00", "90.00 ± 0.00", "-5.00", "91.00 ± 12.71", "-1.00",
    ]  # fmt: skip
    tiny(tmp_path / "t", finished=False)
    assert selection(tables(tmp_path / "t")).body == ()


def test_kendalls_rank_correlation_is_that_of_scipy() -> None:
    from scipy.stats import kendalltau

    a = [0.1, 0.4, 0.4, 0.3, 0.9, 0.8, 0.8]
    b = [1.0, 2.0, 1.0, 3.0, 5.0, 5.0, 4.0]
    assert kendall(a, b) == pytest.approx(kendalltau(a, b).statistic)
    assert kendall([1, 2, 3], [3, 2, 1]) == -1
    assert kendall([1, 1, 1], [1, 2, 3]) is None


WHICH = (
    "robustness", "corruptions", "severities", "weighters", "coefficients", "ablation",
    "transfer", "selection",
)  # fmt: skip


@pytest.mark.parametrize("which", WHICH)
def test_every_table_comes_out_of_every_study(tmp_path: Path, which: str) -> None:
    """Finished, half finished, without a trial, of one seed, with NaN, of the first release."""
    import shutil

    tiny(tmp_path / "finished")
    tiny(tmp_path / "half", finished=False)
    Ledger(tmp_path / "empty", [BASELINE, KL])
    one = Ledger(tmp_path / "one", [BASELINE, KL])
    for pair in (BASELINE, KL):
        trial = one.plan(pair, "confirm", 100, f"g{pair[0]}")
        one.start(trial)
        value = math.nan if pair == KL else 0.9
        rows = three(0.5, 0.4, 0.1, split="test")
        one.report(trial, 1, 0.9, [rows[0] | {"value": value, "n_correct": None}, *rows[1:]])
        one.end(trial)
    (tmp_path / "first").mkdir()
    here = Path(__file__).parent
    for name in ("ledger.jsonl", "resolved.json"):
        shutil.copy(here / name.replace(".", "-v1."), tmp_path / "first" / name)
    for study in ("finished", "half", "empty", "one", "first"):
        folder = str(tmp_path / study)
        for more in (["--json"], ["--format", "html", "--as", "error"], ["--format", "latex"]):
            found = CliRunner().invoke(app, ["tables", folder, "--which", which, *more])
            assert found.exit_code == 0, (study, more, found.output)
            assert found.stdout.strip()
            if "--json" in more:
                json.loads(found.stdout, parse_constant=lambda one: pytest.fail(one))


def test_history_tells_what_the_tables_do_not(tmp_path: Path) -> None:
    realistic(tmp_path / "s", per_arm=4, seeds=2)
    made, history = tables_with_history(tmp_path / "s")
    for one in (corruptions, weighters, coefficients, ablation, transfer, selection):
        assert one(made, history) == one(made)
