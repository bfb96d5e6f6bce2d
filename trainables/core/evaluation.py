"""Benchmarks to rows: what a trained model is worth, on a split that the caller names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from . import catalog, views
from .data._source import Examples
from .errors import SettingError
from .facts import Facts
from .recipe import SUPPLIED
from .tasks import Task
from .threat import Box
from .views import guard


def expand(config: Mapping[str, Any] | str) -> dict[str, Any]:
    """The complete config of a benchmark: one of its own kind, or any view; validated by making it.

    Every setting is spelled out but those that the caller supplies (box, seed).

    Raises `SettingError` that names the nearest view or setting.
    """
    given = {"name": config} if isinstance(config, str) else dict(config)
    if str(given.get("name")) in catalog.names("benchmarks"):
        found = catalog.expand("benchmarks", given)
        catalog.build("benchmarks", found, box=None)
        return found
    found = catalog.expand("views", given)
    view = views.make(found, Facts())
    if not views.judgeable(view):
        raise SettingError(f"{found['name']} cannot be a benchmark: it changes what is right.")
    settings = catalog.settings("views", found["name"])
    defaults = {key: value for key, value in settings.items() if key not in SUPPLIED}
    return {"name": found["name"]} | defaults | found


def benchmark(config: Mapping[str, Any] | str, box: Box) -> nn.Module:
    """The benchmark that `config` names; `box` is the data's."""
    own = expand(config)
    if own["name"] not in catalog.names("benchmarks"):
        own = {"name": "OnView", "view": own}
    found: nn.Module = catalog.build("benchmarks", own, box=box)
    return found


def name(config: Mapping[str, Any] | str) -> str:
    """How tables call a benchmark: "clean", "gaussian_0.1", "pgd_linf_8/255_20"."""
    row: Any = benchmark(config, None).row
    return str(row["name"])


def some(examples: Examples, limit: int) -> Examples:
    """At most `limit` examples (0: all), evenly spaced, so that sorted data keeps its classes."""
    n = len(examples)
    if not 0 < limit < n:
        return examples
    return examples.take(torch.arange(limit, device=examples.y.device) * n // limit)


def evaluate(
    model: nn.Module,
    benchmarks: Sequence[nn.Module],
    examples: Examples,
    task: Task,
    *,
    split: str,
    seed: int,
    limit: int = 0,
    batch_size: int = 256,
) -> list[dict[str, Any]]:
    """Rows of all benchmarks on the examples; the model is left as it was found.

    Random numbers come from `seed` and each example's number alone, so all models of a study see
    the same noise and the same starting points. `split` is written into every row.
    """
    examples = some(examples, limit)
    with guard(model):
        return [
            {"split": split} | row
            for one in benchmarks
            for row in one(model, examples, task, seed=seed, batch_size=batch_size)
        ]
