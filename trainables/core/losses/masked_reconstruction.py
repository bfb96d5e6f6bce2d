"""Reconstruction of masked values."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..batch import Outputs
from ._head import head


class MaskedReconstruction(nn.Module):
    """Mean squared error of the hidden values, read off the features of the masked view.

    The masked autoencoding of series transformers (arXiv 2010.02803) and images (arXiv 2111.06377),
    with the classifier's own features: the loss's own linear decoder maps features [b, width] of
    the masked view to an input of `shape`, and its squared error to the clean input counts where
    the two views' inputs differ; the mean is over all such values of the batch (0 where there are
    none). A value that equals the fill counts as seen: rare for standardised series, but the black
    background of images filled with 0 is left out that way. Errors are in the input's units. Both
    views must hold the same examples in the same order. `hidden` units give the decoder a hidden
    layer ("width": as many as there are features). Raises `SettingError` for `hidden` out of range.
    """

    tasks = ("classification", "regression")
    pairs = True

    def __init__(
        self,
        *,
        width: int,
        shape: tuple[int, ...],
        target: str = "clean",
        view: str = "masked",
        hidden: int | str = 0,
    ) -> None:
        super().__init__()
        self.reads = (target, view)
        self.decoder = head(width, math.prod(shape), hidden)

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss, at least 0."""
        clean, masked = (outputs[label] for label in self.reads)
        x = clean.x.detach()
        hidden = masked.x != x
        error = (self.decoder(masked.features).reshape(x.shape) - x).square()
        return torch.where(hidden, error, 0.0).sum() / hidden.sum().clamp_min(1)
