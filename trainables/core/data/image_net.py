from __future__ import annotations

from pathlib import Path

from ..quantities import whole
from ._folders import find_folder, read_folders
from ._pictures import IMAGENET_DEVIATION, IMAGENET_MEAN
from ._source import Source, subset_title

_FULL = (1_281_167, 50_000)
_ORIGIN = "image-net.org (ILSVRC 2012), its validation images sorted into a folder for each class"


class ImageNet:
    """Photographs of 1,000 kinds of things: 1,281,167 + 50,000 images (arXiv 1409.0575).

    Read from `<root>/imagenet/{train,val}/<class>/…` (or `ImageNet`); the published validation
    images are the test part. Classes are the folders' names, sorted (WordNet numbers such as
    n01440764), which is the order of published models. With fewer images the source's `title` and
    `provenance` say "subset" and the counts.

    The images stay in their files: they are read by up to `workers` processes, batch by batch.
    In training a random part is scaled to `size` x `size` and mirrored at random; in evaluation the
    shorter side is scaled to `resize` and the central `size` x `size` is taken. Inputs are
    `[n, 3, size, size]` in [0, 1]; mean and deviation of each channel are the published ones.

    Raises `SettingError` for settings out of range, classes that differ or have no image, and, when
    it is read, for a damaged image; `MissingDataError` if the folders are not there.
    """

    task = "classification"

    def __init__(self, *, size: int = 224, resize: int = 256, workers: int = 4) -> None:
        self.size = whole("size", size, low=1)
        self.resize = whole("resize", resize, low=self.size)
        self.workers = whole("workers", workers)

    def load(self, root: Path) -> Source:
        """Both parts; only the names of the files are read."""
        # Not `test`: the published test images have no labels.
        places = [root / "imagenet", root / "ImageNet"]
        folders = find_folder("ImageNet", places, ("val",), _ORIGIN)
        train, test, classes = read_folders(
            *folders, size=self.size, resize=self.resize, workers=self.workers
        )
        title = subset_title("ImageNet", (len(train), len(test)), _FULL)
        return Source(
            train=train,
            test=test,
            classes=classes,
            box=(0.0, 1.0),
            units="pixel [0, 1]",
            provenance=f"{title}, train and val, {len(train):,} + {len(test):,} images, "
            f"{len(classes):,} classes, crops of {self.size} x {self.size}, bytes / 255",
            title=title,
            mean=IMAGENET_MEAN,
            deviation=IMAGENET_DEVIATION,
        )
