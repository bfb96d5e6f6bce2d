"""A recurrent network for time series."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..network import Network
from ..quantities import flag, number, one_of, whole
from ._normalise import Normalise
from ._series import series


class LSTM(Network):
    """Stacked long short-term memory over the time steps (Hochreiter & Schmidhuber 1997).

    Each of `layers` layers reads the outputs of the one below at every step, with gates
    i, f, o = sigmoid(.) and c = f c' + i tanh(.), h = o tanh(c). Dropout with rate `dropout` is on
    the outputs of every layer, the last one included. `pooling` makes features of the last
    layer's outputs: "last" is the state after the whole series (of either direction, where
    `bidirectional`), "mean" the mean over time. [b, c, t] -> [b, width], width = `hidden`, twice
    that if bidirectional. Weights begin as torch's (uniform up to 1 / sqrt(hidden)), but for a bias
    of 1 in the forget gates, so that early steps are not forgotten before anything is learned.

    Layers are separate modules, so that "last-stage" means the last layer, and equal `nn.LSTM` of
    several layers. Double backward works on the CPU; cuDNN has none. Time grows with t on any
    device, because steps follow one another. Raises `SettingError` for inputs that are no series.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        hidden: int = 64,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.2,
        pooling: str = "last",
    ) -> None:
        super().__init__()
        channels, _ = series("LSTM", shape)
        hidden = whole("hidden", hidden, low=1)
        self.width = hidden * (2 if flag("bidirectional", bidirectional) else 1)
        self.pooling = one_of("pooling", pooling, ("last", "mean"))
        self.normalise = Normalise(mean, deviation, 2)
        self.layers = nn.ModuleList(
            _Layer(self.width if i else channels, hidden, bidirectional)
            for i in range(whole("layers", layers, low=1))
        )
        self.dropout = nn.Dropout(number("dropout", dropout, low=0, high=0.99))
        self.head = nn.Linear(self.width, outputs)

    def stages(self) -> list[nn.Module]:
        """The recurrent layers in order."""
        return list(self.layers)

    def features(self, x: Tensor) -> Tensor:
        """x [b, c, t] -> [b, width]."""
        steps = self.normalise(x).transpose(1, 2)
        for layer in self.layers:
            steps, last = layer(steps)
            steps = self.dropout(steps)
        found: Tensor = steps.mean(1) if self.pooling == "mean" else self.dropout(last)
        return found


class _Layer(nn.LSTM):
    """One layer; [b, t, c] to outputs [b, t, width] and the state after the series [b, width]."""

    def __init__(self, before: int, hidden: int, bidirectional: bool) -> None:
        super().__init__(before, hidden, batch_first=True, bidirectional=bidirectional)
        with torch.no_grad():
            for name, bias in self.named_parameters():
                # torch adds two biases; their sum is to be 1.
                if name.startswith("bias"):
                    bias[hidden : 2 * hidden] = 1.0 if name.startswith("bias_ih") else 0.0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """cuDNN goes backward only through what it ran in training mode, and attacks do so in
        evaluation mode. One layer has no dropout inside, so both modes are the same function.
        """
        mode = self.training
        self.training = mode or torch.is_grad_enabled()
        try:
            outputs, (state, _) = super().forward(x)
        finally:
            self.training = mode
        return outputs, state.transpose(0, 1).flatten(1)
