"""Who is let in and how: tokens, addresses, what fits, and what a check of nodes finds."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study import cluster, nodes
from study.cluster import Cluster, ClusterError
from trainables.core.errors import SettingError

from .in_process import Runner, begin, tiny

GIB = 2.0**30


@pytest.fixture(autouse=True)
def surroundings(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home of its own and no token, but for tests that are connected to the shared Ray."""
    if "cluster" in request.fixturenames:
        return
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        # Set first, so that what the tested code sets is taken back as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    # The shared Ray may be up in this process; it keeps the token that it began with.
    monkeypatch.setattr(cluster, "_refresh", lambda: None)


@pytest.fixture
def said() -> list[str]:
    return []


def listening() -> socket.socket:
    """A port of loopback on which somebody listens who is no Ray."""
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    found.listen()
    return found


def test_a_local_token_is_made_once_and_for_its_owner_alone(
    tmp_path: Path, said: list[str]
) -> None:
    path = cluster.token_file(said.append)
    assert path == tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text("utf-8")
    assert len(token) == 64
    assert cluster.token_file(said.append).read_text("utf-8") == token
    assert said == []


def test_a_token_that_ray_left_open_is_closed(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("0" * 64, encoding="utf-8")
    path.chmod(0o644)
    cluster.token_file(said.append)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text("utf-8") == "0" * 64
    assert len(said) == 1
    assert "0600 now" in said[0]


def test_a_named_token_file_is_left_as_it_is_and_spoken_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    path = tmp_path / "mounted"
    path.write_text("0" * 64, encoding="utf-8")
    path.chmod(0o640)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    cluster.token_file(said.append)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert len(said) == 1
    assert "mode 0640" in said[0]


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("ray-head", False),
        ("localhost.example.org", False),
    ],
)
def test_what_is_this_machine_itself(host: str, own: bool) -> None:
    assert cluster.loopback(host) == own


def test_no_cluster_on_the_network_is_joined_without_a_token(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"10\.0\.0\.1.*ray get-auth-token.*--insecure"):
        cluster.connect("10.0.0.1:6379")
    with pytest.raises(ClusterError, match="--insecure"):
        cluster.jobs("https://10.0.0.1:8265")
    assert not (tmp_path / ".ray").exists(), "a token was made for somebody else's cluster"


def test_authentication_that_is_switched_off_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ClusterError, match="RAY_AUTH_MODE is disabled"):
        cluster.authenticate("10.0.0.1")


def test_insecure_says_so(said: list[str]) -> None:
    cluster.authenticate("10.0.0.1", insecure=True, say=said.append)
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert "run any code" in said[0]


def test_a_token_is_taken_from_variable_file_or_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not cluster.has_token()
    home = tmp_path / ".ray" / "auth_token"
    home.parent.mkdir()
    home.write_text("home", encoding="utf-8")
    assert cluster.has_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "absent"))
    assert not cluster.has_token(), "a named file that is absent does not mean another one"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    assert cluster.has_token()


def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ClusterError, match="there is none in"):
        cluster.authenticate("10.0.0.1")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "nothing answers there"),
        ("127.0.0.1", "HOST:PORT"),
        ("127.0.0.1:port", "HOST:PORT"),
        ("ray://127.0.0.1:10001", "python -m study submit"),
        ("http://127.0.0.1:8265", "python -m study submit"),
    ],
)
def test_an_address_that_cannot_be_joined_is_named_at_once(address: str, reason: str) -> None:
    with pytest.raises(ClusterError, match=reason):
        cluster.connect(address)


def test_the_environment_names_a_cluster_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1: nothing answers"):
        cluster.connect()


def test_who_answers_but_is_no_dashboard_is_named() -> None:
    with listening() as port:
        number = port.getsockname()[1]
        port.settimeout(30)
        code = (
            "from study import cluster\n"
            f"try: cluster.jobs('http://127.0.0.1:{number}')\n"
            "except cluster.ClusterError as error: print(error)"
        )
        asking = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2):  # the first is the look whether anybody listens
            one, _ = port.accept()
            with one:
                one.settimeout(1)
                try:
                    if one.recv(1000):
                        one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                except TimeoutError:
                    pass
        output, _ = asking.communicate(timeout=60)
    assert "not as Ray's dashboard does" in output


