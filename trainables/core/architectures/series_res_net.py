"""A residual network for time series."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ..network import Network
from ._normalise import Normalise
from ._series import convolution, series, sizes


class SeriesResNet(Network):
    """Residual network for time series (arXiv 1611.06455), as in the review arXiv 1809.04356.

    A block is relu(shortcut(x) + branch(x)); its branch has one convolution over time per kernel,
    each with batch normalisation and all but the last with ReLU. The shortcut is batch
    normalisation, behind a convolution of length 1 where the number of channels changes. After the
    blocks comes the mean over time: [b, c, t] -> [b, width]. `filters` are the blocks' channels
    (64, 128, 128), `kernels` the lengths in steps within each block (8, 5, 3). The paper's formula
    adds a block's input as it is; we follow the review's code, which normalises it. Bias and batch
    normalisation are as in `FCN`.

    Raises `SettingError` for inputs that are no series and series shorter than the longest kernel.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        filters: Sequence[int] = (64, 128, 128),
        kernels: Sequence[int] = (8, 5, 3),
    ) -> None:
        super().__init__()
        kernels, filters = sizes("kernels", kernels), sizes("filters", filters)
        channels, _ = series("SeriesResNet", shape, max(kernels), "its longest kernel")
        self.normalise = Normalise(mean, deviation, 2)
        self.blocks = nn.Sequential(
            *(_Block(before, after, kernels) for before, after in pairwise([channels, *filters]))
        )
        self.width = filters[-1]
        self.head = nn.Linear(self.width, outputs)

    def stages(self) -> list[nn.Module]:
        """The residual blocks in order."""
        return list(self.blocks)

    def features(self, x: Tensor) -> Tensor:
        """x [b, c, t] -> [b, width]."""
        found: Tensor = self.blocks(self.normalise(x)).mean(2)
        return found


class _Block(nn.Module):
    """relu(shortcut(x) + branch(x)); the length is kept."""

    def __init__(self, before: int, after: int, kernels: Sequence[int]) -> None:
        super().__init__()
        branch = nn.Sequential()
        for i, kernel in enumerate(kernels):
            if i:
                branch.append(nn.ReLU())
            branch.append(convolution(before if i == 0 else after, after, kernel))
        self.branch = branch
        self.shortcut = nn.BatchNorm1d(after) if before == after else convolution(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [b, before, t] -> [b, after, t]."""
        found: Tensor = self.shortcut(x) + self.branch(x)
        return found.relu()
