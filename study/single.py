"""One training without a search, and benchmarks on any trained model; no Ray."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from analysis.metrics import metric as metric_of
from study.progress import clock
from study.provenance import data_of, line_of
from study.yaml_text import read_yaml
from trainables.core import records
from trainables.core.errors import MissingDataError, SettingError
from trainables.core.training import Training


class DivergedError(SettingError):
    """The training diverged; `training` is as it was then."""

    def __init__(self, training: Training) -> None:
        super().__init__(f"the training diverged in epoch {training.done}; try a lower lr.")
        self.training = training


def train(
    recipe: Mapping[str, Any],
    folder: Path,
    *,
    data_root: str = "",
    device: str = "auto",
    resume: bool = False,
    epochs: int = 0,
    say: Callable[[str], None] = print,
) -> Training:
    """Train a recipe in `folder`: `recipe.json`, `reports.jsonl`, `last.pt` and `best.pt`.

    A folder that holds a run already is refused unless `resume` is set and the recipe is the same.
    `epochs` ends the training before its budget is spent (0: not). The best checkpoint is the one
    that is best by the task's first metric on validation. Raises `DivergedError` after the epoch
    that diverged.
    """
    begun = (folder / "recipe.json").exists()
    if begun and not resume:
        raise SettingError(
            f"{folder} holds a run already; go on with --resume or name another one."
        )
    if not begun and folder.exists() and any(folder.iterdir()):
        raise SettingError(f"{folder} holds files that are no run; name another folder.")
    training = Training(recipe, root=data_root, device=pick(device))
    say(line_of(data_of(training, data_root)))
    if (folder / "last.pt").exists():
        training.load(folder / "last.pt")
        say(f"Going on after epoch {training.done} of {training.epochs}.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(training.recipe, indent=1), encoding="utf-8")
    name, mode = next(iter(training.task.best.items()))
    metric, sign = f"validation/{name}", 1 if mode == "max" else -1
    best = max((sign * one["metrics"][metric] for one in training.reports), default=-math.inf)
    began, first = monotonic(), training.done
    end = epochs or training.epochs
    while training.done < end:
        report = training.epoch()
        training.reports.append({"epoch": report.epoch, "metrics": report.metrics})
        records.add_policies(folder / "policies.jsonl", report.epoch, report.records)
        training.save(folder / "last.pt")
        value = report.metrics[metric]
        if sign * value > best:
            best = sign * value
            training.save(folder / "best.pt")
        rows = [json.dumps({"epoch": report.epoch} | _plain(report.metrics))]
        with (folder / "reports.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(row + "\n" for row in rows)
        left = (monotonic() - began) / (training.done - first) * (end - training.done)
        say(
            f"epoch {report.epoch}/{training.epochs}  "
            f"train loss {report.metrics['train/loss']:.4f}  "
            f"validation {metric_of(name).title} {metric_of(name).shown(value)}  "
            + "  ".join(f"{k} {v['raw_loss']:.4f}" for k, v in list(report.weights.items())[1:])
            + f"  {report.train_s:.1f} s  ETA {clock(left)}"
        )
        if report.diverged:
            raise DivergedError(training)
    return training


def restore(folder: Path, *, best: bool, data_root: str, device: str) -> Training:
    """The trained model in a run's or a trial's folder, with the recipe of its checkpoint."""
    import torch

    path = folder if folder.suffix == ".pt" else folder / ("best.pt" if best else "last.pt")
    if not path.is_file():
        raise MissingDataError(f"There is no checkpoint {path}; train first.")
    recipe = json.loads(torch.load(path, weights_only=True, map_location="cpu")["recipe"])
    training = Training(recipe, root=data_root, device=pick(device))
    training.load(path)
    return training


def compared(training: Training, reported: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every metric of the last epoch that both have: what was reported then, and what is now."""
    mine = {one["epoch"]: one["metrics"] for one in training.reports}
    last = max(mine.keys() & reported.keys())
    then, now = reported[last], mine[last]
    return [
        {"metric": name, "epoch": last, "then": then[name], "now": value}
        for name, value in now.items()
        if name in then
    ]


def pick(device: str) -> str:
    """The device that "auto" means here."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def recipe_of(
    *,
    data: str,
    architecture: str,
    methods: tuple[str, ...],
    attack_file: Path | None,
    weighter: str,
    epochs: int,
    seed: int,
    changes: tuple[str, ...],
) -> dict[str, Any]:
    """The recipe that the options of `study train` describe; ranges take their defaults."""
    from search_spaces import methods as known
    from search_spaces.ranges import defaults
    from study.yaml_text import apply

    recipe: dict[str, Any] = {
        "seed": seed,
        "data": {"name": data},
        "architecture": {"name": architecture},
        "training": {"epochs": epochs, "optimizer": {"name": "Adam", "lr": 0.001}},
        "views": {},
        "losses": {},
        "weighter": {"name": weighter},
    }
    for name in methods:
        tree = defaults(known.method(name))
        for part in ("views", "losses"):
            twice = set(tree.get(part, {})) & set(recipe[part])
            if twice:
                raise SettingError(f"{part}/{twice.pop()} is set by two losses; use a study file.")
            recipe[part] |= tree.get(part, {})
    if attack_file is not None:
        if not attack_file.is_file():
            raise MissingDataError(f"There is no attack file {attack_file}.")
        attacked = [label for label in recipe["views"] if "eps" in recipe["views"][label]]
        if not attacked:
            raise SettingError("--loss-config needs a loss with an attack, such as adversarial.")
        recipe["views"][attacked[0]] = known.attack(read_yaml(attack_file.read_text()))
    for change in changes:
        apply(recipe, change)
    return recipe


def _plain(metrics: Mapping[str, float]) -> dict[str, float | str]:
    return {k: v if math.isfinite(v) else str(v) for k, v in metrics.items()}
