"""How well a model does on a view of the data."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from ..data._source import Examples
from ..facts import Facts
from ..randomness import ExampleStreams
from ..tasks import Task
from ..threat import Box
from ..views import describe, fits_boxes, fits_task, make


class OnView(nn.Module):
    """Every metric of the task on a view of the examples: clean, noisy or attacked.

    Under an attack an example counts as correct only if the model is right on the clean input,
    too: the clean point lies in the ball. Every example has its own random stream, so results do
    not depend on the batch size. Loss is that on the view.
    """

    def __init__(self, *, view: Mapping[str, Any] | str = "Clean", box: Box = None) -> None:
        super().__init__()
        self.view = make(view, Facts(box=box))
        self.row = describe(self.view)

    def forward(
        self,
        model: nn.Module,
        examples: Examples,
        task: Task,
        *,
        seed: int,
        batch_size: int,
    ) -> list[dict[str, Any]]:
        """One row for each metric; the model must be in evaluation mode."""
        fits_task(self.view, task.name)
        if task.boxed:
            fits_boxes(self.view)
        began = perf_counter()
        judged: dict[str, list[Tensor]] = {}
        numbers = torch.arange(len(examples))
        order = numbers.split(batch_size)
        for index, batch in zip(
            order, examples.batches(order, device=examples.y.device), strict=True
        ):
            seen = self.view(model, batch, task, ExampleStreams(seed, index))
            with torch.no_grad():
                found = task.judge(task.predict(model, seen), seen.y)
                if self.row["family"] == "adversarial":
                    clean = task.judge(task.predict(model, batch), batch.y)
                    found = {name: _worse(found[name], clean[name]) for name in found}
            for name, values in found.items():
                judged.setdefault(name, []).append(values)
        figures = task.summary({name: torch.cat(parts) for name, parts in judged.items()})
        return [
            self.row
            | {
                "metric": metric,
                "value": value,
                "n_examples": len(examples),
                "n_correct": right,
                "seed": seed,
                "duration_s": perf_counter() - began,
                "unreliable": None,
            }
            for metric, (value, right) in figures.items()
        ]


def _worse(attacked: Tensor, clean: Tensor) -> Tensor:
    """Right only where both are; what is no verdict is that of the attacked input."""
    return attacked & clean if attacked.dtype == torch.bool else attacked
