"""Images as whole numbers of 0 to 255, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def to_whole(x: Tensor) -> Tensor:
    """255 times the numbers that `_pixels.as_bytes` makes of x, without error."""
    # In place, for the time goes into memory here.
    return (x * 255).add_(1e-3).clamp_(0, 255).floor_()


def from_bytes(found: Tensor, x: Tensor) -> Tensor:
    """uint8 as numbers in [0, 1] with the type and device of x."""
    return found.to(x.device).to(x.dtype, memory_format=torch.contiguous_format).div_(255)
