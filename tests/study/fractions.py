"""Six trials that ask for a quarter of a GPU, on a Ray with one declared GPU; tells who had what.

`python -m tests.study.fractions`. Ray does not look whether a declared GPU is there, so its
bookkeeping can be watched anywhere. The trials ask as trials of a study do and train nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from study import cluster  # isort: skip

import ray
from ray import tune

from trainables.trial import Trial

QUARTER = {"cpus": 0.25, "gpus": 0.25}


class Placed(Trial):
    """Asks for what its plan says, and tells what it got."""

    def step(self) -> dict[str, Any]:
        began = time.time()
        time.sleep(1.0)
        return {
            "done": True,
            "began": began,
            "ended": time.time(),
            "gpus": json.dumps(ray.get_gpu_ids()),
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }


def main(folder: Path) -> None:
    """Print what each trial had as one JSON list."""
    cluster.connect("local", cpus=2, gpus=1, dashboard=False, say=lambda text: None)
    plans = [json.dumps({"number": i, "name": str(i), "reported": 0} | QUARTER) for i in range(6)]
    found = tune.Tuner(
        Placed,
        param_space={"plan": tune.grid_search(plans)},
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    ).fit()
    keys = ("began", "ended", "gpus", "visible")
    print(json.dumps([{key: one.metrics[key] for key in keys} for one in found]))
    cluster.disconnect()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
