"""Motion blur."""

from __future__ import annotations

from torch import Tensor, nn

from ..randomness import Draws
from ._blur import along_line
from ._pixels import as_bytes, level


class MotionBlur(nn.Module):
    """A blur along a line of random direction (arXiv 1903.12261).

    Every pixel p becomes the mean over p + i (cos a, sin a), i = 0 ... 2 radius, rounded to pixels,
    with weights exp(-i^2 / 2 sigma^2): it is smeared to one side. The angle a is drawn from
    U(-45, 45) degrees for each image. (radius, sigma) by severity are (6, 1) (6, 1.5) (6, 2) (8, 2)
    (9, 2.5) for small images and (10, 3) (15, 5) (15, 8) (15, 12) (20, 15) for large ones. The
    published sets were made by ImageMagick; this is our own rendering of the same kernel, with
    values rounded as there and not cut off. Raises `SettingError` for inputs that are no images of
    1 or 3 channels.
    """

    label = "motion_blur"
    group = "blur"
    line = {
        32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    }

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        radius, sigma = level("MotionBlur", self.line, x, severity)
        angle = 90 * draws.uniform(x[:, 0, 0, 0]) - 45
        # Half a step more, since ImageMagick rounds to whole numbers.
        return as_bytes(along_line(x, radius, sigma, angle) + 0.5 / 255)
