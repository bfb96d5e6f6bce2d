from __future__ import annotations

import copy
import errno
import io
import json
import math
import os
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.core import intact
from trainables.core.recipe import resolve
from trainables.core.training import Training
from trainables.storage import Storage, StorageError

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
        found += json.loads(result["reports"])
    return found


def timeless(found: list[Tree]) -> list[Tree]:
    """Reports without the seconds in them."""
    found = copy.deepcopy(found)
    for one in found:
        del one["train_s"], one["eval_s"]
        for row in one["evaluations"]:
            del row["duration_s"]
    return found


def test_short_epochs_are_reported_together_up_to_one_that_is_decided_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.trial.AHEAD_S", 1000.0)
    one_by_one = reports(Trial(config(tmp_path / "a", probe_at=[])), 4)
    trial = Trial(config(tmp_path / "b", probe_at=[], decided_at=[3, 4]))
    first, second = (json.loads(trial.step()["reports"]) for _ in range(2))
    assert [one["epoch"] for one in (*first, *second)] == [1, 2, 3, 4]
    assert len(first) == 3
    assert timeless(first + second) == timeless(one_by_one)
    # Where epochs take longer, each is told of at once.
    monkeypatch.setattr("trainables.trial.AHEAD_S", 0.0)
    trial.reset_config(config(tmp_path / "c", probe_at=[], decided_at=[4]))
    assert len(reports(trial, 1)) == 1


def test_what_was_trained_before_an_error_is_reported_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.trial.AHEAD_S", 1000.0)
    asked = config(tmp_path, probe_benchmarks=["nonsense"], probe_at=[2], decided_at=[4])
    trial = Trial(asked)
    assert [one["epoch"] for one in json.loads(trial.step()["reports"])] == [1]
    assert "nonsense" in trial.step()["failure"]


def test_a_diverged_epoch_is_reported_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.trial.AHEAD_S", 1000.0)
    training = RECIPE["training"] | {"optimizer": {"name": "SGD", "lr": 1e30}}
    trial = Trial(config(tmp_path, RECIPE | {"training": training}, decided_at=[4]))
    found = json.loads(trial.step()["reports"])
    assert not all(math.isfinite(one) for one in found[-1]["metrics"].values())
    assert all(math.isfinite(value) for one in found[:-1] for value in one["metrics"].values())


def test_a_process_that_never_gets_a_step_touches_nothing(tmp_path: Path) -> None:
    running = Trial(config(tmp_path))
    reports(running, 1)
    kept = sorted(running.kept.folder.iterdir())
    writing = running.kept.folder / "next.1.tmp"
    writing.touch()
    Trial(config(tmp_path))
    assert sorted(running.kept.folder.iterdir()) == sorted([*kept, writing])


def failure(trial: Trial) -> Tree:
    result = trial.step()
    assert set(result) == {"failure"}
    found: Tree = json.loads(result["failure"])
    return found


def test_a_step_is_an_epoch_and_its_report_is_text(tmp_path: Path) -> None:
    result = Trial(config(tmp_path)).step()
    assert set(result) == {"epoch", "reports"}
    (report,) = json.loads(result["reports"])
    assert result["epoch"] == report["epoch"] == 1
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
    assert set(cut) == {f"trials/0003/{name}.pt" for name in ("last", "previous", "best")}


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
    assert found.pop("checkpoint") == {"epoch": 0, "problem": "there is no newer checkpoint"}
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


def test_a_checkpoint_of_another_recipe_is_set_aside(tmp_path: Path) -> None:
    other = RECIPE | {"seed": 6}
    whole = reports(Trial(config(tmp_path / "whole", other)), 2)
    reports(Trial(config(tmp_path / "mixed")), 1)
    theirs = checkpoints(tmp_path / "mixed")["trials/0003/last.pt"]
    found = reports(Trial(config(tmp_path / "mixed", other)), 2)
    assert found[0].pop("checkpoint") == {
        "epoch": 0,
        "problem": "last.pt belongs to another recipe than the one that was asked for.",
    }
    assert timeless(found) == timeless(whole)
    assert checkpoints(tmp_path / "mixed") == checkpoints(tmp_path / "whole")
    broken = tmp_path / "mixed" / "trials" / "0003" / "last.pt.broken"
    assert torch.load(broken, weights_only=True)["recipe"] == theirs["recipe"]


