"""ResNet-50 (arXiv 1512.03385)."""

from __future__ import annotations

from torchvision.models.resnet import Bottleneck

from ._residual import Residual


class ResNet50(Residual):
    """Torchvision's ResNet-50 (arXiv 1512.03385) behind our interface.

    3, 4, 6 and 3 bottleneck blocks; 25,557,032 parameters for 1000 classes.

    `stem` "cifar" is one 3x3 convolution without pooling, "imagenet" the 7x7 convolution with
    stride 2 and max-pooling; "auto" takes "cifar" for images whose shorter side is below 96.
    `channels` is the inner width of the first stage; features are [b, 32 channels]. The stride is
    in the 3x3 convolution, as in torchvision (and unlike the paper, which has it in the first 1x1).

    With `zero_residual` the last scale of each residual branch starts at 0 and not at 1, so that
    every block starts as its shortcut (arXiv 1706.02677).
    """

    block = Bottleneck
    counts = (3, 4, 6, 3)
