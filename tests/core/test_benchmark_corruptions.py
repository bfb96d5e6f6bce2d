"""Suites of corruptions and perturbations: their means, their constants, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.core import catalog, evaluation
from trainables.core._flips import flips, ranking, top5_distance
from trainables.core.augmentations.corruption import labels
from trainables.core.benchmarks.common_corruptions import (
    ALEXNET,
    ALEXNET_CLEAN,
    mce,
    relative_mce,
)
from trainables.core.data._source import Examples
from trainables.core.errors import MissingDataError, SettingError
from trainables.core.randomness import ExampleStreams
from trainables.core.store import Store
from trainables.core.tasks import Classification, Detection, Regression, Task

from ..contracts.toys import digits, seeded, toy, trained

BOX = (0.0, 1.0)
# Cheap ones of three groups, two of them random.
FEW = ["gaussian_noise", "brightness", "impulse_noise"]


def some_digits(n: int = 40) -> Examples:
    return digits().take(torch.arange(1000, 1000 + n))


def run(
    config: Any,
    examples: Examples,
    model: nn.Module | None = None,
    *,
    task: Task | None = None,
    limit: int = 0,
    batch_size: int = 256,
    **facts: Any,
) -> evaluation.Found:
    known: dict[str, Any] = {"box": BOX, "shape": examples.shape, "outputs": 10}
    return evaluation.evaluate(
        model or trained(),
        [config],
        examples,
        task or Classification(),
        evaluation.Context(**known | facts),
        split="test",
        seed=3,
        limit=limit,
        batch_size=batch_size,
    )


def values(found: evaluation.Found, metric: str) -> dict[str, float]:
    return {row["name"]: row["value"] for row in found.rows if row["metric"] == metric}


# --- AlexNet ------------------------------------------------------------------------------------


def test_alexnet_has_an_mce_of_100_percent() -> None:
    assert len(ALEXNET) == 15
    assert mce(ALEXNET) == 1
    assert relative_mce(ALEXNET, ALEXNET_CLEAN) == 1


def test_a_constant_error_has_the_known_mce() -> None:
    errors = {label: [0.5] * 5 for label in ALEXNET}
    assert 100 * mce(errors) == pytest.approx(64.67257, abs=5e-6)
    # A model whose error is the same everywhere loses nothing by corruption.
    assert relative_mce(errors, 0.5) == 0


def test_the_constants_have_the_published_means() -> None:
    means = [0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816]
    means += [0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500]
    assert [fmean(one) for one in ALEXNET.values()] == pytest.approx(means, abs=1e-6)


def test_standard_types_are_those_of_four_groups() -> None:
    groups = {label: one.group for label, one in labels().items()}
    known = {"noise", "blur", "weather", "digital"}
    assert set(ALEXNET) == {label for label, group in groups.items() if group in known}
    extra = {label for label, group in groups.items() if group == "extra"}
    assert extra == {"speckle_noise", "gaussian_blur", "spatter", "saturate"}


# --- generated corruptions ----------------------------------------------------------------------


def test_rows_are_those_of_the_views_and_their_means() -> None:
    found = run({"name": "CommonCorruptions", "types": FEW}, some_digits())
    accuracy, loss, error = (values(found, metric) for metric in ("accuracy", "loss", "error"))
    assert len(accuracy) == 15 + 3 + 1
    for label in FEW:
        parts = []
        for severity in (1, 2, 3, 4, 5):
            name = f"{label}_{severity}"
            alone = run(name, some_digits())
            assert accuracy[name] == values(alone, "accuracy")[name]
            assert loss[name] == pytest.approx(values(alone, "loss")[name])
            parts.append(accuracy[name])
        assert accuracy[label] == pytest.approx(fmean(parts))
        assert error[label] == pytest.approx(1 - fmean(parts))
    whole = "corruptions_gaussian_noise+brightness+impulse_noise"
    assert accuracy[whole] == pytest.approx(fmean(accuracy[label] for label in FEW))
    assert error[whole] == 1 - accuracy[whole]
    assert accuracy["gaussian_noise_1"] > accuracy["impulse_noise_5"] - 0.2
    for row in found.rows:
        assert (row["family"], row["source"], row["n_examples"]) == ("corruption", "generated", 40)
    single = {row["name"]: row for row in found.rows if row["metric"] == "accuracy"}
    assert single["brightness_4"]["severity"] == 4
    assert single["brightness"]["severity"] is None
    right = found.judged["brightness_4"]["correct"]
    assert int(right.sum()) == single["brightness_4"]["n_correct"]
    assert torch.equal(found.judged["brightness_4"]["number"], torch.arange(40))


def test_standard_suite_runs_on_digits_in_one_word() -> None:
    found = run("corruptions", some_digits(4))
    assert evaluation.name("corruptions") == "corruptions"
    accuracy = values(found, "accuracy")
    assert len(accuracy) == 75 + 15 + 1
    assert set(ALEXNET) < set(accuracy)
    # AlexNet's figures are for ImageNet alone.
    assert values(found, "mce") == values(found, "relative_mce") == {}


def test_a_limit_and_batches_change_nothing() -> None:
    config = {"name": "CommonCorruptions", "types": FEW, "severities": [4, 2]}
    whole = run(config, some_digits())
    parts = run(config, some_digits(), batch_size=7)
    few = run(config, some_digits(), limit=10)
    name = "corruptions_" + "+".join(FEW) + "_2+4"
    assert name in values(whole, "accuracy")
    for key, judged in whole.judged.items():
        assert torch.equal(parts.judged[key]["correct"], judged["correct"])
        assert torch.equal(few.judged[key]["correct"], judged["correct"][::4])
        assert few.judged[key]["number"].tolist() == list(range(0, 40, 4))


def test_sets_are_made_once_for_all_models(tmp_path: Path) -> None:
    config = {"name": "CommonCorruptions", "types": FEW, "severities": [3]}
    plain = run(config, some_digits())
    kept = run(config, some_digits(), store=Store(tmp_path))
    assert [row["value"] for row in kept.rows] == [row["value"] for row in plain.rows]
    files = sorted((tmp_path / "corrupted").glob("*.pt"))
    assert [one.name.split("-")[0] for one in files] == sorted(f"{one}_3" for one in FEW)
    stored = torch.load(files[0], weights_only=True)
    assert (stored.dtype, stored.shape) == (torch.uint8, (40, 1, 8, 8))
    # Another model reads them: what the file holds is what it is shown.
    for file in files:
        torch.save(torch.zeros_like(stored), file)
    other = toy(plain=True, seed=4).eval()
    found = run(config, some_digits(), other, store=Store(tmp_path))
    with torch.no_grad():
        right = other(torch.zeros(40, 1, 8, 8)).argmax(1) == some_digits().y
    assert all(torch.equal(one["correct"], right) for one in found.judged.values())
    # Other examples are other sets.
    run(config, some_digits(20), store=Store(tmp_path))
    assert len(list((tmp_path / "corrupted").glob("*.pt"))) == 6


class Mean(nn.Module):
    """Classifies by brightness, and says 0 for all but the first two of many classes."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        found = x.new_zeros(len(x), self.outputs)
        found[:, 1] = x.flatten(1).mean(1) - 0.5
        return found


