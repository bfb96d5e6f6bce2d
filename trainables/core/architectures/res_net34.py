"""ResNet-34 (arXiv 1512.03385)."""

from __future__ import annotations

from torchvision.models.resnet import BasicBlock

from ._residual import Residual


class ResNet34(Residual):
    """Torchvision's ResNet-34 (arXiv 1512.03385) behind our interface.

    3, 4, 6 and 3 blocks of two 3x3 convolutions; 21,797,672 parameters for 1000 classes. `stem`
    "cifar" is one 3x3 convolution without pooling, "imagenet" the 7x7 convolution with stride 2 and
    max-pooling; "auto" takes "cifar" for images whose shorter side is below 96. `channels` is the
    width of the first stage; features are [b, 8 channels].

    With `zero_residual` the last scale of each residual branch starts at 0 and not at 1, so that
    every block starts as its shortcut (arXiv 1706.02677).
    """

    block = BasicBlock
    counts = (3, 4, 6, 3)
