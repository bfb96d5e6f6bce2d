"""SSDLite on MobileNetV3 (arXiv 1801.04381, 1905.02244)."""

from __future__ import annotations

from collections.abc import Sequence

from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from ._detectors import Torchvision


class SSDLite320MobileNetV3(Torchvision):
    """Torchvision's SSDLite with a MobileNetV3-Large backbone, at 320 x 320 pixels.

    Single-shot detection (arXiv 1512.02325) with depthwise heads (arXiv 1801.04381, 1905.02244),
    trained from the start: nothing is downloaded. Inner losses: "classification" (cross-entropy
    with hard negatives mined 3 : 1) and "box" (smooth L1). Images are scaled to 320 x 320 whatever
    their size. Colour images only. 3,440,060 parameters for COCO's 90 classes and background.
    """

    terms = ("classification", "box")

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
    ) -> None:
        model = ssdlite320_mobilenet_v3_large(
            weights=None,
            weights_backbone=None,
            num_classes=outputs + 1,
            image_mean=list(mean),
            image_std=list(deviation),
        )
        renamed = {"classification": "classification", "bbox_regression": "box"}
        super().__init__(model, shape, renamed, first=1, heads=("head",))
