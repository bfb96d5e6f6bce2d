"""Torchvision's detectors behind our interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .. import boxes
from ..errors import SettingError
from ..network import Detector
from ..randomness import seeded

# COCO's protocol looks at this many detections per image.
MOST = 100


class Torchvision(Detector):
    """A torchvision detector: it scales and normalises images of unequal size itself.

    `renamed` maps its names of inner losses to ours. `first` is the number of its first class: 1
    where it counts the background as class 0.
    """

    def __init__(
        self,
        model: nn.Module,
        shape: tuple[int, ...],
        renamed: Mapping[str, str],
        first: int,
        heads: tuple[str, ...],
    ) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] != 3:
            raise SettingError(
                f"{type(self).__name__} needs colour images (3, h, w), "
                f"found inputs of shape {shape}"
            )
        self.model: Any = model
        self.renamed = dict(renamed)
        self.first = first
        self.heads = heads

    @property
    def head(self) -> nn.ModuleList:  # type: ignore[override]
        """All that comes after the backbone."""
        return nn.ModuleList(getattr(self.model, name) for name in self.heads)

    def stages(self) -> list[nn.Module]:
        """The parts of the backbone."""
        return [
            one for one in self.model.backbone.children() if any(True for _ in one.parameters())
        ]

    def losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The inner losses of images x [b, 3, h, w] with packed boxes y."""
        sizes, targets = boxes.unpack(y)
        for target in targets:
            target["labels"] += self.first
        found = self.model(boxes.cropped(x, sizes), targets)
        return {ours: found[theirs] for theirs, ours in self.renamed.items()}

    def image_losses(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the inner losses of each image by itself, [b].

        For attacks: normalisation and dropout stay as they are, all else is in training mode, where
        alone torchvision computes losses. Which proposals a detector samples comes from a fixed
        seed, so that a step climbs the function of the step before.
        """
        frozen = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
        modes = [(one, one.training) for one in self.model.modules()]
        for one, _ in modes:
            if not isinstance(one, frozen):
                one.training = True
        try:
            found = []
            for i in range(len(x)):
                with seeded(0, x.device):
                    found.append(torch.stack([*self.losses(x[i : i + 1], y[i : i + 1]).values()]))
            return torch.stack(found).sum(1)
        finally:
            for one, mode in modes:
                one.training = mode

    @torch.no_grad()
    def detect(self, x: Tensor, y: Tensor) -> Tensor:
        """The 100 detections of highest score per image, [b, 100, 6]; boxes in y are not read."""
        sizes, _ = boxes.unpack(y[:, :1])
        found = x.new_zeros(len(x), MOST, 6)
        found[:, :, 4] = -1
        for rows, one in zip(found, self.model(boxes.cropped(x, sizes)), strict=True):
            # A background that is found is no detection.
            kept = one["labels"] >= self.first
            scores = torch.where(kept, one["scores"], -1.0)
            best = scores.argsort(descending=True)[: min(MOST, int(kept.sum()))]
            rows[: len(best), :4] = one["boxes"][best]
            rows[: len(best), 4] = (one["labels"][best] - self.first).to(rows.dtype)
            rows[: len(best), 5] = one["scores"][best]
        return found
