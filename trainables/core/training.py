"""A training: an epoch at a time, and everything needed to resume it bit for bit.

All random numbers of an epoch come from the recipe's seed and the epoch's number, so a checkpoint
between epochs needs no random state: the order of batches, what views draw, and dropout masks. The
streams have separate seeds; recipes with equal seeds share split, order and initial weights.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from . import catalog, evaluation
from .batch import Batch
from .data._source import Examples, Source, data_root
from .errors import SettingError
from .network import Network
from .objective import Step
from .randomness import Stream, derive
from .recipe import SPLITTING, Config, objective, resolve, schedule
from .splits import Split, split

CHECKPOINT_VERSION = 1


@dataclass(frozen=True)
class Report:
    """One epoch: metrics by name, per loss its means, and seconds spent training and evaluating."""

    epoch: int
    metrics: dict[str, float]
    weights: dict[str, dict[str, float | None]]
    train_s: float
    eval_s: float

    @property
    def diverged(self) -> bool:
        """Whether a loss or metric is no longer a finite number."""
        return not all(map(math.isfinite, self.metrics.values()))


@lru_cache(maxsize=2)
def _source(config: str, root: str) -> Source:
    found: Source = catalog.build("data", json.loads(config)).load(data_root(root))
    return found


def load_source(config: Config, root: str = "") -> Source:
    """The data set that a complete data config names; the last two stay in memory."""
    own = {key: value for key, value in config.items() if key not in SPLITTING}
    return _source(json.dumps(own, sort_keys=True), str(data_root(root)))


@lru_cache(maxsize=2)
def _parts(config: str, root: str, device: str) -> Split:
    data = json.loads(config)
    whole = split(load_source(data, root), **{key: data[key] for key in SPLITTING})
    return Split(
        _moved(whole.train, device),
        _moved(whole.validation, device),
        _moved(whole.test, device),
        whole.train_index,
        whole.validation_index,
    )


def _moved(part: Examples, device: str) -> Examples:
    return Examples(part.x.to(device), part.y.to(device))


class Training:
    """The training of one recipe on one device.

    `recipe` is completed and validated. `root` is the data root ("": the default one). After
    `epoch()` has run `epochs` times, or fewer, `evaluate` says what the model is worth; `save` and
    `load` move everything that the next epoch depends on. Raises `SettingError` for settings that
    do not fit the data and `MissingDataError` for data that is not there.
    """

    def __init__(
        self, recipe: Mapping[str, Any], *, root: str = "", device: str | torch.device = "cpu"
    ) -> None:
        self.recipe = resolve(recipe)
        self.device = torch.device(device)
        self.seed: int = self.recipe["seed"]
        self.settings: Config = self.recipe["training"]
        source = load_source(self.recipe["data"], root)
        self.box = source.box
        data = json.dumps(self.recipe["data"], sort_keys=True)
        self.parts = _parts(data, str(data_root(root)), str(self.device))
        self.done = 0
        with _seeded(derive(self.seed, "model"), self.device):
            self.model = self._model(source).to(self.device)
        with _seeded(derive(self.seed, "objective"), self.device):
            self.objective = objective(self.recipe, self.box).to(self.device)
        self.parameters = [*self.model.parameters(), *self.objective.parameters()]
        self.optimizer = catalog.build("optimizers", self.settings["optimizer"])(self.parameters)
        self.lr: float = self.optimizer.param_groups[0]["lr"]
        self.factor = schedule(self.settings["schedule"])
        self.clean = evaluation.benchmark("Clean", self.box)
        self.reports: list[dict[str, Any]] = []

    @property
    def epochs(self) -> int:
        """The full budget, which the learning rate's schedule is stretched over."""
        return int(self.settings["epochs"])

    def epoch(self) -> Report:
        """Train one epoch, then measure on the validation part.

        Raises `RuntimeError` after the last epoch of the budget: the schedule ends there.
        """
        if self.done >= self.epochs:
            raise RuntimeError(f"the budget of {self.epochs} epochs is spent")
        began = perf_counter()
        self.model.train()
        self.objective.train()
        draws = Stream(derive(self.seed, "views", self.done), self.device)
        batches = self._order()
        steps: list[Step] = []
        with _seeded(derive(self.seed, "dropout", self.done), self.device):
            for i, index in enumerate(batches):
                self._set_lr((self.done + i / len(batches)) / self.epochs)
                steps.append(self._step(index, draws))
        means = _means(steps)
        self.done += 1
        trained = perf_counter()
        metrics = self._metrics(means)
        return Report(
            self.done, metrics, self._weights(means), trained - began, perf_counter() - trained
        )

    def _step(self, index: Tensor, draws: Stream) -> Step:
        train = self.parts.train
        batch = Batch(train.x.index_select(0, index), train.y.index_select(0, index))
        # zero_grad's profiler hooks take longer than this on a small network.
        for parameter in self.parameters:
            parameter.grad = None
        step = self.objective.backward(self.model, batch, draws)
        if self.settings["clip_norm"] > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.settings["clip_norm"])
        self.optimizer.step()
        return step

    def evaluate(
        self,
        benchmarks: list[Any],
        *,
        part: str,
        limit: int = 0,
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        """Rows of the benchmarks (configs or short forms) on "validation" or "test"."""
        made = [evaluation.benchmark(one, self.box).to(self.device) for one in benchmarks]
        examples: Examples = getattr(self.parts, part)
        task = self.objective.task
        return evaluation.evaluate(
            self.model, made, examples, task, split=part, seed=seed, limit=limit
        )

    def save(self, path: Path) -> None:
        """Write a checkpoint; it appears at `path` whole or not at all."""
        state = {
            "version": CHECKPOINT_VERSION,
            "recipe": json.dumps(self.recipe),
            "done": self.done,
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "reports": json.dumps(self.reports),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        # A lost worker may still be writing while its successor does.
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe; nothing in it is unpickled as code."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["version"] > CHECKPOINT_VERSION:
            raise SettingError(
                f"{path} has checkpoint version {state['version']}, this program reads up to "
                f"{CHECKPOINT_VERSION}; update it."
            )
        if json.loads(state["recipe"]) != self.recipe:
            raise SettingError(f"{path} belongs to another recipe than the one that was asked for.")
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]
        self.reports = json.loads(state["reports"])

    def _model(self, source: Source) -> Network:
        x = self.parts.train.x
        over = [dim for dim in range(x.dim()) if dim != 1]
        try:
            model: Network = catalog.build(
                "architectures",
                self.recipe["architecture"],
                shape=tuple(x.shape[1:]),
                outputs=len(source.classes),
                mean=x.mean(over).tolist(),
                deviation=x.std(over, correction=0).tolist(),
            )
        except SettingError as error:
            raise SettingError(f"architecture: {error}") from None
        return model

    def _order(self) -> list[Tensor]:
        """This epoch's batches of indices; a last batch of one example is left out.

        Batch normalisation cannot train on a single example.
        """
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.done))
        order = torch.randperm(len(self.parts.train), generator=generator).to(self.device)
        batches = list(order.split(self.settings["batch_size"]))
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches.pop()
        return batches

    def _set_lr(self, progress: float) -> None:
        warmup = float(self.settings["schedule"]["warmup_epochs"]) / self.epochs
        if progress < warmup:
            # Linear, and never 0: the first step is worth a batch of training.
            factor = max(progress / warmup, 1e-3) * self.factor(0.0)
        else:
            factor = self.factor((progress - warmup) / (1 - warmup) if warmup < 1 else 0.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * factor

    def _metrics(self, means: list[list[float]]) -> dict[str, float]:
        (row, loss) = evaluation.evaluate(
            self.model,
            [self.clean],
            self.parts.validation,
            self.objective.task,
            split="validation",
            seed=0,
        )
        return {
            "train/loss": means[0][0],
            "train/weighted_loss": sum(means[2]),
            "validation/accuracy": row["value"],
            "validation/loss": loss["value"],
        }

    def _weights(self, means: list[list[float]]) -> dict[str, dict[str, float | None]]:
        names = ("raw_loss", "weight", "weighted_loss", "grad_norm", "grad_cos")
        return {
            label: {
                name: means[row][i] if row < len(means) else None for row, name in enumerate(names)
            }
            for i, label in enumerate(self.objective.labels)
        }


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's global generators seeded within the block and afterwards as they were.

    Initialisation and dropout draw from the global generators and accept no other. Only those of
    the CPU and of `device` are touched; torch.manual_seed would change those of all devices.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _means(steps: list[Step]) -> list[list[float]]:
    """Means over an epoch's steps, [figures, k]; the only time that its figures leave the device.

    They are kept as they are until then: small tensors cost less than adding them up on the way.
    """
    grams = [step.gramian for step in steps if step.gramian is not None]
    whole = Step(
        torch.stack([step.losses for step in steps]),
        torch.stack([step.weights for step in steps]),
        steps[0].coefficients,
        torch.stack(grams) if grams else None,
    )
    figures = (whole.losses, whole.weights, whole.weighted, whole.norms, whole.cosines)
    found: list[list[float]] = torch.stack(
        [one.mean(0) for one in figures if one is not None]
    ).tolist()
    return found