def nodes_of(*cpus_gpus: tuple[float, float], memory: float = 16 * GIB) -> Cluster:
    found = tuple({"CPU": cpu, "GPU": gpu, "memory": memory} for cpu, gpu in cpus_gpus)
    return Cluster(
        local=False,
        dashboard="",
        cpus=sum(one["CPU"] for one in found),
        gpus=sum(one["GPU"] for one in found),
        nodes=found,
    )


@pytest.mark.parametrize(
    ("found", "asked", "fits"),
    [
        (nodes_of((4, 0)), (1, 0), 4),
        (nodes_of((4, 0), (3, 0)), (2, 0), 3),  # 2 + 1: the fourth CPU pair spans nodes
        (nodes_of((8, 2), (8, 0)), (1, 1), 2),
        (nodes_of((8, 2)), (1, 0.25), 8),
        (nodes_of((8, 1)), (0.5, 0.1), 10),
        (Cluster(local=True, dashboard="", cpus=3, gpus=0), (1, 0), 3),
    ],
)
def test_how_many_trials_fit(found: Cluster, asked: tuple[float, float], fits: int) -> None:
    assert found.slots(*asked) == fits


def test_memory_counts() -> None:
    found = nodes_of((8, 0), (8, 0), memory=10 * GIB)
    assert found.slots(1, 0, memory=4 * GIB) == 4
    assert found.slots(1, 0) == 16


@pytest.mark.parametrize(("cpu", "gpu", "memory"), [(5, 0, 0), (1, 1, 0), (1, 0, 1e12)])
def test_a_trial_that_fits_nowhere_is_refused(cpu: float, gpu: float, memory: float) -> None:
    with pytest.raises(SettingError, match=r"2 nodes: cpu=4, gpu=0 and cpu=4, gpu=0"):
        nodes_of((4, 0), (4, 0)).slots(cpu, gpu, memory=memory)


@pytest.fixture
def local(cluster: Cluster) -> Cluster:
    """The shared local Ray, under a name that does not hide the module's."""
    return cluster


def look(folder: Path, **asked: Any) -> nodes.Row:
    """The one row of the local cluster."""
    (row,) = nodes.check(folder, **asked)
    return row


def test_a_node_like_the_driver_has_no_problem(local: Cluster, tmp_path: Path) -> None:
    row = look(tmp_path / "new", data={"name": "Digits"}, hosts=True)
    assert row["problems"] == []
    assert row["data"] == [1348, 449]
    assert row["cpus"] == 2
    assert row["host"] == os.uname().nodename
    assert list((tmp_path / "new").iterdir()) == []
    nodes.demand([row])
    assert row["host"] in nodes.shown([row])


