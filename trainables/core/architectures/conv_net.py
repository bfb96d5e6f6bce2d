"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..network import Network
from ..quantities import number, one_of, several, whole
from ._normalise import Normalise
from ._staged import image


class ConvNet(Network):
    """Two 3x3 convolutions with max-pooling, one hidden layer and a linear one, for images.

    Defaults are the network of the auxiliary-loss experiments on MNIST: 32 and 64 `channels`,
    pooling by 2 after the second convolution, 128 `hidden` units, and `dropout` of 0.25 after the
    convolutions and 0.5 after the hidden layer (1,199,882 parameters at 1x28x28 and 10 classes). It
    returns logits, not log-probabilities.

    `padding` "same" keeps the size of the image in a convolution, "valid" loses a pixel on each
    side. `pooling` is after the "last" convolution or after "each". `hidden_in` says whose the
    hidden layer is: with "trunk" its units are the features [b, hidden], with "head" the features
    are the flattened maps, and an auxiliary task on them shares the convolutions alone. The network
    of the gradient-similarity experiments on MNIST (arXiv 1812.02224) is padding "same", pooling
    "each", hidden_in "head", dropout [0, 0].

    Raises `SettingError` for settings out of range, and for inputs that are no images or too small
    for convolutions and pooling (6x6 by default).
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
        padding: str = "valid",
        pooling: str = "last",
        hidden_in: str = "trunk",
    ) -> None:
        super().__init__()
        lost = 2 if one_of("padding", padding, ("valid", "same")) == "valid" else 0
        often = one_of("pooling", pooling, ("last", "each")) == "each"
        shared = one_of("hidden_in", hidden_in, ("trunk", "head")) == "trunk"
        # So that the last pooling leaves a pixel.
        least = 4 + 3 * lost if often else 2 + 2 * lost
        depth, height, width = image("ConvNet", shape, least=least)
        first, second = (whole("channels", one, low=1) for one in several("channels", channels, 2))
        units = whole("hidden", hidden, low=1)
        early, late = (
            number("dropout", one, low=0, high=0.99) for one in several("dropout", dropout, 2)
        )
        self.normalise = Normalise(mean, deviation, 3)
        self.convolutions = nn.Sequential(
            nn.Conv2d(depth, first, 3, padding=padding),
            nn.ReLU(),
            *([nn.MaxPool2d(2)] if often else []),
            nn.Conv2d(first, second, 3, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(early),
            nn.Flatten(),
        )
        flat = second
        for side in (height, width):
            flat *= ((side - lost) // (2 if often else 1) - lost) // 2
        layer = nn.Sequential(nn.Linear(flat, units), nn.ReLU(), nn.Dropout(late))
        last = nn.Linear(units, outputs)
        self.width = units if shared else flat
        self.hidden = layer if shared else nn.Identity()
        self.head = last if shared else nn.Sequential(*layer, last)

    def stages(self) -> list[nn.Module]:
        """The convolutions, then the hidden layer where it is the trunk's."""
        own = isinstance(self.hidden, nn.Identity)
        return [self.convolutions] if own else [self.convolutions, self.hidden]

    def features(self, x: Tensor) -> Tensor:
        """x [b, c, h, w] -> [b, width]."""
        found: Tensor = self.hidden(self.convolutions(self.normalise(x)))
        return found
