"""Rows of benchmarks: counted right, named as tables name them, and the same in any batch size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import evaluation, views
from trainables.core.benchmarks.calibration import scores
from trainables.core.data._source import Examples
from trainables.core.errors import SettingError
from trainables.core.facts import Facts
from trainables.core.store import Store
from trainables.core.tasks import Classification
from trainables.core.training import Training

from ..contracts.toys import digits, same, snapshot, toy, trained

BOX = (0.0, 1.0)
TASK = Classification()
NAMES = [
    ("Clean", "clean"),
    ("gaussian_0.1", "gaussian_0.1"),
    ({"name": "GaussianNoise", "sigma": "1/4"}, "gaussian_0.25"),
    ("pgd_linf_8/255_20", "pgd_linf_8/255_20"),
    ("pgd_2_0.5", "pgd_l2_0.5_20"),
    ("pgd_2_0.5_20_5", "pgd_l2_0.5_20_5"),
    ({"name": "PGD", "norm": 2, "eps": 0.5, "counts": "any"}, "pgd_l2_0.5_20_1_any"),
    ("fog_3", "fog_3"),
    ("gaussian_noise_5", "gaussian_noise_5"),
    ("corruptions", "corruptions"),
    ("autoattack_linf_8/255", "autoattack_linf_8/255"),
    ({"name": "PGD", "norm": "inf", "eps": 0.1, "steps": 5}, "pgd_linf_0.1_5"),
    ("fgsm_inf_4/255", "fgsm_linf_4/255"),
    ({"name": "OnView", "view": "gaussian_0.1"}, "gaussian_0.1"),
]


def rows_of(
    configs: list[Any], examples: Examples, model: nn.Module | None = None, **options: Any
) -> list[dict[str, Any]]:
    settings = {"split": "test", "seed": 1} | options
    context = evaluation.Context(box=BOX)
    return evaluation.evaluate(
        model or trained(), configs, examples, TASK, context, **settings
    ).rows


def part(start: int, n: int) -> Examples:
    return Examples(digits().x[start : start + n], digits().y[start : start + n])


@pytest.mark.parametrize(("config", "expected"), NAMES, ids=[name for _, name in NAMES])
def test_names_in_tables(config: Any, expected: str) -> None:
    assert evaluation.name(config) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("gausian_0.1", "Unknown view 'gausian_0.1'"),
        ("gaussian_0.1_3", "too many parts; the form is gaussian_<sigma>"),
        ("fgsm_linf_8/255_20", "too many parts; the form is fgsm_<norm>_<eps>"),
        ("pgd_linf_8/255_x", "steps must be a number"),
        ({"name": "PGD", "epsilon": 1}, r"no setting 'epsilon'\. Did you mean 'eps'"),
        ({"name": "OnView", "veiw": "Clean"}, r"no setting 'veiw'\. Did you mean 'view'"),
        ({"name": "OnView", "view": "Cleen"}, "Unknown view 'Cleen'"),
        ({"eps": 1}, "needs a 'name'"),
        ("fog", "fog needs a severity: fog_1 to fog_5"),
        ("fog_6", "severity must be a whole number from 1 to 5, found 6"),
        (
            {"name": "Corruption", "corruption": "frost", "settings": {"texture": "a"}},
            r"Frost has no setting 'texture'\. Did you mean 'textures'",
        ),
    ],
)
def test_wrong_benchmarks(config: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        evaluation.expand(config)


def test_clean_row_counts_what_is_right() -> None:
    examples = part(1000, 300)
    accuracy, loss = rows_of(["Clean"], examples)
    with torch.no_grad():
        logits = trained()(examples.x)
    right = int((logits.argmax(1) == examples.y).sum())
    assert (accuracy["metric"], accuracy["n_examples"]) == ("accuracy", 300)
    assert accuracy["n_correct"] == right
    assert accuracy["value"] == right / 300
    assert (loss["metric"], loss["n_examples"], loss["n_correct"]) == ("loss", 300, None)
    expected = float(nn.functional.cross_entropy(logits, examples.y))
    assert loss["value"] == pytest.approx(expected, rel=1e-5)
    for row in (accuracy, loss):
        assert (row["split"], row["family"], row["seed"]) == ("test", "clean", 1)
        assert row["norm"] is row["eps"] is row["eps_text"] is row["steps"] is None
        assert row["duration_s"] > 0


def test_threat_model_is_in_the_row() -> None:
    (row, _) = rows_of(["pgd_linf_8/255_3"], part(0, 10))
    assert row["family"] == "adversarial"
    assert (row["norm"], row["eps_text"], row["steps"], row["restarts"]) == ("linf", "8/255", 3, 1)
    assert row["eps"] == pytest.approx(8 / 255, rel=1e-6)


def test_columns_are_those_of_the_tables() -> None:
    rows = rows_of(["Clean", "gaussian_0.1", "fgsm_linf_0.1"], part(0, 10))
    columns = {
        *(
            "split",
            "benchmark",
            "family",
            "name",
            "severity",
            "norm",
            "eps",
            "eps_text",
            "steps",
            "restarts",
        ),
        *("metric", "value", "n_examples", "n_correct", "seed", "duration_s", "unreliable"),
        *("unreliable_why", "protocol", "source", "black_box"),
    }
    assert len(rows) == 6
    assert all(row.keys() == columns for row in rows)


CONFIGS = ["Clean", "gaussian_0.3", "fgsm_linf_0.1", "pgd_l2_0.5_5"]


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_batch_size_is_irrelevant(batch_size: int) -> None:
    examples = part(1000, 50)
    model = toy(plain=False).double().train()
    examples = Examples(examples.x.double(), examples.y)
    expected = rows_of(CONFIGS, examples, model)
    found = rows_of(CONFIGS, examples, model, batch_size=batch_size)
    for row, other in zip(found, expected, strict=True):
        assert row["value"] == pytest.approx(other["value"], rel=1e-6)
        assert (row["name"], row["n_correct"]) == (other["name"], other["n_correct"])


def test_same_seed_same_rows_and_another_seed_other_noise() -> None:
    first, again, other = (
        [row["value"] for row in rows_of(CONFIGS[1:2], part(0, 50), seed=seed)]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first[1] != other[1]


def test_under_attack_clean_mistakes_count_as_mistakes() -> None:
    # eps 0 attacks nothing: exactly the clean mistakes remain. Against targets that are all wrong
    # no attack can make a model right.
    examples = part(1000, 200)
    clean, nothing, strong = rows_of(["Clean", "fgsm_linf_0", "pgd_linf_0.2_10"], examples)[::2]
    assert nothing["n_correct"] == clean["n_correct"]
    assert strong["n_correct"] < clean["n_correct"]
    with torch.no_grad():
        wrong = Examples(examples.x, (trained()(examples.x).argmax(1) + 1) % 10)
    (row, _) = rows_of(["pgd_linf_0.2_10"], wrong)
    assert row["n_correct"] == 0


class Valley(nn.Module):
    """Two classes on a line, logits (0, 4 x^2 - x - 1): class 0 at x = 0, class 1 at x = 1."""

    def forward(self, x: Tensor) -> Tensor:
        score = 4 * x[:, 0].square() - x[:, 0] - 1
        return torch.stack([torch.zeros_like(score), score], 1)


def test_an_attack_that_oversteps_cannot_help_the_model() -> None:
    # At 0 the model is wrong about class 1 and the slope leads the attack to 1, where it is right.
    examples = Examples(torch.zeros(1, 1), torch.tensor([1]))
    config = {"name": "FGSM", "eps": 1, "box": None}
    accuracy, loss = rows_of([config], examples, Valley())
    assert loss["value"] == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    assert accuracy["n_correct"] == 0


def test_model_and_random_state_are_left_as_found() -> None:
    model = toy().train()
    model.second[2].eval()
    model.first[1].bias.requires_grad_(False)
    before, random = snapshot(model), torch.get_rng_state()
    rows_of(CONFIGS, part(0, 20), model)
    assert same(snapshot(model), before)
    assert torch.equal(torch.get_rng_state(), random)


def test_some_is_spread_over_sorted_data() -> None:
    y = torch.arange(100) // 10
    assert torch.bincount(y[evaluation.some(100, 20)]).tolist() == [2] * 10
    assert evaluation.some(100, 0).tolist() == list(range(100))
    assert evaluation.some(100, 100).tolist() == list(range(100))
    assert evaluation.some(100, 3).tolist() == [0, 33, 66]


def test_limit_evaluates_that_many() -> None:
    (row, _) = rows_of(["Clean"], part(0, 90), limit=40)
    assert row["n_examples"] == 40


# --- every example's part, worst cases and what speaks against a figure ----------------------


def found_of(configs: list[Any], n: int = 100, **options: Any) -> evaluation.Found:
    settings = {"split": "test", "seed": 1, "model": trained()} | options
    context = settings.pop("context", evaluation.Context(box=BOX))
    model = settings.pop("model")
    return evaluation.evaluate(model, configs, part(1000, n), TASK, context, **settings)


def test_every_examples_part_is_kept() -> None:
    found = found_of(["Clean", "pgd_linf_0.1_5"], limit=40)
    clean, attacked = (found.judged[name] for name in ("clean", "pgd_linf_0.1_5"))
    assert clean["number"].tolist() == evaluation.some(100, 40).tolist()
    for name, own in (("clean", clean), ("pgd_linf_0.1_5", attacked)):
        (row,) = (one for one in found.rows if (one["name"], one["metric"]) == (name, "accuracy"))
        assert row["n_correct"] == int(own["correct"].sum())
        hit = own["prediction"] == own["target"]
        assert torch.equal(own["correct"], hit & own.get("clean_correct", hit))
    assert torch.equal(attacked["clean_correct"], clean["correct"])
    assert float(attacked["linf"].max()) == pytest.approx(0.1, abs=1e-6)
    assert (attacked["linf"] <= attacked["l2"] + 1e-6).all()
    assert (attacked["l2"] <= attacked["l1"] + 1e-6).all()


def test_worst_case_of_a_threat_model_is_pointwise() -> None:
    configs = ["fgsm_linf_0.1", "pgd_linf_0.1_5", "fgsm_linf_0.2", "Clean"]
    found = found_of(configs)
    (row,) = (one for one in found.rows if one["name"].startswith("worst"))
    masks = [found.judged[name]["correct"] for name in configs[:2]]
    assert (row["name"], row["norm"], row["eps_text"]) == ("worst_linf_0.1", "linf", "0.1")
    assert row["n_correct"] == int((masks[0] & masks[1]).sum())
    assert row["value"] == row["n_correct"] / 100
    assert row["protocol"] == "worst case of fgsm_linf_0.1, pgd_linf_0.1_5"


def test_a_store_answers_what_it_knows(tmp_path: Path) -> None:
    context = evaluation.Context(box=BOX, store=Store(tmp_path))
    configs = ["Clean", "pgd_linf_0.1_5"]
    first = found_of(configs, context=context)
    calls: list[int] = []
    model = trained()
    counted = model.register_forward_hook(lambda *_: calls.append(1))
    again = found_of(configs, context=context, model=model)
    assert not calls
    assert again.rows == first.rows
    assert same(again.judged, first.judged)
    found_of(["pgd_linf_0.1_6"], context=context, model=model)
    other_seed = found_of(["pgd_linf_0.1_5"], context=context, model=model, seed=2)
    counted.remove()
    assert calls
    assert other_seed.rows[0]["seed"] == 2
    changed = toy(plain=True)
    assert found_of(configs, context=context, model=changed).rows != first.rows


def test_an_interrupted_attack_goes_on_where_it_was(tmp_path: Path) -> None:
    context = evaluation.Context(box=BOX, store=Store(tmp_path))
    model = toy(plain=True)
    expected = found_of(["pgd_linf_0.1_5"], model=model, batch_size=20)
    calls: list[int] = []

    def stop(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt

    handle = model.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        found_of(["pgd_linf_0.1_5"], context=context, model=model, batch_size=20)
    handle.remove()
    done = len(list(tmp_path.glob("parts-*/*.pt")))
    assert done == 2  # of 5 batches, 7 passes each
    calls.clear()
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    found = found_of(["pgd_linf_0.1_5"], context=context, model=model, batch_size=20)
    handle.remove()
    assert len(calls) == 3 * 7
    assert same(found.judged, expected.judged)
    assert not list(tmp_path.glob("parts-*"))


class Quantised(nn.Module):
    """A model that sees its input in few steps: its gradient is 0 everywhere."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(torch.round(x * 8) / 8)


