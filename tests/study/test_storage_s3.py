"""Trials whose files are in an S3 bucket: a real server of that protocol on the loopback."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.spec import parse
from trainables import storage
from trainables.storage import Storage, StorageError, within

from .drivers import Driver, kill_after
from .in_process import STORAGE, Runner, Trial, begin, checkpoints, curves
from .test_chaos import FILE

pytestmark = pytest.mark.slow

Tree = dict[str, Any]
SECRET = "hidden-in-the-environment"
ROOT = Path(__file__).parents[2]
# A process that runs a trial to an epoch and says what it reported, or is killed at the end.
PROCESS = """
import json, logging, os, signal, sys
import study.cluster
logging.disable()
from trainables.trial import Trial
asked = json.loads(sys.argv[1])
trial = Trial(config={"plan": json.dumps(asked["plan"])})
for _ in range(asked["steps"]):
    print(json.dumps(trial.step()), flush=True)
if asked["killed"]:
    os.kill(os.getpid(), signal.SIGKILL)
trial.stop()
"""


def _command() -> list[str]:
    """What starts moto's server, which may live in an environment of its own."""
    if "MOTO_SERVER" in os.environ:
        return [os.environ["MOTO_SERVER"]]
    if importlib.util.find_spec("moto") is None:
        pytest.skip("needs an S3 server: pip install 'moto[server]', or name one in MOTO_SERVER")
    return [sys.executable, "-m", "moto.server"]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server on a free port of the loopback."""
    command = _command()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("s3") / "log"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "-H", "127.0.0.1", "-p", str(port)],
            stdout=file,
            stderr=file,
            cwd=log.parent,
            env=os.environ | {"AWS_ACCESS_KEY_ID": "server", "AWS_SECRET_ACCESS_KEY": "server"},
        )
    try:
        for _ in range(600):
            try:
                direct.open(f"{address}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
        else:
            raise AssertionError(log.read_text())
        for name in ("studies", "other"):
            request = urllib.request.Request(f"{address}/{name}", method="PUT")
            direct.open(request, timeout=30).close()
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHIDDENHIDDEN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(storage, "PAUSES_S", (0.01,))
    monkeypatch.setattr(STORAGE, str(tmp_path / "trainables"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.fixture
def uri(endpoint: str, tmp_path: Path) -> str:
    """A place of its own in the bucket."""
    return f"s3://studies/{tmp_path.name}?endpoint_override={endpoint}&region=us-east-1"


def plan(folder: Path, **changes: Any) -> Tree:
    from trainables.core.recipe import resolve

    recipe: Tree = {
        "seed": 5,
        "data": {"name": "Digits", "limit": 150},
        "architecture": {"name": "MLP", "hidden": [16], "dropout": 0.3},
        "views": {"noisy": {"name": "GaussianNoise", "sigma": 0.2}},
        "losses": {"kl": {"name": "Consistency", "target": "clean", "view": "noisy"}},
        "weighter": "CoV",
        "training": {"epochs": 4, "batch_size": 40, "optimizer": {"name": "Adam", "lr": 0.01}},
    }
    return {
        "number": 3,
        "name": "0003 gaussian-kl × CoV seed 5",
        "folder": str(folder),
        "storage": "",
        "recipe": resolve(recipe),
        "data_root": "",
        "cpus": 1,
        "gpus": 0,
        "reported": 0,
        "benchmarks": ["Clean"],
        "probe_benchmarks": ["Clean"],
        "probe_at": [],
        "probe_limit": 16,
        "test_limit": 0,
        "test": True,
        "metric": "validation/accuracy",
        "mode": "max",
        "eval_seed": 0,
    } | changes


def config(folder: Path, **changes: Any) -> Tree:
    return {"plan": json.dumps(plan(folder, **changes))}


def timeless(found: list[Tree]) -> list[Tree]:
    for one in found:
        del one["train_s"], one["eval_s"]
        for row in one["evaluations"]:
            del row["duration_s"]
    return found


def reports(trial: Trial, count: int) -> list[Tree]:
    return timeless([one for _ in range(count) for one in json.loads(trial.step()["reports"])])


def in_a_process(asked: Tree, steps: int, *, killed: bool) -> tuple[list[Tree], str]:
    """The reports of so many steps in a new process, and what it said on stderr."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::ResourceWarning",
            "-c",
            PROCESS,
            json.dumps({"plan": asked, "steps": steps, "killed": killed}),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert not [one for one in results if "failure" in one], results
    found = [report for one in results for report in json.loads(one["reports"])]
    return timeless(found), done.stderr


