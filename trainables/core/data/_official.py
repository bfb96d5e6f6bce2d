"""Reads published files of corrupted and perturbed test sets: CIFAR-10-C, -P, ImageNet-C.

Their rows are the test images in the order of the test part; nothing else says which image is
which, so sizes are checked, and whoever reads labels compares them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import SettingError
from ._folders import _classes, _images
from ._pictures import Pictures
from ._source import Examples, missing

SEVERITIES = 5
_SHAPE = (32, 32, 3)
# By the data set whose test images they show. The sets of ImageNet are folders of pictures.
TITLES = {"CIFAR10": "CIFAR-10", "CIFAR100": "CIFAR-100", "ImageNet": "ImageNet"}
_PICTURES = "ImageNet"
_ORIGIN = {
    "CIFAR-10-C": "zenodo.org/records/2535967",
    "CIFAR-100-C": "zenodo.org/records/3555552",
    "CIFAR-10-P": "zenodo.org/records/2535967",
    "ImageNet-C": "zenodo.org/records/2235448",
}

Frames = npt.NDArray[np.uint8]


def title_of(data: str, kind: str) -> str:
    """What the published set of `kind` ("C" or "P") for a data set is called.

    Raises `SettingError` where there is none that can be read.
    """
    if data not in TITLES:
        raise SettingError(
            f"source cannot be 'official' for {data or 'these data'}: there are published files "
            f"only for {', '.join(TITLES)}; use 'generated'"
        )
    if kind == "P" and in_pictures(data):
        raise SettingError(
            "source cannot be 'official' for ImageNet: ImageNet-P is published as films, which are "
            "not read here; use 'generated'"
        )
    return f"{TITLES[data]}-{kind}"


def in_pictures(data: str) -> bool:
    """Whether the published sets of a data set are folders of pictures."""
    return data == _PICTURES


def corrupted(
    root: Path, title: str, label: str, severity: int, total: int
) -> tuple[Frames, Tensor]:
    """One severity's part of `<root>/<title>/<label>.npy`, and the classes of its rows.

    Images are bytes [total, 32, 32, 3], left in the file until they are read; the file holds five
    times as many rows, severity by severity. `labels.npy` must hold as many or one severity's.
    Raises `MissingDataError` for an absent file, `SettingError` for one of another size or type.
    """
    folder = root / title
    images = _array(title, folder / f"{label}.npy", (SEVERITIES * total, *_SHAPE))
    numbers = _array(title, folder / "labels.npy", (SEVERITIES * total,), (total,))
    part = slice((severity - 1) * total, severity * total)
    # A file of labels with one severity's serves them all.
    known = numbers[part] if len(numbers) > total else numbers
    return images[part], torch.from_numpy(known.astype(np.int64))


def perturbed(root: Path, title: str, label: str, total: int) -> Frames:
    """The sequences of `<root>/<title>/<label>.npy`: bytes [total, frames, 32, 32, 3], in the file.

    Raises `MissingDataError` for an absent file, `SettingError` for one of another size or type.
    """
    path = root / title / f"{label}.npy"
    found = _array(title, path, (total, -1, *_SHAPE))
    if found.shape[1] < 2:
        raise SettingError(f"{path} must hold sequences of 2 frames or more, found 1")
    return found


def pictures(
    root: Path, label: str, severity: int, *, size: int, workers: int, total: int
) -> Examples:
    """One severity of ImageNet-C: `<root>/ImageNet-C/<label>/<severity>/<class>/…`.

    In the order of the data set's test part: by class and then by name. The published pictures are
    224 pixels wide and high, and are read as they are. Raises `MissingDataError` for an absent
    folder, `SettingError` for another number of pictures and another size.
    """
    if size != 224:
        raise SettingError(f"source 'official' needs images of 224 pixels, found size={size}")
    folder = root / "ImageNet-C" / label / str(severity)
    if not folder.is_dir():
        raise missing(f"ImageNet-C, {label}", [folder], _ORIGIN["ImageNet-C"])
    names = [(number, _images(folder, name)) for number, name in enumerate(_classes(folder))]
    files = [file for _, found in names for file in found]
    if len(files) != total:
        raise SettingError(
            f"{folder} must hold a picture for each of the {total:,} test images, found "
            f"{len(files):,}"
        )
    y = torch.tensor([number for number, found in names for _ in found])
    read = Pictures(folder, files, crop="center", size=size, resize=size, workers=workers)
    return Examples(read, y)


def taken(images: Frames, rows: Tensor) -> Tensor:
    """Rows (int64 [m]) of channel-last bytes as values in [0, 1], channels first, float32."""
    found = torch.from_numpy(images[rows.cpu().numpy()])
    return found.movedim(-1, -3).float() / 255


def _array(title: str, path: Path, *shapes: tuple[int, ...]) -> Frames:
    """The bytes in a file of numpy's, of one of the shapes (-1: any length)."""
    if not path.is_file():
        raise missing(title, [path], _ORIGIN.get(title, "the authors of arXiv 1903.12261"))
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise SettingError(f"{path} is damaged or no array of numpy's: {error}") from None
    if not any(_fits(found.shape, shape) for shape in shapes) or found.dtype.kind not in "ui":
        wanted = " or ".join(str(list(shape)).replace("-1", "frames") for shape in shapes)
        raise SettingError(
            f"{path} must hold bytes {wanted} for the test part, found {found.dtype} "
            f"{list(found.shape)}"
        )
    if len(shapes[0]) > 1 and found.dtype != np.uint8:
        raise SettingError(f"{path} must hold bytes, found {found.dtype}")
    array: Frames = found
    return array


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(found) == len(wanted) and all(
        one in (-1, other) for one, other in zip(wanted, found, strict=True)
    )