class Random(Quantised):
    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + 0.1 * torch.randn(x.shape))


class Probable(Quantised):
    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).softmax(1)


def why(model: nn.Module, config: Any) -> str:
    with torch.random.fork_rng():
        context = evaluation.Context(box=BOX, checks=True)
        (row, _) = found_of([config], model=model, context=context).rows
    assert row["unreliable"] is (row["unreliable_why"] is not None)
    return row["unreliable_why"] or ""


def test_masked_gradients_are_caught() -> None:
    attack = {"name": "PGD", "norm": "linf", "eps": 0.25, "steps": 40}
    assert why(trained(), attack) == ""
    assert "zero gradients at 100 %" in why(Quantised(trained()), attack)
    assert "outputs are random" in why(Random(trained()), attack)
    assert "outputs are probabilities" in why(Probable(trained()), attack)
    short = {"name": "PGD", "eps": 0.3, "steps": 1, "step_size": 0.01, "random_start": False}
    assert "5 steps instead of 1 lower accuracy" in why(trained(), short)
    assert "stand even a ball of radius 1" in why(Quantised(trained()), attack)


def test_without_checks_nothing_is_said() -> None:
    (row, _) = found_of(["pgd_linf_0.1_5"], model=Quantised(trained())).rows
    assert row["unreliable"] is row["unreliable_why"] is None


