"""The vision transformer (arXiv 2010.11929)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.vision_transformer import EncoderBlock

from ..errors import SettingError
from ..network import Network
from ..quantities import number, one_of, whole
from ._normalise import Normalise
from ._staged import image


class ViT(Network):
    """A transformer over patches of the image, with torchvision's blocks (arXiv 2010.11929).

    Patches of `patch` x `patch` pixels become vectors of `width` by one linear map; a learned
    vector is added at each position; `depth` blocks of self-attention with `heads` heads and of an
    MLP with `ratio` width hidden units, each behind layer normalisation; layer normalisation.
    `pooling` "token" puts a learned token before the patches and takes its vector as features,
    "mean" has no token and takes the mean of all patches. `dropout` in [0, 0.99] follows the
    positions and every linear map but those to queries, keys and values. `heads` must divide
    `width`. Features are [b, width].

    Defaults are DeiT-Ti (arXiv 2012.12877) on patches of 4 for small images, without its
    augmentation. ViT-B/16 is patch 16, width 768, depth 12, heads 12: 86,567,656 parameters for
    3x224x224 and 1000 classes. Sides that are no multiples of `patch` are filled up with the mean
    at the right and the bottom; images are at least `patch` x `patch`. The head starts at N(0,
    0.02^2), where torchvision and the paper's pre-training have 0. One shape per model: positions
    are not interpolated. Second derivatives need torch's "math" kernel of attention on the CPU.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        patch: int = 4,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        ratio: float = 4.0,
        dropout: float = 0.0,
        pooling: str = "token",
    ) -> None:
        super().__init__()
        side = whole("patch", patch, low=1)
        facts = image("ViT", shape, least=side)
        self.width = whole("width", width, low=1)
        count = whole("heads", heads, low=1)
        if self.width % count:
            raise SettingError(f"heads must divide width {self.width}, found {heads!r}")
        hidden = round(self.width * number("ratio", ratio, low=0, above=True))
        rate = number("dropout", dropout, low=0, high=0.99)
        self.has_token = one_of("pooling", pooling, ("token", "mean")) == "token"
        blocks: list[nn.Module] = [
            EncoderBlock(count, self.width, max(1, hidden), rate, 0.0)
            for _ in range(whole("depth", depth, low=1))
        ]
        blocks[-1] = nn.Sequential(blocks[-1], nn.LayerNorm(self.width, eps=1e-6))
        self.normalise = Normalise(mean, deviation, 3)
        self.patches = _Patches(facts, side, self.width, self.has_token, rate)
        self.layers = nn.Sequential(*blocks)
        self.head = nn.Linear(self.width, outputs)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def stages(self) -> list[nn.Module]:
        """The patches with their positions, then the blocks; the last one has the last norm."""
        return [self.patches, *self.layers]

    def features(self, x: Tensor) -> Tensor:
        """x [b, c, h, w] -> [b, width]."""
        tokens: Tensor = self.layers(self.patches(self.normalise(x)))
        return tokens[:, 0] if self.has_token else tokens.mean(dim=1)


class _Patches(nn.Module):
    """Images to vectors with positions: [b, c, h, w] -> [b, tokens, width]."""

    def __init__(
        self, facts: tuple[int, int, int], side: int, width: int, token: bool, dropout: float
    ) -> None:
        super().__init__()
        channels, *sides = facts
        rows, columns = (math.ceil(one / side) for one in sides)
        self.padding = (0, columns * side - sides[1], 0, rows * side - sides[0])
        self.embed = nn.Conv2d(channels, width, side, stride=side)
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if token else None
        self.positions = nn.Parameter(torch.empty(1, rows * columns + token, width))
        self.dropout = nn.Dropout(dropout)
        nn.init.trunc_normal_(self.embed.weight, std=math.sqrt(1 / (channels * side**2)))
        nn.init.zeros_(self.embed.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(functional.pad(x, self.padding)).flatten(2).transpose(1, 2)
        if self.token is not None:
            tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        found: Tensor = self.dropout(tokens + self.positions)
        return found
