"""Convolutional networks in stages: stem, layers, mean over positions, linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..errors import SettingError
from ..network import Network
from ..quantities import whole
from ._normalise import Normalise


class Trunk(NamedTuple):
    """The parts of a convolutional network between normalisation and pooling."""

    stem: nn.Module
    layers: Sequence[nn.Module]
    width: int  # channels that the last layer gives


class Staged(Network):
    """A trunk of convolutions, the mean over all positions, and a linear head.

    x [b, c, h, w] is normalised, passes `stem` and then `layers` one after another, and its mean
    over height and width is the features [b, width]. Weights of convolutions are drawn from N(0, 2
    / n) with n = kernel area times output channels (Kaiming, fan-out), their biases are 0.
    """

    head: nn.Linear

    def __init__(
        self, trunk: Trunk, *, outputs: int, mean: Sequence[float], deviation: Sequence[float]
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, deviation, 3)
        self.stem = trunk.stem
        self.layers = nn.Sequential(*trunk.layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.width = trunk.width
        self.head = nn.Linear(self.width, outputs)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def stages(self) -> list[nn.Module]:
        """The stem and the layers."""
        return [self.stem, *self.layers]

    def features(self, x: Tensor) -> Tensor:
        """x [b, c, h, w] -> [b, width]."""
        found: Tensor = self.pool(self.layers(self.stem(self.normalise(x))))
        return found


def image(name: str, shape: tuple[int, ...], *, least: int = 1) -> tuple[int, int, int]:
    """`shape` as (c, h, w); raises `SettingError` if it is none or a side is below `least`."""
    if len(shape) != 3:
        raise SettingError(f"{name} needs images (c, h, w), found inputs of shape {shape}")
    channels, height, width = shape
    if min(height, width) < least:
        raise SettingError(
            f"{name} needs images of at least {least}x{least}, found {height}x{width}"
        )
    return channels, height, width


def repeats(depth: Any, each: int, rest: int) -> int:
    """How many blocks a stage has: n in depth = each n + rest."""
    n, over = divmod(whole("depth", depth) - rest, each)
    if n < 1 or over:
        raise SettingError(
            f"depth must be {each}n + {rest} for a whole n of at least 1, found {depth!r}"
        )
    return n


def convolution(
    before: int, after: int, size: int, *, stride: int = 1, bias: bool = False
) -> nn.Conv2d:
    """A convolution of an odd size that keeps the image's size, but for the stride."""
    return nn.Conv2d(before, after, size, stride=stride, padding=size // 2, bias=bias)
