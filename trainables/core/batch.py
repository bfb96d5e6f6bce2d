"""What flows through a step: a batch, and what the model made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Inputs x [b, ...] in natural units and their targets y.

    y is [b] for classification (class numbers; [b, c] where an augmentation mixed labels) and for
    regression (standardised values), and [b, 1 + m, 5] for detection (see `boxes.py`).
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Outputs:
    """What the model made of a view: logits [b, c], features [b, f], and the view's own x and y.

    `terms` are the scalar losses that a model computes inside itself (detectors); else empty.
    """

    logits: Tensor
    features: Tensor
    x: Tensor
    y: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)
