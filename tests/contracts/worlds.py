"""A small data root in the original layouts: series with classes, with a target, and with boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .toys import seeded

CLASSES = 3
STEPS = 40
# Inputs by what they are; a component that refuses one must take another.
DATA: dict[str, dict[str, Any]] = {
    "images": {"name": "Digits", "limit": 60},
    "series": {"name": "UCR", "dataset": "Waves"},
    "regression": {"name": "TSER", "dataset": "Slopes"},
    "detection": {"name": "COCO", "size": 64, "in_memory": True},
}
# An architecture for each, small and with dropout where it has some.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "images": {"name": "MLP", "hidden": [16, 16]},
    "series": {"name": "MLP", "hidden": [16, 16]},
    "regression": {"name": "MLP", "hidden": [16, 16]},
    "detection": {"name": "SSDLite320MobileNetV3"},
}
# What a loss's usual view is made by, where noise will not do.
MAKERS: dict[str, dict[str, Any]] = {
    "rotated": {"name": "Rotate90"},
    "masked": {"name": "MaskValues"},
    "auxiliary": {"name": "OtherData", "batch_size": 8},
}


def write(root: Path) -> None:
    """Write the sets below `root`."""
    x, kinds = _waves(48)
    for part, rows in (("TRAIN", slice(0, 36)), ("TEST", slice(36, 48))):
        _write(
            root / "ucr/Waves" / f"Waves_{part}.tsv",
            [
                f"{kind}\t" + "\t".join(f"{v:.5f}" for v in row)
                for row, kind in zip(x[rows], kinds[rows], strict=True)
            ],
        )
        slopes = x[rows].mean(1)
        _write(
            root / "tser/Slopes" / f"Slopes_{part}.ts",
            [
                "@problemName Slopes",
                "@timestamps false",
                "@missing false",
                "@univariate true",
                "@equalLength true",
                f"@seriesLength {STEPS}",
                "@targetlabel true",
                "@data",
                *(
                    ",".join(f"{v:.5f}" for v in row) + f":{10 + 5 * slope:.4f}"
                    for row, slope in zip(x[rows], slopes, strict=True)
                ),
            ],
        )
    _pictures(root / "coco")


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _waves(n: int) -> tuple[Tensor, list[int]]:
    """Sines of three frequencies with noise and a random offset."""
    generator = seeded(3)
    kinds = [i % CLASSES for i in range(n)]
    time = torch.linspace(0, 2 * torch.pi, STEPS)
    phase = torch.rand(n, 1, generator=generator) * 2
    offset = torch.randn(n, 1, generator=generator)
    noise = 0.1 * torch.randn(n, STEPS, generator=generator)
    frequency = torch.tensor(kinds).unsqueeze(1) + 1
    return torch.sin(frequency * time + phase) + offset + noise, kinds


def _pictures(root: Path) -> None:
    """Bright rectangles on noise, of two classes by their colour, in images of unequal size."""
    noise = np.random.Generator(np.random.PCG64(5))
    for split, numbers in (("train", range(6)), ("val", range(6, 9))):
        images, found = [], []
        folder = root / f"{split}2017"
        folder.mkdir(parents=True)
        for number in numbers:
            height, width = 48 + 4 * (number % 3), 64 - 6 * (number % 2)
            pixels = noise.integers(0, 60, (height, width, 3), dtype=np.uint8)
            for box in range(1 + number % 2):
                left, top, side, kind = 4 + 26 * box, 5 + 3 * number % 11, 20, (number + box) % 2
                pixels[top : top + side, left : left + side, kind] = 230
                found.append(
                    {
                        "id": len(found) + 100 * number,
                        "image_id": number,
                        "category_id": kind + 1,
                        "bbox": [left, top, side, side],
                        "area": side * side,
                        "iscrowd": 0,
                    }
                )
            name = f"{number:06d}.png"
            Image.fromarray(pixels).save(folder / name)
            images.append({"id": number, "file_name": name, "height": height, "width": width})
        plain = {
            "images": images,
            "annotations": found,
            "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}],
        }
        path = root / "annotations" / f"instances_{split}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(plain), encoding="utf-8")