def test_mce_is_for_large_images_of_1000_classes() -> None:
    x = torch.rand(2, 3, 88, 88, generator=seeded()) * torch.tensor([0.6, 1]).view(2, 1, 1, 1)
    examples = Examples(x, torch.tensor([0, 1]))
    found = run("corruptions", examples, Mean(1000), outputs=1000)
    error = values(found, "error")
    errors = {
        label: [1 - values(found, "accuracy")[f"{label}_{s}"] for s in (1, 2, 3, 4, 5)]
        for label in ALEXNET
    }
    assert values(found, "mce")["corruptions"] == pytest.approx(mce(errors))
    expected = fmean(error[label] / fmean(ALEXNET[label]) for label in ALEXNET)
    assert values(found, "mce")["corruptions"] == pytest.approx(expected)
    clean = 1 - values(run("Clean", examples, Mean(1000)), "accuracy")["clean"]
    assert values(found, "relative_mce")["corruptions"] == pytest.approx(
        relative_mce(errors, clean)
    )
    some = {"name": "CommonCorruptions", "severities": [1]}
    assert values(run(some, examples, Mean(1000), outputs=1000), "mce") == {}
    few = {"name": "CommonCorruptions", "types": FEW}
    assert values(run(few, examples, Mean(10)), "mce") == {}


