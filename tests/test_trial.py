from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainables.core.recipe import resolve
from trainables.core.training import Training

from .study.in_process import STORAGE, Trial, checkpoints

Tree = dict[str, Any]

RECIPE: Tree = {
    "seed": 5,
    "data": {"name": "Digits", "limit": 150},
    "architecture": {"name": "MLP", "hidden": [16, 16]},
    "training": {"epochs": 4, "batch_size": 40, "optimizer": {"name": "SGD", "lr": 0.1}},
}
OTHER: Tree = RECIPE | {
    "seed": 6,
    "architecture": {"name": "MLP", "hidden": [24], "dropout": 0.5},
    "training": {"epochs": 3, "optimizer": {"name": "Adam", "lr": 0.01}},
    "views": {
        "noisy": {"name": "GaussianNoise", "sigma": 0.2},
        "adv": {"name": "PGD", "eps": 0.1, "steps": 2},
    },
    "losses": {
        "kl": {"name": "Consistency", "target": "clean", "view": "noisy"},
        "adv": {"name": "CrossEntropy", "view": "adv"},
    },
    "weighter": "CoV",
}


@pytest.fixture(scope="module", autouse=True)
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(STORAGE, str(tmp_path_factory.mktemp("trainables")))
        yield


def config(folder: Path, recipe: Tree = RECIPE, **changes: Any) -> Tree:
    planned = {
        "number": 3,
        "name": "0003 baseline × Fixed seed 5",
        "folder": str(folder),
        "recipe": resolve(recipe),
        "data_root": "",
        "cpus": 1,
        "gpus": 0,
        "reported": 0,
        "benchmarks": ["Clean", "gaussian_0.1"],
        "probe_benchmarks": ["Clean", "gaussian_0.1"],
        "probe_at": [1, 3],
        "probe_limit": 16,
        "test_limit": 0,
        "test": False,
        "metric": "validation/accuracy",
        "mode": "max",
        "eval_seed": 0,
    }
    return {"plan": json.dumps(planned | changes)}


def reports(trial: Trial, count: int) -> list[Tree]:
    found = []
    for _ in range(count):
        result = trial.step()
        assert "failure" not in result, result
        found.append(json.loads(result["report"]))
    return found


def timeless(found: list[Tree]) -> list[Tree]:
    """Reports without the seconds in them."""
    found = copy.deepcopy(found)
    for one in found:
        del one["train_s"], one["eval_s"]
        for row in one["evaluations"]:
            del row["duration_s"]
    return found


def failure(trial: Trial) -> Tree:
    result = trial.step()
    assert set(result) == {"failure"}
    found: Tree = json.loads(result["failure"])
    return found


def test_a_step_is_an_epoch_and_its_result_is_flat(tmp_path: Path) -> None:
    result = Trial(config(tmp_path)).step()
    report = json.loads(result["report"])
    assert result["epoch"] == report["epoch"] == 1
    assert {key: value for key, value in result.items() if key in report["metrics"]} == report[
        "metrics"
    ]
    assert set(report["metrics"]) == {
        "train/loss",
        "train/weighted_loss",
        "train/extra_backwards",
        "train/extra_forwards",
        "validation/accuracy",
        "validation/loss",
        "validation/gaussian_0.1/accuracy",
        "validation/gaussian_0.1/loss",
    }
    assert report["weights"]["main"]["weight"] == 1.0
    assert report["summary"] == {
        "num_params": (64 + 1) * 16 + (16 + 1) * 16 + (16 + 1) * 10,
        "peak_mem_bytes": None,
    }
    assert report["train_s"] > 0
    assert report["eval_s"] > 0


def test_benchmarks_run_at_the_rungs_and_on_the_test_part_at_the_end_only(tmp_path: Path) -> None:
    found = reports(Trial(config(tmp_path, test=True)), 4)
    rows = [
        sorted({(row["split"], row["name"], row["n_examples"]) for row in one["evaluations"]})
        for one in found
    ]
    probe = [("validation", "clean", 16), ("validation", "gaussian_0.1", 16)]
    assert rows == [probe, [], probe, [("test", "clean", 449), ("test", "gaussian_0.1", 449)]]
    # What is measured on test data is no metric: nothing may be chosen by it.
    assert not [name for one in found for name in one["metrics"] if "test" in name]
    assert "validation/gaussian_0.1/accuracy" not in found[1]["metrics"]


