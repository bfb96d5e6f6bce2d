"""Images that stay in their files and are read, cut and scaled batch by batch.

Decoded and scaled by Pillow: published ImageNet figures were made with its filters, it reads every
usual format, and it refuses a truncated file instead of filling it up with grey.
"""

from __future__ import annotations

import copy
import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import SettingError
from ..quantities import one_of, whole
from ..randomness import derive

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CROPS = ("random-resized", "center", "canvas")
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_ATTEMPTS = 10

_Region = tuple[int, int, int, int]
"""Left, upper, right, lower."""


class Pictures:
    """Images in files, as [n, 3, size, size] float32 RGB values in [0, 1] that are read when asked.

    `names` are paths below `folder`. What is cut out is said by `crop`:

    - "random-resized": with a seed, a random part of the image (8 % to 100 % of its area, aspect
      3:4 to 4:3, the largest central part after 10 draws that do not fit) scaled to size x size,
      mirrored with probability 1/2, as in arXiv 1409.4842; without a seed as "center";
    - "center": scaled so that the shorter side is `resize`, then the central size x size; nothing
      is drawn;
    - "canvas": scaled down, never up, with its aspect kept, so that it fits into size x size, and
      put into the upper left corner; zeros elsewhere (see `fitted`); nothing is drawn.

    Scaling is bilinear with antialiasing. `workers` is the greatest number of processes that read,
    0 for none; no more than there are processor cores are started, and what is read does not depend
    on them. `sizes` are the (height, width) that the images must have, where somebody relies on
    them. Raises `SettingError` for settings out of range.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        crop: str,
        size: int,
        resize: int = 0,
        workers: int = 0,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.folder = folder
        self.crop = one_of("crop", crop, CROPS)
        self.size = whole("size", size, low=1)
        self.resize = whole("resize", resize)
        self.workers = whole("workers", workers)
        if crop != "canvas" and self.resize < self.size:
            raise SettingError(f"resize must be at least size={size}, found {resize!r}")
        # One block of bytes: a million Python strings would be copied into every worker.
        self._names: npt.NDArray[np.bytes_] = np.array([os.fsencode(name) for name in names], "S")
        self._numbers = np.arange(len(names))
        self._sizes = np.array(sizes, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one picture."""
        return (3, self.size, self.size)

    def take(self, index: Tensor) -> Pictures:
        """The pictures at `index` (int64 [m]), in its order; they keep their numbers."""
        taken = copy.copy(self)
        rows = index.cpu().numpy()
        taken._names = self._names[rows]
        taken._numbers = self._numbers[rows]
        taken._sizes = self._sizes[rows] if len(self._sizes) else self._sizes
        return taken

    def path(self, row: int) -> Path:
        """The file of the picture in this row."""
        return self.folder / os.fsdecode(bytes(self._names[row]))

    def read(self, index: Tensor, seed: int | None = None) -> Tensor:
        """The pictures at `index` as [m, 3, size, size], read in this process.

        Raises `SettingError` naming the file if one is absent, damaged or truncated, has more than
        8 bits a channel, or has another size than was said.
        """
        found = torch.empty(len(index), *self.shape)
        for place, row in enumerate(index.tolist()):
            self._read(row, seed, found[place])
        return found

    def batches(
        self, order: Sequence[Tensor], *, seed: int | None = None, pinned: bool = False
    ) -> Iterator[Tensor]:
        """`read` for each index tensor of `order`, ahead of need, by the worker processes."""
        workers = min(self.workers, _cores(), len(order))
        loader: DataLoader[Any] = DataLoader(
            _Reader(self, seed),
            sampler=_Order(order),
            batch_size=None,
            num_workers=workers,
            pin_memory=pinned,
            # The loader draws a number for its workers; it must not come from the global stream.
            generator=torch.Generator().manual_seed(0),
        )
        for found in loader:
            if isinstance(found, SettingError):
                raise found
            yield found

    def _read(self, row: int, seed: int | None, out: Tensor) -> None:
        path = self.path(row)
        with _opened(path) as image:
            self._fits(path, row, image)
            pixels = self._cut(image.convert("RGB"), row, seed)
        height, width = pixels.height, pixels.width
        bytes_ = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        if (height, width) != (self.size, self.size):
            out.zero_()
        torch.div(bytes_, 255, out=out[:, :height, :width])

    def _fits(self, path: Path, row: int, image: Image) -> None:
        if image.mode.startswith(("I", "F")):
            raise SettingError(f"{path} must have 8 bits a channel, found mode {image.mode!r}")
        if len(self._sizes):
            said = tuple(self._sizes[row].tolist())
            if (image.height, image.width) != said:
                raise SettingError(
                    f"{path} must be {said[1]} x {said[0]} pixels as its annotation says, found "
                    f"{image.width} x {image.height}"
                )

    def _cut(self, image: Image, row: int, seed: int | None) -> Image:
        from PIL.Image import Resampling, Transpose

        if self.crop == "canvas":
            height, width = fitted(image.height, image.width, self.size)
            return image.resize((width, height), Resampling.BILINEAR)
        if seed is None or self.crop == "center":
            return self._centre(image)
        draws = torch.Generator().manual_seed(derive(seed, "picture", int(self._numbers[row])))
        region, mirrored = _drawn(image.height, image.width, draws)
        # Not resize(box=...): that rounds otherwise than cutting and scaling, as others do it.
        cut = image.crop(region).resize((self.size, self.size), Resampling.BILINEAR)
        return cut.transpose(Transpose.FLIP_LEFT_RIGHT) if mirrored else cut

    def _centre(self, image: Image) -> Image:
        from PIL.Image import Resampling

        shorter = min(image.height, image.width)
        height = int(self.resize * image.height / shorter)
        width = int(self.resize * image.width / shorter)
        scaled = image.resize((width, height), Resampling.BILINEAR)
        left, upper = round((width - self.size) / 2), round((height - self.size) / 2)
        return scaled.crop((left, upper, left + self.size, upper + self.size))


