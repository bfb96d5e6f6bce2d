"""A training that was stopped and resumed equals one that was not, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.core import catalog
from trainables.core.errors import SettingError
from trainables.core.training import Training

from .needed import NEEDED
from .small import SMALL
from .toys import components, same
from .worlds import ARCHITECTURES, DATA, MAKERS

RESUMED = ("losses", "weighters", "views", "architectures", "optimizers", "schedules")
Recipe = dict[str, Any]


def views_of(name: str, source: str) -> Recipe:
    """A view of a usual kind for every label that the loss reads."""
    found = {"name": name}
    reads = catalog.build("losses", found, **SUPPLIED).reads
    noise = {"name": "GaussianNoise"}
    made = {label: dict(MAKERS.get(label, noise)) for label in reads if label != "clean"}
    for one in made.values():
        if one["name"] == "OtherData":
            # The series of both sets have the same shape.
            one["data"] = DATA["series" if source == "regression" else source]
    return made


SUPPLIED = {"width": 16, "outputs": 2, "shape": (), "classes_of": {}, "terms": ("box",)}


def recipe(kind: str, name: str, source: str = "images") -> Recipe:
    """A small recipe that uses the component: dropout, a noisy view and two losses in all."""
    found: Recipe = {
        "seed": 5,
        "data": DATA[source],
        "architecture": ARCHITECTURES[source],
        "training": {"epochs": 3, "batch_size": 16, "clip_norm": 1.0},
        "views": {"noisy": {"name": "GaussianNoise"}},
        "losses": {"main": {}, "aux": {"name": "MSE", "view": "noisy"}},
        "weighter": "Fixed",
    }
    if kind == "losses":
        found["views"] = views_of(name, source)
        found["losses"] = {"main": {}, "aux": {"name": name}}
    elif kind == "weighters":
        found["weighter"] = name
    elif kind == "views":
        found["views"] |= {"other": {"name": name} | SMALL.get(name, {}) | NEEDED.get(name, {})}
        found["losses"] |= {"other": {"name": "Consistency", "view": "other", "target": "other"}}
        if name == "Unlabelled":
            found["data"] = found["data"] | {"labels": 40}
        if name == "OtherData":
            found["losses"]["other"] = {"name": "AuxiliaryTask", "view": "other"}
    elif kind == "architectures":
        found["architecture"] = {"name": name} | SMALL.get(name, {})
    elif kind in ("optimizers", "schedules"):
        found["training"][kind.removesuffix("s")] = {"name": name}
    if source == "detection":
        found["training"] = {"epochs": 3, "batch_size": 2, "optimizer": {"name": "SGD", "lr": 1e-3}}
        found["views"] = {"noisy": {"name": "GaussianNoise"}}
        found["losses"] = {
            "main": {"term": "classification"},
            "box": {"name": "DetectionLoss", "view": "noisy", "term": "box"},
        }
    return found


def everything(training: Training) -> dict[str, Any]:
    """All that the next epoch depends on."""
    return {
        "model": training.model.state_dict(),
        "objective": training.objective.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "done": training.done,
        "first": training.first,
    }


def copied(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [copied(value) for value in state]
    return state.clone() if isinstance(state, torch.Tensor) else state


def outcome(training: Training, epochs: int) -> list[Any]:
    """Metrics, weights and state after each of the next epochs."""
    found = []
    for _ in range(epochs):
        report = training.epoch()
        found.append([report.epoch, report.metrics, report.weights, copied(everything(training))])
    return found


def world_of(kind: str, name: str) -> str:
    """The data that the component is for."""
    tasks = getattr(catalog.find(kind, name), "tasks", ("classification",))
    return {"classification": "images"}.get(tasks[0], tasks[0])


def begun(kind: str, name: str, root: Path) -> tuple[Training, Recipe]:
    """The training of a recipe with the component, on series where it refuses images."""
    source = world_of(kind, name)
    try:
        config = recipe(kind, name, source)
        made = Training(config, root=str(root))
    except SettingError as error:
        assert source == "images"
        assert "needs series" in str(error)
        config = recipe(kind, name, "series")
        made = Training(config, root=str(root))
    return made, config


@pytest.mark.parametrize(("kind", "name"), components(*RESUMED))
def test_resumed_equals_uninterrupted(
    kind: str, name: str, tmp_path: Path, small_root: Path
) -> None:
    whole, config = begun(kind, name, small_root)
    start = copied(everything(whole))
    whole.epoch()
    whole.save(tmp_path / "last.pt")
    expected = outcome(whole, 2)
    resumed = Training(config, root=str(small_root))
    assert same(copied(everything(resumed)), start)
    resumed.load(tmp_path / "last.pt")
    assert same(outcome(resumed, 2), expected)
    assert not same(expected[1][3]["model"], start["model"])


ARMS = {
    "noise": recipe("weighters", "CoV"),
    "attack": recipe("views", "FGSM") | {"seed": 6},
    "gradients": recipe("weighters", "GradientSimilarity"),
}


@pytest.fixture(scope="module")
def alone() -> dict[str, list[Any]]:
    return {arm: outcome(Training(config), 3) for arm, config in ARMS.items()}


def test_interleaved_trainings_equal_each_alone(alone: dict[str, list[Any]]) -> None:
    trainings = {arm: Training(config) for arm, config in ARMS.items()}
    found: dict[str, list[Any]] = {arm: [] for arm in ARMS}
    for _ in range(3):
        for arm, training in trainings.items():
            found[arm] += outcome(training, 1)
    assert same(found, alone)


@pytest.mark.parametrize("arm", ARMS)
def test_a_training_leaves_nothing_for_the_next_one(arm: str, alone: dict[str, list[Any]]) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert same(outcome(Training(ARMS[arm]), 3), alone[arm])
    assert torch.equal(torch.get_rng_state(), before)


def test_checkpoint_of_the_end_is_the_end(tmp_path: Path) -> None:
    training = Training(ARMS["noise"])
    outcome(training, 3)
    training.save(tmp_path / "last.pt")
    again = Training(ARMS["noise"])
    again.load(tmp_path / "last.pt")
    assert again.done == again.epochs == 3
    assert same(everything(again), everything(training))
    rows = [one.evaluate(["Clean"], part="test").rows for one in (training, again)]
    assert rows[0][0]["n_correct"] == rows[1][0]["n_correct"]
