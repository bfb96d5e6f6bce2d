"""Faster R-CNN on MobileNetV3 (arXiv 1506.01497)."""

from __future__ import annotations

from collections.abc import Sequence

from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

from ..errors import SettingError
from ..quantities import whole
from ._detectors import Torchvision


class FasterRCNNMobileNetV3(Torchvision):
    """Torchvision's Faster R-CNN with a MobileNetV3-Large backbone and feature pyramid.

    Two stages (arXiv 1506.01497), trained from the start: nothing is downloaded. Inner losses:
    "classification" and "box" of the second stage, "objectness" and "rpn_box" of the region
    proposals. An image's shorter side is scaled to `size` pixels, its longer one to at most
    `longest` (torchvision's own: 800 and 1333, or 320 and 640 for its fast form, the default here).
    Colour images only.
    """

    terms = ("classification", "box", "objectness", "rpn_box")

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        size: int = 320,
        longest: int = 640,
    ) -> None:
        least = whole("size", size, low=64)
        if whole("longest", longest) < least:
            raise SettingError(f"longest must be at least size = {least}, found {longest!r}")
        model = fasterrcnn_mobilenet_v3_large_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=outputs + 1,
            min_size=least,
            max_size=longest,
            image_mean=list(mean),
            image_std=list(deviation),
        )
        renamed = {
            "loss_classifier": "classification",
            "loss_box_reg": "box",
            "loss_objectness": "objectness",
            "loss_rpn_box_reg": "rpn_box",
        }
        super().__init__(model, shape, renamed, first=1, heads=("rpn", "roi_heads"))
