"""A study in the stores of other tools: the same trials, and each of them once."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from analysis import events
from study import mirror
from study.cli import app
from study.mirror import OptunaMirror, Source, to_optuna
from trainables.core.errors import MissingDataError, SettingError

from .in_process import Runner, begin, tiny
from .written import Written

if TYPE_CHECKING:
    import optuna

METRIC = "validation/accuracy"


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'optuna.db'}"


def read(folder: Path, study: str = "written") -> optuna.Study:
    import optuna

    return optuna.load_study(study_name=study, storage=url(folder))


def comparable(trials: list[optuna.trial.FrozenTrial]) -> list[Any]:
    keys = ("number", "state", "values", "params", "distributions", "user_attrs")
    return [[one.intermediate_values, *(getattr(one, key) for key in keys)] for one in trials]


def test_a_real_study_is_the_same_in_optuna(tmp_path: Path, runner: Runner) -> None:
    folder = begin(tmp_path / "tiny", tiny(confirm={"seeds": 1}))
    turns = itertools.count()

    def turn() -> None:
        # In the middle of everything, again and again.
        if next(turns) % 12 == 5:
            to_optuna(folder, url(folder))

    runner.run(folder, turn)
    assert next(turns) > 24
    to_optuna(folder, url(folder))
    study = read(folder, "tiny")
    assert [one.name for one in study.directions] == ["MAXIMIZE"]
    assert study.user_attrs["question"] == "Does anything help a tiny model?"
    trials = study.get_trials()
    history = {one["trial"]: one for one in events.read(folder) if one["event"] == "ended"}
    planned = [one for one in events.read(folder) if one["event"] == "planned"]
    assert [one.number for one in trials] == [one["trial"] for one in planned]
    for trial, plan in zip(trials, planned, strict=True):
        reports = {
            one["epoch"]: one["metrics"][METRIC]
            for one in events.read(folder)
            if one["event"] == "report" and one["trial"] == trial.number
        }
        assert trial.intermediate_values == reports
        assert trial.state.name == history[trial.number]["state"]
        assert (trial.params["arm"], trial.params["weighter"]) == (plan["arm"], plan["weighter"])
        drawn = {k: v for k, v in trial.params.items() if k not in ("arm", "weighter")}
        assert drawn == plan["params"]
        assert trial.user_attrs["phase"] == plan["phase"]
        if trial.state.name == "COMPLETE":
            assert trial.values == [reports[max(reports)]]
    # All at once is the same as bit by bit.
    once = tmp_path / "once.db"
    to_optuna(folder, f"sqlite:///{once}")
    import optuna

    other = optuna.load_study(study_name="tiny", storage=f"sqlite:///{once}")
    assert comparable(other.get_trials()) == comparable(trials)


def test_trials_go_through_their_states_and_nothing_is_there_twice(tmp_path: Path) -> None:
    one = Written(tmp_path / "s")
    one.add(1, "segment", segment=0, command="run")
    drawn = {
        "params": {"lr": 0.1, "form": "a", "steps": 3},
        "distributions": {
            "lr": {"low": 0.01, "high": 1.0, "log": True},
            "form": {"values": ["a", "b"]},
            "steps": {"low": 1, "high": 5, "log": False},
        },
    }
    complete, stopped, broken = one.planned(2, **drawn), one.planned(2), one.planned(2, arm=1)
    one.report(4, complete, 1, 0.5)
    one.report(4, stopped, 1, 0.4)
    assert to_optuna(one.folder, url(one.folder)) == 3
    assert [trial.state.name for trial in read(one.folder).trials] == ["RUNNING"] * 3
    one.report(6, complete, 2, 0.75, "complete")
    one.ended(6, complete, "COMPLETE", "budget")
    one.ended(6, stopped, "PRUNED", "rung")
    one.report(7, broken, 1, math.nan, "diverged")
    one.ended(7, broken, "FAIL", "diverged")
    for _ in range(2):
        assert to_optuna(one.folder, url(one.folder)) == 3
        first, second, third = read(one.folder).trials
        assert [trial.state.name for trial in (first, second, third)] == [
            "COMPLETE",
            "PRUNED",
            "FAIL",
        ]
        assert first.params == {"arm": "plain", "weighter": "Fixed"} | drawn["params"]
        assert first.distributions["arm"].choices == ("plain", "kl")
        assert first.distributions["lr"].log
        assert first.intermediate_values == {1: 0.5, 2: 0.75}
        assert (first.value, second.intermediate_values) == (0.75, {1: 0.4})
        assert (third.user_attrs["reason"], third.intermediate_values) == ("diverged", {})
    assert read(one.folder).best_trial.number == complete
    # From the ledger's own times where the trial had ended before it was mirrored.
    whole = OptunaMirror(f"sqlite:///{tmp_path / 'late.db'}")
    mirror.follow(one.folder, [whole])
    import optuna

    late = optuna.load_study(study_name="written", storage=whole.url).trials[0]
    assert late.duration is not None
    assert late.duration.total_seconds() == 4


def test_a_study_that_was_extended_is_made_again(tmp_path: Path) -> None:
    one = Written(tmp_path / "s")
    one.add(1, "segment", segment=0, command="run")
    trial = one.planned(2)
    one.trained(2, trial, epochs=2)
    to_optuna(one.folder, url(one.folder))
    assert read(one.folder).trials[0].state.name == "COMPLETE"
    arms = [*one.resolved["arms"], {"arm": "new", "weighter": "Fixed"}]
    grown = one.resolved | {"arms": arms, "schedule": {"max_epochs": 4}}
    one.add(10, "extended", changes=[], study=grown)
    (one.folder / "resolved.json").write_text(json.dumps(grown))
    one.add(11, "reopened", trial=trial, recipe={}, group="other")
    one.report(12, trial, 3, 0.9)
    one.resolved = grown
    one.planned(13, arm=2)
    assert to_optuna(one.folder, url(one.folder)) == 2
    first, second = read(one.folder).trials
    assert (first.state.name, first.intermediate_values[3]) == ("RUNNING", 0.9)
    assert second.params["arm"] == "new"
    assert first.distributions["arm"] == second.distributions["arm"]


def test_several_objectives_and_ranges_of_several_kinds_under_one_path(tmp_path: Path) -> None:
    objectives = {METRIC: "max", "validation/loss": "min"}
    one = Written(tmp_path / "s", search={"trials_per_arm": 2, "objectives": objectives})
    kinds: list[dict[str, Any]] = [
        {"low": 0.0, "high": 1.0, "log": False},
        {"low": 1, "high": 9, "log": False},
        {"values": [1, "auto", False]},
    ]
    for place, (kind, value) in enumerate(zip(kinds, (0.5, 2, False), strict=True)):
        trial = one.planned(1, params={"x": value}, distributions={"x": kind})
        assert trial == place
        one.report(2, trial, 1, 0.5, "complete", validation_loss=1.5)
        one.ended(2, trial, "COMPLETE", "budget")
    without = one.planned(3)
    one.report(4, without, 1, 0.5, "complete")
    one.ended(4, without, "COMPLETE", "budget")
    to_optuna(one.folder, url(one.folder))
    study = read(one.folder)
    assert [way.name for way in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == list(objectives)
    first, second, third, fourth = study.trials
    assert first.values == [0.5, 1.5]
    assert (first.params["x"], second.params["x (2)"], third.params["x (3)"]) == (0.5, 2, "False")
    # An objective that was never measured has no value in Optuna.
    assert (fourth.state.name, fourth.values) == ("FAIL", None)
    assert len(study.best_trials) == 3


def test_another_study_of_the_name_and_no_database_are_errors(tmp_path: Path) -> None:
    one, other = Written(tmp_path / "one"), Written(tmp_path / "two", study_id="other")
    to_optuna(one.folder, url(tmp_path))
    with pytest.raises(SettingError, match="another study called 'written'"):
        to_optuna(other.folder, url(tmp_path))
    with pytest.raises(SettingError, match="cannot be opened as a database"):
        to_optuna(one.folder, f"sqlite:///{tmp_path}/nowhere/optuna.db")


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard's own files below a folder hold, by tag and step."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.rglob("events.out*")):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    steps = found.setdefault(value.tag, {})
                    assert event.step not in steps or value.tag.startswith("hparam"), "twice"
                    steps[event.step] = value.simple_value
    return found


def test_tensorboard_has_every_epoch_once(tmp_path: Path) -> None:
    one = Written(tmp_path / "s")
    one.add(1, "segment", segment=0, command="run")
    trial = one.planned(2, params={"lr": 0.5}, distributions={"lr": {"low": 0.0, "high": 1.0}})
    one.report(4, trial, 1, 0.25)
    board = tmp_path / "board"
    for _ in range(2):
        for _, found in mirror.opened(one.folder, tensorboard=str(board)):
            mirror.follow(one.folder, [found])
    one.report(6, trial, 2, 0.5, "complete")
    one.ended(6, trial, "COMPLETE", "budget")
    for _ in range(2):
        for _, found in mirror.opened(one.folder, tensorboard=str(board)):
            mirror.follow(one.folder, [found])
    (place,) = (board / "written").iterdir()
    assert place.name == "0000-plain-Fixed-seed-0"
    held = scalars(board)
    assert held[METRIC] == {1: 0.25, 2: 0.5}
    assert held["weights/main/weight"] == {1: 1.0, 2: 1.0}
    assert held[f"hparam/{METRIC}"] == {0: 0.5}
    other = Written(tmp_path / "two", study_id="other")
    other.report(4, other.planned(2), 1)
    with pytest.raises(SettingError, match="mirrors another study"):
        mirror.follow(
            other.folder,
            [found for _, found in mirror.opened(other.folder, tensorboard=str(board))],
        )


def test_following_ends_with_the_study_and_mirrors_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.ledger import StudyLock

    one = Written(tmp_path / "s")
    steps: list[Any] = [
        lambda: one.planned(2),
        lambda: one.trained(2, 0),
        lambda: one.add(20, "finished", failed=0),
    ]
    seen: list[tuple[int, str]] = []

    class Recording:
        closed = False

        def update(self, source: Source, changed: Any) -> None:
            assert source.study_id == "abc"
            seen.extend((len(record.reports), record.state) for record in changed)

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(mirror.time, "sleep", lambda _: steps.pop(0)())
    recording = Recording()
    with StudyLock(one.folder):
        one.add(1, "segment", segment=0, command="run")
        assert mirror.follow(one.folder, [recording], watch=True) == 1
    assert seen == [(0, "RUNNING"), (4, "COMPLETE")]
    assert (recording.closed, steps) == (True, [])


@pytest.mark.parametrize(("tool", "package"), [("wandb", "wandb"), ("mlflow", "mlflow-skinny")])
def test_a_tracker_that_is_not_installed_is_named_with_its_command(
    tmp_path: Path, tool: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    one = Written(tmp_path / "s")
    for module in (tool, f"{tool}.tracking"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDataError, match=f"pip install {package}"):
        mirror.opened(one.folder, **{tool: "somewhere"})
    done = CliRunner().invoke(app, ["mirror", str(one.folder), f"--{tool}", "somewhere"])
    assert (done.exit_code, f"pip install {package}" in done.output) == (3, True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow and SQLAlchemy of their own versions
@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="needs mlflow-skinny")
def test_mlflow_has_every_epoch_once(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    one = Written(tmp_path / "s")
    one.add(1, "segment", segment=0, command="run")
    trial = one.planned(2, params={"lr": 0.5})
    one.report(4, trial, 1, 0.25)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for step in range(4):
        mirror.follow(one.folder, [found for _, found in mirror.opened(one.folder, mlflow=uri)])
        if step == 1:
            one.report(6, trial, 2, 0.5, "complete")
            one.ended(6, trial, "PRUNED", "rung")
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("written")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["study.reason"]) == ("KILLED", "rung")
    assert (run.info.end_time - run.info.start_time) == 4000
    assert run.data.params == {"arm": "plain", "weighter": "Fixed", "lr": "0.5", "seed": "0"}
    history = client.get_metric_history(run.info.run_id, METRIC)
    assert sorted((one.step, one.value) for one in history) == [(1, 0.25), (2, 0.5)]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="needs wandb")
def test_wandb_writes_a_run_for_a_trial_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    one = Written(tmp_path / "s")
    one.add(1, "segment", segment=0, command="run")
    running = one.planned(2)
    one.report(4, running, 1, 0.25)
    ended = one.planned(2, arm=1, params={"lr": 0.5})
    one.trained(2, ended)
    found = [found for _, found in mirror.opened(one.folder, wandb="project")]
    assert mirror.follow(one.folder, found) == 2
    runs = sorted(
        path.name.rpartition("abc-")[2] for path in (tmp_path / "wandb").glob("offline-*")
    )
    assert runs == ["0000", "0001"]
    written = b"".join(path.read_bytes() for path in (tmp_path / "wandb").rglob("run-*.wandb"))
    for text in (METRIC, "0001 kl CoV seed 0", "weights/main/weight", "COMPLETE"):
        assert text.encode() in written


def test_the_command_says_how_to_look_at_it(tmp_path: Path) -> None:
    one = Written(tmp_path / "s")
    one.planned(1)
    done = CliRunner().invoke(app, ["mirror", str(one.folder), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == {
        "trials": 1,
        "shown_by": [f"optuna-dashboard sqlite:///{one.folder / 'optuna.db'}"],
    }
    assert len(read(one.folder).trials) == 1