def test_series_have_their_own_types() -> None:
    x = torch.randn(12, 1, 24, generator=seeded()).cumsum(2)
    examples = Examples(x, torch.arange(12) % 4)
    model = toy((1, 24), 4, plain=True).eval()
    found = run("corruptions_series", examples, model, box=None, outputs=4)
    accuracy = values(found, "accuracy")
    assert len(accuracy) == 35 + 7 + 1
    assert {"time_warp", "low_pass_5", "corruptions_series"} < set(accuracy)
    with pytest.raises(SettingError, match=r"gaussian_noise needs images \(c, h, w\), found .*24"):
        run("corruptions", examples, model, box=None)
    with pytest.raises(SettingError, match=r"needs series \(c, t\), found inputs of shape \(1, 8"):
        run("corruptions_series", some_digits())


def test_regression_has_means_of_its_metrics() -> None:
    examples = Examples(some_digits().x, torch.randn(40, generator=seeded()))
    model = toy((1, 8, 8), 1, plain=True).eval()
    config = {"name": "CommonCorruptions", "types": FEW, "severities": [1, 5]}
    found = run(config, examples, model, task=Regression(), outputs=1)
    rmse = values(found, "rmse")
    assert rmse["brightness_1+5"] == pytest.approx(
        fmean([rmse["brightness_1"], rmse["brightness_5"]])
    )
    assert values(found, "error") == {}
    assert {row["metric"] for row in found.rows} == {"rmse", "mae", "r2", "loss"}


