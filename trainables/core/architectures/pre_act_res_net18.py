"""Pre-activation ResNet-18 (arXiv 1603.05027)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..quantities import whole
from ._preactivated import Preactivated, activation
from ._residual import is_large, plain_stem
from ._staged import Staged, Trunk, image


class PreActResNet18(Staged):
    """ResNet-18 with normalisation and ReLU before each convolution (arXiv 1603.05027, "v2").

    Four stages of two blocks with `channels` times 1, 2, 4 and 8. As in the paper, the stem's
    activation comes before the first block splits, so that block has none at its start, and one
    more follows the last block's sum; widely copied CIFAR code leaves the latter out. Shortcuts
    that change the shape are 1x1 convolutions without normalisation. 11,172,170 parameters for 3
    channels and 10 classes (the copied code has 1,024 fewer).

    `stem` "cifar" is one 3x3 convolution without pooling, "imagenet" the 7x7 convolution with
    stride 2 and max-pooling; "auto" takes "cifar" for images whose shorter side is below 96.
    Features are [b, 8 channels].
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        stem: str = "auto",
        channels: int = 64,
    ) -> None:
        facts = image("PreActResNet18", shape)
        large = is_large(stem, facts)
        first = whole("channels", channels, low=1)
        layers = []
        before = first
        for i in range(4):
            after = first * 2**i
            layers.append(
                nn.Sequential(
                    Preactivated(before, after, 1 if i == 0 else 2, opening=i > 0),
                    Preactivated(after, after),
                )
            )
            before = after
        layers[-1].append(activation(before))
        trunk = Trunk(plain_stem(facts[0], first, large), layers, before)
        super().__init__(trunk, outputs=outputs, mean=mean, deviation=deviation)
