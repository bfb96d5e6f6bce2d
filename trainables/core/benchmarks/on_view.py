"""How well a model does on a view of the data."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from .._lowered import Lowered
from ..batch import Batch
from ..evaluation import LITTLE, Found, Sample
from ..facts import Facts
from ..quantities import one_of
from ..randomness import ExampleStreams
from ..reliability import concerns
from ..tasks import Task
from ..threat import Box, size
from ..views import Attacked, describe, fits_box, fits_boxes, fits_judgement, fits_task, make


class OnView(nn.Module):
    """Every metric of the task on a view of the examples: clean, noisy, corrupted or attacked.

    Under an attack an example counts as correct only if the model is right on the clean input,
    too: the clean point lies in the ball. Every example has its own random stream, so results do
    not depend on the batch size. Loss is that on the view.

    With `precision` bfloat16 an attack sees the model in that precision and channels-last memory,
    which is faster where the machine gains by it. The verdict is that of the full precision, and
    what had fooled the model in bfloat16 alone is attacked again in full precision.
    """

    def __init__(
        self,
        *,
        view: Mapping[str, Any] | str = "Clean",
        precision: str = "float32",
        box: Box,
        shape: tuple[int, ...],
        outputs: int,
        checks: bool,
    ) -> None:
        super().__init__()
        self.view = make(view, Facts(box=box, shape=shape, outputs=outputs))
        fits_judgement(self.view)
        self.precision = one_of("precision", precision, ("float32", "bfloat16"))
        self.checks = checks
        self.row = describe(self.view)
        if self.precision != "float32":
            self.row["protocol"] = f"attacked in {self.precision}, judged in float32"

    def forward(self, model: nn.Module, sample: Sample, task: Task) -> Found:
        """One row for each metric; the model must be in evaluation mode."""
        fits_task(self.view, task.name)
        if task.boxed:
            fits_boxes(self.view)
        parts: list[dict[str, Tensor]] = []
        low = Lowered(model) if self.precision != "float32" else None
        for numbers, batch in sample.batches():
            name = f"{int(numbers[0])}-{len(numbers)}"
            part = sample.parts.get(name) if self.view.needs_model else None
            if part is None:
                since = perf_counter()
                draws = ExampleStreams(sample.seed, numbers)
                part = self._judged(model, low, batch, task, draws)
                part["seconds"] = torch.tensor([perf_counter() - since])
                if self.view.needs_model:
                    sample.parts.put(name, part)
            parts.append(part)
        whole = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        # That of the batches, of which some may have been judged before an interruption.
        seconds = whole.pop("seconds").sum().item()
        checked = perf_counter()
        figures = task.summary(whole)
        reasons = None
        if self.checks and isinstance(self.view, Attacked):
            reasons = [*concerns(self.view, model, sample, task), *self._blind(whole)]
        about = self.row | {
            "n_examples": len(sample),
            "seed": sample.seed,
            "duration_s": seconds + perf_counter() - checked,
            "unreliable": None if reasons is None else bool(reasons),
            "unreliable_why": "; ".join(reasons) if reasons else None,
        }
        rows = [
            about | {"metric": metric, "value": value, "n_correct": right}
            for metric, (value, right) in figures.items()
        ]
        whole["number"] = sample.numbers
        if "accuracy" in whole:
            whole["correct"] = whole.pop("accuracy")
        return Found(rows, {self.row["name"]: whole})

    def _blind(self, whole: dict[str, Tensor]) -> list[str]:
        """What an ensemble's members without gradients found beyond those with gradients."""
        found = []
        members = self.view.component.members() if "by" in whole else []
        for place, (name, attack) in enumerate(members):
            alone = int((whole["by"] == place).sum())
            if getattr(attack, "black_box", False) and alone > max(1, LITTLE * len(whole["by"])):
                share = 100 * alone / len(whole["by"])
                found.append(f"{name}, without gradients, fools another {share:.1f} %")
        return found

    def _judged(
        self,
        model: nn.Module,
        low: Lowered | None,
        batch: Batch,
        task: Task,
        draws: ExampleStreams,
    ) -> dict[str, Tensor]:
        """What is kept of every example, on the CPU."""
        attacked = isinstance(self.view, Attacked)
        fits_box(self.view, batch.x)
        by = None
        if hasattr(self.view.component, "members"):
            by = torch.full((len(batch.x),), -1, device=batch.x.device)
        seen = self._seen(model, low, batch, task, draws, by)
        with torch.no_grad():
            prediction = task.predict(model, seen)
            found = dict(task.judge(prediction, seen.y))
            if attacked:
                clean = task.judge(task.predict(model, batch), batch.y)
                found = {name: _worse(found[name], clean[name]) for name in found}
                if "accuracy" in clean:
                    found["clean_correct"] = clean["accuracy"]
                found |= {norm: size(seen.x - batch.x, norm) for norm in ("linf", "l2", "l1")}
            if "accuracy" in found:
                found["prediction"] = prediction.argmax(1)
                found["target"] = batch.y
            if by is not None:
                found["by"] = by
        return {name: values.cpu() for name, values in found.items()}

    def _seen(
        self,
        model: nn.Module,
        low: Lowered | None,
        batch: Batch,
        task: Task,
        draws: ExampleStreams,
        by: Tensor | None,
    ) -> Batch:
        if not isinstance(self.view, Attacked):
            made: Batch = self.view(model, batch, task, draws)
            return made
        if low is None:
            return self.view.forward(model, batch, task, draws, by)
        seen = self.view.forward(low, batch, task, draws, by)
        with torch.no_grad():
            fooled = task.fooled(task.predict(low, seen), seen.y)
            again = (fooled & ~task.fooled(task.predict(model, seen), seen.y)).nonzero().flatten()
        if not len(again):
            return seen
        part = Batch(batch.x[again], batch.y[again])
        x = seen.x.clone()
        x[again] = self.view(model, part, task, draws.rows(again)).x
        return Batch(x, seen.y)


def _worse(attacked: Tensor, clean: Tensor) -> Tensor:
    """Right only where both are; what is no verdict is that of the attacked input."""
    return attacked & clean if attacked.dtype == torch.bool else attacked
