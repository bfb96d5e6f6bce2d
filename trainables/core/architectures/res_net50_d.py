"""ResNet-50-D (arXiv 1812.01187)."""

from __future__ import annotations

from torchvision.models.resnet import Bottleneck

from ._residual import Residual


class ResNet50D(Residual):
    """ResNet-50 with the three changes of the "bag of tricks" (arXiv 1812.01187, ResNet-D).

    The stem is three 3x3 convolutions (32, 32 and 64 channels) in place of one 7x7; the stride of a
    bottleneck is in its 3x3 convolution; a strided shortcut is 2x2 average pooling before a 1x1
    convolution. 25,576,264 parameters for 1000 classes.

    With `stem` "imagenet" the first convolution has stride 2 and max-pooling follows; with "cifar"
    neither, the deep stem stays; "auto" takes "cifar" for images whose shorter side is below 96.
    `channels` is the inner width of the first stage, at least 2; features are [b, 32 channels].

    With `zero_residual`, another trick of the paper, the last scale of each residual branch starts
    at 0 and not at 1.
    """

    block = Bottleneck
    counts = (3, 4, 6, 3)
    deep = True