def test_an_attack_without_gradients_that_does_better_is_a_flag() -> None:
    attack = {"name": "Square", "norm": "linf", "eps": 0.3, "queries": 100}
    found = found_of(["pgd_linf_0.3_5", attack], model=Quantised(trained()))
    row = next(one for one in found.rows if one["name"] == "pgd_linf_0.3_5")
    assert row["unreliable"]
    assert "without gradients, fools another" in row["unreliable_why"]


@pytest.mark.parametrize("attack", ["pgd_linf_0.1_10", "fgsm_linf_0.1"])
def test_low_precision_finds_the_same_and_full_precision_decides(attack: str) -> None:
    full = found_of([attack], 300)
    low = found_of([{"name": "OnView", "view": attack, "precision": "bfloat16"}], 300)
    name = full.rows[0]["name"]
    assert abs(full.rows[0]["value"] - low.rows[0]["value"]) < 0.02
    assert low.rows[0]["name"] == name
    assert float(low.judged[name]["linf"].max()) <= 0.1 + 1e-6


# --- calibration ------------------------------------------------------------------------------


def test_calibration_of_hand_computed_confidences() -> None:
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]], dtype=torch.float64)
    y = torch.tensor([0, 1, 0, 0])
    found = scores(p.log(), y, bins=10)
    # Bins (.8, .9]: confidence .9, accuracy .5; (.5, .6]: confidence .6, accuracy .5.
    assert found["ece"] == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    # One bin of all four: mean confidence .75, accuracy .5.
    assert found["rms"] == pytest.approx(0.25)
    assert found["brier"] == pytest.approx((0.02 + 1.62 + 0.32 + 0.72) / 4)
    assert found["nll"] == pytest.approx(-sum(map(math.log, (0.9, 0.1, 0.6, 0.4))) / 4)


