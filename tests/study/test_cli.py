"""The commands as a user types them: outputs, exit codes, and no traceback for a user's mistake."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result
from typer.testing import CliRunner

from analysis import events
from study.cli import app

if TYPE_CHECKING:
    from .in_process import Runner

TINY = """
study: tiny
question: Does it run?
data: {name: Digits, limit: 120}
training: {epochs: 3}
arms: {baseline: {}, gaussian-kl: gaussian_kl}
search: {sampler: random, trials_per_arm: 2}
schedule: {name: ASHA, grace_epochs: 1, reduction_factor: 2}
confirm: {top: 1, seeds: 2}
probe: {limit: 16}
benchmarks: [Clean, gaussian_0.1]
"""


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


def test_help_of_every_command_has_an_example() -> None:
    listed = call("--help").output
    for command in re.findall(r"^  (\w+) ", listed.split("Commands:")[1], re.MULTILINE):
        shown = call(command, "--help")
        assert shown.exit_code == 0
        assert "python -m study" in shown.output, f"{command} --help shows no example"


def test_help_answers_in_under_a_second() -> None:
    # Measured by what makes it slow, so that a busy machine cannot fail it.
    heavy = "{'torch', 'ray', 'pandas', 'optuna', 'matplotlib', 'scipy', 'sklearn', 'numpy'}"
    code = (
        "import sys\nfrom study.cli import app\n"
        "try: app(['run', '--help'])\nexcept SystemExit: pass\n"
        f"sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["losses", "weighters", "views", "data", "methods", "presets"])
def test_list_and_show(kind: str) -> None:
    found = json.loads(call("list", kind, "--json").output)[kind]
    assert found
    name = found[0].split(":")[0]
    assert name in call("show", kind, name).output


def test_show_names_settings_with_defaults_and_the_source() -> None:
    shown = json.loads(call("show", "weighters", "cov", "--json").output)
    assert shown["name"] == "CoV"
    assert "2009.01717" in shown["about"]
    assert json.loads(call("show", "attacks", "PGD", "--json").output)["settings"]["steps"] == 20


def test_doctor_says_the_versions() -> None:
    found = json.loads(call("doctor", "--json").output)
    assert {"python", "torch", "ray", "data root", "free space"} <= set(found)
    assert found["torch pair"] == "work together"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["run", "quikstart"], 2, "Did you mean 'quickstart'"),
        (["run", "nowhere.yaml"], 2, "There is no study file nowhere.yaml"),
        (["run", "quickstart", "--dry-run", "--set", "data=MNIST"], 3, "MNIST"),
        (["run", "quickstart", "--dry-run", "--set", "data.folds=9999"], 2, "data/folds"),
        (["run", "quickstart", "--dry-run", "--set", "resources.gpu=64"], 2, "gpu=64"),
        (["resume", "nowhere"], 2, "no study's folder"),
        (["status", "nowhere"], 2, "no study's folder"),
        (["report", "nowhere"], 2, "no study's folder"),
        (["list", "loses"], 2, "Did you mean 'losses'"),
        (["show", "weighters", "CoW"], 2, "Did you mean 'CoV'"),
        (["train", "--data", "Digit"], 2, "Did you mean 'Digits'"),
        (["train", "--loss", "gausian-kl_0.1"], 2, "Did you mean"),
        (["evaluate", "nowhere", "--benchmark", "clean"], 3, "There is no checkpoint"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else None,
)
def test_a_mistake_is_one_line_and_a_code(
    words: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    done = call(*words)
    assert done.exit_code == code, done.output
    assert says in done.output
    assert "Traceback" not in done.output
    assert not list(tmp_path.iterdir()), "a refused command left something behind"


def test_dry_run_says_what_would_run_and_writes_nothing(file: Path, tmp_path: Path) -> None:
    done = call("run", file, "--dry-run", "--root", tmp_path / "studies")
    assert done.exit_code == 0
    assert "2 arms" in done.output
    assert "8 trials of at most 3 epochs" in done.output
    assert not (tmp_path / "studies").exists()


def test_train_evaluate_and_train_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "--model", "mlp", "--dataset", "digits", "--custom-loss", "gaussian-kl_0.1"]
    words += ["--max-epochs", "2", "--set", "data.limit=150", "--device", "cpu"]
    done = call(*words, "--json")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "runs" / "digits_mlp_gaussian-kl_0.1_Fixed_seed0"
    assert {"recipe.json", "reports.jsonl", "last.pt", "best.pt"} == {
        path.name for path in folder.iterdir()
    }
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["views"]["noisy"]["sigma"] == "0.1"
    again = call(*words)
    assert again.exit_code == 2
    assert "--resume" in again.output
    on = call(*words, "--resume")
    assert on.exit_code == 0, on.output
    rows = json.loads(call("evaluate", folder, "--eval-benchmark", "gaussian_0.1", "--json").output)
    assert [row["metric"] for row in rows] == ["accuracy", "loss"]
    assert rows[0]["n_examples"] == 449
    assert rows[0]["n_correct"] == round(449 * rows[0]["value"])
    assert len((folder / "evaluations.jsonl").read_text().splitlines()) == 2


def test_train_with_an_attack_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    attack = {
        "attack_name": "PGD",
        "constraint": "2",
        "epsilon": 0.5,
        "attack_args": {"abs_stepsize": 1.5, "steps": 3},
    }
    (tmp_path / "pgd_2_0.5.json").write_text(json.dumps(attack))
    done = call(
        "train", "--model", "convnet", "--custom-loss", "adversarial-attack",
        "--loss-config-file", "pgd_2_0.5.json", "--epochs", "1", "--set", "data.limit=60",
        "--out", "run",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    view = json.loads((tmp_path / "run" / "recipe.json").read_text())["views"]["adv"]
    expected = {"name": "PGD", "norm": "2", "eps": 0.5, "step_size": 1.5, "steps": 3}
    assert {key: view[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("preset", "changes", "says"),
    [
        ("detection", ["data.folder=coco", "data.size=64"], "DeepFool is for classification"),
        ("regression", ["data.dataset=Slopes"], "benchmarks: RandomFlip: "),
    ],
)
def test_a_benchmark_that_the_data_does_not_allow_is_refused_before_ray(
    preset: str, changes: list[str], says: str, small_root: Path
) -> None:
    other = "DeepFool" if preset == "detection" else "RandomFlip"
    words = [word for one in (*changes, f"benchmarks=[Clean, {other}]") for word in ("--set", one)]
    done = call("run", preset, "--dry-run", "--data-root", small_root, *words)
    assert done.exit_code == 2, done.output
    assert says in done.output


def test_train_and_evaluate_by_errors(
    tmp_path: Path, small_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_DATA", str(small_root))
    words = ["--model", "mlp", "--max-epochs", "3", "--device", "cpu", "--out", "run"]
    done = call("train", "--data", "TSER_Slopes", *words)
    assert done.exit_code == 0, done.output
    assert "TSER Slopes: TSER archive Slopes" in done.output
    assert re.search(r"validation RMSE \d+\.\d+ ", done.output)
    lines = (tmp_path / "run/reports.jsonl").read_text().splitlines()
    errors = [json.loads(line)["validation/rmse"] for line in lines]
    words = ["evaluate", "run", "--part", "validation", "--benchmark", "clean", "--best", "--json"]
    values = {row["metric"]: row["value"] for row in json.loads(call(*words).output)}
    assert values["rmse"] == min(errors)
    shown = call("evaluate", "run", "--benchmark", "gaussian_0.1").output
    assert shown.startswith("TSER Slopes: TSER archive Slopes")
    assert re.search(r"test +gaussian_0.1 +RMSE +\d+\.\d+ +– +12 ", shown)
    assert "%" not in shown.replace("95 % interval", "")


def test_the_ledger_tells_the_data_and_a_study_goes_on_with_no_other(
    file: Path, tmp_path: Path
) -> None:
    from study import life, spec
    from trainables.core.errors import SettingError

    study = spec.load(file)
    data = life.rehearse(study, "", address="local", cpus=1)
    assert {key: data[key] for key in ("title", "train", "validation", "test", "shape")} == {
        "title": "Digits",
        "train": 96,
        "validation": 24,
        "test": 449,
        "shape": [1, 8, 8],
    }
    folder = life.create(study, TINY, tmp_path, data)
    assert events.read(folder)[0]["data"] == data
    assert "on Digits" in call("status", folder).output
    before = (folder / events.FILE).read_bytes()
    other = data | {"title": "Digits (classes 1, 2)", "train": 19}
    with pytest.raises(SettingError, match=r"begun with other data \(Digits, 96 train.*19 train"):
        life.conduct(folder, "resume", data=other)
    assert (folder / events.FILE).read_bytes() == before


def test_chosen_classes_are_in_the_title() -> None:
    from study.provenance import data_of
    from trainables.core.training import Training

    data = {"name": "Digits", "classes": [3, 5], "limit": 40}
    found = data_of(Training({"data": data}), "")
    assert found["title"] == "Digits (classes 3, 5)"
    assert (found["classes"], found["train"] + found["validation"]) == (2, 40)


def test_a_trial_is_reproduced_to_the_last_digit(
    file: Path, tmp_path: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study import life, spec

    monkeypatch.chdir(tmp_path)
    folder = life.create(spec.load(file), TINY, tmp_path)
    runner.run(folder)
    stopped = next(
        one["trial"] for one in events.read(folder) if one.get("decision") in ("stop", "complete")
    )
    done = call("reproduce", folder, str(stopped), "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "validation/accuracy: " in done.output
    assert "Equal to the last digit." in done.output
    assert (tmp_path / "runs" / f"tiny-{stopped:04d}" / "last.pt").exists()
    missing = call("reproduce", folder, "99")
    assert (missing.exit_code, "has no trial 99" in missing.output) == (2, True)


def driver(*words: str | Path, home: Path) -> subprocess.Popen[str]:
    """The real command in a process group of its own, with a home of its own for Ray's token."""
    return subprocess.Popen(
        [sys.executable, "-m", "study", *map(str, words)],
        env=os.environ | {"HOME": str(home), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_reports(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        ledger = folder / events.FILE
        if ledger.exists() and ledger.read_text().count('"event":"report"') >= count:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("no reports in two minutes")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_says_how_to_go_on_and_does(
    sent: signal.Signals, file: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    folder = tmp_path / "studies" / "tiny"
    options = ["--cpus", "1", "--no-dashboard"]
    # Long enough to be interrupted in the middle.
    longer = ["--set", "training.epochs=14", "--set", "schedule.grace_epochs=7"]
    first = driver("run", file, "--root", folder.parent, *options, *longer, home=home)
    wait_for_reports(folder, 5, first)
    first.send_signal(sent)
    text = first.communicate(timeout=120)[0]
    assert first.returncode == 130, text
    assert f"resume {folder}" in text
    assert "Traceback" not in text
    found = events.read(folder)
    assert found[-1]["event"] == "interrupted"
    assert call("status", folder).output.startswith("tiny: interrupted")

    second = driver("resume", folder, *options, home=home)
    text = second.communicate(timeout=240)[0]
    assert second.returncode == 0, text
    assert f"Report: {folder}" in text
    found = events.read(folder)
    reports = [(one["trial"], one["epoch"]) for one in found if one["event"] == "report"]
    assert len(reports) == len(set(reports))
    # Nothing varies in the baseline: one trial of its search is all there is.
    assert sum(one["event"] == "ended" for one in found) == 7
    assert found[-1]["event"] == "finished"
    assert (folder / "report" / "index.html").exists()
    again = call("run", file, "--root", folder.parent)
    assert again.exit_code == 2
    assert "has finished" in again.output


def test_resume_without_the_data_touches_no_trial(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study import life, spec

    folder = life.create(spec.load(file), TINY, tmp_path)
    resolved = json.loads((folder / "resolved.json").read_text())
    for arm in resolved["arms"]:
        arm["recipe"]["data"] = {"name": "MNIST", "seed": 0}
    (folder / "resolved.json").write_text(json.dumps(resolved))
    before = (folder / events.FILE).read_bytes()
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    done = call("resume", folder)
    assert done.exit_code == 3
    assert "MNIST is not there" in done.output
    assert (folder / events.FILE).read_bytes() == before


@pytest.mark.parametrize("command", ["resume", "status", "report"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda line: '{"event": "segm' if '"segment"' in line else line, "line 2: not valid JSON"),
        (lambda line: line.replace('"schema_version":2', '"schema_version":3'), "version 3"),
    ],
    ids=["a damaged line", "a newer version"],
)
def test_a_ledger_that_cannot_be_read_is_named_refused_and_left_as_it_is(
    command: str, damage: Callable[[str], str], says: str, file: Path, tmp_path: Path
) -> None:
    from study import life, spec
    from study.ledger import Ledger

    folder = life.create(spec.load(file), TINY, tmp_path)
    with Ledger.open(folder) as ledger:
        ledger.append("segment", segment=0, command="run")
        ledger.append("interrupted")
    path = folder / events.FILE
    path.write_text("\n".join(map(damage, path.read_text().split("\n"))))
    before = path.read_bytes()
    done = call(command, folder)
    assert done.exit_code == 2, done.output
    assert says in done.output
    assert str(path) in done.output
    assert "Traceback" not in done.output
    assert path.read_bytes() == before
