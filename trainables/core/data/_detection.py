"""Makes examples of annotated images: the pictures, and their boxes on the scaled canvas."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..boxes import pack
from ..errors import SettingError
from ..quantities import flag, whole
from ._pictures import IMAGENET_DEVIATION, IMAGENET_MEAN, Pictures, fitted
from ._source import Examples, Source, missing

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels; a box of the whole image is (0, 0, width, height)."""


@dataclass
class Annotated:
    """An image file, its (height, width), and its boxes with their labels.

    `where` is the annotation's place in words, for errors.
    """

    name: str
    size: tuple[int, int]
    where: str
    boxes: list[Box] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)


@dataclass
class Part:
    """The annotated images below a folder, and how many objects were left out and why."""

    folder: Path
    images: list[Annotated]
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str) -> None:
        """Count an object that is no target."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


class Canvas:
    """How annotated images are held: on canvases of `size` x `size`, read when needed or in memory.

    Raises `SettingError` for settings out of range.
    """

    def __init__(self, *, size: int, workers: int, in_memory: bool) -> None:
        self.size = whole("size", size, low=1)
        self.workers = whole("workers", workers)
        self.in_memory = flag("in_memory", in_memory)

    def source(
        self,
        train: Part,
        test: Part,
        *,
        classes: tuple[str, ...],
        title: str,
        origin: str,
    ) -> Source:
        """Both parts as a source; their targets have room for the most boxes of any image.

        Boxes are cut at the image's border; those without an area are left out. Raises
        `MissingDataError` for images that are not there.
        """
        for part in (train, test):
            _check(part, title, origin)
            _clip(part)
        most = max(len(one.boxes) for part in (train, test) for one in part.images)
        boxes = [sum(len(one.boxes) for one in part.images) for part in (train, test)]
        left_out = [
            f"{reason}: {train.left_out.get(reason, 0)} + {test.left_out.get(reason, 0)}"
            for reason in sorted({*train.left_out, *test.left_out})
        ]
        return Source(
            train=self._examples(train, most),
            test=self._examples(test, most),
            classes=classes,
            box=(0.0, 1.0),
            units="pixel [0, 1]",
            provenance=f"{title}, {len(train.images):,} + {len(test.images):,} images with "
            f"{boxes[0]:,} + {boxes[1]:,} boxes, scaled down to fit {self.size} x {self.size}, "
            f"bytes / 255; objects left out: {'; '.join(left_out) or 'none'}",
            task="detection",
            title=title,
            mean=IMAGENET_MEAN,
            deviation=IMAGENET_DEVIATION,
        )

    def _examples(self, part: Part, most: int) -> Examples:
        x = Pictures(
            part.folder,
            [one.name for one in part.images],
            crop="canvas",
            size=self.size,
            workers=self.workers,
            sizes=[one.size for one in part.images],
        )
        y = torch.stack([self._target(one, most) for one in part.images])
        return Examples(x.read(torch.arange(len(x))) if self.in_memory else x, y)

    def _target(self, one: Annotated, most: int) -> torch.Tensor:
        height, width = fitted(*one.size, self.size)
        # Sides are rounded to whole pixels, so the two factors may differ a little.
        factors = torch.tensor([width / one.size[1], height / one.size[0]]).repeat(2)
        boxes = torch.tensor(one.boxes, dtype=torch.float32).reshape(-1, 4)
        return pack((height, width), boxes * factors, torch.tensor(one.labels), most)


def _check(part: Part, title: str, origin: str) -> None:
    if not part.images:
        raise SettingError(f"{title}: {part.folder} is annotated with no image at all")
    if not part.folder.is_dir():
        raise missing(f"The images of {title}", [part.folder], origin)
    there = {one.name for one in part.folder.iterdir()}
    absent = [
        one.name
        for one in part.images
        if one.name not in there and not (part.folder / one.name).is_file()
    ]
    if absent:
        places = [part.folder / name for name in absent[:3]]
        raise missing(f"{len(absent)} of {len(part.images)} images of {title}", places, origin)


def _clip(part: Part) -> None:
    """Cuts boxes at the image's border and leaves out those that have no area then."""
    for one in part.images:
        height, width = one.size
        kept: list[tuple[Box, int]] = []
        for (x1, y1, x2, y2), label in zip(one.boxes, one.labels, strict=True):
            if not all(map(math.isfinite, (x1, y1, x2, y2))):
                raise SettingError(f"{one.where}: a box must have finite corners")
            x1, x2 = (min(max(x, 0.0), width) for x in (x1, x2))
            y1, y2 = (min(max(y, 0.0), height) for y in (y1, y2))
            if x2 > x1 and y2 > y1:
                kept.append(((x1, y1, x2, y2), label))
            else:
                part.leave_out("no area")
        one.boxes = [box for box, _ in kept]
        one.labels = [label for _, label in kept]