def test_calibration_error_agrees_with_torchmetrics() -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits = 3 * torch.randn(500, 5, generator=torch.Generator().manual_seed(0))
    y = torch.randint(5, (500,), generator=torch.Generator().manual_seed(1))
    expected = multiclass_calibration_error(logits.softmax(1), y, 5, n_bins=15, norm="l1")
    assert scores(logits.double(), y)["ece"] == pytest.approx(float(expected), abs=1e-6)


def test_calibration_bins_of_100_by_confidence() -> None:
    # 250 examples: a bin of the 100 least sure, and one of the other 150.
    confidence = torch.linspace(0.5001, 0.9999, 250, dtype=torch.float64)
    logits = torch.stack([confidence, 1 - confidence], 1).log()
    y = (torch.arange(250) % 3 == 0).long()
    gap = (y == 0).double() - confidence
    parts = [gap[:100], gap[100:]]
    expected = sum(len(one) / 250 * float(one.mean()) ** 2 for one in parts) ** 0.5
    assert scores(logits, y)["rms"] == pytest.approx(expected)


def test_calibration_rows_for_each_view() -> None:
    found = found_of([{"name": "Calibration", "views": ["Clean", "gaussian_0.3"]}])
    assert {row["name"] for row in found.rows} == {"calibration_clean", "calibration_gaussian_0.3"}
    assert {row["metric"] for row in found.rows} == {"ece", "rms", "brier", "nll"}
    assert all(row["value"] >= 0 for row in found.rows)


