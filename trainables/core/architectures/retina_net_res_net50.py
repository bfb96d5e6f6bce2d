"""RetinaNet on ResNet-50 (arXiv 1708.02002)."""

from __future__ import annotations

from collections.abc import Sequence

from torchvision.models.detection import retinanet_resnet50_fpn

from ..errors import SettingError
from ..quantities import whole
from ._detectors import Torchvision


class RetinaNetResNet50(Torchvision):
    """Torchvision's RetinaNet with a ResNet-50 backbone and feature pyramid (arXiv 1708.02002).

    One stage, trained from the start: nothing is downloaded. Inner losses: "classification" (focal
    loss) and "box" (L1). An image's shorter side is scaled to `size` pixels, its longer one to at
    most `longest`. Colour images only.
    """

    terms = ("classification", "box")

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        size: int = 800,
        longest: int = 1333,
    ) -> None:
        least = whole("size", size, low=64)
        if whole("longest", longest) < least:
            raise SettingError(f"longest must be at least size = {least}, found {longest!r}")
        model = retinanet_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=outputs,
            min_size=least,
            max_size=longest,
            image_mean=list(mean),
            image_std=list(deviation),
        )
        renamed = {"classification": "classification", "bbox_regression": "box"}
        super().__init__(model, shape, renamed, first=0, heads=("head",))
