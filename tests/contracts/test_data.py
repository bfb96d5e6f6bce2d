"""The embedded data set keeps the contract of a source; core/test_data.py has the others."""

from __future__ import annotations

from pathlib import Path

import torch

from trainables.core import catalog


def test_digits_load_without_a_root() -> None:
    found = catalog.build("data", {"name": "Digits"}).load(Path("no-such-folder"))
    assert (len(found.train), len(found.test)) == (1348, 449)
    for part in (found.train, found.test):
        assert part.x.dtype == torch.float32
        assert part.x.shape[1:] == (1, 8, 8)
        assert part.y.dtype == torch.int64
        assert set(part.y.tolist()) == set(range(len(found.classes)))
        assert found.box == (float(part.x.min()), float(part.x.max())) == (0.0, 1.0)
