"""A runner without Ray and one local Ray for all tests that need the real thing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import study.cluster  # noqa: F401 - before Ray, which reads the environment when it loads

from .drivers import Driver

if TYPE_CHECKING:
    from study.cluster import Cluster

    from .in_process import Runner


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Runs studies in this process, one trial at a time."""
    from .in_process import STORAGE, Runner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(STORAGE, str(tmp_path_factory.mktemp("trainables")))
        yield Runner()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A local Ray of two CPUs, without a trace in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "token"))
        patch.delenv("RAY_ADDRESS", raising=False)
        from study import cluster

        found = cluster.connect("local", cpus=2, gpus=0, dashboard=False)
        try:
            yield found
        finally:
            cluster.disconnect()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """Starts the program in processes of its own; none is left when the test ends."""
    found = Driver(tmp_path / "home")
    try:
        yield found
    finally:
        found.end()


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    """Where a test's study lives."""
    return tmp_path / "tiny"
