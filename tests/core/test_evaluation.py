"""Rows of benchmarks: counted right, named as tables name them, and the same in any batch size."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core import evaluation
from trainables.core.data._source import Examples
from trainables.core.errors import SettingError
from trainables.core.tasks import Classification

from ..contracts.toys import digits, same, snapshot, toy, trained

BOX = (0.0, 1.0)
TASK = Classification()
NAMES = [
    ("Clean", "clean"),
    ("gaussian_0.1", "gaussian_0.1"),
    ({"name": "GaussianNoise", "sigma": "1/4"}, "gaussian_0.25"),
    ("pgd_linf_8/255_20", "pgd_linf_8/255_20"),
    ("pgd_2_0.5", "pgd_l2_0.5_20"),
    ({"name": "PGD", "norm": "inf", "eps": 0.1, "steps": 5}, "pgd_linf_0.1_5"),
    ("fgsm_inf_4/255", "fgsm_linf_4/255"),
    ({"name": "OnView", "view": "gaussian_0.1"}, "gaussian_0.1"),
]


def rows_of(
    configs: list[Any], examples: Examples, model: nn.Module | None = None, **options: Any
) -> list[dict[str, Any]]:
    made = [evaluation.benchmark(one, BOX) for one in configs]
    settings = {"split": "test", "seed": 1} | options
    return evaluation.evaluate(model or trained(), made, examples, TASK, **settings)


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
        ("pgd_linf_8/255_20_2", "too many parts; the form is pgd_<norm>_<eps>_<steps>"),
        ("pgd_linf_8/255_x", "steps must be a number"),
        ({"name": "PGD", "epsilon": 1}, r"no setting 'epsilon'\. Did you mean 'eps'"),
        ({"name": "OnView", "veiw": "Clean"}, r"no setting 'veiw'\. Did you mean 'view'"),
        ({"name": "OnView", "view": "Cleen"}, "Unknown view 'Cleen'"),
        ({"eps": 1}, "needs a 'name'"),
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
        *("split", "family", "name", "severity", "norm", "eps", "eps_text", "steps", "restarts"),
        *("metric", "value", "n_examples", "n_correct", "seed", "duration_s", "unreliable"),
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
    examples = Examples(torch.arange(100.0), torch.arange(100) // 10)
    found = evaluation.some(examples, 20)
    assert torch.bincount(found.y).tolist() == [2] * 10
    assert evaluation.some(examples, 0) is examples
    assert evaluation.some(examples, 100) is examples
    assert evaluation.some(examples, 3).x.tolist() == [0, 33, 66]


def test_limit_evaluates_that_many() -> None:
    (row, _) = rows_of(["Clean"], part(0, 90), limit=40)
    assert row["n_examples"] == 40
