"""Tasks: how a model is called on views, what an attack climbs, and how a prediction is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from .batch import Batch, Outputs
from .network import Network


class Goal(Protocol):
    """What an attack wants of a model's prediction, example by example."""

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """What the attack climbs, [b]."""

    def fooled(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Whether the attack has reached its goal, bool [b]."""


class Classification:
    """One of several classes per example: targets are int64 [b], predictions are logits [b, c]."""

    name = "classification"
    main_loss = "CrossEntropy"

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
            label: Outputs(logits, part, batch.y)
            for (label, batch), (logits, part) in zip(seen.items(), parts, strict=True)
        }

    def _one(self, model: Network, batch: Batch) -> Outputs:
        features = model.features(batch.x)
        return Outputs(model.head(features), features, batch.y)

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy per example, [b]."""
        return F.cross_entropy(prediction, y, reduction="none")

    def fooled(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Whether the highest logit is not the target's, bool [b]."""
        return prediction.argmax(1) != y

    def judge(self, prediction: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Every metric per example, [b]; a metric of a data set is their mean."""
        return {
            "accuracy": ~self.fooled(prediction, y),
            "loss": self.loss(prediction, y),
        }


TASKS = {Classification.name: Classification}
