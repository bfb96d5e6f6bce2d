"""Wide residual networks (arXiv 1605.07146)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..quantities import number, whole
from ._preactivated import Preactivated, activation
from ._staged import Staged, Trunk, convolution, image, repeats


class WideResNet(Staged):
    """Pre-activation residual networks with few, wide layers, for small images (arXiv 1605.07146).

    A 3x3 convolution to 16 channels, then three stages of n = (depth - 4) / 6 blocks with 16, 32
    and 64 times `widen` channels, stride 2 from the second on, and BN-ReLU at the end. `dropout` in
    [0, 0.99] is between the two convolutions of a block (the paper: 0 or 0.3). Convolutions have no
    bias. Features are [b, 64 widen], for images of any size.

    The default is WRN-40-2 of AugMix (arXiv 1912.02781). Parameters for 3 channels and 10 classes:
    40-2 2,243,546; 28-2 1,467,610; 28-10, the paper's best, 36,479,194; 34-10 of TRADES
    (arXiv 1901.08573) 46,160,474.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        depth: int = 40,
        widen: int = 2,
        dropout: float = 0.0,
    ) -> None:
        count = repeats(depth, 6, 4)
        factor = whole("widen", widen, low=1)
        rate = number("dropout", dropout, low=0, high=0.99)
        layers = []
        before = 16
        for i in range(3):
            after = 16 * factor * 2**i
            layers.append(
                nn.Sequential(
                    Preactivated(before, after, 1 if i == 0 else 2, dropout=rate),
                    *(Preactivated(after, after, dropout=rate) for _ in range(1, count)),
                )
            )
            before = after
        layers[-1].append(activation(before))
        trunk = Trunk(convolution(image("WideResNet", shape)[0], 16, 3), layers, before)
        super().__init__(trunk, outputs=outputs, mean=mean, deviation=deviation)
        nn.init.zeros_(self.head.bias)
