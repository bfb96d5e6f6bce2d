from __future__ import annotations

from pathlib import Path

from ..errors import SettingError
from ..quantities import number, several, whole
from ._folders import find_folder, read_folders
from ._pictures import IMAGENET_DEVIATION, IMAGENET_MEAN
from ._source import Source


class ImageFolder:
    """Your own images, a folder for each class: `<folder>/{train,test}/<class>/…`.

    `folder` lies below the data root or is an absolute path. The test part is `test`, or `val`
    where there is no `test`; where there are both, `val` is not used, for a validation part is cut
    from the training part. Classes are the folders' names, sorted, and must be the same in both
    parts.

    The images stay in their files: they are read by up to `workers` processes, batch by batch.
    In training a random part is scaled to `size` x `size` and mirrored at random; in evaluation the
    shorter side is scaled to `resize` and the central `size` x `size` is taken. Inputs are
    `[n, 3, size, size]` in [0, 1]; `mean` and `deviation` of each channel are those that the
    model's first layer takes (default: ImageNet's, as is usual for photographs).

    Raises `SettingError` for settings out of range, classes that differ or have no image, and, when
    it is read, for a damaged image; `MissingDataError` if the folders are not there.
    """

    task = "classification"

    def __init__(
        self,
        *,
        folder: str = "images",
        size: int = 224,
        resize: int = 256,
        workers: int = 4,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        deviation: tuple[float, ...] = IMAGENET_DEVIATION,
    ) -> None:
        if not isinstance(folder, str) or not folder:
            raise SettingError(f"folder must be a path, found {folder!r}")
        self.folder = folder
        self.size = whole("size", size, low=1)
        self.resize = whole("resize", resize, low=self.size)
        self.workers = whole("workers", workers)
        self.mean = tuple(number("mean", one) for one in several("mean", mean, 3))
        self.deviation = tuple(
            number("deviation", one, low=0, above=True)
            for one in several("deviation", deviation, 3)
        )

    def load(self, root: Path) -> Source:
        """Both parts; only the names of the files are read."""
        title = f"Images in {Path(self.folder).name}"
        origin = "your own images, in a folder for each class"
        folders = find_folder(title, [root / self.folder], ("test", "val"), origin)
        train, test, classes = read_folders(
            *folders, size=self.size, resize=self.resize, workers=self.workers
        )
        return Source(
            train=train,
            test=test,
            classes=classes,
            box=(0.0, 1.0),
            units="pixel [0, 1]",
            provenance=f"{title}, train and {folders[1].name}, {len(train):,} + {len(test):,} "
            f"images, crops of {self.size} x {self.size}, bytes / 255",
            title=title,
            mean=self.mean,
            deviation=self.deviation,
        )
