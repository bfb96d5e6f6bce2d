"""Studies that train real models, killed at any moment and taken up again, without Ray."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from analysis.events import Event, read
from study.ledger import Ledger
from trainables.core.training import Training

from .in_process import Runner, begin, checkpoints, comparable, tiny


class Moments:
    """The study's folder as a kill would have left it: copied before and after all it writes."""

    def __init__(self, folder: Path, target: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._target = target
        self.taken: list[Path] = []
        append, save = Ledger.append, Training.save

        def appended(ledger: Ledger, event: str, **fields: Any) -> Event:
            written = append(ledger, event, **fields)
            self.take()
            return written

        def saved(training: Training, path: Path) -> None:
            unfinished = self.take() / path.relative_to(folder).with_suffix(".tmp")
            save(training, path)
            # Before best.pt is made of it.
            self.take()
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(path.read_bytes()[:1000])

        patch.setattr(Ledger, "append", appended)
        patch.setattr(Training, "save", saved)

    def take(self) -> Path:
        """Copy the folder."""
        copy = self._target / f"{len(self.taken):04d}"
        shutil.copytree(self._folder, copy)
        self.taken.append(copy)
        return copy


def epochs(folder: Path) -> Counter[tuple[int, int]]:
    reports = [one for one in read(folder) if one["event"] == "report"]
    return Counter((one["trial"], one["epoch"]) for one in reports)


def test_a_study_of_a_real_model_from_the_first_trial_to_the_tables(
    runner: Runner, study_folder: Path
) -> None:
    runner.run(begin(study_folder, tiny()))
    found = comparable(study_folder)
    assert found["studies"][0]["status"] == "finished"
    assert len(found["trials"]) == 3 * 3 + 3 * 2
    assert {one["state"] for one in found["trials"]} <= {"COMPLETE", "PRUNED"}
    assert "PRUNED" in {one["state"] for one in found["trials"]}
    assert {one["num_params"] for one in found["trials"]} == {64 * 16 + 16 + 16 * 16 + 16 + 170}
    # Test data are touched by confirmation alone, once, at its end; what the search sees is not.
    phases = {one["trial_id"]: one["phase"] for one in found["trials"]}
    for row in found["evaluations"]:
        confirming = phases[row["trial_id"]] == "confirm"
        assert row["split"] == ("test" if confirming else "validation")
        assert row["n_examples"] == (449 if confirming else 16)
        assert not confirming or row["step"] == 4
    tested = Counter(one["trial_id"] for one in found["evaluations"] if one["split"] == "test")
    assert set(tested.values()) == {3 * 2}
    assert len(tested) == 6


def test_the_same_study_twice_gives_the_same_tables_and_models(
    runner: Runner, tmp_path: Path
) -> None:
    study = tiny(search={"trials_per_arm": 2})
    first, second = (begin(tmp_path / name, study) for name in "ab")
    runner.run(first)
    Runner().run(second)  # a fresh trial process, where the other was reused
    assert comparable(first) == comparable(second)
    assert checkpoints(first) == checkpoints(second)


@pytest.mark.slow
def test_a_study_killed_at_any_moment_ends_as_if_it_had_not_been(
    runner: Runner, study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(
        weighters=["CoV"],
        training={"epochs": 2},
        search={"trials_per_arm": 2},
        confirm={"seeds": 1},
        benchmarks=["Clean"],
    )
    begin(study_folder, study)
    with monkeypatch.context() as patch:
        moments = Moments(study_folder, tmp_path / "moments", patch)
        runner.run(study_folder)
    expected, models = comparable(study_folder), checkpoints(study_folder)
    done = epochs(study_folder)
    assert len(moments.taken) > 40
    for place, folder in enumerate(moments.taken):
        if place % 3 == 1:
            # The last line is there by half: killed while it was written.
            ledger = folder / "ledger.jsonl"
            *lines, last = ledger.read_bytes().splitlines(keepends=True)
            if lines:
                ledger.write_bytes(b"".join(lines) + last[: len(last) // 2])
        runner.run(folder)
        assert epochs(folder) == done, folder.name
        assert comparable(folder) == expected, folder.name
        assert checkpoints(folder) == models, folder.name


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "TPE"])
def test_a_study_killed_again_and_again_ends_as_if_it_had_not_been(
    sampler: str, runner: Runner, tmp_path: Path
) -> None:
    class KilledError(Exception):
        """Stands for the end of the driver; raised between two steps."""

    # TPE models what it was told from the sixth trial of an arm on.
    study = tiny(
        arms={"gaussian-kl": "gaussian_kl"},
        weighters=["CoV"],
        training={"epochs": 3},
        search={"sampler": sampler, "trials_per_arm": 8},
        benchmarks=["gaussian_0.1"],
    )
    whole, killed = (begin(tmp_path / name, study) for name in ("whole", "killed"))
    runner.run(whole)
    draws = random.Random(3)
    kills = 0
    for _ in range(1000):
        left = [draws.randint(1, 6)]

        def turn(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError

        try:
            runner.run(killed, turn)
        except KilledError:
            kills += 1
        else:
            break
    assert kills > 8
    assert epochs(killed) == epochs(whole)
    assert set(epochs(killed).values()) == {1}
    assert comparable(killed) == comparable(whole)
    assert checkpoints(killed) == checkpoints(whole)


def test_a_lost_checkpoint_costs_time_and_nothing_else(
    runner: Runner, study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(study_folder, tiny(arms={"a": {}}, confirm={"seeds": 0}, search={"trials_per_arm": 1}))
    with monkeypatch.context() as patch:
        moments = Moments(study_folder, tmp_path / "moments", patch)
        runner.run(study_folder)
    third = next(one for one in moments.taken if len(epochs(one)) == 3)
    shutil.rmtree(third / "trials")
    runner.run(third)
    assert comparable(third) == comparable(study_folder)
    assert checkpoints(third) == checkpoints(study_folder)
    assert json.loads((third / "resolved.json").read_text())["study"] == "tiny"
