"""The policies that AutoAugment found."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..quantities import one_of
from ..randomness import Draws
from ._bins import bins
from ._images import place
from ._operations import IDENTITY, apply_to_bytes, fits, from_bytes, numbers_of, to_bytes

# Operation, probability, magnitude, twice (appendix of the paper); 0 where it has no meaning.
_POLICIES = {
    "cifar10": (
        "Invert 0.1 0 + Contrast 0.2 6",
        "Rotate 0.7 2 + TranslateX 0.3 9",
        "Sharpness 0.8 1 + Sharpness 0.9 3",
        "ShearY 0.5 8 + TranslateY 0.7 9",
        "AutoContrast 0.5 0 + Equalize 0.9 0",
        "ShearY 0.2 7 + Posterize 0.3 7",
        "Color 0.4 3 + Brightness 0.6 7",
        "Sharpness 0.3 9 + Brightness 0.7 9",
        "Equalize 0.6 0 + Equalize 0.5 0",
        "Contrast 0.6 7 + Sharpness 0.6 5",
        "Color 0.7 7 + TranslateX 0.5 8",
        "Equalize 0.3 0 + AutoContrast 0.4 0",
        "TranslateY 0.4 3 + Sharpness 0.2 6",
        "Brightness 0.9 6 + Color 0.2 8",
        "Solarize 0.5 2 + Invert 0.0 0",
        "Equalize 0.2 0 + AutoContrast 0.6 0",
        "Equalize 0.2 0 + Equalize 0.6 0",
        "Color 0.9 9 + Equalize 0.6 0",
        "AutoContrast 0.8 0 + Solarize 0.2 8",
        "Brightness 0.1 3 + Color 0.7 0",
        "Solarize 0.4 5 + AutoContrast 0.9 0",
        "TranslateY 0.9 9 + TranslateY 0.7 9",
        "AutoContrast 0.9 0 + Solarize 0.8 3",
        "Equalize 0.8 0 + Invert 0.1 0",
        "TranslateY 0.7 9 + AutoContrast 0.9 0",
    ),
    "imagenet": (
        "Posterize 0.4 8 + Rotate 0.6 9",
        "Solarize 0.6 5 + AutoContrast 0.6 0",
        "Equalize 0.8 0 + Equalize 0.6 0",
        "Posterize 0.6 7 + Posterize 0.6 6",
        "Equalize 0.4 0 + Solarize 0.2 4",
        "Equalize 0.4 0 + Rotate 0.8 8",
        "Solarize 0.6 3 + Equalize 0.6 0",
        "Posterize 0.8 5 + Equalize 1.0 0",
        "Rotate 0.2 3 + Solarize 0.6 8",
        "Equalize 0.6 0 + Posterize 0.4 6",
        "Rotate 0.8 8 + Color 0.4 0",
        "Rotate 0.4 9 + Equalize 0.6 0",
        "Equalize 0.0 0 + Equalize 0.8 0",
        "Invert 0.6 0 + Equalize 1.0 0",
        "Color 0.6 4 + Contrast 1.0 8",
        "Rotate 0.8 8 + Color 1.0 2",
        "Color 0.8 8 + Solarize 0.8 7",
        "Sharpness 0.4 7 + Invert 0.6 0",
        "ShearX 0.6 5 + Equalize 1.0 0",
        "Color 0.4 0 + Equalize 0.6 0",
        "Equalize 0.4 0 + Solarize 0.2 4",
        "Solarize 0.6 5 + AutoContrast 0.6 0",
        "Invert 0.6 0 + Equalize 1.0 0",
        "Color 0.6 4 + Contrast 1.0 8",
        "Equalize 0.8 0 + Equalize 0.6 0",
    ),
    "svhn": (
        "ShearX 0.9 4 + Invert 0.2 0",
        "ShearY 0.9 8 + Invert 0.7 0",
        "Equalize 0.6 0 + Solarize 0.6 6",
        "Invert 0.9 0 + Equalize 0.6 0",
        "Equalize 0.6 0 + Rotate 0.9 3",
        "ShearX 0.9 4 + AutoContrast 0.8 0",
        "ShearY 0.9 8 + Invert 0.4 0",
        "ShearY 0.9 5 + Solarize 0.2 6",
        "Invert 0.9 0 + AutoContrast 0.8 0",
        "Equalize 0.6 0 + Rotate 0.9 3",
        "ShearX 0.9 4 + Solarize 0.3 3",
        "ShearY 0.8 8 + Invert 0.7 0",
        "Equalize 0.9 0 + TranslateY 0.6 6",
        "Invert 0.9 0 + Equalize 0.6 0",
        "Contrast 0.3 3 + Rotate 0.8 4",
        "Invert 0.8 0 + TranslateY 0.0 2",
        "ShearY 0.7 6 + Solarize 0.4 8",
        "Invert 0.6 0 + Rotate 0.8 4",
        "ShearY 0.3 7 + TranslateX 0.9 3",
        "ShearX 0.1 6 + Invert 0.6 0",
        "Solarize 0.7 2 + TranslateY 0.6 7",
        "ShearY 0.8 4 + Invert 0.8 0",
        "ShearX 0.7 9 + TranslateY 0.8 3",
        "ShearY 0.8 5 + AutoContrast 0.7 0",
        "ShearX 0.7 2 + Invert 0.1 0",
    ),
}
_BINS = 10


class AutoAugment(nn.Module):
    """One of the 25 sub-policies of a found policy, drawn for every image (arXiv 1805.09501).

    `policy` is the data set that it was found on: "cifar10", "imagenet" or "svhn". A sub-policy is
    two operations in order, each with a probability and a magnitude 0 ... 9; every image draws its
    sub-policy, whether each operation is applied, and its sign. Magnitudes mean what they do in
    torchvision, whose results these are to the last bit for images of 8 bits: shear up to 0.3,
    TranslateX/Y up to 150/331 of the side in whole pixels, Rotate up to 30 degrees, colour factors
    1 +- 0.9 m / 9 (in the paper 0.1 + 1.8 m / 9, without a sign), Posterize 8 to 4 bits and
    Solarize from 255 to 0; the nearest pixel is read, and black from outside.

    For images x [b, 1 or 3, h, w] in [0, 1], which are rounded to k/255; a Color of a grey image
    changes nothing. The host waits for the device twice, once for each operation. Raises
    `SettingError` for other policies and inputs.
    """

    family = "augmentation"
    moves = True
    short = ("autoaugment", "policy")

    def __init__(self, *, policy: str = "cifar10") -> None:
        super().__init__()
        self.policy = one_of("policy", policy, _POLICIES)
        rows = [part.split() for one in _POLICIES[self.policy] for part in one.split(" + ")]
        # [sub-policies, 2] each.
        for name, found in (
            ("operations", numbers_of(tuple(name for name, _, _ in rows))),
            ("chances", torch.tensor([float(chance) for _, chance, _ in rows])),
            ("magnitudes", torch.tensor([int(magnitude) for _, _, magnitude in rows])),
        ):
            self.register_buffer(name, found.view(-1, 2), persistent=False)
        self.operations: Tensor
        self.chances: Tensor
        self.magnitudes: Tensor

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, h, w] after one sub-policy for each image; y as it is."""
        fits("AutoAugment", x)
        # float32 whatever x is: bfloat16 has too few numbers.
        drawn = draws.uniform(torch.empty(len(x), 5, device=x.device))
        one = place(drawn[:, 0], len(self.operations))
        signs = place(drawn[:, 3:], 2)
        op = torch.where(drawn[:, 1:3] < self.chances[one], self.operations[one], IDENTITY)
        table = bins(_BINS, *x.shape[2:]).to(x.device)
        value = table[signs, op, self.magnitudes[one]]
        pixels = to_bytes(x)
        for turn in (0, 1):
            pixels = apply_to_bytes(pixels, op[:, turn], value[:, turn], draws)
        return from_bytes(pixels, x), y
