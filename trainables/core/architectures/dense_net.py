"""Densely connected networks for small images (arXiv 1608.06993)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..quantities import flag, number, whole
from ._preactivated import activation
from ._staged import Staged, Trunk, convolution, image, repeats


class DenseNet(Staged):
    """Convolutions that each read all earlier ones of their block, for CIFAR (arXiv 1608.06993).

    A 3x3 convolution to 2 `growth` channels, then three dense blocks of (depth - 4) / 3 layers, or
    half as many with `bottleneck`. A layer adds `growth` channels to its input: BN-ReLU-conv3x3,
    after BN-ReLU-conv1x1 to 4 `growth` with `bottleneck`. Between blocks BN-ReLU-conv1x1 leaves
    floor(m `compression`) of m channels, with compression in (0, 1], and averages 2x2; BN-ReLU ends
    the trunk. `dropout` in [0, 0.99] follows each 3x3 convolution (the paper: 0.2 without
    augmentation).

    The default is DenseNet-40-12 of AugMix (arXiv 1912.02781), 1,059,298 parameters for 3 channels
    and 10 classes. The paper starts the plain form with 16 channels, known code with 2 `growth` as
    in DenseNet-BC, which we follow. DenseNet-BC-100-12 (depth 100, bottleneck, compression 0.5) has
    769,162. Images are at least 4x4; features are [b, width].
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        depth: int = 40,
        growth: int = 12,
        bottleneck: bool = False,
        compression: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        facts = image("DenseNet", shape, least=4)
        narrow = flag("bottleneck", bottleneck)
        count = repeats(depth, 6 if narrow else 3, 4)
        grown = whole("growth", growth, low=1)
        kept = number("compression", compression, low=0, above=True, high=1)
        rate = number("dropout", dropout, low=0, high=0.99)
        layers = []
        channels = 2 * grown
        for i in range(3):
            parts: list[nn.Module] = []
            if i > 0:
                before, channels = channels, max(1, int(channels * kept))
                parts = [activation(before), convolution(before, channels, 1), nn.AvgPool2d(2)]
            for _ in range(count):
                parts.append(_Dense(channels, grown, narrow, rate))
                channels += grown
            layers.append(nn.Sequential(*parts))
        layers[-1].append(activation(channels))
        trunk = Trunk(convolution(facts[0], 2 * grown, 3), layers, channels)
        super().__init__(trunk, outputs=outputs, mean=mean, deviation=deviation)
        nn.init.zeros_(self.head.bias)


class _Dense(nn.Module):
    """x [b, c, h, w] -> [b, c + growth, h, w]: x and what a convolution makes of it."""

    def __init__(self, before: int, growth: int, bottleneck: bool, dropout: float) -> None:
        super().__init__()
        parts = [*activation(before)]
        if bottleneck:
            parts += [convolution(before, 4 * growth, 1), *activation(4 * growth)]
            before = 4 * growth
        parts.append(convolution(before, growth, 3))
        if dropout:
            parts.append(nn.Dropout(dropout))
        self.branch = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.branch(x)], dim=1)
