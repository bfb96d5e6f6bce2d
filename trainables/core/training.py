"""A training: an epoch at a time, and everything needed to resume it bit for bit.

All random numbers of an epoch come from the recipe's seed and the epoch's number, so a checkpoint
between epochs needs no random state: the order of batches, what views draw, and dropout masks. The
streams have separate seeds; recipes with equal seeds share split, order and initial weights.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from . import catalog, evaluation, intact, views
from .batch import Batch
from .data._source import Examples, Source, data_root
from .errors import SettingError
from .facts import Facts, Part
from .network import Detector, Network
from .objective import Objective, Step
from .parallel import Team, convert
from .randomness import Stream, derive, seeded
from .recipe import SPLITTING, Config, complete_data, objective, resolve, schedule, task_of
from .splits import Split, split
from .store import Store
from .tasks import Task

CHECKPOINT_VERSION = 1
# What a report says of every loss: means over the epoch's steps.
FIGURES = (
    "raw_loss",
    "weight",
    "weighted_loss",
    "loss_ratio",
    "grad_norm",
    "grad_cos",
    "grad_conflict",
)


@dataclass(frozen=True)
class Report:
    """One epoch: metrics by name, per loss its means, and seconds spent training and evaluating.

    `records` are rows in which views that learn, such as an augmentation policy, say what they did.
    """

    epoch: int
    metrics: dict[str, float]
    weights: dict[str, dict[str, float | None]]
    train_s: float
    eval_s: float
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def diverged(self) -> bool:
        """Whether a loss or metric is no longer a finite number."""
        return not all(map(math.isfinite, self.metrics.values()))


# The last few data sets stay in memory, so that the next trial of a process need not read them.
@lru_cache(maxsize=3)
def _source(config: str, root: str) -> Source:
    found: Source = catalog.build("data", json.loads(config)).load(data_root(root))
    return found


def load_source(config: Config, root: str = "") -> Source:
    """The data set that a complete data config names."""
    own = {key: value for key, value in config.items() if key not in SPLITTING}
    return _source(json.dumps(own, sort_keys=True), str(data_root(root)))


@lru_cache(maxsize=3)
def _parts(config: str, root: str, device: str) -> tuple[Split, Task]:
    """The split data on the device, targets as losses see them, and the task that they define."""
    data = json.loads(config)
    whole = split(load_source(data, root), **{key: data[key] for key in SPLITTING})
    task = task_of(data).of(whole.train.y)

    def moved(part: Examples) -> Examples:
        return Examples(part.x, task.encode(part.y)).to(device)

    hidden = whole.unlabelled
    found = replace(
        whole,
        train=moved(whole.train),
        validation=moved(whole.validation),
        test=moved(whole.test),
        unlabelled=None if hidden is None else moved(hidden),
    )
    return found, task


def load_parts(config: Config, root: str, device: torch.device) -> tuple[Split, Task]:
    """The split of a complete data config on a device, and its task."""
    return _parts(json.dumps(config, sort_keys=True), str(data_root(root)), str(device))


class Training:
    """The training of one recipe on one device.

    `recipe` is completed and validated. `root` is the data root ("": the default one). After
    `epoch()` has run `epochs` times, or fewer, `evaluate` says what the model is worth; `save` and
    `load` move everything that the next epoch depends on. Raises `SettingError` for settings that
    do not fit the data and `MissingDataError` for data that is not there.

    With a `team` of several processes each trains the same recipe at the same time, and all hold
    what one process would hold; one of them evaluates and saves.
    """

    def __init__(
        self,
        recipe: Mapping[str, Any],
        *,
        root: str = "",
        device: str | torch.device = "cpu",
        team: Team | None = None,
    ) -> None:
        self.recipe = resolve(recipe)
        self.team = team or Team()
        self.device = torch.device(device)
        self.seed: int = self.recipe["seed"]
        self.settings: Config = self.recipe["training"]
        source = load_source(self.recipe["data"], root)
        self.box = source.box
        self.title = source.title
        self.root = root
        self.parts, self.task = load_parts(self.recipe["data"], root, self.device)
        self.done = 0
        with seeded(derive(self.seed, "model"), self.device):
            self.model = self._model(source).to(self.device)
        convert(self.model, self.team)
        with seeded(derive(self.seed, "objective"), self.device):
            self.objective = self._objective(root).to(self.device)
        self.objective.team = self.team
        self.parameters = [
            one
            for one in (*self.model.parameters(), *self.objective.losses.parameters())
            if one.requires_grad
        ]
        # What a weighter learns is no weight of a network: neither decayed nor clipped.
        self.learned = list(self.objective.weighing.parameters())
        self.stepped = self.parameters + self.learned
        groups: list[dict[str, Any]] = [{"params": self.parameters}]
        if self.learned:
            groups.append({"params": self.learned, "weight_decay": 0.0})
        # The losses [k] in the first step of all, against which later ones are reported.
        self.first: list[float] = []
        self.optimizer = catalog.build("optimizers", self.settings["optimizer"])(groups)
        self.lr: float = self.optimizer.param_groups[0]["lr"]
        self.factor = schedule(self.settings["schedule"])
        self.clean = evaluation.benchmark("Clean", evaluation.Context())
        self.reports: list[dict[str, Any]] = []

    @property
    def epochs(self) -> int:
        """The full budget, which the learning rate's schedule is stretched over."""
        return int(self.settings["epochs"])

    def epoch(self) -> Report:
        """Train one epoch, then measure on the validation part.

        Raises `RuntimeError` after the last epoch of the budget: the schedule ends there.
        """
        began = perf_counter()
        means = self.train_epoch()
        trained = perf_counter()
        metrics = self._metrics(means)
        return Report(
            self.done,
            metrics,
            self._weights(means),
            trained - began,
            perf_counter() - trained,
            self.objective.records(),
        )

    def train_epoch(self) -> dict[str, list[float]]:
        """Train one epoch and measure nothing; the means over its steps by figure, [k] each.

        What the further processes of a trial do. Raises `RuntimeError` as `epoch` does.
        """
        if self.done >= self.epochs:
            raise RuntimeError(f"the budget of {self.epochs} epochs is spent")
        self.model.train()
        self.objective.train()
        seed = derive(self.seed, "views", self.done)
        draws = Stream(seed, self.device)
        self.team.begin(seed)
        order = self._order()
        pictures = derive(self.seed, "pictures", self.done)
        batches = self.team.batches(self.parts.train, order, device=self.device, seed=pictures)
        steps: list[Step] = []
        with seeded(derive(self.seed, "dropout", self.done), self.device):
            for i, batch in enumerate(batches):
                progress = (self.done + i / len(order)) / self.epochs
                self._set_lr(progress)
                self.objective.at(progress)
                steps.append(self._step(batch, draws))
        self.objective.end_epoch()
        self.team.agree([*self.model.parameters(), *self.model.buffers(), *self.stepped])
        means = _means(steps, self.first)
        self.first = self.first or steps[0].losses.tolist()
        self.done += 1
        return means

    def _step(self, batch: Batch, draws: Stream) -> Step:
        # zero_grad's profiler hooks take longer than this on a small network.
        for parameter in self.stepped:
            parameter.grad = None
        step = self.objective.backward(self.model, batch, draws)
        if self.settings["clip_norm"] > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.settings["clip_norm"])
        self.optimizer.step()
        self.objective.observe(self.model)
        return step

    def evaluate(
        self,
        benchmarks: list[Any],
        *,
        part: str,
        limit: int = 0,
        seed: int = 0,
        checks: bool = False,
        store: Path | None = None,
    ) -> evaluation.Found:
        """What the benchmarks (configs or short forms) find on "validation" or "test".

        With `checks` attacks' figures are tested for signs of a weak attack. `store` is a folder
        that keeps what was found: the same again is read from there.
        """
        context = replace(self._context(), store=Store(store), checks=checks)
        examples: Examples = getattr(self.parts, part)
        return evaluation.evaluate(
            self.model, benchmarks, examples, self.task, context, split=part, seed=seed, limit=limit
        )

    def _context(self) -> evaluation.Context:
        return evaluation.Context(
            box=self.box,
            shape=self.parts.train.shape,
            outputs=self.task.width(len(self.parts.classes)),
            architecture=self.recipe["architecture"],
            data=self.recipe["data"],
            root=self.root,
            title=self.title,
        )

    def rehearse(self, benchmark: Any) -> None:
        """Run a benchmark in the smallest way, on two validation examples, for its errors alone.

        One that reads published files, which hold the test part alone, runs on two of those.
        """
        context = self._context()
        published = getattr(evaluation.benchmark(benchmark, context), "published", False)
        part = self.parts.test if published else self.parts.validation
        evaluation.rehearse(self.model, benchmark, part, self.task, context)

    def close(self) -> None:
        """Give back what the training holds beside memory: nothing, where it has no team."""

    def share(self) -> None:
        """Let all processes of the team go on from the state of the first, when all call this."""
        state = self.team.shared(self._state(), self.device)
        if self.team.rank > 0:
            self._restore(state)

    def _state(self) -> dict[str, Any]:
        return {
            "version": CHECKPOINT_VERSION,
            "recipe": json.dumps(self.recipe),
            "done": self.done,
            "first": self.first,
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "reports": json.dumps(self.reports),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]
        self.first = state.get("first", [])
        self.reports = json.loads(state["reports"])

    def save(self, path: Path) -> None:
        """Write a checkpoint; it appears at `path` whole or not at all."""
        state = self._state()
        path.parent.mkdir(parents=True, exist_ok=True)
        # A lost worker may still be writing while its successor does.
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)

    def _goes_on(self, recipe: Config) -> bool:
        """Whether this training is that of the recipe, or the same with more epochs.

        More epochs are the same training only where nothing is stretched over them.
        """
        longer = recipe["training"] | {"epochs": self.epochs}
        constant = longer["schedule"]["name"] == "Constant"
        if constant and recipe["training"]["epochs"] <= self.epochs:
            recipe = recipe | {"training": longer}
        return recipe == self.recipe

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe; nothing in it is unpickled as code."""
        if wrong := intact.problem(path):
            raise SettingError(f"{path}: {wrong}.")
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["version"] > CHECKPOINT_VERSION:
            raise SettingError(
                f"{path} has checkpoint version {state['version']}, this program reads up to "
                f"{CHECKPOINT_VERSION}; update it."
            )
        if not self._goes_on(resolve(json.loads(state["recipe"]))):
            raise SettingError(f"{path} belongs to another recipe than the one that was asked for.")
        self._restore(state)

    def _model(self, source: Source) -> Network | Detector:
        x = self.parts.train.x
        if isinstance(x, Tensor) and source.mean is None:
            over = [dim for dim in range(x.dim()) if dim != 1]
            mean, deviation = x.mean(over).tolist(), x.std(over, correction=0).tolist()
        else:
            mean, deviation = list(source.mean or ()), list(source.deviation or ())
        try:
            model: Network | Detector = catalog.build(
                "architectures",
                self.recipe["architecture"],
                shape=self.parts.train.shape,
                outputs=self.task.width(len(self.parts.classes)),
                mean=mean,
                deviation=deviation,
            )
        except SettingError as error:
            raise SettingError(f"architecture: {error}") from None
        return model

    def _objective(self, root: str) -> Objective:
        def load(config: Mapping[str, Any] | str) -> Part:
            parts, _ = load_parts(complete_data(config), root, self.device)
            return Part(parts.train, len(parts.classes))

        hidden = self.parts.unlabelled
        facts = Facts(
            box=self.box,
            shape=self.parts.train.shape,
            outputs=self.task.width(len(self.parts.classes)),
            width=self.model.width,
            seed=derive(self.seed, "weighter"),
            load=load,
            unlabelled=None if hidden is None else Part(hidden, len(self.parts.classes)),
        )
        made = objective(self.recipe, self.task, facts)
        # So that a view which cannot take the data is an error now and not in the first step.
        blank = torch.zeros(2, *facts.shape, device=self.device)
        made.try_views(Batch(blank, self.parts.train.y[:2]), Stream(0, self.device))
        if isinstance(self.parts.train.x, Tensor):
            made.try_boxes(self.parts.train.x)
        return made

    def _order(self) -> list[Tensor]:
        """This epoch's batches of indices; a last batch of one example is left out.

        Batch normalisation cannot train on a single example.
        """
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.done))
        order = torch.randperm(len(self.parts.train), generator=generator)
        batches = list(order.to(self.parts.train.y.device).split(self.settings["batch_size"]))
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

    def _metrics(self, means: Mapping[str, list[float]]) -> dict[str, float]:
        part = self.parts.validation
        sample = evaluation.Sample(part, torch.arange(len(part)), len(part), seed=0)
        with views.guard(self.model):
            rows = self.clean(self.model, sample, self.task).rows
        return {
            "train/loss": means["raw_loss"][0],
            "train/weighted_loss": sum(means["weighted_loss"]),
            **{
                f"train/{name}": value
                for name, value in self.objective.weighing.extra_passes(
                    len(self.objective.labels)
                ).items()
            },
            **{f"train/{name}": value for name, value in self.objective.figures().items()},
            **{f"validation/{row['metric']}": row["value"] for row in rows},
        }

    def _weights(self, means: Mapping[str, list[float]]) -> dict[str, dict[str, float | None]]:
        return {
            label: {name: means[name][i] if name in means else None for name in FIGURES}
            for i, label in enumerate(self.objective.labels)
        }


def _means(steps: list[Step], first: list[float]) -> dict[str, list[float]]:
    """Means over an epoch's steps by figure, [k]; the only time that figures leave the device.

    They are kept as they are until then: small tensors cost less than adding them up on the way.
    """
    grams = [step.gramian for step in steps if step.gramian is not None]
    whole = Step(
        torch.stack([step.losses for step in steps]),
        torch.stack([step.weights for step in steps]),
        steps[0].coefficients,
        torch.stack(grams) if grams else None,
    )
    cosines = whole.cosines
    begun = whole.losses.new_tensor(first) if first else whole.losses[0]
    figures = (
        whole.losses,
        whole.weights,
        whole.weighted,
        # A loss that began at 0 has no ratio.
        torch.where(begun != 0, whole.losses / begun, 1.0),
        whole.norms,
        cosines,
        None if cosines is None else (cosines < 0).to(cosines.dtype),
    )
    known = {name: one for name, one in zip(FIGURES, figures, strict=True) if one is not None}
    means: list[list[float]] = torch.stack([one.mean(0) for one in known.values()]).tolist()
    return dict(zip(known, means, strict=True))
