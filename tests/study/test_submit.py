"""What a job takes along, its command, and a real two-node cluster with a token."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis.events import read
from study import submit
from study.cli import app
from trainables.core.errors import SettingError

from .two_nodes import TwoNodes

TINY = """\
study: tiny
question: Does noise help a tiny model?
data: {name: Digits, limit: 150}
architecture: {name: MLP, hidden: [16, 16]}
training: {epochs: EPOCHS, batch_size: 40}
arms: {baseline: {}, gaussian-kl: gaussian_kl}
search: {sampler: random, trials_per_arm: 1}
schedule: {name: none}
confirm: {seeds: 0}
benchmarks: [Clean]
"""

EPOCHS = 600  # enough that both trials still run when a node is killed


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    # Beside the study file lies what must never travel.
    for name in (".env", "id_ed25519", "aws.pem", "token", "notes.txt"):
        (folder / name).write_text("do not send", encoding="utf-8")
    path = folder / "tiny.yaml"
    path.write_text(TINY.replace("EPOCHS", "2"), encoding="utf-8")
    return path


def test_only_the_study_file_travels(study_file: Path, tmp_path: Path) -> None:
    place = tmp_path / "parcel"
    place.mkdir()
    parcel = submit.pack(study_file, place)
    assert parcel == submit.Parcel(("tiny.yaml",), ())
    assert [path.name for path in place.rglob("*")] == ["tiny.yaml"]


def test_with_code_our_sources_travel_and_run(study_file: Path, tmp_path: Path) -> None:
    place = tmp_path / "parcel"
    place.mkdir()
    parcel = submit.pack(study_file, place, code=True)
    sent = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert sent == set(parcel.shipped)
    assert {"study/cli.py", "study/presets/quickstart.yaml", "analysis/report.html.jinja"} <= sent
    assert not any("__pycache__" in one or one.endswith(".pyc") for one in sent)
    code = "import study.spec, trainables; print(study.spec.__file__, *study.spec.presets())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(place))
    assert "quickstart" in done.stdout


@pytest.mark.parametrize(
    ("name", "travels"),
    [
        ("losses/tokenizer.py", True),
        ("presets/mine.yaml", True),
        ("presets/token.yaml", False),
        ("presets/aws_credentials.json", False),
        ("presets/.hidden.yaml", False),
        (".env", False),
        ("key.pem", False),
        ("id_rsa", False),
        ("weights.pt", False),
        ("data.npz", False),
    ],
)
def test_files_named_like_keys_and_data_stay_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, travels: bool
) -> None:
    home, place = tmp_path / "home", tmp_path / "parcel"
    place.mkdir()
    path = home / "study" / name
    path.parent.mkdir(parents=True)
    path.write_text("x", encoding="utf-8")
    (home / "study" / "linked.py").symlink_to("/etc/hostname")
    monkeypatch.setattr(submit, "__file__", str(home / "study" / "submit.py"))
    (home / "one.yaml").write_text("study: one", encoding="utf-8")
    parcel = submit.pack(home / "one.yaml", place, code=True)
    assert (f"study/{name}" in parcel.shipped) == travels
    assert (f"study/{name}" in parcel.excluded) == (not travels)
    assert "study/linked.py" in parcel.excluded
    assert (place / "study" / name).exists() == travels
    assert ("Not sent: " in parcel.summary()) and ("study/linked.py" in parcel.summary())


def test_the_command_of_a_job(tmp_path: Path) -> None:
    command = submit.entrypoint(
        "tiny.yaml",
        "tiny",
        python="/p/python",
        root="/shared",
        options=["--data-root", "/my data"],
        changes=["--set", "seed=1"],
    )
    assert command == (
        "/p/python -m study run tiny.yaml --root /shared --address auto "
        "--data-root '/my data' --set seed=1"
    )


@pytest.mark.parametrize("begun", [False, True])
def test_a_job_that_is_sent_again_goes_on(tmp_path: Path, begun: bool) -> None:
    root = tmp_path / "with space"
    (root / "tiny").mkdir(parents=True)
    if begun:
        (root / "tiny" / "ledger.jsonl").touch()
    command = submit.entrypoint(
        "tiny.yaml", "tiny", python="echo", root=str(root), resume=True, changes=["--set", "a=b"]
    )
    said = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    if begun:
        assert said == f"-m study resume {root}/tiny --address auto\n"
    else:
        assert said == f"-m study run tiny.yaml --root {root} --address auto --set a=b\n"


def test_a_root_below_the_jobs_own_folder_is_refused() -> None:
    with pytest.raises(SettingError, match=r"absolute.*'studies'"):
        submit.entrypoint("tiny.yaml", "tiny", python="python", root="studies")


def test_a_dry_run_shows_command_and_parcel(study_file: Path) -> None:
    words = ["submit", str(study_file), "--address", "http://127.0.0.1:1", "--root", "/shared"]
    done = CliRunner().invoke(app, [*words, "--dry-run", "--json", "--smoke-test"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["sent"] == ["tiny.yaml"]
    assert "--set study=tiny-smoke" in found["entrypoint"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:8265", "such as http://127.0.0.1:8265"),
        ("http://127.0.0.1:1", "nothing answers there"),
        ("http://127.0.0.1:x", "HOST:PORT"),
    ],
)
def test_a_wrong_address_is_one_line(study_file: Path, address: str, said: str) -> None:
    words = [sys.executable, "-m", "study", "submit", str(study_file)]
    done = subprocess.run(
        [*words, "--address", address, "--root", "/shared"],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        | {"RAY_AUTH_TOKEN": "0" * 64},
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


class Told:
    """A client of the Jobs API that tells how a job ended."""

    def __init__(self, status: str, code: int | None) -> None:
        self.status, self.driver_exit_code, self.message = status, code, "no such environment"

    async def tail_job_logs(self, job: str) -> Any:
        yield "one\n"
        yield "two\n"

    def get_job_info(self, job: str) -> Told:
        return self


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [("SUCCEEDED", 0, 0), ("FAILED", 1, 1), ("FAILED", 3, 3), ("STOPPED", None, 130)],
)
def test_a_followed_job_ends_as_its_study(status: str, code: int | None, expected: int) -> None:
    lines: list[str] = []
    assert submit.follow(Told(status, code), "job", lines.append) == expected
    assert lines == ["one\n", "two\n"]


def test_a_job_that_never_began_says_why() -> None:
    with pytest.raises(SettingError, match="no such environment"):
        submit.follow(Told("FAILED", None), "job", print)
    lines: list[str] = []
    assert submit.follow(Told("FAILED", 127), "job", lines.append) == 127
    assert "--python" in lines[-1]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    with TwoNodes(tmp_path_factory.mktemp("nodes")) as found:
        yield found


def study(nodes: TwoNodes, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m study` with what a driver of the cluster needs."""
    return subprocess.run(
        [sys.executable, "-m", "study", *map(str, words)],
        env=nodes.environment | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_without_the_token_the_dashboard_answers_nothing(nodes: TwoNodes) -> None:
    def status(path: str, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(nodes.dashboard + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    for path in ("/api/version", "/api/jobs/"):
        assert [status(path, one) for one in ("", "0" * 64, nodes.token)] == [401, 403, 200]


@pytest.mark.slow
def test_a_wrong_token_is_one_line(nodes: TwoNodes, study_file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64, encoding="utf-8")
    wrong.chmod(0o600)
    words = ["--root", tmp_path / "studies", "--address"]
    for command, address in (("submit", nodes.dashboard), ("check", nodes.address)):
        done = study(nodes, command, study_file, *words, address, RAY_AUTH_TOKEN_PATH=str(wrong))
        assert done.returncode == 2, done.stderr
        assert f"The token in {wrong} is probably not this cluster's" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_every_node_is_checked(nodes: TwoNodes, study_file: Path, tmp_path: Path) -> None:
    root = tmp_path / "studies"
    words = ["check", study_file, "--address", nodes.address, "--root", root]
    done = study(nodes, *words, "--nodes", 2, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len({row["node"] for row in rows}) == 2
    for row in rows:
        assert row["problems"] == []
        assert (row["cpus"], row["gpus"], row["data"]) == (1, 0, [1348, 449])
        assert "host" not in row
    assert list(root.iterdir()) == [], "the check's own files are left behind"
    missing = study(nodes, *words, "--set", "data=MNIST", "--data-root", tmp_path / "none")
    assert missing.returncode == 2
    assert "MNIST" in missing.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_submitted_study_outlives_a_node(nodes: TwoNodes, tmp_path: Path) -> None:
    root, file = tmp_path / "studies", tmp_path / "tiny.yaml"
    file.write_text(TINY.replace("EPOCHS", str(EPOCHS)), encoding="utf-8")
    sent = ["submit", file, "--address", nodes.dashboard, "--root", root, "--resume", "--code"]
    first = study(nodes, *sent, "--no-wait")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("raysubmit_")
    until = time.monotonic() + 900

    def happened(kind: str) -> list[dict[str, Any]]:
        ledger = root / "tiny"
        if not (ledger / "ledger.jsonl").exists():
            return []
        return [one for one in read(ledger) if one["event"] == kind]

    # Both trials at work, one on each node, and each has a checkpoint.
    while {one["trial"] for one in happened("report")} != {0, 1}:
        assert time.monotonic() < until, nodes.said()
        time.sleep(0.2)
    assert not happened("ended"), "too few epochs to kill a node within"
    raylet = [process for process, name in nodes.processes(1) if name == "raylet"]
    assert len(raylet) == 1
    os.kill(raylet[0], signal.SIGKILL)
    nodes.kill_node(1)
    while not happened("finished"):
        assert time.monotonic() < until, nodes.said()
        time.sleep(0.5)
    assert len(happened("retried")) >= 1
    for trial in (0, 1):
        epochs = [one["epoch"] for one in happened("report") if one["trial"] == trial]
        assert epochs == list(range(1, EPOCHS + 1)), "lost, twice or out of order"
    assert {one["state"] for one in happened("ended")} == {"COMPLETE"}

    # The same again finds it finished, and ends as it did.
    again = study(nodes, *sent)
    assert again.returncode == 0, again.stderr
    assert len(happened("finished")) == 1
    assert nodes.add_node() == 2
    assert nodes.alive() == 2
