"""Frost on the lens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..augmentations._images import place
from ..errors import MissingDataError
from ..randomness import Draws
from ._pixels import as_bytes, as_given, in_colour, level, table_of
from ._texture import fractal, plasma

CRYSTALS = 7
# The side of the fractals that bend them.
SOFT = 32
# As many pixels at a time stay in a processor's cache: twice as fast for large images.
CACHED = 2**16
# Red, green and blue of frost relative to its mean: the mean tint of the five photographs.
TINT = (0.89, 1.02, 1.09)


class Frost(nn.Module):
    """Ice crystals over the image (arXiv 1903.12261), of a texture that is OURS.

    kept x + ice frost, cut to [0, 1]; (kept, ice) by severity is (1, .2) (1, .3) (.9, .4) (.85, .4)
    (.75, .45) for small images and (1, .4) (.8, .6) (.7, .7) (.65, .7) (.6, .75) for large ones, as
    published. The published sets take `frost` from photographs, which are not ours to ship: here it
    is generated (`generated_texture` is True), from six-armed crystals with side branches, bent and
    mottled by plasma fractals, with about the brightness (0.64 on average), contrast and tint of
    the photographs. Results are therefore not those of the published sets even in distribution.

    `textures` is a folder of pictures (PNG or JPEG, in the order of their names) to be used
    instead, "" for ours: for every example one of them, all equally likely, and a part of it as
    large as the image; for small images the pictures are made smaller by 0.2 first, as published.
    The published sets drew from frost1 to frost5 only. A picture that is too small is mirrored at
    its border. Raises `SettingError` for inputs that are no images of 1 or 3 channels, and
    `MissingDataError` for a folder without pictures.
    """

    label = "frost"
    group = "weather"
    generated_texture = True
    weights = {
        32: ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        224: ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    }

    def __init__(self, *, textures: str = "") -> None:
        super().__init__()
        self.pictures = _pictures(Path(str(textures))) if textures else []
        self.generated_texture = not self.pictures

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted."""
        kept, ice = level("Frost", self.weights, x, severity)
        frost = _cut(x, self.pictures, draws) if self.pictures else _grown(x, draws)
        frosted = kept * in_colour(x) + ice * as_bytes(frost)
        return as_bytes(as_given(frosted.clamp(0, 1), x))