def test_a_search_never_sees_the_test_part(tmp_path: Path) -> None:
    found = reports(Trial(config(tmp_path, probe_at=[1, 4])), 4)
    assert {row["split"] for one in found for row in one["evaluations"]} == {"validation"}


@pytest.mark.parametrize("recipe", [RECIPE, OTHER], ids=["plain", "everything"])
@pytest.mark.parametrize("known", [0, 1, 2])
def test_what_the_ledger_lacks_is_sent_again_and_then_training_goes_on(
    recipe: Tree, known: int, tmp_path: Path
) -> None:
    whole = reports(Trial(config(tmp_path / "whole", recipe)), 3)
    first = reports(Trial(config(tmp_path / "cut", recipe)), 2)
    again = reports(Trial(config(tmp_path / "cut", recipe, reported=known)), 3 - known)
    # The very same reports, with the seconds that they took then, and no second training.
    assert again[: 2 - known] == first[known:]
    assert timeless(first[:known] + again) == timeless(whole)
    cut, uncut = checkpoints(tmp_path / "cut"), checkpoints(tmp_path / "whole")
    assert cut == uncut
    assert set(cut) == {"trials/0003/last.pt", "trials/0003/best.pt"}


def test_a_worker_lost_in_the_test_evaluation_trains_no_epoch_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reports(Trial(config(tmp_path / "whole", test=True)), 4)
    evaluate, epoch = Training.evaluate, Training.epoch

    def killed(self: Training, *given: Any, **options: Any) -> Any:
        if options["part"] == "test":
            raise KeyboardInterrupt
        return evaluate(self, *given, **options)

    def trained(self: Training) -> Any:
        raise AssertionError("the epochs were all saved")

    monkeypatch.setattr(Training, "evaluate", killed)
    first = Trial(config(tmp_path / "lost", test=True))
    found = reports(first, 3)
    with pytest.raises(KeyboardInterrupt):
        first.step()
    monkeypatch.setattr(Training, "evaluate", evaluate)
    monkeypatch.setattr(Training, "epoch", trained)
    found += reports(Trial(config(tmp_path / "lost", test=True, reported=3)), 1)
    monkeypatch.setattr(Training, "epoch", epoch)
    assert timeless(found) == timeless(whole)
    assert {row["split"] for row in found[3]["evaluations"]} == {"test"}


def test_epochs_whose_checkpoint_is_lost_are_trained_again(tmp_path: Path) -> None:
    whole = reports(Trial(config(tmp_path / "whole")), 4)
    (found,) = reports(Trial(config(tmp_path / "lost", reported=3)), 1)
    assert timeless([found]) == timeless(whole[3:])


def test_a_reused_process_leaves_no_trace_in_the_next_trial(tmp_path: Path) -> None:
    fresh = reports(Trial(config(tmp_path / "fresh")), 4)
    reused = Trial(config(tmp_path / "other", OTHER))
    reports(reused, 2)
    assert reused.reset_config(config(tmp_path / "reused")) is True
    assert timeless(reports(reused, 4)) == timeless(fresh)
    assert checkpoints(tmp_path / "reused") == checkpoints(tmp_path / "fresh")
    # And back: the interrupted one goes on as in a process of its own.
    reports(Trial(config(tmp_path / "alone", OTHER)), 3)
    reused.reset_config(config(tmp_path / "other", OTHER, reported=2))
    reports(reused, 1)
    assert checkpoints(tmp_path / "other") == checkpoints(tmp_path / "alone")


def test_errors_while_a_trial_is_made_are_results_and_the_process_lives_on(tmp_path: Path) -> None:
    missing = RECIPE | {"data": {"name": "UCR", "dataset": "ECG200"}}
    trial = Trial(config(tmp_path, missing, data_root=str(tmp_path / "nowhere")))
    found = failure(trial)
    assert found["type"] == "MissingDataError"
    assert "nowhere" in found["text"]
    assert found["traceback"].startswith("Traceback")
    assert failure(trial) == found
    trial.reset_config(config(tmp_path / "sound"))
    assert reports(trial, 1)[0]["epoch"] == 1


