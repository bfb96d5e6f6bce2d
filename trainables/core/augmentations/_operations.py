"""The 16 operations that augmentation policies are made of, each on many images at once.

They are Pillow's, number for number: a policy found with Pillow's operations means those. So images
are first rounded to whole numbers of 0 to 255, and every operation leaves such numbers. Only the
bilinear mode, computed in float32, may now and then be off by 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import SettingError
from ..randomness import Draws
from ._images import place, sides

# Name -> (low, high, signed): the value at magnitudes 0 and 9 in the search space of Adversarial
# AutoAugment (arXiv 1912.11188), and whether its sign is random. Values are shares of a length for
# shear, TranslateX/Y, Cutout; degrees; a threshold in 0..256; bits; factors; and a share of the
# other image.
OPERATIONS: dict[str, tuple[float, float, bool]] = {
    "ShearX": (0, 0.3, True),
    "ShearY": (0, 0.3, True),
    "TranslateX": (0, 0.45, True),
    "TranslateY": (0, 0.45, True),
    "Rotate": (0, 30, True),
    "AutoContrast": (0, 1, False),
    "Invert": (0, 1, False),
    "Equalize": (0, 1, False),
    "Solarize": (0, 256, False),
    "Posterize": (4, 8, False),
    "Contrast": (0.1, 1.9, False),
    "Color": (0.1, 1.9, False),
    "Brightness": (0.1, 1.9, False),
    "Sharpness": (0.1, 1.9, False),
    "Cutout": (0, 0.2, False),
    "SamplePairing": (0, 0.4, False),
}
NAMES = tuple(OPERATIONS)
# The number of no operation.
IDENTITY = len(NAMES)
STEPS = 10
_GEOMETRIC = 5
# So many numbers at once stay in a processor's cache: twice as fast between pixels as all at once.
_CACHED = 200_000
_GREY = (125, 123, 114)


def numbers_of(names: tuple[str, ...]) -> Tensor:
    """The numbers that operations have in `apply`, int64; "Identity" is one of them."""
    return torch.tensor([(*NAMES, "Identity").index(name) for name in names])


def value_of(op: Tensor, magnitude: Tensor, signs: Tensor) -> Tensor:
    """The values of magnitudes 0 ... 9, float64: low + (magnitude / 9) (high - low).

    `signs` are 1 or -1; only geometric operations (shear, TranslateX/Y, Rotate) take them.
    """
    table = torch.tensor([*OPERATIONS.values(), (0, 0, False)], dtype=torch.float64)
    low, high, signed = table.to(op.device)[op].unbind(-1)
    value = low + magnitude / (STEPS - 1) * (high - low)
    return torch.where(signed > 0, value * signs, value)


def fits(name: str, x: Tensor) -> None:
    """Raises `SettingError` for inputs that are no images of 1 or 3 channels."""
    sides(name, x)
    if x.shape[1] not in (1, 3):
        raise SettingError(
            f"{name} needs images of 1 or 3 channels, found inputs of shape {tuple(x.shape[1:])}"
        )


def to_bytes(x: Tensor) -> Tensor:
    """x in [0, 1] as the nearest whole numbers of 0 to 255, uint8; what is beyond is cut off."""
    return x.clamp(0, 1).mul_(255).round_().to(torch.uint8)


def from_bytes(pixels: Tensor, like: Tensor) -> Tensor:
    """uint8 as numbers in [0, 1], of the type that `like` has."""
    return pixels.to(like.dtype).div_(255)


def apply(x: Tensor, op: Tensor, value: Tensor, draws: Draws) -> Tensor:
    """x [b, 1 or 3, h, w] in [0, 1] after one operation for each image, on the grid k/255.

    `op` int64 [b] are numbers in `NAMES`, or `IDENTITY`; `value` [b] are what `value_of` gives.
    `draws` are those of the b images: Cutout draws its place and SamplePairing its partner, which
    is any image of the batch. The host waits for the device once, to learn which images take which
    operation.
    """
    return from_bytes(apply_to_bytes(to_bytes(x), op, value, draws), x)


def apply_to_bytes(
    pixels: Tensor, op: Tensor, value: Tensor, draws: Draws, *, bilinear: bool = False
) -> Tensor:
    """`apply` for uint8 images; `bilinear` is how shear and Rotate read between pixels."""
    # Kernels are started for as many images as there are, and only the host can start them.
    host = op.cpu()
    counts = host.bincount(minlength=IDENTITY + 1).tolist()
    order = host.argsort(stable=True).to(pixels.device)
    value = value.double()
    found = []
    groups = order.split([sum(counts[:_GEOMETRIC]), *counts[_GEOMETRIC:]])
    kinds = ("geometric", *NAMES[_GEOMETRIC:], "Identity")
    most = max(1, _CACHED // pixels[0].numel()) if pixels.device.type == "cpu" else len(pixels)
    parts = [
        (name, rows)
        for name, group in zip(kinds, groups, strict=True)
        for rows in group.split(most)
        if len(rows)
    ]
    for name, rows in parts:
        part, size = pixels.index_select(0, rows), value[rows]
        if name == "geometric":
            part = _moved(part, op[rows], size, bilinear)
        elif name == "Cutout":
            like = torch.empty(len(rows), 2, device=pixels.device)
            part = _cut(part, size, draws.rows(rows).uniform(like))
        elif name == "SamplePairing":
            like = torch.empty(len(rows), device=pixels.device)
            partner = place(draws.rows(rows).uniform(like), len(pixels))
            part = _blend(part, pixels.index_select(0, partner), size)
        elif name != "Identity":
            part = _PLAIN[name](part, size)
        found.append(part)
    return torch.cat(found).index_select(0, order.argsort())


# --- shear, TranslateX/Y, Rotate --------------------------------------------------------------


def _moved(pixels: Tensor, op: Tensor, value: Tensor, bilinear: bool) -> Tensor:
    """out(column, row) = in(a column + b row + c, d column + e row + f), black from outside.

    ShearX v: b = v, about the upper left corner. TranslateX v: c = v w, and the image moves to the
    left; by whole pixels, since the nearest pixel is read. Rotate v: by v degrees,
    counterclockwise, about the middle. Coordinates are those of the middles of pixels.
    """
    h, w = pixels.shape[2:]

    def only(name: str, found: Tensor) -> Tensor:
        return torch.where(op == NAMES.index(name), found, 0.0)

    angle = only("Rotate", -value * (math.pi / 180))
    # Pillow rounds these, so that a quarter turn is exact.
    cos, sin = angle.cos().round(decimals=15), angle.sin().round(decimals=15)
    b = sin + only("ShearX", value)
    d = -sin + only("ShearY", value)
    c = only("Rotate", w / 2 - cos * w / 2 - sin * h / 2)
    f = only("Rotate", h / 2 + sin * w / 2 - cos * h / 2)
    c = c + only("TranslateX", (value * w + 0.5).floor())
    f = f + only("TranslateY", (value * h + 0.5).floor())
    matrix = [one.view(-1, 1, 1) for one in (cos, b, c, d, cos, f)]
    return _bilinear(pixels, matrix) if bilinear else _nearest(pixels, matrix)


def _nearest(pixels: Tensor, matrix: list[Tensor]) -> Tensor:
    """The pixel in which each place lies, in Pillow's fixed-point numbers of 16 bits."""
    h, w = pixels.shape[2:]
    a, b, c, d, e, f = matrix
    a, b, c, d, e, f = (
        (one * 65536 + 0.5).floor().int()
        for one in (a, b, c + a / 2 + b / 2, d, e, f + d / 2 + e / 2)
    )
    column = torch.arange(w, device=pixels.device, dtype=torch.int32)
    row = torch.arange(h, device=pixels.device, dtype=torch.int32).unsqueeze(1)
    # One black pixel around the image stands for all that is outside.
    from_column = ((a * column + b * row + c) >> 16).clamp(-1, w) + 1
    from_row = ((d * column + e * row + f) >> 16).clamp(-1, h) + 1
    return _read(F.pad(pixels, (1, 1, 1, 1)), from_row * (w + 2) + from_column)


