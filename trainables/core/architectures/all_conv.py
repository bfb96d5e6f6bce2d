"""The all-convolutional network (arXiv 1412.6806)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..quantities import number, several, whole
from ._staged import Staged, Trunk, image


class AllConv(Staged):
    """Nine convolutions without shortcuts, in the form that AugMix trains (arXiv 1412.6806).

    Three 3x3 convolutions of 96 channels; three of 192; one 3x3 without padding and two 1x1 of 192;
    2x2 max-pooling and `dropout` in [0, 0.99] after the first and the second three. Each
    convolution has a bias and is followed by batch normalisation and x sigmoid(1.702 x), an
    approximation of GELU. `channels` are the two widths; features are [b, 192]. 1,409,674
    parameters for 3 channels and 10 classes.

    AugMix's code differs in one thing that we do not follow: it pads the 1x1 convolutions by 1 and
    averages the upper left 8x8 of 10x10 positions; here they are not padded and all positions
    count. The paper has strided convolutions and ReLU in place of pooling and GELU. For images
    below 12x12, where it would leave nothing, the convolution without padding has some; the least
    size is 4x4.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        channels: Sequence[int] = (96, 192),
        dropout: float = 0.5,
    ) -> None:
        depth, *sides = image("AllConv", shape, least=4)
        narrow, wide = (whole("channels", one, low=1) for one in several("channels", channels, 2))
        rate = number("dropout", dropout, low=0, high=0.99)
        first, second, third = (
            _three(depth, narrow, (3, 3, 3)),
            _three(narrow, wide, (3, 3, 3)),
            _three(wide, wide, (3, 1, 1), pad_first=min(sides) < 12),
        )
        for part in (first, second):
            part.extend([nn.MaxPool2d(2), nn.Dropout(rate)])
        trunk = Trunk(first, [second, third], wide)
        super().__init__(trunk, outputs=outputs, mean=mean, deviation=deviation)
        nn.init.zeros_(self.head.bias)


def _three(
    before: int, after: int, sizes: Sequence[int], *, pad_first: bool = True
) -> nn.Sequential:
    parts: list[nn.Module] = []
    for i, size in enumerate(sizes):
        padding = size // 2 if i or pad_first else 0
        convolution = nn.Conv2d(before if i == 0 else after, after, size, padding=padding)
        parts += [convolution, nn.BatchNorm2d(after), _SigmoidGELU()]
    return nn.Sequential(*parts)


class _SigmoidGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)
