"""How well a model does on a view of the data."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from ..batch import Batch
from ..data._source import Examples
from ..randomness import ExampleStreams
from ..tasks import Classification
from ..threat import Box
from ..views import describe, make


class OnView(nn.Module):
    """Every metric of the task on a view of the examples: clean, noisy or attacked.

    Under an attack an example counts as correct only if the model is right on the clean input,
    too: the clean point lies in the ball. Every example has its own random stream, so results do
    not depend on the batch size. Loss is that on the view.
    """

    def __init__(self, *, view: Mapping[str, Any] | str = "Clean", box: Box = None) -> None:
        super().__init__()
        self.view = make(view, box)
        self.row = describe(self.view)

    def forward(
        self,
        model: nn.Module,
        examples: Examples,
        task: Classification,
        *,
        seed: int,
        batch_size: int,
    ) -> list[dict[str, Any]]:
        """One row for each metric; the model must be in evaluation mode."""
        began = perf_counter()
        judged: dict[str, list[Tensor]] = {}
        for start in range(0, len(examples), batch_size):
            batch = Batch(
                examples.x[start : start + batch_size], examples.y[start : start + batch_size]
            )
            index = torch.arange(start, start + len(batch.y))
            seen = self.view(model, batch, task, ExampleStreams(seed, index))
            with torch.no_grad():
                found = task.judge(model(seen.x), seen.y)
                if self.row["family"] == "adversarial":
                    found["accuracy"] &= ~task.fooled(model(batch.x), batch.y)
            for metric, values in found.items():
                judged.setdefault(metric, []).append(values)
        n = len(examples)
        rows = []
        for metric, parts in judged.items():
            values = torch.cat(parts)
            counted = values.dtype == torch.bool
            rows.append(
                self.row
                | {
                    "metric": metric,
                    "value": values.double().mean().item(),
                    "n_examples": n,
                    "n_correct": int(values.sum()) if counted else None,
                    "seed": seed,
                    "duration_s": perf_counter() - began,
                    "unreliable": None,
                }
            )
        return rows
