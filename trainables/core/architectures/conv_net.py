"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import SettingError
from ..network import Network
from ..quantities import number, several, whole
from ._normalise import Normalise


class ConvNet(Network):
    """Two 3x3 convolutions, max-pooling and one hidden layer, for images of any size from 6x6.

    Defaults are the network of the auxiliary-loss experiments on MNIST: 32 and 64 channels, pooling
    by 2, dropout 0.25, 128 units, dropout 0.5 (1,199,882 parameters at 1x28x28 and 10 classes). It
    returns logits, not log-probabilities.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        channels: Sequence[int] = (32, 64),
        hidden: int = 128,
        dropout: Sequence[float] = (0.25, 0.5),
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise SettingError(f"ConvNet needs images (c, h, w), found inputs of shape {shape}")
        depth, height, width = shape
        if min(height, width) < 6:
            raise SettingError(f"ConvNet needs images of at least 6x6, found {height}x{width}")
        first, second = (whole("channels", one, low=1) for one in several("channels", channels, 2))
        early, late = (
            number("dropout", one, low=0, high=0.99) for one in several("dropout", dropout, 2)
        )
        self.normalise = Normalise(mean, deviation, 3)
        self.convolutions = nn.Sequential(
            nn.Conv2d(depth, first, 3),
            nn.ReLU(),
            nn.Conv2d(first, second, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(early),
            nn.Flatten(),
        )
        flat = second * ((height - 4) // 2) * ((width - 4) // 2)
        self.width = whole("hidden", hidden, low=1)
        self.hidden = nn.Sequential(nn.Linear(flat, self.width), nn.ReLU(), nn.Dropout(late))
        self.head = nn.Linear(self.width, outputs)

    def stages(self) -> list[nn.Module]:
        """Convolutions, then the hidden layer."""
        return [self.convolutions, self.hidden]

    def features(self, x: Tensor) -> Tensor:
        """x [b, c, h, w] -> [b, width]."""
        found: Tensor = self.hidden(self.convolutions(self.normalise(x)))
        return found
