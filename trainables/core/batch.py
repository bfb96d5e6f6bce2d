"""What flows through a step: a batch, and what the model made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Inputs x [b, ...] in natural units and their targets y [b]."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Outputs:
    """What the model made of a view: logits [b, c], features [b, f], and the view's targets y."""

    logits: Tensor
    features: Tensor
    y: Tensor