# What Pillow raises for damaged files; SyntaxError is its word for a broken PNG.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


def size_of(path: Path) -> tuple[int, int]:
    """The (height, width) of an image, from its head; raises `SettingError` naming the file."""
    with _opened(path) as image:
        return image.height, image.width


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """An image within the block; what goes wrong there is a `SettingError` naming the file."""
    # Imported here: most sets are not pictures.
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except SettingError:
        raise
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise SettingError(f"{path} cannot be read as an image: {error}") from None


def fitted(height: int, width: int, size: int) -> tuple[int, int]:
    """The (height, width) of an image scaled down, never up, to fit into size x size."""
    scale = min(1.0, size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _drawn(height: int, width: int, draws: torch.Generator) -> tuple[_Region, bool]:
    """The region of a random resized crop, and whether it is mirrored."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=draws, dtype=torch.float64))

    mirrored = uniform(0, 1) < 0.5
    for _ in range(_ATTEMPTS):
        area = height * width * uniform(*_AREA)
        # The logarithm is uniform, so that tall and wide are as likely.
        ratio = math.exp(uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(uniform(0, width - w + 1)), int(uniform(0, height - h + 1))
            return (left, upper, left + w, upper + h), mirrored
    ratio = min(max(width / height, _RATIO[0]), _RATIO[1])
    w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    left, upper = (width - w) // 2, (height - h) // 2
    return (left, upper, left + w, upper + h), mirrored


def _cores() -> int:
    """The processor cores that this process may use; not every system can say so."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


class _Order:
    """The batches, each as an index tensor, as the loader's sampler."""

    def __init__(self, order: Sequence[Tensor]) -> None:
        self.order = order

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


class _Reader(Dataset[Any]):
    """What a worker process does: a batch for an index tensor, or the error that stopped it.

    The error is handed over as a value, because the loader would put a traceback into its message.
    """

    def __init__(self, pictures: Pictures, seed: int | None) -> None:
        self.pictures = pictures
        self.seed = seed

    def __getitem__(self, index: Any) -> Tensor | SettingError:
        try:
            return self.pictures.read(index, self.seed)
        except SettingError as error:
            return error
