"""SimCLR's contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..batch import Outputs
from ..quantities import number, whole
from ._contrast import contrast
from ._head import head
from ._views import labels


class NTXent(nn.Module):
    """Normalised temperature-scaled cross-entropy of SimCLR between two views (arXiv 2002.05709).

    With embeddings z = g(features), 2N of them for N examples in two views, and cosines s:

        (1/2N) sum_i -log exp(s_ij / temperature) / sum_{k != i} exp(s_ik / temperature),

    where j is the other view of the example of i. Known code of the authors adds the means of both
    views, which is twice this mean over 2N. g is the loss's own projection head: Linear, ReLU,
    Linear to `projection` values, with `hidden` units in between ("width": as many as there are
    features, as in the paper; 0: linear). `temperature` > 0; the paper's is 0.5 for CIFAR-10 and
    0.1 for ImageNet. Needs no labels. Reads features [N, width]; all views must hold the same
    examples in the same order. Raises `SettingError` for a setting out of range and unless `views`
    names two different views.
    """

    tasks = ("classification", "regression")
    pairs = True

    def __init__(
        self,
        *,
        width: int,
        views: Sequence[str] = ("augmented1", "augmented2"),
        temperature: float = 0.5,
        hidden: int | str = "width",
        projection: int = 128,
    ) -> None:
        super().__init__()
        self.reads = labels("views", views, least=2, count=2)
        self.register_buffer(
            "temperature",
            torch.tensor(number("temperature", temperature, low=0, above=True)),
            persistent=False,
        )
        self.temperature: Tensor
        self.head = head(width, whole("projection", projection, low=1), hidden)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss, at least 0."""
        features = torch.cat([outputs[label].features for label in self.reads])
        examples = torch.arange(len(features) // 2, device=features.device).repeat(2)
        return contrast(self.head(features), examples, self.temperature)
