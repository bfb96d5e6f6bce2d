"""Shake-Shake networks (arXiv 1705.07485)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import SettingError
from ..quantities import flag, one_of, whole
from ._shake import ShakeMix
from ._staged import Staged, Trunk, convolution, image, repeats

_RULES = ("shake-shake", "shake-even", "shake-keep", "even-shake")
_MODES = ("even-even", *(f"{rule}-{level}" for rule in _RULES for level in ("image", "batch")))


class ShakeShake(Staged):
    """Residual networks of two branches that are mixed at random (arXiv 1705.07485).

    A 3x3 convolution to 16 channels with batch normalisation, then three stages of (depth - 2) / 6
    blocks with `width` times 1, 2 and 4 channels, stride 2 from the second on, and a last ReLU. A
    block is x + a f(x) + (1 - a) g(x) with branches ReLU-conv3x3-BN-ReLU-conv3x3-BN. Where the
    width changes, x gives way to BN of two 1x1 convolutions of half the width, side by side: one of
    ReLU(x), one of ReLU(x) moved by one pixel to the right and down, both subsampled by the stride.

    `mode` is the paper's forward-backward-level: "shake" draws a ~ U(0, 1) in the forward pass and
    another in the backward pass, "even" is 0.5, "keep" the number of the forward pass; for each
    "image", or once for the "batch". Evaluation has 0.5. The number for the backward pass is drawn
    in the forward pass, so all backward passes through one graph see the same.

    `width` is even; 32, 64, 96 and 112 are the paper's 26 2x32d to 2x112d, with 2,923,162,
    11,653,978, 26,192,922 and 35,640,442 parameters for 3 channels and 10 classes. As in the
    author's code, convolutions have no bias. Without `normalised_stem` the first convolution has a
    bias and no batch normalisation, as in the port that many studies of augmentation use: 16
    parameters less. That port reports 2,989,002, 11,914,698, 26,777,546 and 36,435,402, because
    each block that does not need a shortcut holds one, too, and never runs it; here there is none.

    For images of any size; features are [b, 4 width].
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        depth: int = 26,
        width: int = 32,
        mode: str = "shake-shake-image",
        normalised_stem: bool = True,
    ) -> None:
        colours = image("ShakeShake", shape)[0]
        count = repeats(depth, 6, 2)
        first = whole("width", width, low=2)
        if first % 2:
            raise SettingError(f"width must be even, found {width!r}")
        rule = one_of("mode", mode, _MODES)
        stem = (
            nn.Sequential(convolution(colours, 16, 3), nn.BatchNorm2d(16))
            if flag("normalised_stem", normalised_stem)
            else nn.Sequential(convolution(colours, 16, 3, bias=True))
        )
        layers = []
        before = 16
        for i in range(3):
            after = first * 2**i
            layers.append(
                nn.Sequential(
                    _Block(before, after, 1 if i == 0 else 2, rule),
                    *(_Block(after, after, 1, rule) for _ in range(1, count)),
                )
            )
            before = after
        layers[-1].append(nn.ReLU())
        super().__init__(
            Trunk(stem, layers, before), outputs=outputs, mean=mean, deviation=deviation
        )
        nn.init.zeros_(self.head.bias)


class _Block(nn.Module):
    """Two branches and a shortcut."""

    def __init__(self, before: int, after: int, stride: int, mode: str) -> None:
        super().__init__()
        self.first = _branch(before, after, stride)
        self.second = _branch(before, after, stride)
        self.mix = ShakeMix(mode)
        self.shortcut = None if before == after else _Shortcut(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(x)
        mixed: Tensor = self.mix(self.first(active), self.second(active))
        return mixed + (x if self.shortcut is None else self.shortcut(active))


class _Shortcut(nn.Module):
    """Two 1x1 convolutions that see different pixels."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.here = convolution(before, after // 2, 1)
        self.moved = convolution(before, after // 2, 1)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        moved = functional.pad(x, (1, -1, 1, -1))
        paths = [
            self.here(x[:, :, :: self.stride, :: self.stride]),
            self.moved(moved[:, :, :: self.stride, :: self.stride]),
        ]
        found: Tensor = self.norm(torch.cat(paths, dim=1))
        return found


def _branch(before: int, after: int, stride: int) -> nn.Sequential:
    """A branch behind its first ReLU, which the block's parts share."""
    return nn.Sequential(
        convolution(before, after, 3, stride=stride),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        convolution(after, after, 3),
        nn.BatchNorm2d(after),
    )