def _bilinear(pixels: Tensor, matrix: list[Tensor]) -> Tensor:
    """Between the middles of four pixels; at the border the outermost ones count twice."""
    h, w = pixels.shape[2:]
    a, b, c, d, e, f = matrix
    column = torch.arange(w, device=pixels.device) + 0.5
    row = (torch.arange(h, device=pixels.device) + 0.5).unsqueeze(1)
    from_column, from_row = a * column + b * row + c, d * column + e * row + f
    inside = (from_column >= 0) & (from_column < w) & (from_row >= 0) & (from_row < h)
    left, top = (from_column - 0.5).floor(), (from_row - 0.5).floor()
    right = (from_column - 0.5 - left).float().unsqueeze(1)
    down = (from_row - 0.5 - top).float().unsqueeze(1)
    first, second = ((left + one).clamp(0, w - 1).int() for one in (0, 1))
    upper, lower = (
        _between(_read(pixels, start + first), _read(pixels, start + second), right)
        for start in ((top + one).clamp(0, h - 1).int() * w for one in (0, 1))
    )
    # Cut off, not rounded, as Pillow does.
    return _between(upper, lower, down).to(torch.uint8) * inside.unsqueeze(1)


def _read(pixels: Tensor, index: Tensor) -> Tensor:
    """The pixels [n, c, ...] at places [n, h, w] of each image, in all channels."""
    n, c = pixels.shape[:2]
    places = index.long().view(n, 1, -1).expand(n, c, -1)
    return pixels.reshape(n, c, -1).gather(2, places).view(n, c, *index.shape[1:])


# --- colours ----------------------------------------------------------------------------------


