"""Tasks: how a model is called on views, what an attack climbs, and how a prediction is judged."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import boxes
from .batch import Batch, Outputs
from .errors import MissingDataError, SettingError
from .network import Detector, Network

# A metric's value over a set of examples and, for a share of examples, how many are in it.
Figures = dict[str, tuple[float, int | None]]


class Goal(Protocol):
    """What an attack wants of a model's prediction, example by example."""

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """What the attack climbs, [b]."""

    def fooled(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Whether the attack has reached its goal, bool [b]."""


class Task(Goal, Protocol):
    """What a model is for.

    `name` is how configs and data sets call it, `main_loss` its usual loss. `metrics` are those of
    a set of examples, the first one being what a search goes by; `best` says for each whether more
    ("max") or less ("min") is better.
    """

    name: ClassVar[str]
    main_loss: ClassVar[str]
    best: ClassVar[Mapping[str, str]]

    @classmethod
    def of(cls, y: Tensor) -> Task:
        """The task as the targets of the training part define it."""

    def encode(self, y: Tensor) -> Tensor:
        """Targets of the data as losses see them."""

    @property
    def boxed(self) -> bool:
        """Whether targets are boxes, which stay where they are when a view moves the image."""

    def width(self, classes: int) -> int:
        """How many outputs a model needs."""

    def outputs(self, model: Any, seen: Mapping[str, Batch], forward: str) -> dict[str, Outputs]:
        """What the model makes of every view."""

    def aimed(self, model: nn.Module) -> tuple[Callable[[Tensor], Tensor], Goal]:
        """What an attack calls, and what it climbs in the outcome."""

    def predict(self, model: nn.Module, batch: Batch) -> Any:
        """The model's prediction for a batch, as `judge` takes it."""

    def judge(self, prediction: Any, y: Tensor) -> dict[str, Tensor]:
        """What is kept of every example, [b, ...]."""

    def summary(self, judged: Mapping[str, Tensor]) -> Figures:
        """The metrics of all examples that were judged."""


class _Vectors:
    """What classification and regression share: one vector of outputs per example."""

    boxed = False

    def outputs(
        self, model: Network, seen: Mapping[str, Batch], forward: str
    ) -> dict[str, Outputs]:
        """The model's outputs for every view.

        forward "joint" runs all views through the model as one batch, "separate" one after another;
        they differ in batch-norm statistics and dropout masks, so it is a scientific choice.
        """
        if forward == "separate" or len(seen) == 1:
            return {label: self._one(model, batch) for label, batch in seen.items()}
        features = model.features(torch.cat([batch.x for batch in seen.values()]))
        sizes = [len(batch.x) for batch in seen.values()]
        parts = zip(model.head(features).split(sizes), features.split(sizes), strict=True)
        return {
            label: Outputs(logits, part, *batch)
            for (label, batch), (logits, part) in zip(seen.items(), parts, strict=True)
        }

    def _one(self, model: Network, batch: Batch) -> Outputs:
        features = model.features(batch.x)
        return Outputs(model.head(features), features, *batch)

    def aimed(self: Goal, model: nn.Module) -> tuple[Callable[[Tensor], Tensor], Goal]:
        """The model, and the task itself."""
        return model, self

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """The outputs [b, c]."""
        found: Tensor = model(batch.x)
        return found


class Classification(_Vectors):
    """One of several classes per example: targets are int64 [b], predictions are logits [b, c]."""

    name: ClassVar[str] = "classification"
    main_loss: ClassVar[str] = "CrossEntropy"
    best: ClassVar[Mapping[str, str]] = {"accuracy": "max", "loss": "min"}

    @classmethod
    def of(cls, y: Tensor) -> Classification:
        """The same for all data."""
        return cls()

    def encode(self, y: Tensor) -> Tensor:
        """Class numbers as they are."""
        return y

    def width(self, classes: int) -> int:
        """One output for each class."""
        return classes

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy per example, [b]."""
        return F.cross_entropy(prediction, y, reduction="none")

    def fooled(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Whether the highest logit is not the target's (of mixed targets: the largest's).

        Outputs that are no numbers are right for no class.
        """
        wrong = prediction.argmax(1) != (y if y.dim() == 1 else y.argmax(1))
        return wrong | prediction.isnan().any(1)

    def judge(self, prediction: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Every metric per example, [b]."""
        return {"accuracy": ~self.fooled(prediction, y), "loss": self.loss(prediction, y)}

    def summary(self, judged: Mapping[str, Tensor]) -> Figures:
        """Means over the examples."""
        right = judged["accuracy"]
        return {
            "accuracy": (right.double().mean().item(), int(right.sum())),
            "loss": (judged["loss"].double().mean().item(), None),
        }


class Regression(_Vectors):
    """One number per example: targets are float [b], predictions [b, 1].

    Models and losses see targets standardised by the training part's mean and deviation; metrics
    are in the data's own units: root mean squared error, mean absolute error, and the coefficient
    of determination R2 = 1 - SSE / SST (left out where all targets are equal). "loss" is the mean
    squared error of the standardised targets. No prediction counts as fooled.
    """

    name: ClassVar[str] = "regression"
    main_loss: ClassVar[str] = "MSE"
    best: ClassVar[Mapping[str, str]] = {"rmse": "min", "mae": "min", "r2": "max", "loss": "min"}

    def __init__(self, mean: float = 0.0, deviation: float = 1.0) -> None:
        self.mean = mean
        self.deviation = deviation

    @classmethod
    def of(cls, y: Tensor) -> Regression:
        """Standardised by these targets; targets that are all equal are only centred."""
        deviation = y.double().std(correction=0).item()
        return cls(y.double().mean().item(), deviation if deviation > 0 else 1.0)

    def encode(self, y: Tensor) -> Tensor:
        """Standardised targets."""
        return ((y.double() - self.mean) / self.deviation).float()

    def width(self, classes: int) -> int:
        """One output."""
        return 1

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Squared error of the standardised target per example, [b]."""
        return (prediction.squeeze(1) - y).square()

    def fooled(self, prediction: Tensor, y: Tensor) -> Tensor:
        """False for all: there is no wrong side of a number."""
        return torch.zeros_like(y, dtype=torch.bool)

    def judge(self, prediction: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The error and the target per example, both standardised, [b]."""
        return {"error": prediction.squeeze(1) - y, "target": y}

    def summary(self, judged: Mapping[str, Tensor]) -> Figures:
        """Root mean squared error, mean absolute error, R2 and the standardised squared error."""
        error, target = judged["error"].double(), judged["target"].double()
        squared = error.square().mean().item()
        spread = (target - target.mean()).square().mean().item()
        found = {
            "rmse": self.deviation * squared**0.5,
            "mae": self.deviation * error.abs().mean().item(),
            "loss": squared,
        }
        if spread > 0:
            found["r2"] = 1 - squared / spread
        return {metric: (value, None) for metric, value in found.items()}


class Detection:
    """Boxes and their classes in an image: targets are packed as in `boxes.py`.

    Every view is run on its own, because a detector's inner losses are those of a whole batch;
    losses read them as `terms`. Metrics are COCO's mean average precision (map: over overlaps of
    0.5 to 0.95, map_50, map_75) and mean average recall (mar_100) by torchmetrics.
    """

    name: ClassVar[str] = "detection"
    main_loss: ClassVar[str] = "DetectionLoss"
    boxed = True
    best: ClassVar[Mapping[str, str]] = {
        "map": "max",
        "map_50": "max",
        "map_75": "max",
        "mar_100": "max",
    }

    @classmethod
    def of(cls, y: Tensor) -> Detection:
        """The same for all data."""
        return cls()

    def encode(self, y: Tensor) -> Tensor:
        """Packed boxes as they are."""
        return y

    def width(self, classes: int) -> int:
        """As many as classes; a detector adds its own background."""
        return classes

    def outputs(
        self, model: Detector, seen: Mapping[str, Batch], forward: str
    ) -> dict[str, Outputs]:
        """The detector's inner losses for every view."""
        nothing = next(iter(seen.values())).x.new_zeros(0)
        return {
            label: Outputs(nothing, nothing, *batch, terms=model.losses(batch.x, batch.y))
            for label, batch in seen.items()
        }

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Detections [b, m, 6]: x1, y1, x2, y2, label, score; label -1 where there is none."""
        assert isinstance(model, Detector)
        return model.detect(batch.x, batch.y)

    def aimed(self, model: nn.Module) -> tuple[Callable[[Tensor], Tensor], Goal]:
        """The image as it is, and the detector's losses of it: they need image and boxes at once.

        Detections carry no gradient to the image, so what is climbed is what the detector is
        trained for: the sum of its inner losses, image by image.
        """
        assert isinstance(model, Detector)
        return _identity, _InnerLosses(model)

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Not defined: detections carry no gradient to the image; see `aimed`."""
        raise SettingError("detections have no loss per image; an attack climbs inner losses")

    def fooled(self, prediction: Tensor, y: Tensor) -> Tensor:
        """False for all: there is no wrong side of a set of boxes."""
        return torch.zeros(len(y), dtype=torch.bool, device=y.device)

    def judge(self, prediction: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Detections and targets of every image."""
        return {"detections": prediction.cpu(), "targets": y.cpu()}

    def summary(self, judged: Mapping[str, Tensor]) -> Figures:
        """Mean average precision and recall; 0 where torchmetrics has nothing to average."""
        metric = _mean_average_precision()
        _, targets = boxes.unpack(judged["targets"])
        found = []
        for rows in judged["detections"]:
            kept = rows[rows[:, 4] >= 0]
            found.append({"boxes": kept[:, :4], "labels": kept[:, 4].long(), "scores": kept[:, 5]})
        metric.update(found, targets)
        figures = metric.compute()
        return {name: (max(0.0, figures[name].item()), None) for name in self.best}


def _identity(x: Tensor) -> Tensor:
    return x


class _InnerLosses:
    """The goal of raising the sum of a detector's inner losses, whose "prediction" is the image."""

    def __init__(self, model: Detector) -> None:
        self.model = model

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """The sum of the inner losses per image, [b]."""
        return self.model.image_losses(prediction, y)

    def fooled(self, prediction: Tensor, y: Tensor) -> Tensor:
        """False for all."""
        return torch.zeros(len(y), dtype=torch.bool, device=y.device)


def _mean_average_precision() -> Any:
    try:
        with warnings.catch_warnings():
            # torchmetrics' own dependencies warn on import in some versions.
            warnings.simplefilter("ignore")
            from torchmetrics.detection import MeanAveragePrecision

            return MeanAveragePrecision(box_format="xyxy")
    except ImportError as error:
        raise MissingDataError(
            "Detection is measured by torchmetrics, which is not there: "
            f"pip install 'auxiliary-loss-studies[detection]' ({error})"
        ) from None


TASKS: dict[str, type[Classification | Regression | Detection]] = {
    one.name: one for one in (Classification, Regression, Detection)
}
