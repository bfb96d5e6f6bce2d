"""A multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from ..errors import SettingError
from ..network import Network
from ..quantities import number, several, whole
from ._normalise import Normalise


class MLP(Network):
    """Fully connected layers with ReLU on the flattened input; dropout after the first one.

    Defaults are the network of the auxiliary-loss experiments on UCR series: 128 and 256 units,
    dropout 0.3. For any input shape: images (c, h, w) and series (c, t).
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        hidden: Sequence[int] = (128, 256),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        hidden = [whole("hidden", width, low=1) for width in several("hidden", hidden)]
        if not hidden:
            raise SettingError("hidden must name at least one width, found []")
        rate = number("dropout", dropout, low=0, high=0.99)
        self.normalise = Normalise(mean, deviation, len(shape))
        layers: list[nn.Module] = []
        widths = [prod(shape), *hidden]
        for i, (before, after) in enumerate(pairwise(widths)):
            parts = [nn.Linear(before, after), nn.ReLU()]
            layers.append(
                nn.Sequential(*parts, nn.Dropout(rate)) if i == 0 else nn.Sequential(*parts)
            )
        self.layers = nn.ModuleList(layers)
        self.width = hidden[-1]
        self.head = nn.Linear(self.width, outputs)

    def stages(self) -> list[nn.Module]:
        """The hidden layers in order."""
        return list(self.layers)

    def features(self, x: Tensor) -> Tensor:
        """x [b, ...] -> [b, width]."""
        x = self.normalise(x).flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x
