from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..quantities import whole
from ._detection import Annotated, Canvas, Part
from ._source import Source, missing, subset_title

_FULL = {2017: (118_287, 5_000), 2014: (82_783, 40_504)}
_ORIGIN = "cocodataset.org (the train and val images of a year and its instances annotations)"


class COCO:
    """Objects in photographs, with boxes: Microsoft COCO (arXiv 1405.0312), 80 classes.

    Read from `<root>/<folder>`: `annotations/instances_{train,val}<year>.json` (or directly in the
    folder), and the images in `{train,val}<year>/` or `images/{train,val}<year>/`. The published
    validation images are the test part. Any set in this layout is read; its classes are its
    categories by ascending id, numbered from 0 (COCO's own ids have gaps). With other counts than
    the published ones, `title` and `provenance` of the source say "subset" and the counts.

    Inputs are `[n, 3, size, size]` in [0, 1]: an image is scaled down, never up, to fit and put
    into the upper left corner of a black canvas. They stay in their files and are read by up to
    `workers` processes, or are held in memory with `in_memory` (4.9 MB each at size 640). Targets
    are packed boxes `[n, 1 + m, 5]` in pixels of the canvas (see `boxes.py`). Crowd regions are no
    objects and left out; boxes are cut at the image's border and left out if no area is left.
    Images without a box are kept.

    Raises `SettingError` for settings out of range and damaged or contradictory files, and
    `MissingDataError` if the set or an image is not there.
    """

    task = "detection"
    short = ("COCO", "folder")

    def __init__(
        self,
        *,
        folder: str = "coco",
        year: int = 2017,
        size: int = 640,
        workers: int = 4,
        in_memory: bool = False,
    ) -> None:
        if not isinstance(folder, str) or not folder:
            raise SettingError(f"folder must be a path, found {folder!r}")
        self.folder = folder
        self.year = whole("year", year, low=1)
        self.canvas = Canvas(size=size, workers=workers, in_memory=in_memory)

    def load(self, root: Path) -> Source:
        """Both parts; only the annotations are read, and the images with `in_memory`."""
        (train, classes), (test, others) = (
            self._part(root / self.folder, f"{part}{self.year}") for part in ("train", "val")
        )
        if classes != others:
            raise SettingError(
                f"{self.folder}: both parts must have the same categories, found "
                f"{len(classes)} ({', '.join(classes[:5])} …) in the training part and "
                f"{len(others)} ({', '.join(others[:5])} …) in the test part"
            )
        counts = (len(train.images), len(test.images))
        title = subset_title(f"COCO {self.year}", counts, _FULL.get(self.year))
        return self.canvas.source(train, test, classes=classes, title=title, origin=_ORIGIN)

    def _part(self, folder: Path, part: str) -> tuple[Part, tuple[str, ...]]:
        name = f"instances_{part}.json"
        path = _first(name, [folder / "annotations" / name, folder / name], Path.is_file)
        images = _first(part, [folder / part, folder / "images" / part], Path.is_dir)
        try:
            return _read(path, images)
        except SettingError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            found = f"{type(error).__name__} {error}"
            raise SettingError(f"{path} is not in COCO's form: {found}") from None


def _first(what: str, places: list[Path], is_there: Any) -> Path:
    for place in places:
        if is_there(place):
            return place
    raise missing(f"COCO's {what}", places, _ORIGIN)


def _read(path: Path, folder: Path) -> tuple[Part, tuple[str, ...]]:
    try:
        held = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise SettingError(f"{path}, {place}: damaged or truncated: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise SettingError(f"{path}, byte {error.start}: it is no text") from None
    categories = sorted(held["categories"], key=lambda one: int(one["id"]))
    numbers = {one["id"]: number for number, one in enumerate(categories)}
    if len(numbers) != len(categories):
        raise SettingError(f"{path}: two categories have the same id")
    found = [_image(path, one) for one in sorted(held["images"], key=lambda one: int(one["id"]))]
    images = dict(found)
    if len(images) != len(held["images"]):
        raise SettingError(f"{path}: two images have the same id")
    part = Part(folder, list(images.values()))
    for one in held["annotations"]:
        where = f"{path}, annotation {one['id']}"
        if one["image_id"] not in images:
            raise SettingError(f"{where}: there is no image {one['image_id']!r}")
        if one["category_id"] not in numbers:
            raise SettingError(f"{where}: there is no category {one['category_id']!r}")
        if len(one["bbox"]) != 4:
            raise SettingError(f"{where}: bbox must be [x, y, width, height], found {one['bbox']}")
        if one.get("iscrowd", 0):
            part.leave_out("crowd")
            continue
        x, y, width, height = map(float, one["bbox"])
        image = images[one["image_id"]]
        image.boxes.append((x, y, x + width, y + height))
        image.labels.append(numbers[one["category_id"]])
    return part, tuple(str(one["name"]) for one in categories)


def _image(path: Path, one: dict[str, Any]) -> tuple[Any, Annotated]:
    where = f"{path}, image {one['id']}"
    height, width = (whole(f"{where}: {side}", one[side], low=1) for side in ("height", "width"))
    return one["id"], Annotated(str(one["file_name"]), (height, width), where)