def fetched(uri: str, folder: Path) -> dict[str, bytes]:
    """All files of the bucket below the address, also written to the folder."""
    store = Storage(uri)
    for name in store.names():
        assert store.get(name, folder / name)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_one_process_began_another_one_finishes(uri: str, tmp_path: Path) -> None:
    whole = reports(Trial(config(tmp_path / "whole")), 4)
    asked = plan(tmp_path / "none", storage=uri)
    first, _ = in_a_process(asked, 2, killed=True)
    second, said = in_a_process(asked | {"reported": 2}, 2, killed=False)
    assert first + second == whole
    files = fetched(uri, tmp_path / "fetched")
    assert checkpoints(tmp_path / "fetched") == checkpoints(tmp_path / "whole")
    assert set(files) == {
        f"trials/0003/{name}" for name in ("best.pt", "examples.npz", "last.pt", "previous.pt")
    }
    # Nothing is left here, and what a process leaves at its end is no complaint.
    assert not (tmp_path / "none").exists()
    scratch = [one for one in tmp_path.glob("trials-*/*") if one.is_dir()]
    assert scratch == []
    assert said == ""
    for content in (*files.values(), json.dumps(first + second).encode()):
        assert SECRET.encode() not in content
        assert b"AKIAHIDDEN" not in content


def test_a_torn_upload_costs_an_epoch(uri: str, tmp_path: Path) -> None:
    whole = reports(Trial(config(tmp_path / "whole")), 4)
    trial = Trial(config(tmp_path / "none", storage=uri))
    reports(trial, 3)
    store = Storage(uri)
    torn = tmp_path / "torn"
    assert store.get("trials/0003/last.pt", torn)
    torn.write_bytes(torn.read_bytes()[:4000])
    store.put(torn, "trials/0003/last.pt")
    trial.reset_config(config(tmp_path / "none", storage=uri, reported=3))
    (found,) = reports(trial, 1)
    told = found.pop("checkpoint")
    assert told == {"epoch": 2, "problem": "last.pt is torn: it is no whole file (4000 bytes)"}
    assert [found] == whole[3:]
    trial.stop()
    files = fetched(uri, tmp_path / "fetched")
    assert files.pop("trials/0003/last.pt.broken") == torn.read_bytes()
    assert checkpoints(tmp_path / "fetched") == checkpoints(tmp_path / "whole")


def test_errors_name_the_place_and_no_secret(endpoint: str, tmp_path: Path) -> None:
    options = f"?endpoint_override={endpoint}&region=us-east-1"
    trial = Trial(config(tmp_path / "none", storage=f"s3://nowhere/studies{options}"))
    result = trial.step()
    found = json.loads(result["failure"])
    assert (found["class"], found["type"]) == ("storage", "StorageError")
    assert "s3://nowhere/studies: trials/0003/last.pt cannot be written" in found["text"]
    for secret in (SECRET, "AKIAHIDDEN", endpoint):
        assert secret not in result["failure"]
    trial.stop()


def test_a_server_that_is_gone_is_a_failure_of_the_storage(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"s3://studies/x?endpoint_override=http://127.0.0.1:{port}&region=us-east-1"
    with pytest.raises(StorageError, match=r"s3://studies/x: last\.pt cannot be read") as found:
        Storage(uri).get("last.pt", tmp_path / "last.pt")
    assert str(port) not in str(found.value).partition(":")[0]


def test_large_files_go_in_parts_and_folders_stay_apart(uri: str, tmp_path: Path) -> None:
    one, other = Storage(within(uri, "one")), Storage(within(uri, "other"))
    large = tmp_path / "large"
    large.write_bytes(os.urandom(23 * 2**20 + 1))
    one.put(large, "trials/0001/last.pt")
    one.copy("trials/0001/last.pt", "trials/0001/previous.pt")
    assert one.get("trials/0001/previous.pt", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    assert one.names("trials") == ["trials/0001/last.pt", "trials/0001/previous.pt"]
    assert other.names() == []
    one.delete("trials/0001/last.pt")
    one.delete("trials/0001/last.pt")
    assert one.names() == ["trials/0001/previous.pt"]


def test_a_study_with_its_checkpoints_in_a_bucket_outlives_its_driver(
    uri: str, runner: Runner, driver: Driver, tmp_path: Path
) -> None:
    reference = begin(tmp_path / "reference", parse(FILE))
    runner.run(reference)
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(FILE), encoding="utf-8")
    folder = tmp_path / "studies" / FILE["study"]
    words = ("--cpus", 2, "--no-dashboard")
    first = driver.start("run", path, "--root", folder.parent, "--storage", uri, *words)
    assert kill_after(first, folder / "ledger.jsonl", 12, 0.05), driver.said()
    # The ledger knows where the checkpoints are.
    assert driver.start("resume", folder, *words).wait() == 0, driver.said()
    assert curves(folder) == curves(reference)
    files = fetched(within(uri, FILE["study"]), tmp_path / "fetched")
    assert checkpoints(tmp_path / "fetched") == checkpoints(reference)
    assert not list(folder.glob("trials/*/*.pt"))
    assert (folder / "tables" / "examples.parquet").is_file()
    own = [one.read_bytes() for one in folder.rglob("*") if one.is_file()]
    for content in (*files.values(), *own):
        assert SECRET.encode() not in content
        assert b"AKIAHIDDEN" not in content
