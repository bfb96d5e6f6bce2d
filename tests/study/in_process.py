"""A study without Ray: the conductor and a real trial in this process, one trial at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import study.cluster  # noqa: F401 - before Ray, which reads the environment when it loads
from analysis.events import read
from analysis.export import tables
from study.conductor import Conductor, plan
from study.ledger import Ledger
from study.spec import Study, parse
from trainables.trial import Trial as Trial

Tree = dict[str, Any]
# Where Ray makes a folder for every Trainable without storage; by default below the home.
STORAGE = "ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH"

TINY: Tree = {
    "study": "tiny",
    "question": "Does anything help a tiny model?",
    "data": {"name": "Digits", "limit": 150},
    "architecture": {"name": "MLP", "hidden": [16, 16]},
    "training": {
        "epochs": 4,
        "batch_size": 40,
        "optimizer": {"name": "SGD", "lr": {"low": 0.01, "high": 0.3, "log": True}},
    },
    "arms": {"baseline": {}, "gaussian-kl": "gaussian_kl"},
    "weighters": ["Fixed", "CoV"],
    "search": {"sampler": "random", "trials_per_arm": 3},
    "schedule": {"grace_epochs": 1, "reduction_factor": 2},
    "confirm": {"top": 1, "seeds": 2},
    "benchmarks": ["Clean", "gaussian_0.1", {"name": "PGD", "eps": 0.1, "steps": 2}],
    "probe": {"limit": 16},
}
# What a second run of the same study may answer otherwise: clocks and the study's random id.
CLOCKS = {
    "study_id",
    "config_json",
    "created_at",
    "finished_at",
    "gpu_hours",
    "git_dirty",
    "started_at",
    "ended_at",
    "duration_s",
    "train_s",
    "eval_s",
    "wall_s",
    "retries",
    "fallbacks",
}


def tiny(**changes: Any) -> Study:
    """The tiny study with some keys of its file replaced; mappings are merged one level deep."""
    file = copy.deepcopy(TINY)
    for key, value in changes.items():
        merge = key != "arms" and isinstance(value, dict)
        file[key] = file.get(key, {}) | value if merge else value
    return parse(file)


def begin(folder: Path, study: Study) -> Path:
    """Make the folder of a new study, with its first event."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "resolved.json").write_text(json.dumps(study.resolved()), encoding="utf-8")
    first = {"schema_version": 2, "study": study.study, "study_id": study.study_id}
    Ledger.create(folder, first).close()
    return folder


@contextmanager
def opened(folder: Path) -> Iterator[Conductor]:
    """A conductor as a new driver makes it: from the folder alone."""
    plain = json.loads((folder / "resolved.json").read_text(encoding="utf-8"))
    with Ledger.open(folder) as ledger:
        conductor = Conductor(Study.from_resolved(plain), ledger)
        conductor.settle()
        yield conductor


class Runner:
    """Runs studies with one reused trial process: this one."""

    def __init__(self) -> None:
        self.trial: Trial | None = None

    def trial_of(self, config: Tree) -> Trial:
        """The trial that goes through `reset_config`, as Ray reuses actors."""
        if self.trial is None:
            self.trial = Trial(config=config)
        else:
            self.trial.reset_config(config)
        return self.trial

    def run(self, folder: Path, turn: Callable[[], None] = lambda: None) -> None:
        """Open the study in `folder` and run it to its end; `turn` is called before every step."""
        with opened(folder) as conductor:
            if conductor.finished:
                if not any(one["event"] == "finished" for one in conductor.ledger.events):
                    conductor.ledger.append("finished", failed=0)
                return
            segment = sum(one["event"] == "segment" for one in conductor.ledger.events)
            conductor.ledger.append("segment", segment=segment, command="run")
            while (one := conductor.next()) is not None:
                turn()
                conductor.started(one.number)
                trial = self.trial_of({"plan": plan(conductor, one, str(folder), "")})
                self.finish(conductor, one.number, trial, turn)
            assert conductor.finished
            conductor.ledger.append("finished", failed=0)

    def finish(
        self, conductor: Conductor, number: int, trial: Trial, turn: Callable[[], None]
    ) -> None:
        """Step the trial until it has ended."""
        goes_on = True
        while goes_on:
            turn()
            result = trial.step()
            if "failure" in result:
                failure = json.loads(result["failure"])
                conductor.failed(number, failure["type"], failure["traceback"])
                return
            goes_on = all(conductor.report(number, one) for one in json.loads(result["reports"]))


