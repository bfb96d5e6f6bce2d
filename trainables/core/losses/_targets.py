"""The forms that targets come in: class numbers, mixed labels and values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import SettingError


def class_numbers(loss: nn.Module, y: Tensor) -> Tensor:
    """y if it is class numbers, int64 [b]; `SettingError` names a loss that got mixed labels."""
    if y.is_floating_point():
        raise SettingError(
            f"{type(loss).__name__} needs class numbers, found mixed labels of shape "
            f"{tuple(y.shape)}; leave out the augmentation that mixes them, or let the loss read "
            f"another view"
        )
    return y


def shares(y: Tensor, logits: Tensor) -> Tensor:
    """Every class's share of the target, shaped and typed as logits [b, c].

    One-hot for class numbers [b]; mixed labels [b, c] as they are.
    """
    return y if y.is_floating_point() else membership(y, logits.shape[1]).to(logits.dtype)


def membership(y: Tensor, classes: int) -> Tensor:
    """Whether a class is the target's, bool [b, c]; torch's own one-hot waits for the device."""
    return y.unsqueeze(1) == torch.arange(classes, device=y.device)


def values(y: Tensor, logits: Tensor) -> Tensor:
    """The targets of a regression, shaped as the outputs [b, 1]."""
    return y.reshape(logits.shape)
