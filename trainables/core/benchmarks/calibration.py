"""How far a model's confidence is from its accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SettingError
from ..evaluation import Found, Row, Sample
from ..facts import Facts
from ..quantities import several, whole
from ..randomness import ExampleStreams
from ..tasks import Task
from ..threat import Box
from ..views import View, describe, fits_box, fits_judgement, fits_task, make

# Examples in a bin of the root mean square error, as in Hendrycks et al. (arXiv 1812.04606).
BIN = 100
SCORES = ("ece", "rms", "brier", "nll")


class Calibration(nn.Module):
    """Calibration errors and proper scores of a classifier, on one view after another.

    With p the softmax of the outputs, c its largest value and a whether that class is right:

    - ece: sum over `bins` equal intervals of c of n_b / n |mean a - mean c| (arXiv 1706.04599).
    - rms: the root of sum_b n_b / n (mean a - mean c)^2 over bins of 100 examples in the order of
      c, the last one larger (arXiv 1812.04606, as AugMix reports it).
    - brier: mean over examples of the sum over classes of (p - one-hot)^2, 0 to 2.
    - nll: mean negative log-likelihood.

    `views` lists what the examples go through, such as [Clean, fog_3]; rows are called
    calibration_<view>. Raises `SettingError` for other tasks, and for a view that is no look at the
    same examples.
    """

    tasks = ("classification",)
    short = ("calibration",)

    def __init__(
        self,
        *,
        views: Sequence[Mapping[str, Any] | str] = ("Clean",),
        bins: int = 15,
        box: Box,
        shape: tuple[int, ...],
        outputs: int,
    ) -> None:
        super().__init__()
        self.bins = whole("bins", bins, low=1)
        facts = Facts(box=box, shape=shape, outputs=outputs)
        made = [make(one, facts) for one in several("views", views)]
        names = [describe(one)["name"] for one in made]
        if not names or len(set(names)) < len(names):
            raise SettingError(f"views must name different views, at least one, found {names!r}")
        for one in made:
            fits_judgement(one)
        self.views = nn.ModuleList(made)
        self.row: Row = describe(make("Clean", facts)) | {
            "family": "calibration",
            "name": "calibration",
        }

    def figures(self, best: Mapping[str, str]) -> dict[str, str]:
        """What there are rows of, <row>/<metric>, and which direction is better."""
        names = [f"calibration_{describe(one)['name']}" for one in self.views]  # type: ignore[arg-type]
        return {f"{name}/{metric}": "min" for name in names for metric in SCORES}

    def forward(self, model: nn.Module, sample: Sample, task: Task) -> Found:
        """Four rows for each view."""
        rows: list[Row] = []
        for view in self.views:
            assert isinstance(view, View)
            fits_task(view, task.name)
            began = perf_counter()
            found = [
                self._outputs(view, model, numbers, batch, sample.seed, task)
                for numbers, batch in sample.batches()
            ]
            logits = torch.cat([one[0] for one in found])
            y = torch.cat([one[1] for one in found])
            about = describe(view)
            rows += [
                self.row
                | {
                    "name": f"calibration_{about['name']}",
                    "severity": about["severity"],
                    "source": about["source"],
                    "metric": metric,
                    "value": value,
                    "n_examples": len(y),
                    "n_correct": None,
                    "seed": sample.seed,
                    "duration_s": perf_counter() - began,
                    "unreliable": None,
                }
                for metric, value in scores(logits, y, self.bins).items()
            ]
        return Found(rows, {})

    def _outputs(
        self, view: View, model: nn.Module, numbers: Tensor, batch: Any, seed: int, task: Task
    ) -> tuple[Tensor, Tensor]:
        fits_box(view, batch.x)
        seen = view(model, batch, task, ExampleStreams(seed, numbers))
        with torch.no_grad():
            return task.predict(model, seen).double().cpu(), seen.y.cpu()


def scores(logits: Tensor, y: Tensor, bins: int = 15) -> dict[str, float]:
    """The four figures of logits [n, c] and classes y [n]."""
    p = logits.softmax(1)
    confidence, predicted = p.max(1)
    right = (predicted == y).to(p.dtype)
    # The first interval is closed, the others are half open: (k / bins, (k + 1) / bins].
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    gap = torch.zeros(bins, dtype=p.dtype).index_add(0, place, right - confidence)
    order = confidence.argsort(stable=True)
    count = max(1, len(y) // BIN)
    edges = [BIN * i for i in range(1, count)]
    parts = (right - confidence)[order].tensor_split(edges)
    squared = sum(len(part) * part.mean().square() for part in parts)
    return {
        "ece": (gap.abs().sum() / len(y)).item(),
        "rms": float((squared / len(y)) ** 0.5),
        "brier": (p - F.one_hot(y, p.shape[1])).square().sum(1).mean().item(),
        "nll": F.cross_entropy(logits, y).item(),
    }
