"""Several chains of random operations, mixed with each other and with the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..quantities import flag, number, whole
from ..randomness import Draws
from ._images import place
from ._operations import IDENTITY, NAMES, apply_to_bytes, fits, from_bytes, numbers_of, to_bytes

_NINE = (
    "AutoContrast",
    "Equalize",
    "Posterize",
    "Rotate",
    "Solarize",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)
# What the benchmark of common corruptions has as well, so that it may not be trained with.
_OVERLAPPING = ("Color", "Contrast", "Brightness", "Sharpness")
_RANDOM = -1
_DEEPEST = 3


class AugMix(nn.Module):
    """One mixed copy of every image, from several short chains of operations (arXiv 1912.02781).

    x_mix = (1 - m) x + m sum_i w_i chain_i(x), with m ~ Beta(1, 1) and w ~ Dirichlet(1, ..., 1)
    over `chains`. A chain applies `depth` operations in order, for -1 a number from {1, 2, 3};
    operations are drawn with replacement, each with its own level l ~ U(0.1, `severity`):
    AutoContrast, Equalize, Posterize to 4 - int(.4 l) bits, Rotate by +- int(3 l) degrees, Solarize
    from 256 - int(25.6 l), ShearX/Y by +- .03 l, TranslateX/Y by +- int(l / 30 of the side) pixels.
    `all_ops` adds Color, Contrast, Brightness and Sharpness by .18 l + .1, which overlap with the
    corruptions of ImageNet-C. All this is drawn for every image on its own. Shear and Rotate
    interpolate between pixels; what comes from outside is black.

    The paper's loss needs two views of this kind and a Jensen-Shannon loss; its severity is 3 for
    CIFAR and 1 for ImageNet. The official code mixes after normalising and we before, which is the
    same because normalising is affine and the weights sum to 1.

    For images x [b, 1 or 3, h, w] in [0, 1]; the chains round to k/255, the mix does not. The host
    waits for the device once for each of the `depth` operations. Raises `SettingError` for a
    severity outside [0.1, 10], other depths, and other inputs.
    """

    family = "augmentation"
    moves = True
    short = ("augmix", "severity")

    def __init__(
        self,
        *,
        severity: float | str = 3.0,
        chains: int = 3,
        depth: int = _RANDOM,
        all_ops: bool = False,
    ) -> None:
        super().__init__()
        self.chains = whole("chains", chains, low=1)
        self.depth = whole("depth", depth, low=_RANDOM)
        if self.depth == 0:
            raise SettingError(f"depth must be at least 1, or -1 for 1 to 3, found {depth!r}")
        names = _NINE + (_OVERLAPPING if flag("all_ops", all_ops) else ())
        level = torch.tensor(number("severity", severity, low=0.1, high=10))
        self.register_buffer("severity", level, persistent=False)
        self.severity: Tensor
        self.register_buffer("operations", numbers_of(names), persistent=False)
        self.operations: Tensor

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, h, w], mixed; y as it is."""
        fits("AugMix", x)
        b, most = len(x), _DEEPEST if self.depth == _RANDOM else self.depth
        # All numbers of an image at once, float32 whatever x is: m, and for each chain its weight,
        # its depth, and operation, level and sign of every step.
        like = torch.empty(b, 1 + self.chains * (2 + 3 * most), device=x.device)
        drawn = draws.uniform(like)
        mixed, rest = drawn[:, 0], drawn[:, 1:].unflatten(1, (self.chains, -1))
        steps = rest[..., 2:].unflatten(2, (most, 3))
        op = self.operations[place(steps[..., 0], len(self.operations))]
        if self.depth == _RANDOM:
            reached = place(rest[..., 1:2], _DEEPEST) >= torch.arange(most, device=x.device)
            op = torch.where(reached, op, IDENTITY)
        level = 0.1 + (self.severity.float() - 0.1) * steps[..., 1]
        value = _values(op, level, place(steps[..., 2], 2) * 2 - 1, *x.shape[2:])
        # Image by image all its chains: the numbers of an image stay together.
        pixels = to_bytes(x).repeat_interleave(self.chains, 0)
        for turn in range(most):
            pixels = apply_to_bytes(
                pixels, op[..., turn].flatten(), value[..., turn].flatten(), draws, bilinear=True
            )
        # Dirichlet(1, ..., 1) is independent exponential variates divided by their sum.
        weights = -(1 - rest[..., 0]).log().clamp(max=-1e-12)
        weights = (weights / weights.sum(1, keepdim=True)).to(x.dtype)
        ends = from_bytes(pixels, x).unflatten(0, (b, self.chains))
        # The weights may sum to a little more than 1.
        chained = (ends * weights.view(b, -1, 1, 1, 1)).sum(1).clamp(max=1)
        return torch.lerp(x, chained, mixed.to(x.dtype).view(-1, 1, 1, 1)), y


def _values(op: Tensor, level: Tensor, sign: Tensor, h: int, w: int) -> Tensor:
    """What the operations `op` do at a level of (0, 10], float64."""
    level = level.double()
    found = torch.zeros_like(level)
    for name, value in (
        ("Rotate", (level * 3).trunc() * sign),
        ("Solarize", 256 - (level * 25.6).trunc()),
        ("Posterize", 4 - (level * 0.4).trunc()),
        ("ShearX", level * 0.03 * sign),
        ("ShearY", level * 0.03 * sign),
        ("TranslateX", (level * w / 30).trunc() * sign / w),
        ("TranslateY", (level * h / 30).trunc() * sign / h),
        *((name, level * 0.18 + 0.1) for name in _OVERLAPPING),
    ):
        found = torch.where(op == NAMES.index(name), value, found)
    return found