def test_a_checkpoint_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    reports(Trial(config(tmp_path)), 2)
    path = tmp_path / "trials" / "0003" / "last.pt"
    torch.save(torch.load(path, weights_only=True) | {"version": 99}, path)
    found = failure(Trial(config(tmp_path, reported=2)))
    assert (found["class"], found["type"]) == ("error", "SettingError")
    assert "version 99" in found["text"]
    assert path.exists()


# Every way in which a file may be bad, as a function of its bytes.
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit in a tensor": lambda whole: flipped(whole, len(whole) // 2),
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "without its last byte": lambda whole: whole[:-1],
    "empty": lambda whole: b"",
    "zeros": lambda whole: bytes(len(whole)),
    "no checkpoint": lambda whole: b"not a checkpoint, though it has some length",
    "a pickle": lambda whole: pickle.dumps({"model": 1}),
    "a list": lambda whole: saved([1, 2]),
    "a mapping": lambda whole: saved({"model": {}, "version": 1}),
    "with code": lambda whole: saved({"model": Path("x")}),
}


def flipped(whole: bytes, place: int, bit: int = 3) -> bytes:
    return whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def replaced(path: Path, content: bytes) -> None:
    """The file with other bytes; what else has its bytes keeps them."""
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("how", DAMAGE)
def test_a_trial_goes_on_from_the_generation_before(how: str, tmp_path: Path) -> None:
    reports(Trial(config(tmp_path / "whole")), 3)
    first = reports(Trial(config(tmp_path / "bad")), 2)
    folder = tmp_path / "bad" / "trials" / "0003"
    bad = DAMAGE[how]((folder / "last.pt").read_bytes())
    replaced(folder / "last.pt", bad)
    again = reports(Trial(config(tmp_path / "bad", reported=1)), 2)
    told = again[0].pop("checkpoint")
    assert told["epoch"] == 1
    assert told["problem"].startswith("last.pt ")
    assert "checkpoint" not in again[1]
    assert timeless(again[:1]) == timeless(first[1:])
    assert checkpoints(tmp_path / "bad") == checkpoints(tmp_path / "whole")
    assert (folder / "last.pt.broken").read_bytes() == bad


def test_what_the_ledger_has_is_trained_again_and_not_sent_again(tmp_path: Path) -> None:
    whole = reports(Trial(config(tmp_path / "whole")), 4)
    reports(Trial(config(tmp_path / "bad")), 3)
    replaced(tmp_path / "bad" / "trials" / "0003" / "last.pt", b"")
    (found,) = reports(Trial(config(tmp_path / "bad", reported=3)), 1)
    assert found.pop("checkpoint")["epoch"] == 2
    assert timeless([found]) == timeless(whole[3:])
    # What was said once is not part of the training.
    kept = torch.load(tmp_path / "bad" / "trials" / "0003" / "last.pt", weights_only=True)
    assert not [one for one in json.loads(kept["reports"]) if "checkpoint" in one]


def test_with_both_generations_bad_it_begins_anew_and_says_so(tmp_path: Path) -> None:
    whole = reports(Trial(config(tmp_path / "whole")), 4)
    reports(Trial(config(tmp_path / "bad")), 3)
    folder = tmp_path / "bad" / "trials" / "0003"
    for name in ("last.pt", "previous.pt"):
        replaced(folder / name, flipped((folder / name).read_bytes(), 9000))
    (found,) = reports(Trial(config(tmp_path / "bad", reported=3)), 1)
    told = found.pop("checkpoint")
    assert told["epoch"] == 0
    assert "last.pt is damaged" in told["problem"]
    assert "previous.pt is damaged" in told["problem"]
    assert timeless([found]) == timeless(whole[3:])
    assert checkpoints(tmp_path / "bad") == checkpoints(tmp_path / "whole")


