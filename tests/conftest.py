"""What all tests share; torch is imported only by the tests that ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds the packages."""
    return Path(__file__).parent.parent


@pytest.fixture
def mnist_root() -> Path:
    """The data root if MNIST lies in it; the test is skipped where it does not."""
    from trainables.core.data._source import data_root

    root = data_root()
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip(f"needs MNIST below {root}; set STUDY_DATA to a data root")
    return root
