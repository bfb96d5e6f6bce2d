"""ResNeXt for small images (arXiv 1611.05431)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torchvision.models.resnet import Bottleneck

from ..quantities import whole
from ._residual import plain_stem, stage
from ._staged import Staged, Trunk, image, repeats


class ResNeXt(Staged):
    """The CIFAR form of ResNeXt, residual bottlenecks with grouped convolutions (arXiv 1611.05431).

    A 3x3 convolution, then three stages of (depth - 2) / 9 bottlenecks that give 256, 512 and 1024
    channels; the 3x3 convolution of stage i has `cardinality` groups of 2^i `base_width` channels
    each. Defaults are ResNeXt-29 4x32d as AugMix (arXiv 1912.02781) trains it: 6,807,882 parameters
    for 3 channels and 10 classes. The paper's own are 8x64d and 16x64d.

    For images of any size; features are [b, 1024]. The head's weights are drawn from N(0, 2 /
    1024).
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        depth: int = 29,
        cardinality: int = 4,
        base_width: int = 32,
    ) -> None:
        count = repeats(depth, 9, 2)
        groups = whole("cardinality", cardinality, low=1)
        width = whole("base_width", base_width, low=1)
        stem = plain_stem(image("ResNeXt", shape)[0], 64, large=False)
        layers = [
            stage(Bottleneck, before, channels, count, stride, groups=groups, base_width=width)
            for before, channels, stride in ((64, 64, 1), (256, 128, 2), (512, 256, 2))
        ]
        super().__init__(Trunk(stem, layers, 1024), outputs=outputs, mean=mean, deviation=deviation)
        nn.init.kaiming_normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)
