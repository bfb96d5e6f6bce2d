"""Launch files: valid by the schemas that there are, and the Slurm script really run."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from analysis.events import read
from study import launch
from study.cli import app
from study.launch import Asked
from study.spec import parse
from trainables.core.errors import SettingError

from .two_nodes import REPOSITORY, end, session

STORAGE = "/shared/studies"
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

EPOCHS = 300  # enough that the study still runs when it is interrupted


def one_file(kind: str, tmp_path: Path, **asked: Any) -> str:
    """The main file of a kind for the quickstart."""
    settings: dict[str, Any] = {"storage": STORAGE} | asked
    return launch.write(kind, "quickstart", Asked(**settings), tmp_path)[0].read_text("utf-8")


@pytest.mark.parametrize("gpus", [0, 4])
def test_the_slurm_script_is_bash_and_asks_for_what_it_was_told(tmp_path: Path, gpus: int) -> None:
    text = one_file("slurm", tmp_path, nodes=3, cpus=8, gpus=gpus, time="2-00:00:00")
    script = tmp_path / "quickstart.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    options = [line.split(None, 1)[1] for line in text.splitlines() if line.startswith("#SBATCH")]
    assert {"--nodes=3", "--cpus-per-task=8", "--time=2-00:00:00"} <= set(options)
    assert {"--signal=B:USR1@300", "--requeue", "--no-kill"} <= set(options)
    assert ("--gpus-per-node=4" in options) == (gpus == 4)
    assert os.access(script, os.X_OK)
    assert parse(yaml.safe_load((tmp_path / "quickstart.yaml").read_text("utf-8"))).arms


def test_what_a_user_names_cannot_end_a_word_of_the_script(tmp_path: Path) -> None:
    text = one_file("slurm", tmp_path, storage="/a b/$(id)'; true", python="/p q/python")
    assigned = dict(
        line.split("#")[0].strip().split("=", 1)
        for line in text.splitlines()
        if line.startswith(("python=", "root="))
    )
    assert shlex.split(assigned["root"]) == ["/a b/$(id)'; true"]
    assert shlex.split(assigned["python"]) == ["/p q/python"]
    subprocess.run(["bash", "-n", str(tmp_path / "quickstart.sbatch")], check=True)


@pytest.mark.parametrize(
    "asked",
    [
        {"provider": "local", "head_ip": "10.0.0.1", "worker_ips": ("10.0.0.2", "10.0.0.3")},
        {"provider": "aws", "nodes": 3, "install": "git+https://example.org/studies@v1"},
    ],
    ids=["local", "aws"],
)
def test_ray_up_files_are_valid_by_rays_own_schema(tmp_path: Path, asked: dict[str, Any]) -> None:
    import jsonschema
    import ray

    config = yaml.safe_load(one_file("ray-up", tmp_path, data_root="/data", **asked))
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text("utf-8")))
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]
    for command in (head, worker):
        assert "RAY_AUTH_MODE=token" in command
        assert "STUDY_DATA=/data" in command
        assert "--disable-usage-stats" in command
    assert "--dashboard-host=127.0.0.1" in head
    (place, token), *_ = config["file_mounts"].items()
    assert place == "~/.ray/auth_token"
    path = tmp_path / token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text("utf-8")) == 64


def test_every_cluster_of_ray_up_has_a_token_of_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        one_file("ray-up", tmp_path / name, head_ip="10.0.0.1")
    one, two = (tmp_path / name / "quickstart.token" for name in ("one", "two"))
    assert one.read_text("utf-8") != two.read_text("utf-8")


def test_the_rayjob_has_what_kuberay_requires_and_exposes_nothing(tmp_path: Path) -> None:
    # KubeRay's schema is in none of our packages: these are its required fields, by hand.
    text = one_file("kuberay", tmp_path, nodes=3, cpus=8, gpus=2, image="registry/studies:1")
    config_map, job = yaml.safe_load_all(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["entrypoint"] == "bash /etc/study/run.sh"
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert tuple(map(int, cluster["rayVersion"].split(".")[:2])) >= (2, 52)
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert (head["serviceType"], head["enableIngress"]) == ("ClusterIP", False)
    assert {worker[key] for key in ("replicas", "minReplicas", "maxReplicas")} == {3}
    mounts = []
    for group in (head, worker):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == "registry/studies:1"
        assert container["resources"]["requests"] == container["resources"]["limits"]
        named = {one["name"] for one in pod["volumes"]}
        assert {one["name"] for one in container["volumeMounts"]} == named
        mounts.append({one["name"]: one["mountPath"] for one in container["volumeMounts"]})
    assert mounts[0] == mounts[1]
    assert STORAGE.startswith(mounts[0]["shared"])
    limits = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
    assert parse(yaml.safe_load(config_map["data"]["study.yaml"])).study == "quickstart"
    subprocess.run(["bash", "-n", "-c", config_map["data"]["run.sh"]], check=True)
    assert config_map["metadata"]["name"] == "quickstart-study"


def test_nothing_is_overwritten_and_nothing_is_half_written(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingError, match=r"quickstart\.yaml is there already"):
        one_file("slurm", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["quickstart.yaml"]
    assert (tmp_path / "quickstart.yaml").read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    ("kind", "asked", "said"),
    [
        ("slrum", {}, "slurm"),
        ("kuberay", {}, "--image"),
        ("ray-up", {}, "--head-ip"),
        ("ray-up", {"provider": "aws"}, "--install"),
        ("ray-up", {"provider": "gcp"}, "aws"),
        ("slurm", {"nodes": 0}, "--nodes"),
        ("slurm", {"gpus": -1}, "--gpus-per-node"),
        ("slurm", {"storage": "studies"}, "absolute"),
        ("slurm", {"time": "1h"}, "--time"),
        ("slurm", {"time": "1:00:00\n#SBATCH --account=other"}, "--time"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    tmp_path: Path, kind: str, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        one_file(kind, tmp_path, **asked)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_and_says_what_is_next(tmp_path: Path) -> None:
    words = ["launch", "slurm", "--nodes", "2", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "quickstart.sbatch") in done.stdout.splitlines()
    assert f"sbatch {tmp_path / 'quickstart.sbatch'}" in done.stderr
    assert CliRunner().invoke(app, words).exit_code == 2


SRUN = """\
#!/bin/bash
# One task for every node of the job, here on one machine.
while [ "$1" != bash ]; do shift; done
for ((i = 0; i < SLURM_JOB_NUM_NODES; i++)); do SLURM_NODEID=$i "$@" & done
trap 'kill $(jobs -p)' TERM
wait; wait
"""
SCONTROL = """\
#!/bin/bash
echo "$@" >> "$(dirname "$0")/scontrol.log"
"""


class Slurm:
    """Runs a batch script as Slurm would, with the two of its programs that the script calls."""

    def __init__(self, folder: Path, storage: Path) -> None:
        self.folder, self.storage = folder, storage
        programs = folder / "bin"
        programs.mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)
        (folder / "home").mkdir()
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self.job = os.getpid()
        self.environment = clean | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "SLURM_JOB_ID": str(self.job),
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_SUBMIT_DIR": str(folder),
        }
        self._leaders: list[int] = []

    def submit(self, epochs: int) -> None:
        """Write the script and the study."""
        (self.folder / "given.yaml").write_text(TINY.replace("EPOCHS", str(epochs)), "utf-8")
        asked = Asked(storage=str(self.storage), nodes=2, cpus=1)
        launch.write("slurm", str(self.folder / "given.yaml"), asked, self.folder)

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            job = subprocess.Popen(
                ["bash", str(self.folder / "tiny.sbatch")],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._leaders.append(job.pid)
        return job

    def said(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def requeued(self) -> list[str]:
        path = self.folder / "bin" / "scontrol.log"
        return path.read_text("utf-8").splitlines() if path.exists() else []

    def processes(self) -> list[tuple[int, str]]:
        """Those of the last job."""
        return session(self._leaders[-1])

    def left(self) -> list[tuple[int, str]]:
        """What the last job left behind; Ray's reaper looks only now and then."""
        until = time.monotonic() + 60
        while self.processes() and time.monotonic() < until:
            time.sleep(0.5)
        return self.processes()

    def stop(self) -> None:
        for leader in self._leaders:
            end(leader)


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    found = Slurm(tmp_path, tmp_path / "shared")
    yield found
    found.stop()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_slurm_script_runs_a_study_is_interrupted_and_goes_on(slurm: Slurm) -> None:
    slurm.submit(epochs=EPOCHS)
    job = slurm.start()
    ledger = slurm.storage / "tiny"
    until = time.monotonic() + 400

    def reported() -> int:
        if not (ledger / "ledger.jsonl").exists():
            return 0
        return sum(one["event"] == "report" for one in read(ledger))

    while reported() < 2:
        assert job.poll() is None, slurm.said()
        assert time.monotonic() < until, slurm.said()
        time.sleep(0.5)
    token = slurm.storage / f".ray-token-{slurm.job}"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    raylets = [name for _, name in slurm.processes() if name == "raylet"]
    assert len(raylets) == 2, slurm.said()

    # What Slurm sends before the time limit: to the batch script alone.
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=120) == 0, slurm.said()
    assert slurm.requeued() == [f"requeue {slurm.job}"], slurm.said()
    assert [one["event"] for one in read(ledger)][-1] == "interrupted"
    assert not token.exists()
    assert slurm.left() == []

    before = reported()
    again = slurm.start()
    assert again.wait(timeout=500) == 0, slurm.said()
    events = list(read(ledger))
    assert [one["event"] for one in events][-1] == "finished"
    assert [one["command"] for one in events if one["event"] == "segment"] == ["run", "resume"]
    assert reported() == 2 * EPOCHS > before
    assert slurm.requeued() == [f"requeue {slurm.job}"]
    assert slurm.left() == []


def test_the_interpreter_of_the_nodes_is_this_one_by_default() -> None:
    assert Asked(storage=STORAGE).python == sys.executable
