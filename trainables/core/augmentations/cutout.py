"""Images with a square missing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..quantities import number, several, whole
from ..randomness import Draws
from ._images import place, rectangle, sides


class Cutout(nn.Module):
    """Fills one square of size x size pixels in every image (arXiv 1708.04552).

    The centre is any pixel of the image, all equally likely, drawn for each image; what of the
    square lies beyond the border is cut off, so that some images lose less, as in the paper. There
    size is 16 for CIFAR-10, 8 for CIFAR-100 and 20 for SVHN. The paper's own code cuts a square of
    size - 1 where size is odd; here it is size.

    `fill` is a number or a list with one for each channel, in the units of the input. The paper
    fills with 0 after normalisation, which is the mean of the data; give that mean for the same.
    Raises `SettingError` for a negative size, a fill that does not fit the channels, and inputs
    that are no images.
    """

    family = "augmentation"
    short = ("cutout", "size")

    def __init__(self, *, size: int = 16, fill: float | str | Sequence[float | str] = 0.0) -> None:
        super().__init__()
        self.size = whole("size", size)
        one_for_all = isinstance(fill, str) or not isinstance(fill, Sequence)
        values = [fill] if one_for_all else several("fill", fill)
        if not values:
            raise SettingError("fill must be a number or a list of numbers, found []")
        filling = torch.tensor([number("fill", one) for one in values])
        self.register_buffer("fill", filling, persistent=False)
        self.fill: Tensor

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, h, w] without a square; y as it is."""
        h, w = sides("Cutout", x)
        if len(self.fill) not in (1, x.shape[1]):
            raise SettingError(
                f"fill must be one number or one for each of the {x.shape[1]} channels, found "
                f"{len(self.fill)} numbers"
            )
        drawn = draws.uniform(torch.empty(len(x), 2, device=x.device))
        middle = torch.stack([place(drawn[:, 0], h), place(drawn[:, 1], w)], 1)
        missing = rectangle(x, middle, self.size, self.size)
        return torch.where(missing, self.fill.to(x.dtype).view(1, -1, 1, 1), x), y
