"""ResNet-200 (arXiv 1512.03385)."""

from __future__ import annotations

from torchvision.models.resnet import Bottleneck

from ._residual import Residual


class ResNet200(Residual):
    """ResNet-200 of torchvision's bottleneck blocks (arXiv 1512.03385).

    3, 24, 36 and 3 bottleneck blocks; 64,673,832 parameters for 1000 classes. The paper that first
    trained 200 layers (arXiv 1603.05027) activates before each convolution; we follow the study of
    adversarial AutoAugment (arXiv 1912.11188), whose network is the usual one with more blocks.

    `stem` "cifar" is one 3x3 convolution without pooling, "imagenet" the 7x7 convolution with
    stride 2 and max-pooling; "auto" takes "cifar" for images whose shorter side is below 96.
    `channels` is the inner width of the first stage; features are [b, 32 channels]. The stride is
    in the 3x3 convolution, as in torchvision (and unlike the paper, which has it in the first 1x1).

    With `zero_residual` the last scale of each residual branch starts at 0 and not at 1, so that
    every block starts as its shortcut (arXiv 1706.02677).
    """

    block = Bottleneck
    counts = (3, 24, 36, 3)
