"""ResNet-18 (arXiv 1512.03385)."""

from __future__ import annotations

from collections.abc import Sequence

import torchvision
from torch import Tensor, nn

from ..errors import SettingError
from ..network import Network
from ..quantities import one_of
from ._normalise import Normalise


class ResNet18(Network):
    """Torchvision's ResNet-18 (arXiv 1512.03385) behind our interface.

    `stem` "cifar" is one 3x3 convolution without pooling (11,173,962 parameters for 3 channels and
    10 classes), "imagenet" the 7x7 convolution with stride 2 and max-pooling (11,689,512 for 1000
    classes); "auto" takes "cifar" for images whose shorter side is below 96.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        stem: str = "auto",
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise SettingError(f"ResNet18 needs images (c, h, w), found inputs of shape {shape}")
        one_of("stem", stem, ("auto", "cifar", "imagenet"))
        if stem == "auto":
            stem = "cifar" if min(shape[1:]) < 96 else "imagenet"
        self.normalise = Normalise(mean, deviation, 3)
        trunk = torchvision.models.resnet18(num_classes=outputs)
        if stem == "cifar":
            trunk.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
            trunk.maxpool = nn.Identity()
        elif shape[0] != 3:
            trunk.conv1 = nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False)
        if trunk.conv1.weight.shape[1:] != (3, 7, 7):
            nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.head: nn.Module = trunk.fc
        self.width = trunk.fc.in_features
        self.stem = nn.Sequential(trunk.conv1, trunk.bn1, trunk.relu, trunk.maxpool)
        self.layers = nn.Sequential(trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4)
        self.pool = nn.Sequential(trunk.avgpool, nn.Flatten())

    def stages(self) -> list[nn.Module]:
        """The stem and the four residual stages."""
        return [self.stem, *self.layers]

    def features(self, x: Tensor) -> Tensor:
        """x [b, c, h, w] -> [b, 512]."""
        found: Tensor = self.pool(self.layers(self.stem(self.normalise(x))))
        return found