def test_a_kill_between_the_two_renames_loses_no_more_than_the_epoch(tmp_path: Path) -> None:
    whole = reports(Trial(config(tmp_path / "whole")), 3)
    reports(Trial(config(tmp_path / "cut")), 2)
    folder = tmp_path / "cut" / "trials" / "0003"
    # As the kill leaves it: the third epoch is written and has no name yet.
    (folder / "last.pt").replace(folder / "previous.pt")
    (folder / "next.1.tmp").write_bytes(b"torn")
    (folder / "next.1.1.tmp").write_bytes(b"torn, too")
    (found,) = reports(Trial(config(tmp_path / "cut", reported=2)), 1)
    assert "checkpoint" not in found
    assert timeless([found]) == timeless(whole[2:])
    assert checkpoints(tmp_path / "cut") == checkpoints(tmp_path / "whole")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["best.pt", "last.pt", "previous.pt"]


def test_the_best_checkpoint_survives_damage_to_the_last(tmp_path: Path) -> None:
    # The loss falls: the last is the best, and both are the same bytes under two names.
    options: Tree = {"metric": "validation/loss", "mode": "min"}
    reports(Trial(config(tmp_path / "whole", **options)), 3)
    reports(Trial(config(tmp_path / "bad", **options)), 3)
    folder = tmp_path / "bad" / "trials" / "0003"
    assert (folder / "best.pt").samefile(folder / "last.pt")
    (folder / "last.pt").write_bytes(flipped((folder / "last.pt").read_bytes(), 9000))
    trial = Trial(config(tmp_path / "bad", reported=2, **options))
    trial.begin()
    assert checkpoints(tmp_path / "bad")["trials/0003/best.pt"]["done"] == 2
    reports(trial, 1)
    assert checkpoints(tmp_path / "bad") == checkpoints(tmp_path / "whole")


def test_every_flipped_bit_is_noticed_or_of_no_consequence(tmp_path: Path) -> None:
    reports(Trial(config(tmp_path)), 1)
    whole = (tmp_path / "trials" / "0003" / "last.pt").read_bytes()
    path = tmp_path / "trials" / "0003" / "flipped.pt"
    path.write_bytes(whole)
    assert intact.problem(path) == ""
    expected = checkpoints(tmp_path)["trials/0003/last.pt"]
    draw = random.Random(7)
    found = 0
    for _ in range(300):
        path.write_bytes(flipped(whole, draw.randrange(len(whole)), draw.randrange(8)))
        if intact.problem(path):
            found += 1
        else:
            # In what pads the file.
            assert checkpoints(tmp_path)["trials/0003/flipped.pt"] == expected
    assert found > 200


def test_a_full_disk_is_no_fault_of_the_trial(tmp_path: Path) -> None:
    whole = reports(Trial(config(tmp_path / "whole")), 3)
    trial = Trial(config(tmp_path / "full"))
    reports(trial, 2)
    before = checkpoints(tmp_path / "full")
    folder = tmp_path / "full" / "trials" / "0003"
    # Linux's own full device, where the next checkpoint is written.
    (folder / f"next.{os.getpid()}.{os.getpid()}.tmp").symlink_to("/dev/full")
    found = failure(trial)
    assert (found["class"], found["type"]) == ("storage", "OSError")
    assert "No space left" in found["text"]
    assert checkpoints(tmp_path / "full") == before
    assert not list(folder.glob("*.tmp"))
    (again,) = reports(Trial(config(tmp_path / "full", reported=2)), 1)
    assert timeless([again]) == timeless(whole[2:])


