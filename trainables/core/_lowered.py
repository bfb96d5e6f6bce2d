"""A model in bfloat16 and channels-last memory, for steps that need a direction and no verdict."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Lowered(nn.Module):
    """`model` under autocast to bfloat16; outputs are float32 again."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        # A copy, since the layout of the weights changes.
        self.model = copy.deepcopy(model).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """The model's outputs [b, c], float32."""
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16):
            found: Tensor = self.model(x)
        return found.float()
