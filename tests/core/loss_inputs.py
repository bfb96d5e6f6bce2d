"""What the tests of single losses feed them with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainables.core import catalog
from trainables.core.batch import Outputs

from ..contracts.toys import seeded


def seen(logits: Tensor, y: Tensor | None = None) -> Outputs:
    """Outputs whose features and inputs are the logits themselves."""
    targets = torch.zeros(len(logits), dtype=torch.int64) if y is None else y
    return Outputs(logits, logits, logits, targets)


def logits(n: int = 6, classes: int = 4, seed: int = 0) -> Tensor:
    return 2 * torch.randn(n, classes, generator=seeded(seed), dtype=torch.float64)


def loss_of(name: str, facts: dict[str, Any] | None = None, **settings: Any) -> nn.Module:
    """The loss, with the weights of a head of its own from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found: nn.Module = catalog.build("losses", {"name": name} | settings, **(facts or {}))
    return found
