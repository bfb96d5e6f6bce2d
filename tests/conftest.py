"""What all tests share; torch is imported only by the tests that ask for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors on a shared machine are quickest on one thread, and sums have one order."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def mnist_root() -> Path:
    """The data root if MNIST lies in it; the test is skipped where it does not."""
    from trainables.core.data._source import data_root

    root = data_root()
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip(f"needs MNIST below {root}; set STUDY_DATA to a data root")
    return root


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with small sets of every task, written in the original layouts."""
    from .contracts import worlds

    root = tmp_path_factory.mktemp("data")
    worlds.write(root)
    return root