def test_a_box_that_does_not_hold_the_data_is_refused() -> None:
    attack = {"name": "PGD", "eps": 0.1, "steps": 2, "box": [0, 0.5]}
    message = r"PGD: box \[0.0, 0.5\] does not hold the data, found the value 1;"
    with pytest.raises(SettingError, match=message):
        found_of([attack])
    recipe = {"data": "Digits", "views": {"adv": attack}, "losses": {"main": {"view": "adv"}}}
    with pytest.raises(SettingError, match=f"views/adv: {message}"):
        Training(recipe)


class Nothing(Quantised):
    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) * torch.nan


@pytest.mark.parametrize("attack", ["pgd_linf_0.1_3", "pgd_l2_0.5_3", "autoattack_linf_0.1"])
def test_outputs_that_are_no_numbers_are_never_right(attack: str) -> None:
    context = evaluation.Context(box=BOX, checks=True)
    found = found_of(["Clean", attack], 20, model=Nothing(trained()), context=context)
    values = {row["name"]: row for row in found.rows if row["metric"] == "accuracy"}
    assert all(row["value"] == 0 for row in values.values())
    assert "no finite numbers at 100 %" in values[attack]["unreliable_why"]
    assert torch.isfinite(found.judged[attack]["l2"]).all()


def test_settings_without_a_weight_are_part_of_what_is_kept(tmp_path: Path) -> None:
    context = evaluation.Context(box=BOX, store=Store(tmp_path))
    weights = nn.Linear(64, 10)
    flat, leaky = (
        nn.Sequential(nn.Flatten(), weights, nn.LeakyReLU(slope)) for slope in (0.0, 3.0)
    )
    first = found_of(["Clean"], model=flat, context=context)
    again = found_of(["Clean"], model=leaky, context=context)
    assert again.rows[1]["value"] == found_of(["Clean"], model=leaky).rows[1]["value"]
    assert again.rows[1]["value"] != first.rows[1]["value"]


def test_a_box_may_end_where_the_data_end() -> None:
    x = torch.tensor([[-2.8215], [2.8215]])
    view = views.make({"name": "PGD", "box": [-2.8215, 2.8215]}, Facts())
    views.fits_box(view, x)
    with pytest.raises(SettingError, match=r"found the value 2\.8216"):
        views.fits_box(view, x + 1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "Calibration", "views": ["Mixup"]}, "Mixup cannot be a benchmark"),
        ({"name": "Calibration", "views": []}, "at least one, found \\[\\]"),
        ({"name": "Calibration", "views": ["Clean", "clean"]}, "must name different views"),
        ({"name": "OnView", "view": "UniformPolicies"}, "cannot be a benchmark"),
    ],
)
def test_views_that_change_what_is_right_are_refused(config: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        evaluation.expand(config)


def test_far_from_the_border_without_a_box_is_no_doubt() -> None:
    # Two classes two apart: truly robust at a small eps, and not in a ball as wide as the data.
    x = torch.randn(100, 1, 20, generator=torch.Generator().manual_seed(0)) * 0.1
    y = torch.arange(100) % 2
    x += (4.0 * y - 2).view(-1, 1, 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(20, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 20))
        model[1].bias.zero_()
    context = evaluation.Context(checks=True)
    (row, _) = evaluation.evaluate(
        model, ["pgd_linf_0.01_20"], Examples(x, y), TASK, context, split="test", seed=0
    ).rows
    assert (row["value"], row["unreliable_why"]) == (1.0, None)