def _between(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """first + share (second - first) in float32; not `lerp`, which rounds in another way."""
    first = first.float()
    return (second.float() - first).mul_(share).add_(first)


def _blend(pixels: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """pixels + share (other - pixels), where a share may be beyond [0, 1]; cut off, not rounded."""
    found = _between(pixels, other, share.float().view(-1, 1, 1, 1))
    return found.clamp(0, 255).to(torch.uint8)


def _luma(pixels: Tensor) -> Tensor:
    """The grey image of a colour one, uint8 [n, 1, h, w]; a grey one as it is."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.int().split(1, 1)
    found: Tensor = (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16
    return found.to(torch.uint8)


def _look_up(pixels: Tensor, table: Tensor) -> Tensor:
    """Every pixel's entry of a table [n, c, 256]."""
    return table.to(torch.uint8).gather(2, pixels.flatten(2).long()).view_as(pixels)


def _autocontrast(pixels: Tensor, value: Tensor) -> Tensor:
    """Every channel stretched to 0 ... 255; one of a single value as it is."""
    low, high = (one.unsqueeze(2).double() for one in pixels.flatten(2).aminmax(dim=2))
    number = torch.arange(256, device=pixels.device, dtype=torch.float64)
    # Not 255 / ..., which torch rounds twice.
    scale = number[-1] / (high - low).clamp(min=1)
    stretched = (number * scale - low * scale).clamp(0, 255)
    return _look_up(pixels, torch.where(high > low, stretched, number))


def _equalize(pixels: Tensor, value: Tensor) -> Tensor:
    """Every channel's histogram made flat; one of a single value as it is."""
    n, c = pixels.shape[:2]
    flat = pixels.flatten(2).long()
    counts = torch.zeros(n, c, 256, dtype=torch.int64, device=pixels.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    number = torch.arange(256, device=pixels.device)
    last = torch.where(counts > 0, number, 0).amax(2, keepdim=True)
    step = (flat.shape[2] - counts.gather(2, last)) // 255
    level = (step // 2 + counts.cumsum(2) - counts) // step.clamp(min=1)
    return _look_up(pixels, torch.where(step > 0, level.clamp(max=255), number))


def _invert(pixels: Tensor, value: Tensor) -> Tensor:
    return 255 - pixels


def _solarize(pixels: Tensor, value: Tensor) -> Tensor:
    """Inverted from the threshold on."""
    threshold = value.ceil().short().view(-1, 1, 1, 1)
    # 255 - p is p with all bits turned; `where` is ten times slower here.
    inverted: Tensor = pixels >= threshold
    return pixels ^ inverted.to(torch.uint8).mul_(255)


def _posterize(pixels: Tensor, value: Tensor) -> Tensor:
    """The first `value` bits, a number that is cut off to a whole one."""
    lost = (8 - value.long()).clamp(0, 8).view(-1, 1, 1, 1)
    return pixels & (256 - (1 << lost)).to(torch.uint8)


def _contrast(pixels: Tensor, value: Tensor) -> Tensor:
    """Away from the rounded mean of the grey image."""
    total, count = _luma(pixels).flatten(1).sum(1), pixels[0, 0].numel()
    return _blend(((2 * total + count) // (2 * count)).view(-1, 1, 1, 1), pixels, value)


def _color(pixels: Tensor, value: Tensor) -> Tensor:
    return _blend(_luma(pixels), pixels, value)


def _brightness(pixels: Tensor, value: Tensor) -> Tensor:
    return _blend(pixels.new_zeros(1), pixels, value)


def _sharpness(pixels: Tensor, value: Tensor) -> Tensor:
    """Away from the image smoothed with weights 1, in the middle 5; the border stays."""
    h, w = pixels.shape[2:]
    if min(h, w) < 3:
        return pixels
    wide = pixels.short()
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    middle = pixels[..., 1:-1, 1:-1]
    smooth = ((total + 4 * middle.short()).float() / 13 + 0.5).floor()
    found = pixels.clone()
    found[..., 1:-1, 1:-1] = _blend(smooth, middle, value)
    return found


def _cut(pixels: Tensor, value: Tensor, middle: Tensor) -> Tensor:
    """A square of side value w, the last row and column included as Pillow draws it, in grey.

    Its middle is anywhere in the image, and what lies beyond the border is cut off.
    """
    h, w = pixels.shape[2:]
    side = value * w

    def span(middle: Tensor, length: int) -> Tensor:
        first = (middle.double() * length - side / 2).clamp(min=0).floor()
        last = (first + side).clamp(max=length).floor()
        pixel = torch.arange(length, device=pixels.device)
        return (pixel >= first.unsqueeze(1)) & (pixel <= last.unsqueeze(1))

    covered = span(middle[:, 0], h).unsqueeze(2) & span(middle[:, 1], w).unsqueeze(1)
    covered = covered & (value > 0).view(-1, 1, 1)
    grey = pixels.new_tensor(_GREY).view(1, 3, 1, 1)
    return torch.where(covered.unsqueeze(1), grey if pixels.shape[1] == 3 else _luma(grey), pixels)


_PLAIN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "AutoContrast": _autocontrast,
    "Invert": _invert,
    "Equalize": _equalize,
    "Solarize": _solarize,
    "Posterize": _posterize,
    "Contrast": _contrast,
    "Color": _color,
    "Brightness": _brightness,
    "Sharpness": _sharpness,
}
