"""Supervised contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..batch import Outputs
from ..quantities import number, whole
from ._contrast import contrast
from ._head import head
from ._targets import class_numbers
from ._views import labels


class SupervisedContrastive(nn.Module):
    """Contrastive loss whose positives are all others of the same class (arXiv 2004.11362).

    The paper's L_out: with embeddings z_i of all examples in all views, cosines s, and P(i) the
    others that have the class of i,

        mean_i -(1/|P(i)|) sum_{p in P(i)} log exp(s_ip / temperature) / sum_{k != i} exp(...),

    over the anchors i that have a positive (with two views, all). With every example a class of its
    own and two views it is NT-Xent. Known code of the authors multiplies by temperature over a base
    temperature; we follow the paper, which does not. The loss has its own projection head: Linear,
    ReLU, Linear to `projection` values, with `hidden` units in between ("width": as many as there
    are features; 0: linear). `temperature` > 0. Reads features [b, width] and class numbers of
    every view in `views`, one or more. Raises `SettingError` for a setting out of range, views
    named twice, and mixed labels.
    """

    tasks = ("classification",)
    targets = ("task",)

    def __init__(
        self,
        *,
        width: int,
        views: Sequence[str] = ("augmented1", "augmented2"),
        temperature: float = 0.1,
        hidden: int | str = "width",
        projection: int = 128,
    ) -> None:
        super().__init__()
        self.reads = labels("views", views, least=1)
        self.register_buffer(
            "temperature",
            torch.tensor(number("temperature", temperature, low=0, above=True)),
            persistent=False,
        )
        self.temperature: Tensor
        self.head = head(width, whole("projection", projection, low=1), hidden)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss, at least 0; 0 where no two examples share a class."""
        seen = [outputs[label] for label in self.reads]
        embeddings = self.head(torch.cat([one.features for one in seen]))
        classes = torch.cat([class_numbers(self, one.y) for one in seen])
        return contrast(embeddings, classes, self.temperature)
