"""Random numbers that come from seeds only: derived seeds and the streams that views draw from.

Nothing here reads or changes torch's global generator. Seeds are derived by SHA-256 from the
trial's seed and the purpose, so that adding a purpose never changes the numbers of another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor


def derive(seed: int, *purpose: str | int) -> int:
    """A seed of 63 bits for one purpose of a trial, the same on every machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Draws(Protocol):
    """What a view draws random numbers from; rows of a batch come first in every shape."""

    def normal(self, like: Tensor, *, extra: int = 0) -> Tensor:
        """Standard normal numbers, shaped as `like`, or flat [b, n + extra] where extra > 0."""

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers from U[0, 1), shaped as `like`."""

    def rows(self, index: Tensor) -> Draws:
        """What the examples at `index` (int64 [m]) of the batch go on drawing from."""


class Stream:
    """One generator on the device for whole batches: fast, and enough for training."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(self, like: Tensor, *, extra: int = 0) -> Tensor:
        shape = (len(like), like[0].numel() + extra) if extra else like.shape
        return torch.randn(
            shape, generator=self.generator, dtype=like.dtype, device=self.generator.device
        )

    def uniform(self, like: Tensor) -> Tensor:
        return torch.rand(
            like.shape, generator=self.generator, dtype=like.dtype, device=self.generator.device
        )

    def rows(self, index: Tensor) -> Stream:
        return self


class ExampleStreams:
    """A private generator for every example, so that a batch split never changes a result.

    `index` [b] are the numbers of the examples in their data set. For evaluation: numbers are
    drawn on the CPU, so that they are the same on every device.
    """

    def __init__(self, seed: int, index: Tensor) -> None:
        self.generators = [
            torch.Generator().manual_seed(derive(seed, "example", one)) for one in index.tolist()
        ]

    def rows(self, index: Tensor) -> ExampleStreams:
        found = ExampleStreams.__new__(ExampleStreams)
        # The same generators: whoever draws from the rows goes on where the batch had come to.
        found.generators = [self.generators[one] for one in index.tolist()]
        return found

    def normal(self, like: Tensor, *, extra: int = 0) -> Tensor:
        shape = (like[0].numel() + extra,) if extra else like.shape[1:]
        rows = [torch.randn(shape, generator=one, dtype=like.dtype) for one in self.generators]
        return torch.stack(rows).to(like.device)

    def uniform(self, like: Tensor) -> Tensor:
        rows = [
            torch.rand(like.shape[1:], generator=one, dtype=like.dtype) for one in self.generators
        ]
        return torch.stack(rows).to(like.device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's global generators seeded within the block and afterwards as they were.

    Initialisation, dropout and detectors draw from the global generators and accept no other. Only
    those of the CPU and of `device` are touched; torch.manual_seed would change all devices'.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
