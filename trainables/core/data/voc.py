from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from ..errors import SettingError, nearest
from ..quantities import flag, number, whole
from ._detection import Annotated, Box, Canvas, Part
from ._pictures import size_of
from ._source import Source, missing, subset_title

_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
# Of the year 2012 no test annotations were published.
_PARTS = {2007: ("trainval", "test"), 2012: ("train", "val")}
_FULL = {2007: (5_011, 4_952), 2012: (5_717, 5_823)}
_ORIGIN = (
    "host.robots.ox.ac.uk/pascal/VOC or torchvision.datasets.VOCDetection(download=True); the "
    "year 2007 has two archives, trainval and test, for the same folder"
)


class VOC:
    """Objects in photographs, with boxes: PASCAL VOC (Everingham et al. 2010), 20 classes.

    Read from `<root>/VOCdevkit/VOC<year>`, `voc/VOCdevkit/VOC<year>` or `VOC<year>`: `JPEGImages`,
    `Annotations` and the lists in `ImageSets/Main`. `year` 2007 gives trainval and test (5,011 +
    4,952 images), 2012 gives train and val (5,717 + 5,823). With other counts `title` and
    `provenance` of the source say "subset" and the counts.

    Inputs are `[n, 3, size, size]` in [0, 1]: an image is scaled down, never up, to fit and put
    into the upper left corner of a black canvas. They stay in their files and are read by up to
    `workers` processes, or are held in memory with `in_memory` (4.9 MB each at size 640). Targets
    are packed boxes `[n, 1 + m, 5]` in pixels of the canvas (see `boxes.py`). The files count
    pixels from 1 and include the last one, so (x1 - 1, y1 - 1, x2, y2) are the box's edges. Image
    sizes are taken from the images. Objects marked as difficult are left out unless `difficult`:
    the challenge neither rewards nor punishes finding them, but here finding one is an error if
    they are left out, and missing one if they are not. Boxes are cut at the image's border and
    left out if no area is left. Images without a box are kept.

    Raises `SettingError` for settings out of range and damaged files, and `MissingDataError` if the
    set or an image is not there.
    """

    task = "detection"
    short = ("VOC", "year")

    def __init__(
        self,
        *,
        year: int = 2007,
        size: int = 640,
        difficult: bool = False,
        workers: int = 4,
        in_memory: bool = False,
    ) -> None:
        self.year = whole("year", year)
        if self.year not in _PARTS:
            raise SettingError(f"year must be one of {sorted(_PARTS)}, found {year!r}")
        self.difficult = flag("difficult", difficult)
        self.canvas = Canvas(size=size, workers=workers, in_memory=in_memory)

    def load(self, root: Path) -> Source:
        """Both parts; annotations and the heads of the images are read, all with `in_memory`."""
        name = f"VOC{self.year}"
        places = [root / "VOCdevkit" / name, root / "voc" / "VOCdevkit" / name, root / name]
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            raise missing(f"PASCAL VOC {self.year}", places, _ORIGIN)
        train, test = (self._part(folder, name) for name in _PARTS[self.year])
        counts = (len(train.images), len(test.images))
        title = subset_title(f"PASCAL VOC {self.year}", counts, _FULL[self.year])
        return self.canvas.source(train, test, classes=_CLASSES, title=title, origin=_ORIGIN)

    def _part(self, folder: Path, name: str) -> Part:
        listed = folder / "ImageSets" / "Main" / f"{name}.txt"
        if not listed.is_file():
            raise missing(f"The list {name} of PASCAL VOC {self.year}", [listed], _ORIGIN)
        part = Part(folder / "JPEGImages", [])
        for one in listed.read_text(encoding="utf-8").split():
            annotation = folder / "Annotations" / f"{one}.xml"
            image = part.folder / f"{one}.jpg"
            for path in (annotation, image):
                if not path.is_file():
                    raise missing(f"A part of PASCAL VOC {self.year}", [path], _ORIGIN)
            found = Annotated(image.name, size_of(image), str(annotation))
            self._objects(annotation, found, part)
            part.images.append(found)
        return part

    def _objects(self, path: Path, image: Annotated, part: Part) -> None:
        try:
            tree = ElementTree.parse(path)
        except ElementTree.ParseError as error:
            raise SettingError(f"{path} is damaged or truncated: {error}") from None
        for row, one in enumerate(tree.iterfind("object"), start=1):
            where = f"{path}, object {row}"
            if one.findtext("difficult", "0").strip() == "1" and not self.difficult:
                part.leave_out("difficult")
                continue
            name = one.findtext("name", "").strip()
            if name not in _CLASSES:
                raise SettingError(f"{where}: no class {name!r}.{nearest(name, _CLASSES)}")
            image.boxes.append(_box(one, where))
            image.labels.append(_CLASSES.index(name))


def _box(one: ElementTree.Element, where: str) -> Box:
    x1, y1, x2, y2 = (
        number(f"{where}: bndbox/{side}", one.findtext(f"bndbox/{side}", "nothing").strip())
        for side in ("xmin", "ymin", "xmax", "ymax")
    )
    return x1 - 1, y1 - 1, x2, y2
