"""The residual block that normalises and activates before each convolution (arXiv 1603.05027)."""

from __future__ import annotations

from torch import Tensor, nn

from ._staged import convolution


class Preactivated(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-dropout-conv3x3 beside a shortcut.

    The shortcut is x itself where the shape stays, else a 1x1 convolution of the activated x. A
    block that is not `opening` takes x as it comes, for one that follows an activation.
    """

    def __init__(
        self,
        before: int,
        after: int,
        stride: int = 1,
        *,
        dropout: float = 0.0,
        opening: bool = True,
    ) -> None:
        super().__init__()
        self.opening = activation(before) if opening else nn.Identity()
        self.branch = nn.Sequential(
            convolution(before, after, 3, stride=stride),
            *activation(after),
            nn.Dropout(dropout) if dropout else nn.Identity(),
            convolution(after, after, 3),
        )
        self.shortcut: nn.Module | None = None
        if stride > 1 or before != after:
            self.shortcut = convolution(before, after, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """x [b, before, h, w] -> [b, after, h / stride, w / stride], sides rounded up."""
        active: Tensor = self.opening(x)
        found: Tensor = self.branch(active)
        return found + (x if self.shortcut is None else self.shortcut(active))


def activation(channels: int) -> nn.Sequential:
    """Batch normalisation and ReLU."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
