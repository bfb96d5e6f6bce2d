"""Batches of the training examples whose targets are hidden."""

from __future__ import annotations

import torch
from torch import nn

from ..batch import Batch
from ..errors import SettingError
from ..facts import Part
from ..quantities import number
from ..randomness import Draws
from ._drawn import drawn


class Unlabelled(nn.Module):
    """Training examples without their targets, for semi-supervised losses (UDA, arXiv 1904.12848).

    With `data/labels` only that many training examples keep their targets; this view draws, with
    replacement, from all of the training part. A batch is `ratio` times as large as the main one
    (UDA: up to 7). The targets are NaN, so that a loss that reads them fails instead of learning
    from what it must not see. Raises `SettingError` where `data/labels` is not set.
    """

    family = "companion"
    targets = "hidden"
    short = ("unlabelled", "ratio")
    classes = 0

    def __init__(
        self, *, shape: tuple[int, ...], unlabelled: Part | None, ratio: float = 1.0
    ) -> None:
        super().__init__()
        self.ratio = number("ratio", ratio, low=0, above=True)
        self.part = unlabelled
        # Without a shape the recipe is only being validated.
        if shape and unlabelled is None:
            raise SettingError("all training examples have labels; set data/labels to hide some")

    def forward(self, count: int, draws: Draws) -> Batch:
        """The batch; `count` is the size of the main one."""
        assert self.part is not None
        x, _ = drawn(self.part.examples, max(1, round(self.ratio * count)), draws)
        return Batch(x, torch.full((len(x),), torch.nan, device=x.device))
