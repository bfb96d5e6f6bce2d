"""ResNet-18 (arXiv 1512.03385)."""

from __future__ import annotations

from torchvision.models.resnet import BasicBlock

from ._residual import Residual


class ResNet18(Residual):
    """Torchvision's ResNet-18 (arXiv 1512.03385) behind our interface.

    `stem` "cifar" is one 3x3 convolution without pooling (11,173,962 parameters for 3 channels and
    10 classes), "imagenet" the 7x7 convolution with stride 2 and max-pooling (11,689,512 for 1000
    classes); "auto" takes "cifar" for images whose shorter side is below 96. `channels` is the
    width of the first of four stages, each of which doubles it; features are [b, 8 channels].
    Anything but an image shape (c, h, w) is a `SettingError`.

    With `zero_residual` the last scale of each residual branch starts at 0 and not at 1, so that
    every block starts as its shortcut (arXiv 1706.02677).
    """

    block = BasicBlock
    counts = (2, 2, 2, 2)
