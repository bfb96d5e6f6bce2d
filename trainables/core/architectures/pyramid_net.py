"""Pyramidal residual networks (arXiv 1610.02915), with ShakeDrop (arXiv 1802.02375)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from ..quantities import flag, number
from ._preactivated import activation
from ._shake import ShakeDrop
from ._staged import Staged, Trunk, convolution, image, repeats


class PyramidNet(Staged):
    """Residual networks that widen a little with each block, for small images (arXiv 1610.02915).

    A 3x3 convolution to 16 channels with batch normalisation, then three stages of n blocks, stride
    2 from the second on, and BN-ReLU at the end. Block k of N = 3n has width round(16 + k alpha /
    N). A block is BN-conv3x3-BN-ReLU-conv3x3-BN with n = (depth - 2) / 6; with `bottleneck` it is
    BN-conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1-BN to 4 times the width, and n = (depth - 2) / 9. The
    shortcut is x, averaged 2x2 where there is a stride, with zeros for the channels it lacks.

    `shakedrop` in [0, 1] is the probability p with which the last block's branch is disturbed
    (ShakeDrop, arXiv 1802.02375), p k / N that of block k; 0 is the plain PyramidNet. Where a block
    is disturbed, one draw for the batch, its branch is times a ~ U(-1, 1) in the forward and times
    b ~ U(0, 1) in the backward pass, drawn for each image; in evaluation it is times 1 - p k / N.
    b is drawn in the forward pass, so all backward passes through one graph see the same.

    The default is the paper's smallest, 110 layers with alpha 48: 1,772,706 parameters for 3
    channels and 10 classes. Alpha 270 has 28,485,477; that of the augmentation studies, depth 272,
    alpha 200, bottleneck, 26,210,842. Widths are rounded to the nearest as in the authors' code for
    PyTorch; the paper's formula rounds down, which makes the latter 26,049,562. For images of any
    size; features are [b, width of the last block].
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        depth: int = 110,
        alpha: float = 48.0,
        bottleneck: bool = False,
        shakedrop: float = 0.5,
    ) -> None:
        narrow = flag("bottleneck", bottleneck)
        count = repeats(depth, 9 if narrow else 6, 2)
        widening = number("alpha", alpha, low=0)
        last = number("shakedrop", shakedrop, low=0, high=1)
        stem = nn.Sequential(convolution(image("PyramidNet", shape)[0], 16, 3), nn.BatchNorm2d(16))
        layers = [nn.Sequential() for _ in range(3)]
        before, total = 16, 3 * count
        for k in range(1, total + 1):
            stage, place = divmod(k - 1, count)
            width = round(16 + k * widening / total)
            stride = 2 if stage > 0 and place == 0 else 1
            layers[stage].append(_Block(before, width, stride, narrow, last * k / total))
            before = 4 * width if narrow else width
        layers[-1].append(activation(before))
        super().__init__(
            Trunk(stem, layers, before), outputs=outputs, mean=mean, deviation=deviation
        )


class _Block(nn.Module):
    """A branch without ReLU at its ends beside a shortcut without parameters."""

    def __init__(
        self, before: int, width: int, stride: int, bottleneck: bool, disturbed: float
    ) -> None:
        super().__init__()
        after = 4 * width if bottleneck else width
        inner = (
            [
                convolution(before, width, 1),
                *activation(width),
                convolution(width, width, 3, stride=stride),
                *activation(width),
                convolution(width, after, 1),
            ]
            if bottleneck
            else [
                convolution(before, width, 3, stride=stride),
                *activation(width),
                convolution(width, after, 3),
            ]
        )
        self.branch = nn.Sequential(nn.BatchNorm2d(before), *inner, nn.BatchNorm2d(after))
        self.drop = ShakeDrop(disturbed) if disturbed else nn.Identity()
        # Odd sides round up, as in the strided convolution.
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride > 1 else nn.Identity()
        self.surplus = after - before

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.drop(self.branch(x))
        return branch + functional.pad(self.pool(x), (0, 0, 0, 0, 0, self.surplus))