def comparable(folder: Path) -> dict[str, list[Tree]]:
    """The study's six tables as rows without clocks; floats as texts, so that NaN equals itself."""
    found: dict[str, list[Tree]] = {}
    for name, table in tables(folder).items():
        rows = table.to_pylist()
        if name == "reports":
            rows = [row for row in rows if row["metric"] not in ("train_s", "eval_s")]
        found[name] = [
            {
                # The study's id is random, the number behind it is not.
                key: value.split("-")[-1] if key == "trial_id" else _plain(value)
                for key, value in row.items()
                if key not in CLOCKS
            }
            for row in rows
        ]
    return found


def search(folder: Path) -> dict[tuple[str, str, int], Tree]:
    """The parameters of the search by arm, weighter and place within them."""
    return {
        (one["arm"], one["weighter"], one["place"]): one["params"]
        for one in read(folder)
        if one["event"] == "planned" and one["phase"] == "search"
    }


def curves(folder: Path) -> dict[tuple[str, str, str, int], dict[int, Tree]]:
    """What each configuration and seed reported by epoch, without the time that it took."""
    keys: dict[int, Any] = {}
    found: dict[Any, dict[int, Tree]] = {}
    for one in read(folder):
        if one["event"] == "planned":
            keys[one["trial"]] = (one["arm"], one["weighter"], one["group"], one["seed"])
            found[keys[one["trial"]]] = {}
        elif one["event"] == "report":
            own = found[keys[one["trial"]]]
            assert one["epoch"] == len(own) + 1, "lost, twice or out of order"
            rows = [row | {"duration_s": 0.0} for row in one["evaluations"]]
            own[one["epoch"]] = {
                "metrics": one["metrics"],
                "weights": one["weights"],
                "evaluations": rows,
            }
    return found


def assert_equal_as_far_as_both_went(one: Path, other: Path) -> None:
    """Which trials are stopped depends on who arrives first; what a trial reports does not."""
    mine, others = curves(one), curves(other)
    common = set(mine) & set(others)
    # All of the search; the winners may differ.
    assert len(common) >= len(search(one))
    for key in common:
        for epoch in set(mine[key]) & set(others[key]):
            assert mine[key][epoch] == others[key][epoch], (key, epoch)


def checkpoints(folder: Path) -> dict[str, Tree]:
    """Every checkpoint of a study: its tensors as bytes, the epochs done, the reports' metrics."""
    found = {}
    for path in sorted(folder.glob("trials/*/*.pt")):
        state = torch.load(path, weights_only=True)
        found[str(path.relative_to(folder))] = {
            "done": state["done"],
            "recipe": state["recipe"],
            "metrics": [one["metrics"] for one in json.loads(state["reports"])],
            "tensors": _tensors(state),
        }
    return found


def _tensors(found: Any, path: str = "") -> dict[str, bytes]:
    if isinstance(found, torch.Tensor):
        return {path: found.contiguous().numpy().tobytes()}
    if isinstance(found, dict):
        inner = [_tensors(value, f"{path}/{key}") for key, value in found.items()]
    elif isinstance(found, list):
        inner = [_tensors(value, f"{path}/{place}") for place, value in enumerate(found)]
    else:
        inner = []
    return {key: value for one in inner for key, value in one.items()}


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, float) else value
