"""Answers how long imagecorruptions takes, in an environment of its own; robustness.py asks.

    PYTHON benchmarks/_library.py IMAGES.npy

IMAGES.npy holds images uint8 [n, h, w, 3]. Prints "ready", and then for every line "type severity
count" that it reads: the processor seconds for the first `count` images, one by one, and the mean
absolute change of their pixels, 0 to 255. Needs imagecorruptions, and nothing of this project.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import cv2  # type: ignore[import-not-found]
import imagecorruptions  # type: ignore[import-not-found]
import numpy as np
from imagecorruptions import corruptions
from skimage import filters  # type: ignore[import-not-found]


def gaussian(image: Any, sigma: float, multichannel: bool = False, **rest: Any) -> Any:
    """Gaussian blur of today's scikit-image, called as the library calls that of its own day."""
    return filters.gaussian(image, sigma=sigma, channel_axis=-1 if multichannel else None, **rest)


def main() -> None:
    """Answer until there are no more questions."""
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    np.random.seed(0)  # noqa: NPY002 -- the library draws from the global generator
    corruptions.gaussian = gaussian
    images = np.load(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        label, severity, count = line.split()
        some = images[: int(count)]
        began = time.process_time()
        found = [imagecorruptions.corrupt(one, int(severity), label) for one in some]
        seconds = time.process_time() - began
        change = np.abs(np.stack(found).astype(float) - some).mean()
        print(seconds, change, flush=True)


if __name__ == "__main__":
    main()
