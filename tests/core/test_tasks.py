"""Tasks judge by their usual metrics, in the data's own units."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics

from trainables.core import boxes
from trainables.core.tasks import TASKS, Classification, Detection, Regression
from trainables.core.training import Training

from ..contracts.toys import seeded
from ..contracts.worlds import ARCHITECTURES, DATA


def test_regression_metrics_are_scikit_learns_in_natural_units() -> None:
    y = 50 + 8 * torch.randn(200, generator=seeded(1), dtype=torch.float64)
    found = y + 3 * torch.randn(200, generator=seeded(2), dtype=torch.float64)
    task = Regression.of(y[:100])
    assert (task.mean, task.deviation) == pytest.approx(
        (float(np.mean(y[:100].numpy())), float(np.std(y[:100].numpy())))
    )
    prediction = ((found - task.mean) / task.deviation).unsqueeze(1)
    figures = task.summary(task.judge(prediction, (y - task.mean) / task.deviation))
    expected = {
        "rmse": math.sqrt(metrics.mean_squared_error(y, found)),
        "mae": metrics.mean_absolute_error(y, found),
        "r2": metrics.r2_score(y, found),
        "loss": metrics.mean_squared_error(y, found) / task.deviation**2,
    }
    assert figures == {key: (pytest.approx(value), None) for key, value in expected.items()}


def test_regression_targets_become_standard_and_come_back() -> None:
    y = torch.tensor([2.0, 4.0, 6.0])
    task = Regression.of(y)
    assert task.encode(y).tolist() == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    assert (task.encode(y) * task.deviation + task.mean).tolist() == pytest.approx(y.tolist())


def test_regression_with_one_target_has_no_r2() -> None:
    task = Regression.of(torch.full((4,), 3.0))
    assert task.deviation == 1
    judged = task.judge(torch.zeros(4, 1), task.encode(torch.full((4,), 3.0)))
    assert task.summary(judged) == {"rmse": (0, None), "mae": (0, None), "loss": (0, None)}


def test_no_number_counts_as_fooled() -> None:
    assert not Regression().fooled(torch.ones(3, 1), torch.zeros(3)).any()


def test_mixed_targets_are_judged_by_the_largest() -> None:
    y = torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.2, 0.6]])
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    assert Classification().fooled(logits, y).tolist() == [False, True]
    assert Classification().loss(logits, y).shape == (2,)


def target(*rows: tuple[float, ...]) -> torch.Tensor:
    found = torch.tensor(rows).view(-1, 5)
    return boxes.pack((60, 60), found[:, :4], found[:, 4].long(), 3)


def test_boxes_come_back_as_they_were_packed() -> None:
    y = torch.stack([target((1, 2, 30, 40, 0), (5, 5, 9, 9, 4)), target()])
    sizes, found = boxes.unpack(y)
    assert sizes == [(60, 60), (60, 60)]
    assert found[0]["boxes"].tolist() == [[1, 2, 30, 40], [5, 5, 9, 9]]
    assert found[0]["labels"].tolist() == [0, 4]
    assert found[1]["boxes"].shape == (0, 4)
    x = torch.rand(2, 3, 80, 70)
    cut = boxes.cropped(x, [(60, 50), (80, 70)])
    assert [one.shape for one in cut] == [(3, 60, 50), (3, 80, 70)]
    assert torch.equal(cut[0], x[0, :, :60, :50])


def detections(*rows: tuple[float, ...]) -> torch.Tensor:
    found = torch.full((4, 6), -1.0)
    for place, row in enumerate(rows):
        found[place] = torch.tensor(row)
    return found


def test_detection_metrics_of_perfect_half_right_and_no_detections() -> None:
    y = torch.stack([target((5, 5, 35, 35, 0)), target((10, 10, 40, 50, 1))])
    right = detections((5, 5, 35, 35, 0, 0.9)), detections((10, 10, 40, 50, 1, 0.8))
    task = Detection()
    perfect = task.summary(task.judge(torch.stack(right), y))
    assert perfect == {name: (pytest.approx(1.0), None) for name in task.best}
    # The second class is missed: its average precision is 0, the first one's 1.
    half = task.summary(task.judge(torch.stack([right[0], detections()]), y))
    assert half["map"] == (pytest.approx(0.5), None)
    none = task.summary(task.judge(torch.stack([detections()] * 2), y))
    assert none == dict.fromkeys(task.best, (0.0, None))


def test_detection_counts_a_shifted_box_by_its_overlap() -> None:
    # Shifted by a fifth of its width: overlap 24 / 36 = 2/3, right up to a threshold of 0.65.
    y = target((0, 0, 30, 30, 0)).unsqueeze(0)
    found = detections((6, 0, 36, 30, 0, 0.9)).unsqueeze(0)
    figures = Detection().summary(Detection().judge(found, y))
    assert figures["map_50"][0] == pytest.approx(1)
    assert figures["map_75"][0] == pytest.approx(0)
    assert figures["map"][0] == pytest.approx(0.4)


@pytest.mark.parametrize("source", ["regression", "detection"])
def test_rows_of_a_trained_model_have_the_tasks_metrics(source: str, small_root: Path) -> None:
    config = {
        "data": DATA[source],
        "architecture": ARCHITECTURES[source],
        "training": {"epochs": 1, "batch_size": 4},
    }
    training = Training(config, root=str(small_root))
    report = training.epoch()
    best = TASKS[source].best
    assert {f"validation/{name}" for name in best} <= report.metrics.keys()
    rows = training.evaluate(["Clean", "gaussian_0.1"], part="test").rows
    assert [row["metric"] for row in rows] == [*best, *best] or {
        row["metric"] for row in rows
    } == set(best)
    assert all(row["n_correct"] is None and math.isfinite(row["value"]) for row in rows)


def test_a_regression_model_learns_and_says_so_in_natural_units(small_root: Path) -> None:
    config = {
        "data": DATA["regression"],
        "architecture": {"name": "MLP", "hidden": [32], "dropout": 0.0},
        "training": {"epochs": 60, "batch_size": 16, "optimizer": {"name": "Adam", "lr": 0.01}},
    }
    training = Training(config, root=str(small_root))
    first = training.epoch()
    while training.done < training.epochs:
        last = training.epoch()
    # The target is 10 + 5 times the mean of the series; its deviation is about 5.
    assert training.task.deviation == pytest.approx(5, rel=0.5)
    assert last.metrics["validation/rmse"] < 0.3 * training.task.deviation
    assert last.metrics["validation/rmse"] < first.metrics["validation/rmse"]
    assert last.metrics["validation/r2"] > 0.8
