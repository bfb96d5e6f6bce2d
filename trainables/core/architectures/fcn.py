"""A fully convolutional network for time series."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ..network import Network
from ._normalise import Normalise
from ._series import convolution, series, sizes


class FCN(Network):
    """Fully convolutional network for time series (arXiv 1611.06455).

    Convolutions over time that keep the length, each with batch normalisation and ReLU, then the
    mean over time: [b, c, t] -> [b, width]. `filters` and `kernels` are the convolutions' channels
    and lengths in steps; the paper's are 128, 256, 128 and 8, 5, 3 (1024 c + 262,144 + 1024
    parameters before the head). Convolutions have no bias, because batch normalisation cancels it;
    the published Keras network has 512 parameters more for that, and batch normalisation with
    momentum 0.99 and eps 0.001 where ours has torch's 0.9 and 1e-5. It is blind to where in the
    series something happens, but for the borders.

    Raises `SettingError` for inputs that are no series, series shorter than the longest kernel,
    and `filters` and `kernels` of unequal number.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        filters: Sequence[int] = (128, 256, 128),
        kernels: Sequence[int] = (8, 5, 3),
    ) -> None:
        super().__init__()
        kernels = sizes("kernels", kernels)
        filters = sizes("filters", filters, len(kernels))
        channels, _ = series("FCN", shape, max(kernels), "its longest kernel")
        self.normalise = Normalise(mean, deviation, 2)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(convolution(before, after, kernel), nn.ReLU())
                for (before, after), kernel in zip(
                    pairwise([channels, *filters]), kernels, strict=True
                )
            )
        )
        self.width = filters[-1]
        self.head = nn.Linear(self.width, outputs)

    def stages(self) -> list[nn.Module]:
        """The convolutions in order."""
        return list(self.layers)

    def features(self, x: Tensor) -> Tensor:
        """x [b, c, t] -> [b, width]."""
        found: Tensor = self.layers(self.normalise(x)).mean(2)
        return found
