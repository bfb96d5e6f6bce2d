"""A study that grows: what it has trained counts on, and what it answers is chosen again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from analysis.events import read
from analysis.history import fold
from study import life
from study.spec import extended, load, parse
from trainables.core.errors import SettingError

from .in_process import TINY, Runner, curves, opened, search

SMALL: dict[str, Any] = TINY | {
    "weighters": ["Fixed"],
    "benchmarks": ["Clean"],
    "search": {"sampler": "random", "trials_per_arm": 2},
    "schedule": {"name": "none"},
    "confirm": {"top": 1, "seeds": 1},
}


def begin(tmp_path: Path, name: str, **changes: Any) -> Path:
    """A study as `study run` makes it, from a file."""
    path = tmp_path / f"{name}.yaml"
    path.write_text(json.dumps(SMALL | {"study": name} | changes), encoding="utf-8")
    return life.create(load(path), path.read_text(encoding="utf-8"), tmp_path)


def grow(folder: Path, *changes: str, **sizes: int) -> None:
    life.extend(folder, [*life.growth(folder, **sizes), *changes])


def test_more_trials_are_those_of_a_study_that_was_larger_from_the_start(
    runner: Runner, tmp_path: Path
) -> None:
    small, large = begin(tmp_path, "small"), begin(tmp_path, "large")
    runner.run(small)
    grow(small, trials=2)
    runner.run(small)
    grow(large, trials=2)
    runner.run(large)
    assert search(small) == search(large)
    assert len(search(small)) == 8
    mine, others = curves(small), curves(large)
    assert {key: mine[key] for key in others} == others
    # Confirmed twice where the larger search found another winner.
    phases = Counter(one.phase for one in fold(read(small)).in_order())
    assert phases["search"] == 8
    assert phases["confirm"] == 2
    assert phases["superseded"] == len(mine) - len(others)


def test_more_seeds_and_arms(runner: Runner, tmp_path: Path) -> None:
    folder = begin(tmp_path, "seeds")
    runner.run(folder)
    before = curves(folder)
    grow(folder, "arms.uda=uda", seeds=2)
    with opened(folder) as conductor:
        assert conductor.expected == 3 * 2 + 3 * 3
        assert not conductor.finished
    runner.run(folder)
    after = curves(folder)
    assert {key: after[key] for key in before} == before
    seeds = {
        arm: sorted(key[3] for key in after if key[0] == arm and key[3] >= 1000)
        for arm in ("baseline", "gaussian-kl", "uda")
    }
    assert set(map(tuple, seeds.values())) == {(1000, 1001, 1002)}
    history = fold(read(folder))
    assert (history.status, history.finishes, len(history.extensions)) == ("finished", 2, 1)


def test_more_epochs_go_on_from_the_checkpoints(runner: Runner, tmp_path: Path) -> None:
    constant = {"training": SMALL["training"] | {"schedule": "Constant"}}
    short, long = begin(tmp_path, "short", **constant), begin(tmp_path, "long", **constant)
    runner.run(short)
    grow(short, epochs=2)
    runner.run(short)
    grow(long, epochs=2)
    runner.run(long)
    # `curves` sees to it that no epoch was trained twice.
    mine = {key[0:2] + key[3:]: value for key, value in curves(short).items()}
    others = {key[0:2] + key[3:]: value for key, value in curves(long).items()}
    assert {len(one) for one in mine.values()} == {6}
    for key, epochs in others.items():
        for epoch, report in epochs.items():
            assert mine[key][epoch]["metrics"] == report["metrics"], (key, epoch)
    assert {one.state for one in fold(read(short)).in_order()} == {"COMPLETE"}


@pytest.mark.parametrize(
    ("form", "turns"), [("none", 4), ("stopping", 4), ("promotion", 3), ("promotion", 6)]
)
def test_more_epochs_are_those_of_unfinished_trials_too(
    runner: Runner, tmp_path: Path, form: str, turns: int
) -> None:
    schedule = {"name": "none"} if form == "none" else {"form": form, "grace_epochs": 2}
    constant = {"training": SMALL["training"] | {"schedule": "Constant"}, "schedule": schedule}
    folder = begin(tmp_path, "interrupted", **constant)
    left = [turns]

    def interrupt() -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(folder, interrupt)
    before = fold(read(folder)).in_order()
    assert any(one.ended is None and one.reports for one in before)
    grow(folder, epochs=2)
    runner.run(folder)
    for one in fold(read(folder)).in_order():
        assert one.planned["recipe"]["training"]["epochs"] == 6
        assert (one.in_order()[-1]["epoch"] == 6) == (one.state == "COMPLETE")
        assert one.state in ("COMPLETE", "PRUNED")


def test_growth_is_recorded_before_it_is_run_and_survives_a_kill_in_between(
    runner: Runner, tmp_path: Path
) -> None:
    folder = begin(tmp_path, "killed")
    runner.run(folder)
    before = (folder / "resolved.json").read_text(encoding="utf-8")
    grow(folder, trials=1)
    (folder / "resolved.json").write_text(before, encoding="utf-8")
    found = list(read(folder))
    assert life._as_extended(folder, life.load(folder), found).search.trials_per_arm == 3
    assert life.load(folder).search.trials_per_arm == 3
    assert "# --set search.trials_per_arm=3" in (folder / "study.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("search.trials_per_arm=1", ["search.trials_per_arm can only grow", "is 2, found 1"]),
        ("seed=3", ["seed cannot be changed", "found 3 instead of 0"]),
        ("benchmarks.0=gaussian_0.2", ["benchmarks cannot be changed"]),
        ("training.batch_size=7", ["arms.baseline with Fixed", "begun with"]),
        ("search.sampler=TPE", ["search cannot be changed"]),
        ("schedule.grace_epochs=2", ["schedule cannot be changed"]),
    ],
)
def test_what_would_change_the_trials_that_there_are_is_an_error(
    tmp_path: Path, change: str, words: list[str]
) -> None:
    folder = begin(tmp_path, "fixed")
    before = (folder / "ledger.jsonl").read_bytes()
    with pytest.raises(SettingError) as error:
        life.extend(folder, [change])
    for word in words:
        assert word in str(error.value)
    assert (folder / "ledger.jsonl").read_bytes() == before


def test_a_schedule_that_is_stretched_over_the_epochs_cannot_have_more_of_them(
    tmp_path: Path,
) -> None:
    folder = begin(tmp_path, "cosine")  # the default
    with pytest.raises(SettingError, match="Only the schedule Constant"):
        grow(folder, epochs=2)


def test_an_arm_cannot_be_taken_away() -> None:
    old = parse(SMALL)
    new = parse(SMALL | {"arms": {"baseline": {}}})
    with pytest.raises(SettingError, match=r"arms\.gaussian-kl with Fixed cannot be taken away"):
        extended(old, new)


def test_nothing_asked_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--trials"):
        grow(begin(tmp_path, "nothing"))
