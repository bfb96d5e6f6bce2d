"""Residual networks from torchvision's blocks, at any width, for small and for large images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from ..quantities import flag, one_of, whole
from ._staged import Staged, Trunk, convolution, image

STEMS = ("auto", "cifar", "imagenet")
LARGE = 96  # shorter side from which "auto" takes the stem for large images


def is_large(stem: Any, shape: tuple[int, int, int]) -> bool:
    """Whether the setting `stem` asks for early downsampling of images of this shape."""
    stem = one_of("stem", stem, STEMS)
    return stem == "imagenet" or (stem == "auto" and min(shape[1:]) >= LARGE)


def plain_stem(before: int, after: int, large: bool) -> nn.Sequential:
    """One convolution: 3x3, or 7x7 with stride 2 and max-pooling."""
    return nn.Sequential(
        convolution(before, after, 7, stride=2) if large else convolution(before, after, 3),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity(),
    )


def deep_stem(before: int, after: int, large: bool) -> nn.Sequential:
    """Three 3x3 convolutions, the first two of half the width; strided and pooled if large."""
    parts: list[nn.Module] = []
    widths = (before, after // 2, after // 2, after)
    for i in range(3):
        stride = 2 if large and i == 0 else 1
        parts += [
            convolution(widths[i], widths[i + 1], 3, stride=stride),
            nn.BatchNorm2d(widths[i + 1]),
            nn.ReLU(inplace=True),
        ]
    parts.append(nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity())
    return nn.Sequential(*parts)


def stage(
    block: Any,
    before: int,
    channels: int,
    count: int,
    stride: int,
    *,
    groups: int = 1,
    base_width: int = 64,
    pooled: bool = False,
    zero: bool = False,
) -> nn.Sequential:
    """`count` of torchvision's blocks, the first of which takes the stride.

    The shortcut is the identity where the shape stays and a 1x1 convolution with batch
    normalisation elsewhere; with `pooled` a strided one is 2x2 average pooling before an unstrided
    convolution. With `zero` the last scale of each branch starts at 0.
    """
    after = channels * block.expansion
    shortcut = None
    if stride > 1 or before != after:
        pool: list[nn.Module] = []
        if pooled and stride > 1:
            # Odd sides round up, as in the strided convolution beside it.
            pool = [nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)]
        shortcut = nn.Sequential(
            *pool,
            convolution(before, after, 1, stride=1 if pooled else stride),
            nn.BatchNorm2d(after),
        )
    blocks = [block(before, channels, stride, shortcut, groups, base_width)]
    blocks += [
        block(after, channels, groups=groups, base_width=base_width) for _ in range(1, count)
    ]
    if zero:
        for one in blocks:
            nn.init.zeros_((one.bn3 if hasattr(one, "bn3") else one.bn2).weight)
    return nn.Sequential(*blocks)


class Residual(Staged):
    """What the ResNets share: a stem and one stage for each of `counts`, its number of blocks.

    Widths start at `channels` and double from stage to stage, with a stride of 2 before all but the
    first. `deep` is the form ResNet-D: a deep stem and pooled shortcuts.
    """

    block: ClassVar[Any]
    counts: ClassVar[tuple[int, ...]]
    deep: ClassVar[bool] = False

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        stem: str = "auto",
        channels: int = 64,
        zero_residual: bool = False,
    ) -> None:
        facts = image(type(self).__name__, shape)
        large = is_large(stem, facts)
        width = whole("channels", channels, low=2 if self.deep else 1)
        zero = flag("zero_residual", zero_residual)
        layers = []
        before = width
        for i, count in enumerate(self.counts):
            after, stride = width * 2**i, 1 if i == 0 else 2
            layers.append(
                stage(self.block, before, after, count, stride, pooled=self.deep, zero=zero)
            )
            before = after * self.block.expansion
        make = deep_stem if self.deep else plain_stem
        trunk = Trunk(make(facts[0], width, large), layers, before)
        super().__init__(trunk, outputs=outputs, mean=mean, deviation=deviation)