def _grown(x: Tensor, draws: Draws) -> Tensor:
    """Generated textures [b, 3, h, w]."""
    long = max(x.shape[2:])
    rows = torch.arange(x.shape[2], device=x.device, dtype=x.dtype).view(1, -1, 1) / long
    columns = torch.arange(x.shape[3], device=x.device, dtype=x.dtype).view(1, 1, -1) / long
    # Soft fractals bend the crystals, a rough one is the haze between them.
    bends = []
    for _ in range(2):
        soft = fractal(draws.uniform(x.new_empty(len(x), SOFT * SOFT - 1)), SOFT, 1.9)
        bend = interpolate(soft.unsqueeze(1), size=x.shape[2:], mode="bilinear", align_corners=True)
        bends.append(bend.squeeze(1) / 4)
    haze = plasma(x, 1.25, draws)
    numbers = draws.uniform(x.new_empty(len(x), 5 * CRYSTALS + 3))[..., None, None]
    few = max(CACHED // haze[0].numel(), 1)
    parts = zip(*(one.split(few) for one in (*bends, haze, numbers)), strict=True)
    relief = torch.cat(
        [
            _relief(rows + down, columns + right, part, some, 1 / long)
            for down, right, part, some in parts
        ]
    )
    light, contrast, tint = numbers[:, -3:].unbind(1)
    grey = 0.47 + 0.34 * light + (0.06 + 0.09 * contrast) * relief
    colour = 1 + 2 * tint.unsqueeze(1) * (x.new_tensor(TINT).view(1, 3, 1, 1) - 1)
    found: Tensor = grey.unsqueeze(1) * colour
    return found


def _relief(rows: Tensor, columns: Tensor, haze: Tensor, numbers: Tensor, pixel: float) -> Tensor:
    """Crystals and haze [b, h, w] with mean 0 and deviation 1 in each image."""
    ice = torch.zeros_like(haze)
    for one in numbers[:, :-3].split(5, 1):
        row, column, turn, spacing, reach = one.unbind(1)
        crystal = _crystal(
            rows - 1.5 * row + 0.125,
            columns - 1.5 * column + 0.125,
            turn * (torch.pi / 3),
            (0.02 + 0.05 * spacing).clamp(min=2.5 * pixel),
            0.35 + 0.5 * reach,
            max(0.012, pixel),
        )
        ice = torch.maximum(ice, crystal)
    relief = ice * (0.3 + 0.7 * haze) + 0.8 * haze
    # In float64 the order of the sums, which may depend on the batch, is not seen in the bytes.
    deviation, mean = torch.std_mean(relief.double(), (1, 2), keepdim=True, correction=0)
    found: Tensor = (relief - mean.to(relief)) / (deviation + 1e-6).to(relief)
    return found


def _crystal(
    down: Tensor, right: Tensor, turn: Tensor, spacing: Tensor, reach: Tensor, width: float
) -> Tensor:
    """The brightness of a six-armed crystal at places (down, right) from its centre."""
    cos, sin = turn.cos(), turn.sin()
    along = (right * cos + down * sin).abs_()
    across = (down * cos - right * sin).abs_()
    # Folded at 30 degrees: the six arms become one that runs along the first axis.
    over = (across * 0.75**0.5 - along * 0.5).clamp_(min=0)
    along = along + over
    across = (across - 2 * 0.75**0.5 * over).abs_()
    arm = (1 - across / width).clamp_(min=0)
    # Side branches leave the arm at 60 degrees, one every `spacing`.
    step = (along - across / 3**0.5) / spacing
    branch = (1 - 2 * (step - step.round()).abs_()).square_()
    fade = (1.6 - along * (1.6 / reach)).clamp_(0, 1)
    crystal: Tensor = torch.maximum(arm, 0.75 * branch) * fade
    return crystal


def _pictures(folder: Path) -> list[Tensor]:
    """Every picture of a folder, uint8 [3, h, w]."""
    endings = (".png", ".jpg", ".jpeg")
    paths = sorted(one for one in folder.glob("*") if one.suffix.lower() in endings)
    if not paths:
        raise MissingDataError(f"textures must be a folder of PNG or JPEG pictures, found {folder}")
    found = []
    for path in paths:
        with Image.open(path) as image:
            array = np.array(image.convert("RGB"))
        found.append(torch.from_numpy(array).permute(2, 0, 1))
    return found


def _cut(x: Tensor, pictures: list[Tensor], draws: Draws) -> Tensor:
    """A part of one of the pictures for each image of x, [b, 3, h, w]."""
    height, width = x.shape[2:]
    numbers = draws.uniform(x.new_empty(len(x), 3))
    which = place(numbers[:, 0], len(pictures))
    found = x.new_zeros(len(x), 3, height, width)
    for index, picture in enumerate(pictures):
        whole = picture.to(x) / 255
        if table_of(x) == 32:
            sides = [max(round(0.2 * side), 1) for side in whole.shape[1:]]
            whole = interpolate(whole[None], size=sides, mode="bilinear", align_corners=False)[0]
        spans = []
        for number, side, wanted in zip(
            numbers[:, 1:].unbind(1), whole.shape[1:], (height, width), strict=True
        ):
            first = place(number, max(side - wanted, 1)).unsqueeze(1)
            span = (first + torch.arange(wanted, device=x.device)).remainder(2 * side)
            spans.append(torch.minimum(span, 2 * side - 1 - span))
        part = whole[:, spans[0].unsqueeze(2), spans[1].unsqueeze(1)].transpose(0, 1)
        found = torch.where((which == index).view(-1, 1, 1, 1), part, found)
    return found