def test_errors_in_a_step_are_results(tmp_path: Path) -> None:
    trial = Trial(config(tmp_path, probe_benchmarks=["nonsense"], probe_at=[2]))
    reports(trial, 1)
    found = failure(trial)
    assert found["type"] == "SettingError"
    assert "'nonsense'" in found["text"]
    # Not done: the trial has not reported that epoch and no checkpoint says otherwise.
    assert checkpoints(tmp_path)["trials/0003/last.pt"]["done"] == 1


def test_settings_that_do_not_fit_the_data_are_results(tmp_path: Path) -> None:
    small = RECIPE | {"data": {"name": "Digits", "limit": 3}}
    found = failure(Trial(config(tmp_path, small)))
    assert found["type"] == "SettingError"
    assert "limit=3" in found["text"]


def test_a_checkpoint_of_another_recipe_is_not_taken_over(tmp_path: Path) -> None:
    reports(Trial(config(tmp_path)), 1)
    found = failure(Trial(config(tmp_path, RECIPE | {"seed": 6})))
    assert found["type"] == "SettingError"
    assert "another recipe" in found["text"]


def test_rays_own_checkpoints_hold_everything(tmp_path: Path) -> None:
    whole = reports(Trial(config(tmp_path / "whole", OTHER)), 3)
    first = Trial(config(tmp_path / "first", OTHER))
    reports(first, 2)
    (tmp_path / "ray").mkdir()
    first.save_checkpoint(str(tmp_path / "ray"))
    second = Trial(config(tmp_path / "second", OTHER))
    second.load_checkpoint(str(tmp_path / "ray"))
    assert timeless(reports(second, 1)) == timeless(whole[2:])
    name = "trials/0003/last.pt"
    assert checkpoints(tmp_path / "second")[name] == checkpoints(tmp_path / "whole")[name]


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("validation/accuracy", "max"),
        ("validation/accuracy", "min"),
        ("validation/loss", "min"),
        ("validation/loss", "max"),
        ("validation/gaussian_0.1/loss", "max"),
    ],
)
def test_the_best_checkpoint_is_the_best_by_the_studys_metric(
    metric: str, mode: str, tmp_path: Path
) -> None:
    trial = Trial(config(tmp_path, metric=metric, mode=mode))
    found = reports(trial, 4)
    known = [one["metrics"].get(metric) for one in found]
    extreme = (max if mode == "max" else min)(one for one in known if one is not None)
    # The later of equal ones.
    expected = max(place for place, one in enumerate(known, start=1) if one == extreme)
    kept = checkpoints(tmp_path)
    assert kept["trials/0003/best.pt"]["done"] == expected
    assert kept["trials/0003/last.pt"]["done"] == 4
    names = sorted(path.name for path in (tmp_path / "trials" / "0003").iterdir())
    assert names == ["best.pt", "last.pt"]


def test_without_the_metric_there_is_no_best_checkpoint(tmp_path: Path) -> None:
    reports(Trial(config(tmp_path, metric="validation/gaussian_0.1/accuracy", probe_at=[])), 1)
    assert set(checkpoints(tmp_path)) == {"trials/0003/last.pt"}


def test_a_kill_between_the_two_checkpoints_is_made_good(tmp_path: Path) -> None:
    reports(Trial(config(tmp_path)), 1)
    before = checkpoints(tmp_path)
    (tmp_path / "trials" / "0003" / "best.pt").unlink()
    Trial(config(tmp_path, reported=1))
    assert checkpoints(tmp_path) == before


def test_a_diverged_trial_says_so_and_is_not_evaluated(tmp_path: Path) -> None:
    training = RECIPE["training"] | {"optimizer": {"name": "SGD", "lr": 1e6}}
    trial = Trial(config(tmp_path, RECIPE | {"training": training}, probe_at=[1, 2, 3, 4]))
    for _ in range(4):
        (found,) = reports(trial, 1)
        if not all(map(math.isfinite, found["metrics"].values())):
            break
    assert not all(map(math.isfinite, found["metrics"].values()))
    assert found["evaluations"] == []


def test_a_trials_process_is_called_by_the_trial_that_it_began_with(tmp_path: Path) -> None:
    assert "0003 baseline × Fixed seed 5" in repr(Trial(config(tmp_path)))
