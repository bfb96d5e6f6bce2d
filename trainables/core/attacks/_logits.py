"""What attacks on classifiers read from logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import SettingError


def label(y: Tensor) -> Tensor:
    """Class numbers [b]: of mixed targets [b, c] the largest one's."""
    return y if y.dim() == 1 else y.argmax(1)


def logits_of(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The model's outputs; raises `SettingError` unless they are [b, c] of at least 2 classes."""
    found = model(x)
    if found.dim() != 2 or found.shape[1] < 2:
        raise SettingError(
            "this attack needs logits [b, c] of at least 2 classes, found outputs of shape "
            f"{tuple(found.shape)}"
        )
    return found


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """z_y - max_{i != y} z_i, [b]: below 0 where the example is misclassified."""
    own = y.unsqueeze(1)
    others = logits.scatter(1, own, -torch.inf).amax(1)
    return logits.gather(1, own).squeeze(1) - others


def runners_up(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """The highest classes but y, best first, [b, min(count, c - 1)]."""
    others = logits.scatter(1, y.unsqueeze(1), -torch.inf)
    return others.topk(min(count, logits.shape[1] - 1), dim=1).indices
