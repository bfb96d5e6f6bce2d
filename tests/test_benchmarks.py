"""The performance measurements run, and compare things that are the same. No time is asserted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import data, robustness, step
from trainables.core.data._source import Examples
from trainables.core.randomness import derive
from trainables.core.views import guard

ROOT = Path(__file__).parent.parent
TINY = step.Case("MLP", (1, 8, 8), 16, 3, 2, 2)
METHODS = step.methods(2) | {
    f"per-loss-{k}": (recipe, step.per_loss(k)) for k, recipe in step.RECIPES.items()
}
SHORT = ["--network", "MLP", "--rounds", "2"]


@pytest.mark.parametrize(("recipe", "by_hand"), METHODS.values(), ids=METHODS)
def test_both_sides_compute_the_same_gradient(recipe: dict[str, Any], by_hand: step.ByHand) -> None:
    ours = step.training(TINY, recipe, TINY.steps, 4, "cpu")
    assert step.difference(ours, by_hand) < 1e-6


def test_a_difference_between_the_sides_is_seen() -> None:
    ours = step.training(TINY, step.CONSISTENCY, TINY.steps, 4, "cpu")
    assert step.difference(ours, step.plain) > 1e-3


@pytest.mark.parametrize(("recipe", "by_hand"), METHODS.values(), ids=METHODS)
def test_both_sides_train_the_same_epoch(recipe: dict[str, Any], by_hand: step.ByHand) -> None:
    ours = step.training(TINY, recipe, TINY.steps, 4, "cpu")
    theirs = step.Loop(ours, by_hand)
    theirs.order.manual_seed(derive(ours.seed, "order", 0))
    theirs.generator.manual_seed(derive(ours.seed, "views", 0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(ours.seed, "dropout", 0))
        logged = theirs.epoch()
    before = [one.clone() for one in ours.model.parameters()]
    report = ours.epoch()
    main = logged[0] if isinstance(logged, list) else logged
    assert report.metrics["train/loss"] == pytest.approx(main, abs=1e-6)
    for one, other, start in zip(
        ours.model.parameters(), theirs.model.parameters(), before, strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
        assert not torch.equal(one, start)


def test_compare_takes_the_ratio_within_a_round() -> None:
    # The first pair warms up; the second side goes first in every other round.
    a, b = iter([9.0, 1.0, 6.0, 8.0]), iter([9.0, 1.0, 2.0, 2.0])
    assert step.compare(lambda: next(a), lambda: next(b), 3) == (6.0, 2.0, 3.0, 2.0, 3.5)


def test_step_prints_one_figure_for_each_method(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    step.main(["--part", "methods", *SHORT, "--steps", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [one["method"] for one in found] == [
        "cross-entropy",
        "gaussian-kl",
        "PGD-10 adversarial",
        "gradient-similarity",
    ]
    assert [one["losses"] for one in found] == [1, 2, 1, 2]
    assert all(one["against"] == "by hand" for one in found)
    assert all(one["a_us"] > 0 and one["b_us"] > 0 for one in found)
    assert all(one["low"] <= one["ratio"] <= one["high"] for one in found)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("name", "against"),
    [
        ("Fixed", ["Fixed", "Fixed"]),
        ("FAMO", ["Fixed + forward", "Fixed + forward"]),
        ("PCGrad", ["forward + 2 backwards", "forward + 3 backwards"]),
    ],
)
def test_step_measures_a_weighter_against_what_it_cannot_do_without(
    name: str, against: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    step.main(["--part", "weighters", *SHORT, "--steps", "1", "--only", name, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [(one["losses"], one["method"]) for one in found] == [(2, name), (3, name)]
    assert [one["against"] for one in found] == against
    # By hand the reference has the weights, and so the gradient, of Fixed.
    assert [one["difference"] is None for one in found] == [name != "PCGrad"] * 2
    assert all((one["difference"] or 0) < 1e-6 for one in found)


def test_a_weighter_that_looks_back_is_measured_against_as_many_passes() -> None:
    famo, fixed = (
        step.training(TINY, step.CONSISTENCY | {"weighter": name}, 2, 4, "cpu")
        for name in ("FAMO", "Fixed")
    )
    fixed.objective.weighing.weighter = step.LooksBack()
    counts = []
    for one in (famo, fixed):
        calls: list[None] = []
        one.model.head.register_forward_hook(lambda *_, calls=calls: calls.append(None))
        one.epoch()
        counts.append(len(calls))
    # Two passes in each of two steps, and one for the validation.
    assert counts == [5, 5]


def test_step_prints_a_table_and_progress(capsys: pytest.CaptureFixture[str]) -> None:
    step.main([*SHORT, "--steps", "1", "--only", "entropy"])
    out, progress = capsys.readouterr()
    head, row = out.splitlines()
    assert head.startswith("method")
    assert row.split()[:5] == ["cross-entropy", "1", "MLP", "by", "hand"]
    assert progress.split()[:3] == ["cross-entropy", "1", "MLP"]


def test_augmented_batches_are_those_of_torchvision() -> None:
    assert data.difference(data.pixels(24)) < 1e-6


def test_both_sides_of_data_see_every_image_once_in_the_same_form() -> None:
    images = data.pixels(20)
    sides = [list(data.Batches(images, 8)), list(data.loader(images, 8, 0))]
    for batches in sides:
        assert [len(x) for x, _ in batches] == [8, 8, 4]
        assert sorted(torch.cat([y for _, y in batches]).tolist()) == sorted([*range(10)] * 2)
        # Uniform pixels, less some black at the borders: normalised, they lie around 0.
        assert {x.shape[1:] for x, _ in batches} == {(3, 32, 32)}
        assert abs(torch.cat([x for x, _ in batches]).mean()) < 0.2
    with pytest.raises(RuntimeError, match="20 of 21 images"):
        data.epoch(sides[0], 21, lambda: 0.0)()


def test_data_prints_one_figure_for_each_number_of_workers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    random = torch.get_rng_state()
    small = ["--images", "16", "--batch-size", "8", "--rounds", "2"]
    data.main([*small, "--workers", "0", "1", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [one["workers"] for one in report["figures"]] == [0, 1]
    assert [one["clock"] for one in report["figures"]] == ["processor", "wall"]
    for one in report["figures"]:
        assert min(one["ours"], one["theirs"]) > 0
        assert one["low"] <= one["ratio"] <= one["high"]
    data.main([*small, "--workers", "0"])
    head, row, last = capsys.readouterr().out.splitlines()
    assert (head.split()[0], row.split()[:3]) == ("loader", ["0", "workers", "processor"])
    assert "differ by at most" in last
    assert torch.equal(torch.get_rng_state(), random)


# --- robustness -------------------------------------------------------------------------------

SMALL = robustness.SIZES["tiny"].cases[0]


def inputs(part: Examples) -> Tensor:
    """What lies in memory."""
    assert isinstance(part.x, Tensor)
    return part.x


def robust(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[Any], list[str]]:
    """The figures of the tiny size, and what was left out."""
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    robustness.main([*arguments, "--size", "tiny", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads
    return report["figures"], report["left_out"]


def test_pgd_by_hand_is_ours_to_the_last_bit() -> None:
    train, test = robustness.digits(SMALL.shape)
    model = robustness.trained(SMALL, train, device="cpu")
    x, y = inputs(test)[:16], test.y[:16]
    by_hand = robustness.climbed(model, x, y, 3)
    assert torch.equal(robustness.on_batch(model, robustness.attack(3), x, y)(), by_hand)
    assert 0 < (by_hand - x).abs().amax() <= step.EPS + 1e-6


def test_both_precisions_give_a_verdict_on_every_example() -> None:
    train, test = robustness.digits(SMALL.shape)
    model = robustness.trained(SMALL, train, device="cpu")
    part = test.take(torch.arange(24))
    low, full = (robustness.evaluated(model, part, 2, one)() for one in robustness.PRECISIONS)
    x, y = inputs(part), part.y
    x_adv = robustness.climbed(model, x, y, 2)
    standing = robustness.right(model, x, y) & robustness.right(model, x_adv, y)
    assert torch.equal(full, standing)
    assert low.shape == full.shape
    assert "24 differ" in robustness.verdicts(low, full)


def test_verdicts_are_compared_one_by_one() -> None:
    one, other = torch.tensor([True, True, False, False]), torch.tensor([True, False, False, True])
    assert robustness.verdicts(one, other) == "accuracy 50.0 / 50.0 %, 2 of 4 differ"


def test_rows_are_counted_forward_and_backward() -> None:
    model = robustness.Counted(torch.nn.Linear(3, 2))
    with torch.no_grad():
        model(torch.zeros(5, 3))
    assert model.rows == 5
    with guard(model):
        x = torch.zeros(4, 3, requires_grad=True)
        torch.autograd.grad(model(x).sum(), x)
        assert model.rows == 5 + 4 + 4
        model(torch.zeros(2, 3))
    assert model.rows == 15


def test_digits_are_enlarged_and_keep_their_classes() -> None:
    small, large = (robustness.digits(shape)[0] for shape in ((1, 8, 8), (3, 16, 16)))
    assert large.shape == (3, 16, 16)
    assert torch.equal(small.y, large.y)
    pooled = torch.nn.functional.avg_pool2d(inputs(large), 2)
    assert torch.equal(pooled[:, 0], pooled[:, 2])
    assert (pooled[:, :1] - inputs(small)).abs().mean() < 0.1


def test_pictures_are_smooth_and_use_the_range() -> None:
    found = robustness.pictures(6).float()
    assert found.shape == (6, 3, 32, 32)
    assert found.std() > 40
    assert (found[..., 1:] - found[..., :-1]).abs().mean() < 20


def test_a_library_is_found_in_its_folder_and_stands_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "a_peer_of_a_test.py").write_text("ANSWER = 42\n")
    assert robustness.peer("a_peer_of_a_test", "") is None
    assert robustness.peer("a_peer_of_a_test", str(tmp_path)).ANSWER == 42
    assert sys.path[-1] == str(tmp_path)
    with pytest.raises(SystemExit, match=r"not_there is not in .* pip install --no-deps --target"):
        robustness.peer("not_there", str(tmp_path))


def test_a_library_that_ends_is_an_error() -> None:
    command = shutil.which("false")
    assert command is not None
    with (
        pytest.raises(SystemExit, match="imagecorruptions ended"),
        robustness.child_of(command, robustness.pictures(1)),
    ):
        pass


def test_the_corruptions_process_needs_nothing_of_ours() -> None:
    text = (ROOT / "benchmarks" / "_library.py").read_text()
    assert "import imagecorruptions" in text
    assert not re.search(r"^\s*(from|import) (trainables|benchmarks|torch)", text, re.MULTILINE)


def test_robustness_prints_pgd_cache_and_policies(capsys: pytest.CaptureFixture[str]) -> None:
    found, missing = robust("--part", "pgd", "cache", "policies", capsys=capsys)
    assert [(one["subject"], one["against"]) for one in found] == [
        ("PGD-2, ConvNet", "by hand"),
        ("PGD-2, ConvNet, bfloat16", "ours in float32"),
        ("second evaluation", "first"),
        ("AutoAugment", "torchvision v2"),
        ("RandAugment", "torchvision v2"),
        ("TrivialAugmentWide", "torchvision v2"),
        ("AugMix", "torchvision v2"),
    ]
    assert "0 of 16 differ" in found[0]["outcome"]
    assert found[2]["outcome"].startswith("0 of ")
    for one in found:
        assert min(one["ours"], one["theirs"]) > 0
        assert one["low"] <= one["gain"] <= one["high"]
    assert len(missing) == 1 and "--peers" in missing[0]


def test_robustness_counts_the_rows_of_an_ensemble(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = robust("--part", "autoattack", "--only", "plainly", capsys=capsys)
    standard, fast = found
    assert standard["subject"] == "AutoAttack standard, plainly trained"
    assert standard["theirs"] is None and standard["gain"] is None
    assert 1 < fast["ours"] < standard["ours"] / 2


def test_robustness_measures_corruptions_alone(capsys: pytest.CaptureFixture[str]) -> None:
    found, missing = robust("--part", "corruptions", "--images", "2", capsys=capsys)
    assert len(found) == 19 + 2
    assert [one["subject"] for one in found[-2:]] == ["all 15 types", "all 19 types"]
    assert all(one["gain"] is None and one["ours"] > 0 for one in found)
    # The mean of seconds, not of speeds.
    seconds = sum(1 / one["ours"] for one in found[:15]) / 15
    assert found[-2]["ours"] == pytest.approx(1 / seconds)
    assert len(missing) == 1 and "--interpreter" in missing[0]


def test_robustness_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    robustness.main(["--part", "corruptions", "--size", "tiny", "--only", "fog"])
    out, progress = capsys.readouterr()
    head, row = out.splitlines()
    assert head.split()[:5] == ["what", "against", "unit", "ours", "theirs"]
    assert row.split()[:2] == ["fog", "images/s"]
    note, line = progress.splitlines()
    assert "left out" in note
    assert line.split()[0] == "fog"


# --- engine -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_engine_measures_every_part(tmp_path: Path) -> None:
    apart = {"HOME": str(tmp_path), "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | apart
    sizes = "--trials 8 --epochs 10 --many 20 --reports 2 --rounds 1 --calls 2 --sampler random"
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine", *sizes.split(), "--json"],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    sides = {(one["part"], one["kind"], one["side"]) for one in report["figures"]}
    both = {(part, kind) for part in ("marginal", "reports") for kind in ("nothing", "training")}
    assert sides == {
        *((*one, side) for one in both for side in ("engine", "Ray, reuse_actors")),
        *(("marginal", kind, "Ray") for kind in ("nothing", "training")),
        *((part, "training", "bare loop") for part in ("marginal", "reports")),
    }
    for one in report["figures"]:
        assert one["wall_s"] > 0 and one["driver_s"] > 0
        assert 0 < one["low"] <= one["ratio"] <= one["high"]
        assert one["side"] != "engine" or one["ratio"] == 1
    assert set(report["alone"]) == {"calls", "resume", "thousand"}
    assert all(value > 0 for value in report["alone"]["calls"].values())
    # The same reports are in both ledgers.
    alone, with_ray = (
        report["alone"][part]["ledger, bytes per report"] for part in ("resume", "thousand")
    )
    assert alone == pytest.approx(with_ray, rel=0.05)


@pytest.mark.slow  # only because it imports Ray
def test_costs_are_slopes_and_ratios_are_those_within_rounds() -> None:
    from benchmarks import engine

    # Two stamps of the start, then 2 s and 1 s of the driver for each.
    stamps = [(0.0, 0.0), (7.0, 9.0), (9.0, 10.0), (11.0, 11.0)]
    assert engine.Cost.between(stamps, 1) == engine.Cost(2.0, 1.0)
    rounds = [
        {"engine": engine.Cost(1.0, 1.0), "Ray": engine.Cost(2.0, 4.0)},
        {"engine": engine.Cost(6.0, 1.0), "Ray": engine.Cost(8.0, 8.0)},
        {"engine": engine.Cost(1.0, 1.0), "Ray": engine.Cost(4.0, 6.0)},
    ]
    ours, theirs = engine.compared("marginal", "nothing", rounds)
    assert (ours.ratio, ours.wall_s) == (1.0, 1.0)
    assert (theirs.ratio, theirs.low, theirs.high) == (0.5, 0.25, 0.75)
    assert (theirs.wall_s, theirs.driver_s) == (4.0, 6.0)
    assert "0.50  (0.25 to 0.75)" in engine.text(engine.Report(1.0, [ours, theirs], {}))


@pytest.mark.slow  # only because it imports Ray
def test_a_trial_of_nothing_reports_what_a_training_would() -> None:
    from benchmarks import engine

    trial = engine.Nothing.__new__(engine.Nothing)
    trial.setup({"plan": json.dumps({"name": "nothing", "reported": 3})})
    (report,) = json.loads(trial.step()["reports"])
    inner = {name for one in report["weights"].values() for name in one}
    assert report["epoch"] == 4
    assert len(report["metrics"]) + sum(map(len, report["weights"].values())) == 20
    assert len(engine.figures(1)) == 20
    recipe = engine._recipe(2)
    training = engine.Training(recipe)
    found = training.epoch()
    assert len(training.parts.train) == 10
    assert inner == set(next(iter(found.weights.values())))
    # Rising and the same for all, so that no schedule stops a trial.
    values = [engine.figures(epoch)[engine.METRIC] for epoch in range(1, 100)]
    assert values == sorted(values)


# --- analysis ---------------------------------------------------------------------------------


def test_both_sides_of_analysis_hold_the_same_figures(tmp_path: Path) -> None:
    from analysis.export import export, tables
    from benchmarks import analysis

    analysis.write_ours(tmp_path / "large", analysis.trials(40, 3), 3)
    made = tables(tmp_path / "large")
    ours = {
        (int(row["trial_id"][-4:]), row["step"], row["split"], row["metric"]): row["value"]
        for row in made["reports"].to_pylist()
    }
    for one in analysis.trials(40, 3):
        results = list(analysis._results(one, "id", one.recipe))
        assert [row["training_iteration"] for row in results] == [1, 2, 3]
        for row in results:
            for name in analysis.METRICS:
                split, _, metric = name.partition("/")
                assert ours[one.number, row["training_iteration"], split, metric] == row[name]
        figures = [key for key, value in results[0].items() if isinstance(value, float)]
        # Thirty columns and three times of Ray's.
        assert len(figures) == 30 + 3
    export(tmp_path / "large")
    quick = analysis.from_parquet(tmp_path / "large")()
    assert analysis.difference([quick, analysis.from_ledger(tmp_path / "large")()]) == 0
    assert len(quick) == len(analysis.ARMS)


def test_tables_with_other_rows_or_figures_are_seen() -> None:
    from benchmarks import analysis

    assert analysis.difference([{"a": {"clean": 0.5}}, {"a": {"clean": 0.75}}]) == 0.25
    with pytest.raises(SystemExit, match="other rows or columns"):
        analysis.difference([{"a": {"clean": 0.5}}, {"a": {"pgd": 0.5}}])


@pytest.mark.slow  # a process for each figure, and Ray's files
def test_analysis_measures_every_subject() -> None:
    sizes = ["--trials", "40", "--reports", "2", "--rounds", "1", "--json"]
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.analysis", *sizes],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert len(report["figures"]) == 5
    for one in report["figures"]:
        assert 0 < one["low"] <= one["seconds"] <= one["high"]
        assert one["wall_s"] > 0 and one["peak_mib"] > 10
    assert set(report["bytes"]) == {"ledger", "Parquet", "Ray"}
    assert report["largest_difference"] < 1e-12
    from benchmarks import analysis

    assert "peak MiB" in analysis.text(report).splitlines()[0]
