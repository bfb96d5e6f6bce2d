"""A transformer encoder for time series."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..network import Network
from ..quantities import number, one_of, whole
from ._normalise import Normalise
from ._series import series


class Transformer(Network):
    """Transformer encoder (arXiv 1706.03762) over patches of a time series (arXiv 2211.14730).

    Patches of `patch` steps, `stride` apart, become n vectors of `width` by one linear map of all
    channels together; position is added; `depth` blocks follow, each
    x + dropout(attention(norm(x))), then x + dropout(mlp(norm(x))), normalised before and not after
    the branches (arXiv 2002.04745), with `heads` attention heads softmax(q k' / sqrt(d)) v,
    d = width / heads, and a hidden layer of 4 width with GELU. Features are the mean over patches
    after a last normalisation: [b, c, t] -> [b, width]. `patch` 1 and `stride` 1 attend to every
    step, which costs t^2. Where patches do not fill the series, its last value is repeated, so
    n = ceil((t - patch) / stride) + 1 and every step is seen.

    `positions` are "sinusoidal", "learned" (normal with deviation 0.02 at first) or "none", which
    is blind to the patches' order. Dropout with rate `dropout` is on patches, attention weights,
    hidden layer and branches. Weights begin as torch's. Attention is written out, because the
    fused kernels have no double backward.

    Raises `SettingError` for inputs that are no series, series shorter than a patch, a stride above
    the patch (steps would go unseen), and a width that is no multiple of `heads`.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        patch: int = 8,
        stride: int = 4,
        positions: str = "sinusoidal",
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        patch, stride = whole("patch", patch, low=1), whole("stride", stride, low=1)
        if stride > patch:
            raise SettingError(f"stride must be at most the patch of {patch}, found {stride}")
        channels, steps = series("Transformer", shape, patch, "one patch")
        self.width, heads = whole("width", width, low=1), whole("heads", heads, low=1)
        if self.width % heads:
            raise SettingError(f"width must be a multiple of heads ({heads}), found {width}")
        one_of("positions", positions, ("learned", "sinusoidal", "none"))
        rate = number("dropout", dropout, low=0, high=0.99)
        count = math.ceil((steps - patch) / stride) + 1
        self.surplus = (count - 1) * stride + patch - steps
        self.normalise = Normalise(mean, deviation, 2)
        self.embedding = nn.Sequential(
            _Patches(channels, self.width, patch, stride),
            _Positions(positions, count, self.width),
            nn.Dropout(rate),
        )
        blocks = [_Block(self.width, heads, rate) for _ in range(whole("depth", depth, low=1))]
        last = nn.Sequential(blocks.pop(), nn.LayerNorm(self.width))
        self.blocks = nn.Sequential(*blocks, last)
        self.head = nn.Linear(self.width, outputs)

    def stages(self) -> list[nn.Module]:
        """The embedding of patches and the blocks; the last block ends with the normalisation."""
        return [self.embedding, *self.blocks]

    def features(self, x: Tensor) -> Tensor:
        """x [b, c, t] -> [b, width]."""
        x = self.normalise(x)
        if self.surplus:
            x = torch.cat([x, x[..., -1:].expand(-1, -1, self.surplus)], 2)
        found: Tensor = self.blocks(self.embedding(x)).mean(1)
        return found


class _Patches(nn.Conv1d):
    """[b, c, t] -> [b, n, width]: one linear map of every patch."""

    def __init__(self, channels: int, width: int, patch: int, stride: int) -> None:
        super().__init__(channels, width, patch, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).transpose(1, 2)


class _Positions(nn.Module):
    """Adds to [b, n, width] what tells the n places apart."""

    def __init__(self, kind: str, count: int, width: int) -> None:
        super().__init__()
        if kind == "learned":
            self.places = nn.Parameter(torch.empty(count, width).normal_(std=0.02))
        else:
            places = _waves(count, width) if kind == "sinusoidal" else torch.zeros(1, width)
            self.register_buffer("places", places, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.places


class _Block(nn.Module):
    """Attention and a hidden layer, each normalised before and added to its input."""

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(rate),
            nn.Linear(4 * width, width),
        )
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        """x [b, n, width] -> [b, n, width]."""
        x = x + self.dropout(self._attention(self.before_attention(x)))
        found: Tensor = x + self.dropout(self.mlp(x))
        return found

    def _attention(self, x: Tensor) -> Tensor:
        # [b, n, 3 width] -> three of [b, heads, n, d]
        q, k, v = self.projections(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        mixed = self.dropout(scores.softmax(3)) @ v
        found: Tensor = self.join(mixed.transpose(1, 2).flatten(2))
        return found


def _waves(count: int, width: int) -> Tensor:
    """sin(p / 10000^(2 i / width)) in the even columns 2 i, the cosine in the odd ones."""
    column = torch.arange(width)
    rate = 10000.0 ** (-(column - column % 2) / width)
    angle = torch.arange(count)[:, None] * rate
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())
