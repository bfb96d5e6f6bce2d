"""Every loss trains with every task that it is for, and is refused by the others."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from trainables.core import catalog
from trainables.core.errors import SettingError
from trainables.core.recipe import resolve
from trainables.core.tasks import TASKS
from trainables.core.training import Training

from .test_resume import recipe

WORLDS = {
    "classification": ("images", "series"),
    "regression": ("regression",),
    "detection": ("detection",),
}
# Settings without which a loss is for another task.
FORMS = {("Consistency", "regression"): {"form": "mse"}}
LOSSES = catalog.names("losses")
FITTING = [
    pytest.param(name, task, id=f"{name}-{task}")
    for name in LOSSES
    for task in catalog.find("losses", name).tasks
]
OTHERS = [
    pytest.param(name, task, id=f"{name}-{task}")
    for name in LOSSES
    for task in TASKS
    if task not in catalog.find("losses", name).tasks
]


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_trains_beside_the_main_loss(name: str, task: str, small_root: Path) -> None:
    refused = []
    for world in WORLDS[task]:
        try:
            config = recipe("losses", name, world)
            if task != "detection":
                config["losses"]["aux"] |= FORMS.get((name, task), {})
            training = Training(config, root=str(small_root))
        except SettingError as error:
            refused.append(str(error))
    # Its usual view may be for series or for square images only, and says so at once.
    assert all("needs series" in one or "needs square images" in one for one in refused)
    if len(refused) == len(WORLDS[task]):
        return
    report = training.epoch()
    assert not report.diverged
    label = list(report.weights)[1]
    assert math.isfinite(report.weights[label]["raw_loss"] or 0.0)
    metrics = {f"validation/{one}" for one in TASKS[task].best}
    assert metrics <= report.metrics.keys()


@pytest.mark.parametrize(("name", "task"), OTHERS)
def test_another_task_refuses_it_and_names_what_fits(name: str, task: str) -> None:
    world = WORLDS[task][0]
    config = recipe("optimizers", "SGD", world)
    config["losses"] = {"main": {"name": name}}
    with pytest.raises(SettingError) as error:
        resolve(config)
    assert f"losses/main: {name} is for " in str(error.value)
    assert f"the data's task is {task}" in str(error.value)
    assert TASKS[task].main_loss in str(error.value)