def test_boxes_stay_where_they_are() -> None:
    made = evaluation.benchmark("corruptions", evaluation.Context())
    examples = Examples(torch.rand(1, 3, 32, 32), torch.zeros(1, 2, 5))
    sample = evaluation.Sample(examples, torch.arange(1), 1, seed=0)
    with pytest.raises(SettingError, match="moves what is in an image, but not the boxes"):
        made(nn.Identity(), sample, Detection())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"types": "fogg"}, "types cannot be 'fogg'. Did you mean 'fog'"),
        ({"types": ["fog", "fog"]}, "types must name different types"),
        ({"types": []}, "types must name different types, at least one"),
        ({"types": 3}, "types must be a list"),
        ({"severities": [0]}, "severity must be a whole number from 1 to 5"),
        ({"severities": []}, "severities must name at least one"),
        ({"source": "files"}, "source cannot be 'files'"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        evaluation.expand({"name": "CommonCorruptions"} | settings)


# --- official files -----------------------------------------------------------------------------


def cifar(n: int = 10) -> Examples:
    coarse = torch.rand(n, 3, 4, 4, generator=seeded(2))
    x = nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    return Examples((x * 255).round() / 255, torch.arange(n) % 10)


def official(root: Path, examples: Examples) -> None:
    """Files of the published form: severity s takes away s/10 of the light."""
    (root / "CIFAR-10-C").mkdir()
    x = examples.x
    assert isinstance(x, Tensor)
    dim = torch.cat([x * (1 - s / 10) for s in (1, 2, 3, 4, 5)])
    bytes_ = (dim * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for label in ("fog", "snow"):
        np.save(root / "CIFAR-10-C" / f"{label}.npy", bytes_)
    np.save(root / "CIFAR-10-C" / "labels.npy", examples.y.repeat(5).byte().numpy())


CONFIG = {"name": "CommonCorruptions", "types": ["fog", "snow"], "source": "official"}


def test_official_files_are_read_row_by_row(tmp_path: Path) -> None:
    examples = cifar()
    official(tmp_path, examples)
    model = toy((3, 32, 32), 10, plain=True).eval()
    facts: dict[str, Any] = {"data": {"name": "CIFAR10"}, "root": str(tmp_path)}
    found = run(CONFIG, examples, model, batch_size=3, **facts)
    assert {row["source"] for row in found.rows} == {"official"}
    for severity in (1, 2, 3, 4, 5):
        with torch.no_grad():
            x = (examples.x * (1 - severity / 10) * 255).round() / 255
            predicted = model(x).argmax(1)
        assert torch.equal(found.judged[f"fog_{severity}_official"]["prediction"], predicted)
    few = run(CONFIG, examples, model, limit=5, **facts)
    assert torch.equal(
        few.judged["snow_2_official"]["prediction"],
        found.judged["snow_2_official"]["prediction"][::2],
    )


def test_official_files_must_be_those_of_the_examples(tmp_path: Path) -> None:
    examples = cifar()
    official(tmp_path, examples)
    model = toy((3, 32, 32), 10, plain=True).eval()
    facts: dict[str, Any] = {"data": {"name": "CIFAR10"}, "root": str(tmp_path)}
    order = torch.arange(9, -1, -1)
    with pytest.raises(SettingError, match="labels of CIFAR-10-C are not those of the examples"):
        run(CONFIG, examples.take(order), model, **facts)
    with pytest.raises(SettingError, match=r"must hold bytes \[45, 32, 32, 3\]"):
        run(CONFIG, examples.take(torch.arange(9)), model, **facts)
    with pytest.raises(SettingError, match="cannot be 'official' for Digits"):
        run(CONFIG, examples, model, **facts | {"data": {"name": "Digits"}})
    with pytest.raises(MissingDataError, match="CIFAR-10-C"):
        run(CONFIG | {"types": ["frost"]}, examples, model, **facts)


# --- perturbations ------------------------------------------------------------------------------


def test_perturbations_are_those_of_the_sequences() -> None:
    types = ["gaussian_noise", "rotate"]
    found = run({"name": "Perturbations", "types": types}, some_digits(), batch_size=16)
    flip, distance = values(found, "flip_probability"), values(found, "top5_distance")
    for label in types:
        perturb = next(
            one
            for one in (catalog.find("perturbations", n) for n in catalog.names("perturbations"))
            if one.label == label
        )()
        frames = perturb(some_digits().x, ExampleStreams(3, torch.arange(40)))
        with torch.no_grad():
            order = ranking(trained()(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]))
        name = f"perturbation_{label}"
        expected = flips(order[..., 0], perturb.against)
        assert torch.equal(found.judged[name]["flip_probability"], expected)
        assert flip[name] == pytest.approx(expected.mean().item())
        assert distance[name] == pytest.approx(top5_distance(order, perturb.against).mean().item())
    whole = "perturbations_gaussian_noise+rotate"
    assert flip[whole] == pytest.approx(fmean(flip[f"perturbation_{label}"] for label in types))
    assert flip["perturbation_rotate"] > 0.01
    for row in found.rows:
        assert (row["family"], row["source"]) == ("perturbation", "generated")


def test_both_sets_of_ten() -> None:
    for word, differs in (("perturbations", "spatter"), ("perturbations_imagenet", "snow")):
        flip = values(run(word, some_digits(2)), "flip_probability")
        assert len(flip) == 10 + 1
        assert word in flip
        assert f"perturbation_{differs}" in flip


def test_a_model_that_never_changes_its_mind() -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.arange(5.0).expand(len(x), 5)

    config = {"name": "Perturbations", "types": ["scale", "speckle_noise"]}
    found = run(config, some_digits(3), Same(), outputs=5)
    assert set(values(found, "flip_probability").values()) == {0}
    # Five classes have no rank behind the first five.
    assert values(found, "top5_distance") == {}


def test_official_sequences(tmp_path: Path) -> None:
    examples = cifar()
    x = examples.x
    assert isinstance(x, Tensor)
    (tmp_path / "CIFAR-10-P").mkdir()
    frames = torch.stack([x, x * 0.9, x * 0.8], 1)
    bytes_ = (frames * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()
    np.save(tmp_path / "CIFAR-10-P" / "tilt.npy", bytes_)
    model = toy((3, 32, 32), 10, plain=True).eval()
    facts: dict[str, Any] = {"data": {"name": "CIFAR10"}, "root": str(tmp_path)}
    config = {"name": "Perturbations", "types": "tilt", "source": "official"}
    found = run(config, examples, model, batch_size=4, **facts)
    with torch.no_grad():
        seen = (frames * 255).round() / 255
        predicted = model(seen.flatten(0, 1)).argmax(1).view(10, 3)
    expected = flips(predicted, "previous").mean().item()
    assert values(found, "flip_probability")["perturbation_tilt_official"] == pytest.approx(
        expected
    )
    assert {row["source"] for row in found.rows} == {"official"}
    with pytest.raises(SettingError, match="sequences of CIFAR-10-P do not show the examples"):
        run(config, examples.take(torch.arange(9, -1, -1)), model, **facts)


def test_what_perturbations_refuse() -> None:
    with pytest.raises(SettingError, match=r"needs images \(c, h, w\), found .* \(1, 24\)"):
        run("perturbations", Examples(torch.rand(2, 1, 24), torch.arange(2)), box=None)
    with pytest.raises(SettingError, match="is for classification, the data's task is regression"):
        run("perturbations", Examples(torch.rand(2, 1, 8, 8), torch.rand(2)), task=Regression())
    with pytest.raises(SettingError, match=r"types cannot be 'tild'\. Did you mean 'tilt'"):
        evaluation.expand({"name": "Perturbations", "types": ["tild"]})
