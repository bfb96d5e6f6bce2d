"""A second process for tests that compare two processes with one, in double precision.

It does what the test's own process does; the two meet in torch.distributed and nowhere else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from trainables.core.batch import Batch
from trainables.core.objective import Step
from trainables.core.parallel import Team
from trainables.core.randomness import Stream, seeded
from trainables.core.training import Training

ROOT = Path(__file__).parents[2]


def steps(case: Mapping[str, Any], team: Team) -> tuple[Training, Step]:
    """`case["steps"]` steps on batches of `case["rows"]` examples; the last one's `.grad` stays."""
    training = Training(case["recipe"], root=case["root"], team=team)
    training.model.double().train()
    training.objective.double().train()
    draws, step = Stream(1), None
    team.begin(1)
    with seeded(2, torch.device("cpu")):
        for index in torch.arange(case["steps"] * case["rows"]).split(case["rows"]):
            (batch,) = team.batches(training.parts.train, [index], device=training.device, seed=3)
            y = batch.y.double() if batch.y.is_floating_point() else batch.y
            step = training._step(Batch(batch.x.double(), y), draws)
    assert step is not None
    team.agree([*training.model.parameters(), *training.model.buffers(), *training.stepped])
    return training, step


@contextmanager
def second(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The second process, connected; it hears of cases as lines."""
    program = [sys.executable, "-m", "tests.core.pair", str(folder / "store")]
    with subprocess.Popen(program, stdin=subprocess.PIPE, cwd=ROOT, text=True) as process:
        try:
            connect(folder / "store", 0)
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)
            distributed.destroy_process_group()


def connect(store: Path, rank: int) -> None:
    """Meet the other process on the loopback interface."""
    distributed.init_process_group(
        "gloo",
        init_method=store.as_uri(),
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    connect(Path(sys.argv[1]), 1)
    for line in sys.stdin:
        steps(json.loads(line), Team(1, 2))
