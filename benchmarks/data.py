"""What augmented batches cost against a DataLoader that augments image by image.

    python -m benchmarks.data [--images N] [--batch-size N] [--rounds N] [--workers 0 2] [--json]

Both sides go once through the same random images of CIFAR's shape in a random order and make
batches that are shifted by up to 4 pixels, mirrored with probability 1/2 and normalised, with fresh
draws for every image. Ours is `RandomCrop`, `RandomFlip` and `Normalise` on batches of a tensor in
memory; theirs is a torch DataLoader over torchvision's transforms of PIL images. Epochs of the two
alternate in one process, and the ratio is the median over rounds of the ratio within a round.
Without workers the clock is the processor time of this process; with workers it is the wall clock,
and workers stay alive between epochs. Before anything is timed, every image of one batch is
augmented by torchvision's functions with our draws, and the largest difference is printed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional

from benchmarks.step import compare
from trainables.core.architectures._normalise import Normalise
from trainables.core.augmentations.random_crop import RandomCrop
from trainables.core.augmentations.random_flip import RandomFlip
from trainables.core.randomness import Stream

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SIDE, PADDING = 32, 4
Pixels = Any  # uint8 [n, h, w, c], as torchvision's CIFAR10 holds them


def pixels(n: int) -> Pixels:
    """Random colour images."""
    shape = (n, SIDE, SIDE, 3)
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8).numpy()


# --- theirs -----------------------------------------------------------------------------------


class Images(Dataset[tuple[Tensor, int]]):
    """Images one by one, each through PIL, as torchvision's own data sets hand them out."""

    def __init__(self, images: Pixels) -> None:
        self.images = images
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(SIDE, padding=PADDING),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, DEVIATION),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[place])), place % 10


def loader(images: Pixels, batch_size: int, workers: int) -> DataLoader[tuple[Tensor, int]]:
    """A loader as a careful user would set it up."""
    return DataLoader(
        Images(images),
        batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(0),
    )


# --- ours -------------------------------------------------------------------------------------


class Batches:
    """Augmented batches of a tensor that is held in memory."""

    def __init__(self, images: Pixels, batch_size: int) -> None:
        self.x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float().div_(255)
        self.y = torch.arange(len(images)) % 10
        self.batch_size = batch_size
        self.crop, self.flip = RandomCrop(padding=PADDING), RandomFlip()
        self.normalise = Normalise(MEAN, DEVIATION, 3)
        self.order = torch.Generator().manual_seed(0)
        self.stream = Stream(0)

    def augmented(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """A batch as the model's first convolution would see it."""
        x, y = self.flip(*self.crop(x, y, self.stream), self.stream)
        return self.normalise(x), y

    def __iter__(self) -> Any:
        for index in torch.randperm(len(self.x), generator=self.order).split(self.batch_size):
            yield self.augmented(self.x.index_select(0, index), self.y.index_select(0, index))


def difference(images: Pixels) -> float:
    """The largest difference to torchvision's functions with the same draws, image by image."""
    ours = Batches(images, len(images))
    found, _ = ours.augmented(ours.x, ours.y)
    stream = Stream(0)
    starts = (stream.uniform(torch.empty(len(images), 2)) * (2 * PADDING + 1)).long().tolist()
    mirrored = (stream.uniform(torch.empty(len(images))) < 0.5).tolist()
    gap = 0.0
    for image, (top, left), mirror, one in zip(images, starts, mirrored, found, strict=True):
        padded = functional.pad(Image.fromarray(image), [PADDING])
        cropped = functional.crop(padded, top, left, SIDE, SIDE)
        turned = functional.hflip(cropped) if mirror else cropped
        expected = functional.normalize(functional.to_tensor(turned), MEAN, DEVIATION)
        gap = max(gap, (one - expected).abs().max().item())
    return gap


# --- measuring --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """Images per second of ours and of a loader, ours / theirs, and its quartiles over rounds."""

    workers: int
    clock: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float


def epoch(batches: Any, images: int, now: Callable[[], float]) -> Callable[[], float]:
    """Seconds of one pass over the images."""

    def timed() -> float:
        began = now()
        seen = sum(len(x) for x, _ in batches)
        ended = now()
        if seen != images:
            raise RuntimeError(f"an epoch had {seen} of {images} images")
        return ended - began

    return timed


def figure(images: Pixels, *, batch_size: int, workers: int, rounds: int) -> Figure:
    """Ours against a loader with this many workers."""
    clock = "wall" if workers else "processor"
    now = time.perf_counter if workers else time.process_time
    n = len(images)
    ours = epoch(Batches(images, batch_size), n, now)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # torchvision draws from the global generator
        theirs = epoch(loader(images, batch_size, workers), n, now)
        # `compare` divides the first side's seconds by the second's: images per second, reversed.
        slow, fast, ratio, low, high = compare(theirs, ours, rounds)
    return Figure(workers, clock, n / fast, n / slow, ratio, low, high)


def text(found: Sequence[Figure], gap: float) -> str:
    """The figures as text."""
    lines = [f"{'loader':<12}{'clock':<12}{'ours':>10}{'theirs':>10}{'ratio':>8}   quartiles"]
    for one in found:
        name = f"{one.workers} workers"
        lines.append(
            f"{name:<12}{one.clock:<12}{one.ours:>10,.0f}{one.theirs:>10,.0f}{one.ratio:>8.1f}"
            f"   {one.low:.1f} to {one.high:.1f}"
        )
    return "\n".join([*lines, f"images per second; the same draws differ by at most {gap:.1e}"])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000, help="images per epoch")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of both sides")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="of the loader")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    asked = parser.parse_args(arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(asked.threads)
    try:
        images = pixels(asked.images)
        gap = difference(images[: asked.batch_size])
        found = [
            figure(images, batch_size=asked.batch_size, workers=workers, rounds=asked.rounds)
            for workers in asked.workers
        ]
    finally:
        torch.set_num_threads(before)
    report = {"difference": gap, "figures": [asdict(one) for one in found]}
    print(json.dumps(report) if asked.json else text(found, gap))


if __name__ == "__main__":
    main()