Change = Callable[[nodes.Row], None]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row["versions"].update(torch="1.0"), r"torch 1\.0 \(driver: 2"),
        (lambda row: row["versions"].update(ray=""), r"ray missing \(driver: 2"),
        (lambda row: row.update(python="3.9.1"), r"python 3\.9\.1 \(driver: 3"),
        (lambda row: row.update(code=""), "cannot be imported there.*--code"),
        (lambda row: row.update(code="0123456789ab"), "other code of ours"),
        (lambda row: row.update(storage="FileNotFoundError: x"), "is not shared with it"),
        (lambda row: row.update(read_back=False), "does not reach the driver"),
        (lambda row: row.update(gpus=1), "lends 2 GPUs to Ray, and torch sees 1.*--num-gpus=1"),
        (lambda row: row.update(torch="ImportError: nms"), "torch cannot be imported.*nms"),
        (lambda row: row.update(error="MissingDataError: MNIST"), "MissingDataError: MNIST"),
        (lambda row: row.update(data=[10, 5]), r"other data: \[10, 5\]"),
        (lambda row: row.update(free_bytes=2**20), "only 1 MiB are free"),
    ],
)
def test_what_is_wrong_with_a_node_is_named(change: Change, words: str) -> None:
    mine: nodes.Row = {
        "python": "3.11.7",
        "versions": dict.fromkeys(nodes.PACKAGES, "2.0"),
        "code": "aaaaaaaaaaaa",
        "data": [60_000, 10_000],
    }
    found = json.loads(json.dumps(mine)) | {
        "gpus": 2,
        "free_bytes": 10**10,
        "storage": "",
        "read_back": True,
        "host": "somewhere",
    }
    lent = {"CPU": 4.0, "GPU": 2.0}
    right = nodes._row("n" * 56, found, mine, lent, "/shared", hosts=False)
    assert right["problems"] == []
    change(found)
    row = nodes._row("n" * 56, found, mine, lent, "/shared", hosts=False)
    assert len(row["problems"]) == 1
    with pytest.raises(ClusterError, match=f"(?s)node nnnnnnnn: .*{words}"):
        nodes.demand([right, row])
    assert "wrong" in nodes.shown([row])
    assert "somewhere" not in json.dumps(row)


def test_a_driver_without_the_data_is_told_so(local: Cluster, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"driver itself.*MNIST"):
        nodes.check(tmp_path, str(tmp_path / "none"), data={"name": "MNIST"})
    assert list(tmp_path.glob(".study-check*")) == []


@pytest.mark.parametrize("storage", ["nonsense://bucket/x", "s4://x"])
def test_a_storage_of_no_known_kind_is_refused(
    local: Cluster, tmp_path: Path, storage: str
) -> None:
    with pytest.raises(SettingError, match=r"storage: .* is no address"):
        nodes.check(tmp_path, storage=storage)


def test_a_node_that_does_not_answer_is_given_up(local: Cluster) -> None:
    def sleep(node: str) -> dict[str, Any]:
        import time

        time.sleep(60)
        return {}

    (answer,) = cluster.on_every_node(sleep, timeout_s=3).values()
    assert answer == "it has not answered after 3 s"


def test_a_node_that_is_lost_meanwhile_is_left_out(
    local: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    real = ray.nodes()
    gone = real[0] | {"NodeID": "0" * len(real[0]["NodeID"])}
    listed = iter([[*real, gone]])  # the first time Ray has not noticed
    monkeypatch.setattr(ray, "nodes", lambda: next(listed, real))
    answers = cluster.on_every_node(lambda node: {"node": node}, timeout_s=60)
    assert answers == {one["NodeID"]: {"node": one["NodeID"]} for one in real}


def test_a_task_that_fails_is_an_answer(local: Cluster) -> None:
    def fail(node: str) -> dict[str, Any]:
        raise RuntimeError("no room")

    (answer,) = cluster.on_every_node(fail, timeout_s=60).values()
    assert isinstance(answer, str)
    assert "no room" in answer


SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIA0FAKE0FAKE0FAKE0",
    "AWS_SECRET_ACCESS_KEY": "fake/secret/key/of/a/bucket",
    "RAY_AUTH_TOKEN": "f4ce" * 16,
    "WANDB_API_KEY": "fake-tracking-key",
}


def test_no_secret_and_no_host_name_is_left_in_a_studys_folder(
    runner: Runner, study_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study import life

    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    host = "host-name-of-a-node"
    monkeypatch.setattr("platform.node", lambda: host)
    monkeypatch.setattr("socket.gethostname", lambda: host)
    study = tiny(search={"trials_per_arm": 1}, confirm={"seeds": 1}, training={"epochs": 1})
    runner.run(begin(study_folder, study))
    life.tell(study_folder)
    files = [path for path in study_folder.rglob("*") if path.is_file()]
    assert {"ledger.jsonl", "index.html"} <= {path.name for path in files}
    assert any(path.suffix == ".parquet" for path in files)
    for path in files:
        found = path.read_bytes()
        for value in (*SECRETS.values(), host):
            assert value.encode() not in found, f"{path} holds {value}"