def wrapped(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "oom"),
        (RuntimeError("CUDA error: out of memory"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "oom"),
        (MemoryError(), "oom"),
        (OSError(errno.ENOSPC, "No space left on device"), "storage"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "storage"),
        (OSError(errno.EROFS, "Read-only file system"), "storage"),
        (OSError(errno.EIO, "Input/output error"), "storage"),
        (OSError(errno.ESTALE, "Stale file handle"), "storage"),
        (StorageError("s3://bucket/studies: last.pt cannot be written"), "storage"),
        (wrapped(RuntimeError("unexpected pos"), OSError(errno.ENOSPC, "full")), "storage"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "error"),
        (wrapped(ValueError("bad"), OSError(errno.ENOSPC, "full")), "error"),
        (ValueError("out of memory of what was asked"), "error"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "error"),
    ],
    ids=lambda one: repr(one)[:50],
)
def test_failures_have_a_class(
    error: Exception, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(config(tmp_path))

    def fails(self: Training) -> Any:
        raise error

    monkeypatch.setattr(Training, "epoch", fails)
    assert failure(trial)["class"] == expected


def elsewhere(name: str) -> str:
    """A storage in this process's memory, as fsspec has it."""
    return f"memory://{name}"


@pytest.mark.parametrize("recipe", [RECIPE, OTHER], ids=["plain", "everything"])
def test_a_trial_with_its_files_elsewhere_is_the_same(recipe: Tree, tmp_path: Path) -> None:
    whole = reports(Trial(config(tmp_path / "whole", recipe, test=True)), 3)
    place = elsewhere(tmp_path.name)
    first = Trial(config(tmp_path / "none", recipe, test=True, storage=place))
    found = reports(first, 2)
    # The second process has nothing but the storage.
    second = Trial(config(tmp_path / "none", recipe, test=True, storage=place, reported=2))
    found += reports(second, 1)
    assert timeless(found) == timeless(whole)
    for name in Storage(place).names():
        assert Storage(place).get(name, tmp_path / "fetched" / name)
    assert checkpoints(tmp_path / "fetched") == checkpoints(tmp_path / "whole")
    assert not (tmp_path / "none").exists()
    first.cleanup()
    second.cleanup()


def test_what_is_torn_elsewhere_is_made_good_there(tmp_path: Path) -> None:
    whole = reports(Trial(config(tmp_path / "whole")), 3)
    store = Storage(elsewhere(tmp_path.name))
    one = Trial(config(tmp_path, storage=store.uri))
    reports(one, 2)
    bad = tmp_path / "bad"
    assert store.get("trials/0003/last.pt", bad)
    bad.write_bytes(bad.read_bytes()[:5000])
    store.put(bad, "trials/0003/last.pt")
    one.reset_config(config(tmp_path, storage=store.uri, reported=2))
    one.begin()
    # Already now: a kill before the next epoch is saved must not leave the bad one alone.
    assert store.get("trials/0003/last.pt", bad)
    assert torch.load(bad, weights_only=True)["done"] == 1
    (found,) = reports(one, 1)
    assert found.pop("checkpoint")["epoch"] == 1
    assert timeless([found]) == timeless(whole[2:])
    names = sorted(name.removeprefix("trials/0003/") for name in store.names("trials/0003"))
    assert names == ["best.pt", "last.pt", "last.pt.broken", "previous.pt"]
    one.cleanup()


def test_scratch_is_emptied_by_the_next_trial_and_removed_at_the_end(tmp_path: Path) -> None:
    one = Trial(config(tmp_path, storage=elsewhere(tmp_path.name)))
    reports(one, 1)
    folder = one.kept.folder
    assert (folder / "last.pt").exists()
    (folder / "of the trial before").touch()
    one.reset_config(config(tmp_path, number=4, storage=elsewhere(tmp_path.name)))
    reports(one, 1)
    assert one.kept.folder == folder
    assert not (folder / "of the trial before").exists()
    one.cleanup()
    assert not folder.parent.exists()


def test_a_storage_that_cannot_be_had_is_a_result(tmp_path: Path) -> None:
    trial = Trial(config(tmp_path, storage="s3://key:word@bucket/studies"))
    found = failure(trial)
    assert found["class"] == "error"
    assert "word" not in json.dumps(found).replace("password", "")
    trial.cleanup()


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
    assert names == ["best.pt", "last.pt", "previous.pt"]


def test_without_the_metric_there_is_no_best_checkpoint(tmp_path: Path) -> None:
    reports(Trial(config(tmp_path, metric="validation/gaussian_0.1/accuracy", probe_at=[])), 1)
    assert set(checkpoints(tmp_path)) == {"trials/0003/last.pt"}


def test_a_kill_between_the_two_checkpoints_is_made_good(tmp_path: Path) -> None:
    reports(Trial(config(tmp_path)), 1)
    before = checkpoints(tmp_path)
    (tmp_path / "trials" / "0003" / "best.pt").unlink()
    Trial(config(tmp_path, reported=1)).begin()
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
