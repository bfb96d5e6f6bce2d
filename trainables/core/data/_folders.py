"""Image sets that are a folder for each part and in it a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import SettingError
from ._pictures import Pictures
from ._source import Examples, missing

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def find_folder(
    what: str, places: Sequence[Path], tests: Sequence[str], origin: str
) -> tuple[Path, Path]:
    """The training and the test folder of a set that lies in one of `places`.

    They are called `train` and the first of `tests` that is there. Raises `MissingDataError` that
    names what was looked for.
    """
    for place in places:
        for test in tests:
            if (place / "train").is_dir() and (place / test).is_dir():
                return place / "train", place / test
    looked = f"{{train,{' or '.join(tests)}}}"
    raise missing(what, [place / looked for place in places], origin)


def read_folders(
    train: Path, test: Path, *, size: int, resize: int, workers: int
) -> tuple[Examples, Examples, tuple[str, ...]]:
    """The examples of both parts, as pictures, and the class names: the folders' names, sorted.

    Raises `SettingError` where the parts do not have the same classes or a class has no image.
    """
    names = [_classes(part) for part in (train, test)]
    if names[0] != names[1]:
        only = [sorted(set(names[one]) - set(names[1 - one])) for one in (0, 1)]
        raise SettingError(
            f"{train} and {test} must have the same classes, found only in {train.name}: "
            f"{_some(only[0])}; only in {test.name}: {_some(only[1])}"
        )
    parts = []
    for folder, crop in ((train, "random-resized"), (test, "center")):
        files: list[str] = []
        numbers: list[int] = []
        for number, name in enumerate(names[0]):
            found = _images(folder, name)
            files += found
            numbers += [number] * len(found)
        pictures = Pictures(folder, files, crop=crop, size=size, resize=resize, workers=workers)
        parts.append(Examples(pictures, torch.tensor(numbers)))
    return parts[0], parts[1], tuple(names[0])


def _classes(part: Path) -> list[str]:
    found = sorted(
        one.name for one in part.iterdir() if one.is_dir() and not one.name.startswith(".")
    )
    if not found:
        raise SettingError(f"{part} must have a folder for each class, found none")
    return found


def _images(part: Path, name: str) -> list[str]:
    """The paths of a class's images below `part`, sorted, so that their numbers never change."""
    found = [
        str(Path(folder, file).relative_to(part))
        for folder, _, files in os.walk(part / name)
        for file in files
        if file.lower().endswith(_ENDINGS) and not file.startswith(".")
    ]
    if not found:
        raise SettingError(
            f"{part / name} must hold images ({', '.join(_ENDINGS)}), found none; every folder of "
            "a part is a class"
        )
    return sorted(found)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return shown or "none"
