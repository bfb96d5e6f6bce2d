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
    """Fully connected layers with ReLU on the flattened input, and dropout.

    `hidden` are the layers' widths. `dropout` is the rate after the first layer or, as a list, the
    rates on the input and after each layer, one more than `hidden` has; each in [0, 0.99].

    Defaults are the network of the auxiliary-loss experiments on UCR series. That of the baselines
    of arXiv 1611.06455 is hidden [500, 500, 500], dropout [0.1, 0.2, 0.2, 0.3]. For any input
    shape: images (c, h, w) and series (c, t). Raises `SettingError` for settings out of range and a
    list of rates of another length.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        hidden: Sequence[int] = (128, 256),
        dropout: float | str | Sequence[float] = 0.3,
    ) -> None:
        super().__init__()
        hidden = [whole("hidden", width, low=1) for width in several("hidden", hidden)]
        if not hidden:
            raise SettingError("hidden must name at least one width, found []")
        first, *rates = _rates(dropout, len(hidden))
        self.normalise = Normalise(mean, deviation, len(shape))
        self.entry = _dropout(first)
        widths = [prod(shape), *hidden]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), nn.ReLU(), _dropout(rate))
            for (before, after), rate in zip(pairwise(widths), rates, strict=True)
        )
        self.width = hidden[-1]
        self.head = nn.Linear(self.width, outputs)

    def stages(self) -> list[nn.Module]:
        """The hidden layers in order."""
        return list(self.layers)

    def features(self, x: Tensor) -> Tensor:
        """x [b, ...] -> [b, width]."""
        x = self.entry(self.normalise(x).flatten(1))
        for layer in self.layers:
            x = layer(x)
        return x


def _rates(dropout: float | str | Sequence[float], layers: int) -> list[float]:
    """The rates on the input and after each layer."""
    if isinstance(dropout, str) or not isinstance(dropout, Sequence):
        return [0.0, number("dropout", dropout, low=0, high=0.99), *[0.0] * (layers - 1)]
    found = several("dropout", dropout)
    if len(found) != layers + 1:
        raise SettingError(
            f"dropout must be one rate or {layers + 1}, for the input and each of {layers} hidden "
            f"layers, found {found!r}"
        )
    return [number("dropout", one, low=0, high=0.99) for one in found]


def _dropout(rate: float) -> nn.Module:
    return nn.Dropout(rate) if rate else nn.Identity()
