"""The further processes of a trial: what they train, and what happens when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from trainables.core.errors import SettingError
from trainables.core.parallel import ProcessLost
from trainables.core.training import Training
from trainables.ranks import ParallelTraining, Ranks, _raised, begin, places

from .study.in_process import STORAGE, Trial
from .test_trial import config

ROOT = Path(__file__).parents[1]
# 160 examples in batches of 36: the last one has 16, and the policies change within the epoch.
# Little enough for float32 not to magnify the last digit, which differs.
SLOW = {"name": "SGD", "lr": 0.01}
RECIPE: dict[str, Any] = {
    "data": {"name": "Digits", "limit": 200},
    "architecture": {"name": "WideResNet", "depth": 10, "widen": 1, "dropout": 0.1},
    "training": {"epochs": 3, "batch_size": 36, "clip_norm": 1.0, "optimizer": SLOW},
    "views": {
        "policies": {"name": "UniformPolicies", "policies": 2, "update_every": 3},
        "noisy": {"name": "GaussianNoise", "sigma": 0.3, "of": "policies"},
    },
    "losses": {
        "main": {"name": "CrossEntropy", "view": "policies"},
        "kl": {"name": "Consistency", "target": "policies", "view": "noisy"},
    },
    "weighter": "GradientSimilarity",
}


def close(got: Training, wanted: Training) -> None:
    """The same weights and statistics, up to rounding."""
    assert got.done == wanted.done
    torch.testing.assert_close(
        got.model.state_dict(), wanted.model.state_dict(), rtol=1e-5, atol=1e-5
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, list[Any], Path]:
    """Two epochs by one process, its reports, and its checkpoint after the first epoch."""
    training = Training(RECIPE)
    path = tmp_path_factory.mktemp("alone") / "last.pt"
    reports = [training.epoch()]
    training.save(path)
    reports.append(training.epoch())
    return training, reports, path


@pytest.fixture(scope="module")
def ranks(alone: object) -> Iterator[Ranks]:
    """Two processes, started once; after what one process does, whose group this is not."""
    with Ranks(2) as found:
        yield found


def test_epochs_are_those_of_one_process(
    ranks: Ranks, alone: tuple[Training, list[Any], Path]
) -> None:
    expected, reports, _ = alone
    training = ranks.begin(RECIPE)
    for wanted in reports:
        got = training.epoch()
        assert got.metrics == pytest.approx(wanted.metrics, abs=1e-4)
        assert got.weights["kl"] == pytest.approx(wanted.weights["kl"], abs=1e-4)
        assert [row["operations"] for row in got.records] == [
            row["operations"] for row in wanted.records
        ]
    close(training, expected)


def test_a_checkpoint_moves_between_one_process_and_two(
    ranks: Ranks, alone: tuple[Training, list[Any], Path], tmp_path: Path
) -> None:
    expected, _, path = alone
    training = ranks.begin(RECIPE)
    training.load(path)
    training.epoch()
    close(training, expected)
    # Back to an earlier epoch, which the other process has to hear of, too.
    training.load(path)
    training.save(tmp_path / "last.pt")
    training.epoch()
    close(training, expected)


def test_a_checkpoint_of_two_processes_is_one_for_one(
    ranks: Ranks, alone: tuple[Training, list[Any], Path], tmp_path: Path
) -> None:
    expected, _, _ = alone
    training = ranks.begin(RECIPE)
    training.epoch()
    training.save(tmp_path / "last.pt")
    single = Training(RECIPE | {"views": {}, "losses": {}, "weighter": "Fixed"})
    with pytest.raises(SettingError, match="another recipe"):
        single.load(tmp_path / "last.pt")
    single = Training(RECIPE)
    single.load(tmp_path / "last.pt")
    # What stands for one process must not ask the other.
    with patch("trainables.core.augmentations._policies._parallel", lambda: False):
        single.epoch()
    close(single, expected)


def test_the_same_twice_is_the_same_bit_for_bit(ranks: Ranks) -> None:
    states = []
    for _ in range(2):
        training = ranks.begin(RECIPE)
        training.epoch()
        states.append(training.model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# --- what goes wrong; these come last, because they end the processes ----------------------------


def test_a_killed_process_is_lost_within_seconds(ranks: Ranks) -> None:
    training = ranks.begin(RECIPE)
    training.epoch()
    step = training._step

    def killing(*given: Any) -> Any:
        # In the middle of an epoch, when the other waits for this one.
        os.kill(ranks.others[0].process.pid, signal.SIGKILL)
        return step(*given)

    began = time.monotonic()
    with (
        patch.object(training, "_step", killing),
        pytest.raises(ProcessLost, match="process 1 of the trial was ended by signal 9"),
    ):
        training.epoch()
    assert time.monotonic() - began < 10
    with pytest.raises(ProcessLost, match="have been ended"):
        training.epoch()
    assert not torch.distributed.is_initialized()


def test_an_error_of_another_process_is_told(ranks: Ranks) -> None:
    ranks.close()
    with Ranks(2) as again:
        training = again.begin(RECIPE)
        # An order that only the other process does not understand.
        with (
            pytest.raises(RuntimeError, match="process 1 of the trial: KeyError: 'share'") as found,
            again.together({"do": "epoch"}),
        ):
            training.share()
        assert not isinstance(found.value, ProcessLost)
        assert "Traceback" in str(found.value)


def test_a_trial_of_two_processes(
    ranks: Ranks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STORAGE, str(tmp_path))
    ranks.close()
    recipe = RECIPE | {"architecture": {"name": "MLP", "hidden": [8]}}
    single = Trial(config(tmp_path / "one", recipe))
    wanted = [json.loads(single.train()["reports"])[0]["metrics"] for _ in range(2)]
    trial = Trial(config(tmp_path / "two", recipe, processes=2, cpus=2))
    try:
        found = json.loads(trial.train()["reports"])[0]["metrics"]
        assert found["validation/loss"] == pytest.approx(wanted[0]["validation/loss"], abs=1e-5)
        other = process_of(trial)
        # A trial that has none of its own ends those of the one before.
        trial.reset_config(config(tmp_path / "one", recipe, reported=1))
        assert other.poll() is not None
        found = json.loads(trial.train()["reports"])[0]["metrics"]
        assert found["validation/loss"] == wanted[1]["validation/loss"]
        trial.reset_config(config(tmp_path / "three", recipe, processes=2, cpus=2))
        trial.train()
        process_of(trial).kill()
        # No result that says so: Ray has to start the trial again.
        with pytest.raises(ProcessLost):
            trial.step()
    finally:
        trial.stop()
        single.stop()


def process_of(trial: Trial) -> subprocess.Popen[str]:
    assert isinstance(trial.training, ParallelTraining)
    return trial.training.ranks.others[0].process


def test_what_others_report_keeps_its_kind() -> None:
    said = {"type": "OutOfMemoryError", "text": "CUDA out of memory", "traceback": ""}
    assert isinstance(_raised(1, said), torch.OutOfMemoryError)
    assert not isinstance(_raised(1, said | {"type": "ValueError"}), torch.OutOfMemoryError)


def test_others_end_when_the_first_process_is_killed() -> None:
    program = (
        "import sys, time\n"
        "from trainables.ranks import Ranks\n"
        "ranks = Ranks(2)\n"
        "print(ranks.others[0].process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as first:
        assert first.stdout is not None
        other = int(first.stdout.readline())
        os.kill(other, 0)
        first.kill()
        until = time.monotonic() + 10
        while _alive(other) and time.monotonic() < until:
            time.sleep(0.05)
        assert not _alive(other)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("processes", [0, 1, 1.5])
def test_there_are_at_least_two(processes: float) -> None:
    with pytest.raises(SettingError, match="processes must be"):
        Ranks(processes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("processes", "gpus", "count", "devices", "backend"),
    [
        (2, 0, 0, ["cpu", "cpu"], "gloo"),
        (2, 2, 2, ["cuda:0", "cuda:1"], "nccl"),
        (2, 0.5, 1, ["cuda:0", "cuda:0"], "gloo"),
        (4, 2, 2, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"], "gloo"),
    ],
)
def test_every_process_has_its_device(
    processes: int,
    gpus: float,
    count: int,
    devices: list[str],
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert places(processes, gpus) == (devices, backend)


def test_gpus_that_are_not_there_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SettingError, match=r"resources.gpu must be 0 .* found 0.25"):
        places(2, 0.25)
    with pytest.raises(SettingError, match="study check"):
        begin({}, root="", processes=1, cpus=1, gpus=1)
