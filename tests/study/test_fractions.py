"""Parts of a GPU: what a trial's resources become in Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.trial import Trial


def test_a_trial_asks_for_its_parts_of_devices() -> None:
    plan = json.dumps({"cpus": 0.5, "gpus": 0.25, "memory": 2**30})
    asked = Trial.default_resource_request({"plan": plan})
    assert asked.bundles == [{"CPU": 0.5, "GPU": 0.25, "memory": 2**30}]


@pytest.mark.slow
def test_four_trials_share_a_declared_gpu_and_the_fifth_waits(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.study.fractions", str(tmp_path / "ray")],
        env=os.environ | home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    trials = json.loads(done.stdout.splitlines()[-1])
    assert len(trials) == 6
    assert {(one["gpus"], one["visible"]) for one in trials} == {("[0]", "0")}
    at_once = [
        sum(one["began"] <= other["began"] < one["ended"] for one in trials) for other in trials
    ]
    assert max(at_once) <= 4
    assert max(at_once) >= 2  # they do share it
