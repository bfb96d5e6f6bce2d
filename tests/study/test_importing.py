"""Plain Ray Tune experiments become studies; nothing in them is unpickled, no host is named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from analysis.export import export, load_study, tables
from analysis.tables import robustness_table
from study import life, standing
from study.cli import app
from study.importing import import_ray, renamed
from trainables.core.errors import SettingError

if TYPE_CHECKING:
    from study.cluster import Cluster

Tree = dict[str, Any]
T0 = 1_795_336_900


class Experiment:
    """A folder as Ray Tune leaves it, written from what Ray 2.60 wrote; pickles that explode."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.states: list[Any] = []
        (folder / "tuner.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        (folder / ".validate_storage_marker").write_text("")

    def trial(
        self,
        config: Tree,
        results: list[Tree],
        *,
        status: str = "TERMINATED",
        error: str = "",
        sampled: Tree | None = None,
    ) -> Path:
        """One trial; each result gets what Ray adds to it."""
        number = len(self.states)
        name = f"train_9ddd6_{number:05d}_{number}_x=1_2026-11-22_08-42-20"
        own = self.folder / name
        own.mkdir()
        (own / "params.json").write_text(json.dumps(config, indent=2))
        (own / "params.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        lines = []
        for i, figures in enumerate(results, start=1):
            lines.append(
                figures
                | {
                    "timestamp": T0 + 10 * i,
                    "checkpoint_dir_name": None,
                    "done": False,
                    "training_iteration": i,
                    "trial_id": f"9ddd6_{number:05d}",
                    "date": "2026-11-22_08-42-27",
                    "time_this_iter_s": 10.0,
                    "time_total_s": 10.0 * i,
                    "pid": 3059,
                    "hostname": "secret-host",
                    "node_ip": "192.0.2.77",
                    "config": config,
                    "time_since_restore": 10.0 * i,
                    "iterations_since_restore": i,
                }
                | {key: value for key, value in figures.items() if key == "training_iteration"}
            )
        (own / "result.json").write_text("".join(json.dumps(one) + "\n" for one in lines))
        if error:
            (own / "error.txt").write_text(error)
            (own / "error.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        state = {"relative_logdir": name, "status": status, "trial_id": f"9ddd6_{number:05d}"}
        state |= {"config": config, "evaluated_params": sampled or {}, "storage": "8005"}
        self.states.append([json.dumps(state), "{}"])
        path = self.folder / "experiment_state-2026-11-22_08-42-20.json"
        path.write_text(json.dumps({"trial_data": self.states, "runner_data": {}, "stats": {}}))
        return own


def curve(*values: float, **more: float) -> list[Tree]:
    return [{"accuracy": value, "train_loss": 1 - value, **more} for value in values]


def taken(experiment: Experiment, root: Path, **asked: Any) -> tuple[Path, list[str]]:
    said: list[str] = []
    return import_ray(experiment.folder, root, say=said.append, **asked), said


def rows(folder: Path, name: str = "trials") -> list[Tree]:
    found: list[Tree] = tables(folder)[name].to_pylist()
    return found


@pytest.fixture
def sweep(tmp_path: Path) -> Experiment:
    """Three methods: one trial whole, one stopped early, one that failed; nested settings."""
    found = Experiment(tmp_path / "ray" / "my sweep")
    net = {"widths": [8, 16], "act": "relu"}
    for method, lr, values in (("ce", 0.1, (0.5, 0.7, 0.9)), ("kl", 0.2, (0.4, 0.6))):
        config = {"method": method, "lr": lr, "net": net}
        found.trial(config, curve(*values), sampled={"lr": lr})
    found.trial(
        {"method": "kl", "lr": 0.3, "net": net},
        curve(0.3),
        status="ERROR",
        sampled={"lr": 0.3},
        error="Failure # 1 (occurred at 2026-11-22_08-42-32)\n"
        "ray::ImplicitFunc.train() (pid=3180, ip=192.0.2.77, repr=train)\n"
        '  File "/home/somebody/rayexp.py", line 8, in train\nValueError: no luck\n',
    )
    return found


def test_trials_states_and_arms(sweep: Experiment, tmp_path: Path) -> None:
    folder, said = taken(sweep, tmp_path / "studies", arm="method")
    assert folder == tmp_path / "studies" / "my-sweep"
    found = rows(folder)
    assert [(one["arm"], one["state"], one["stop_reason"]) for one in found] == [
        ("ce", "COMPLETE", "budget"),
        ("kl", "PRUNED", "stopped"),
        ("kl", "FAIL", "error"),
    ]
    assert [one["epochs_done"] for one in found] == [3, 2, 1]
    assert [one["score"] for one in found] == [0.9, 0.6, 0.3]
    assert found[0]["train_s"] == 30
    assert (found[2]["error_type"], found[2]["error_text"]) == ("ValueError", "no luck")
    assert all(one["checkpoint_path"] is None for one in found)
    (study,) = rows(folder, "studies")
    assert (study["status"], study["primary_metric"], study["goal"]) == (
        "finished",
        "validation/accuracy",
        "max",
    )
    assert said == ["3 trials; validation/accuracy (max); arms: ce × unknown, kl × unknown."]


def test_settings_keep_their_paths_and_what_was_sampled(sweep: Experiment, tmp_path: Path) -> None:
    folder, _ = taken(sweep, tmp_path / "studies", arm="config/method")
    found = {one["name"]: one for one in rows(folder, "params")}
    assert found["config/lr"]["sampled"] is True
    assert found["config/net/widths"]["value_str"] == "[8,16]"
    assert found["config/net/act"]["sampled"] is found["config/method"]["sampled"] is False


def test_reports_are_split_by_their_names(sweep: Experiment, tmp_path: Path) -> None:
    folder, _ = taken(sweep, tmp_path / "studies")
    found = load_study(folder)
    trials = found.trials.set_index("number")
    assert trials.loc[0, "metric.validation/accuracy"] == 0.9
    assert trials.loc[0, "metric.train/loss"] == pytest.approx(0.1)
    assert trials.loc[1, "param.config/lr"] == 0.2


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("accuracy", "validation/accuracy"),
        ("val_loss", "validation/loss"),
        ("eval/acc", "validation/acc"),
        ("train_loss", "train/loss"),
        ("test/pgd/accuracy", "test/pgd/accuracy"),
        ("Test_acc", "test/acc"),
        ("testing", "validation/testing"),
        ("gaussian/accuracy", "validation/gaussian/accuracy"),
    ],
)
def test_names(name: str, ours: str) -> None:
    assert renamed(name) == ours


def test_no_host_process_or_folder_is_named(sweep: Experiment, tmp_path: Path) -> None:
    folder, _ = taken(sweep, tmp_path / "studies")
    export(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (b"secret-host", b"192.0.2.77", b"3059", b"3180", b"somebody"):
                assert secret not in data, (path, secret)


def test_damaged_and_strange_results_are_said(tmp_path: Path) -> None:
    one = Experiment(tmp_path / "ray" / "strange")
    own = one.trial({"lr": 1.0}, [{"accuracy": 0.5, "text": "x", "list": [1], "flag": True}] * 2)
    with (own / "result.json").open("a") as file:
        file.write('{"accuracy": 0.9, "training_it')
    one.trial({"lr": 2.0}, [])
    one.trial({"lr": 3.0}, [{"accuracy": 0.5}, {"accuracy": math.nan, "other": -math.inf}])
    folder, said = taken(one, tmp_path / "studies")
    found = rows(folder)
    assert [(row["state"], row["stop_reason"]) for row in found] == [
        ("COMPLETE", "budget"),
        ("WAITING", None),
        ("FAIL", "diverged"),
    ]
    assert [row["epochs_done"] for row in found] == [2, 0, 2]
    assert math.isnan(found[2]["score"])
    values = {row["metric"]: row["value"] for row in rows(folder, "reports") if row["step"] == 2}
    assert values["other"] == -math.inf
    assert said[:4] == [
        "Left out: a result that is damaged or unfinished (1 times).",
        "Left out: flag, which is no number (2 times).",
        "Left out: list, which is no number (2 times).",
        "Left out: text, which is no number (2 times).",
    ]


def test_a_restored_trial_counts_every_iteration_once(tmp_path: Path) -> None:
    one = Experiment(tmp_path / "ray" / "restored")
    again = {"accuracy": 0.8, "training_iteration": 2}
    one.trial({"lr": 1.0}, [*curve(0.5, 0.6, 0.7), again, {"accuracy": 0.9}])
    folder, _ = taken(one, tmp_path / "studies")
    found = [row for row in rows(folder, "reports") if row["metric"] == "accuracy"]
    assert [(row["step"], row["value"]) for row in found] == [
        (1, 0.5),
        (2, 0.8),
        (3, 0.7),
        (5, 0.9),
    ]


def test_progress_csv_serves_where_the_json_lines_are_gone(tmp_path: Path) -> None:
    one = Experiment(tmp_path / "ray" / "csv")
    own = one.trial({"lr": 1.0}, curve(0.5))
    (own / "result.json").unlink()
    (own / "progress.csv").write_text(
        "accuracy,training_iteration,timestamp,time_this_iter_s,hostname,config/lr\n"
        f"0.5,1,{T0},1.0,secret-host,1.0\nnan,2,{T0 + 1},1.0,secret-host,1.0\n"
    )
    folder, _ = taken(one, tmp_path / "studies")
    (found,) = rows(folder)
    assert (found["epochs_done"], found["state"]) == (2, "FAIL")


def test_without_a_state_file_the_trials_own_files_do(sweep: Experiment, tmp_path: Path) -> None:
    (path,) = sweep.folder.glob("experiment_state-*.json")
    path.write_text(path.read_text()[:100])
    folder, _ = taken(sweep, tmp_path / "studies", arm="method")
    assert [one["state"] for one in rows(folder)] == ["COMPLETE", "PRUNED", "FAIL"]
    sampled = {one["name"] for one in rows(folder, "params") if one["sampled"]}
    assert sampled == {"config/lr"}  # what differs between trials


def test_an_experiment_that_was_killed_is_not_finished(tmp_path: Path) -> None:
    one = Experiment(tmp_path / "ray" / "killed")
    one.trial({"lr": 1.0}, curve(0.5), status="RUNNING")
    one.trial({"lr": 2.0}, [], status="PENDING")
    folder, _ = taken(one, tmp_path / "studies")
    assert [row["state"] for row in rows(folder)] == ["RUNNING", "WAITING"]
    assert rows(folder, "studies")[0]["status"] == "interrupted"


@pytest.fixture
def seeded(tmp_path: Path) -> Experiment:
    """Two methods on three seeds, with test figures, clean and attacked."""
    found = Experiment(tmp_path / "ray" / "seeded")
    for method, clean in (("ce", 0.80), ("kl", 0.82)):
        for seed in (1, 2, 3):
            test = {"accuracy": clean + seed / 100, "pgd": {"accuracy": seed / 10}}
            results = [{"accuracy": 0.5}, {"accuracy": 0.9, "test": test}]
            found.trial({"method": method, "seed": seed, "lr": 0.1}, results)
    return found


def test_seeds_of_one_configuration_are_its_confirmation(
    seeded: Experiment, tmp_path: Path
) -> None:
    folder, _ = taken(seeded, tmp_path / "studies", arm="method", seed="seed")
    found = rows(folder)
    assert {one["phase"] for one in found} == {"confirm"}
    assert [one["seed"] for one in found] == [1, 2, 3, 1, 2, 3]
    assert len({one["group_id"] for one in found}) == 2
    assert [one["clean_acc"] for one in found[:3]] == pytest.approx([0.81, 0.82, 0.83])


def test_the_robustness_table_of_an_import_has_paired_differences(
    seeded: Experiment, tmp_path: Path
) -> None:
    folder, _ = taken(seeded, tmp_path / "studies", arm="method", seed="seed")
    table = robustness_table(folder)
    assert table.split == "test"
    assert [one.name for one in table.benchmarks] == ["clean", "pgd"]
    row = table.rows[1]
    difference = row.cells["clean"].difference
    assert difference is not None
    assert (difference.mean, difference.n) == (pytest.approx(0.02), 3)


def test_reading_commands_read_it_and_training_ones_refuse(
    seeded: Experiment, tmp_path: Path
) -> None:
    folder, _ = taken(seeded, tmp_path / "studies", arm="method", seed="seed")
    found = standing.read(folder)
    assert (found["status"], found["trials"], found["ended"]) == ("finished", 6, 6)
    for refused in (
        lambda: life.load(folder),
        lambda: life.extend(folder, ["search.trials_per_arm=9"]),
        lambda: life.conduct(folder, "resume"),
        lambda: life.trial(folder, 0),
    ):
        with pytest.raises(SettingError, match="was imported from Ray Tune"):
            refused()
    assert found == standing.read(folder) | {"last_event_age_s": found["last_event_age_s"]}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"arm": "metod"}, r"--arm: no setting 'config/metod'.*Did you mean 'config/method'"),
        ({"seed": "net"}, r"--seed: no setting 'config/net'"),
        ({"seed": "lr"}, r"--seed: config/lr must be a whole number .* found 0.1"),
        ({"metric": "accuraci"}, r"--metric: no trial reported .*Did you mean 'validation/acc"),
        ({"mode": "up"}, r"--mode must be max or min, found 'up'"),
    ],
)
def test_wrong_options_name_the_nearest(
    sweep: Experiment, tmp_path: Path, asked: Tree, message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        taken(sweep, tmp_path / "studies", **asked)
    assert not list((tmp_path / "studies").glob("*"))


def test_nothing_is_overwritten_and_no_experiment_is_an_error(
    sweep: Experiment, tmp_path: Path
) -> None:
    folder, _ = taken(sweep, tmp_path / "studies")
    before = (folder / "ledger.jsonl").read_bytes()
    with pytest.raises(SettingError, match="exists; nothing was changed"):
        taken(sweep, tmp_path / "studies")
    assert (folder / "ledger.jsonl").read_bytes() == before
    other, _ = taken(sweep, tmp_path / "studies", name="other")
    assert other.name == "other"
    with pytest.raises(SettingError, match=r"is no Ray Tune experiment"):
        import_ray(tmp_path, tmp_path / "studies")


def test_a_loss_is_minimised_unless_said_otherwise(tmp_path: Path) -> None:
    one = Experiment(tmp_path / "ray" / "loss")
    one.trial({"lr": 1.0}, [{"val_loss": 0.5}])
    for name, asked, goal in (("a", {}, "min"), ("b", {"mode": "max"}, "max")):
        folder, _ = taken(one, tmp_path / "studies", name=name, **asked)
        (study,) = rows(folder, "studies")
        assert (study["primary_metric"], study["goal"]) == ("validation/loss", goal)
    odd = Experiment(tmp_path / "ray" / "odd")
    odd.trial({"lr": 1.0}, [{"bleu": 0.5}])
    with pytest.raises(SettingError, match=r"--metric: say what .* Known: validation/bleu"):
        taken(odd, tmp_path / "studies")


@pytest.mark.slow  # a real experiment of Ray's
def test_a_real_experiment_becomes_a_study(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import tune

    # What the engine switches off for itself: the loggers that a user has by default.
    monkeypatch.delenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", raising=False)

    def train(config: Tree) -> None:
        for i in range(3):
            if config["lr"] > 0.05 and i == 1:
                raise ValueError("no luck")
            accuracy = math.nan if config["lr"] < 0.005 and i == 2 else 0.5 + 0.1 * i
            tune.report({"accuracy": accuracy, "test": {"accuracy": 0.4}, "name": "x"})

    space = {"lr": tune.grid_search([0.001, 0.01, 0.1]), "method": "kl", "net": {"widths": [8]}}
    run = tune.RunConfig(name="real", storage_path=str(tmp_path / "ray"), verbose=0)
    tune.Tuner(train, param_space=space, run_config=run).fit()
    done = CliRunner().invoke(
        app,
        [
            *("import", str(tmp_path / "ray" / "real"), "--root", str(tmp_path / "studies")),
            *("--arm", "method"),
        ],
    )
    assert done.exit_code == 0, done.output
    folder = tmp_path / "studies" / "real"
    found = load_study(folder).trials
    assert found["state"].tolist() == ["FAIL", "COMPLETE", "FAIL"]
    assert found["stop_reason"].tolist() == ["diverged", "budget", "error"]
    assert found["epochs_done"].tolist() == [3, 3, 1]
    assert found["param.config/lr"].tolist() == [0.001, 0.01, 0.1]
    assert found["error_text"][2] == "no luck"
    assert (folder / "tables" / "trials.parquet").is_file()
