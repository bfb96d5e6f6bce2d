"""A real Ray cluster of several nodes on this machine, for tests that lose nodes.

Every node is `ray start --block` in a session of its own, so that all of its processes, and only
they, are found and killed by their ids. All ports are the cluster's own, and so is the token.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

REPOSITORY = Path(__file__).parents[2]
PORTS = 60  # of one node: ten of Ray's services, fifty of its workers


def free_ports(count: int = PORTS) -> int:
    """The first of `count` ports in a row that nobody listens on, below the ephemeral ones."""
    for _ in range(200):
        first = 20_000 + secrets.randbelow(12_000 - count)
        with contextlib.ExitStack() as opened:
            try:
                for port in range(first, first + count):
                    one = opened.enter_context(socket.socket())
                    one.bind(("", port))
            except OSError:
                continue
            return first
    raise RuntimeError(f"no {count} free ports in a row")


def session(leader: int) -> list[tuple[int, str]]:
    """The ids and names of the living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            before, _, after = path.read_text(encoding="utf-8", errors="replace").rpartition(")")
            state, _, _, own = after.split()[:4]
            if int(own) == leader and state != "Z":
                found.append((int(path.parent.name), before.partition("(")[2]))
    return found


def end(leader: int) -> None:
    """Kill all processes of a session at once, as a power cut does."""
    for _ in range(20):
        living = session(leader)
        if not living:
            return
        # The raylet first: nothing of its node may tell the others that it is going.
        for process, _ in sorted(living, key=lambda one: one[1] != "raylet"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


class TwoNodes:
    """A cluster of `nodes` nodes with one CPU each, token authentication on; a context manager.

    Node 0 is the head. `environment` is what drivers and jobs need to join; `folder` lies in `tmp`
    and holds home, token and logs.
    """

    def __init__(self, tmp: Path, *, nodes: int = 2, cpus: int = 1) -> None:
        self.folder = tmp / "cluster"
        self._wanted, self._cpus = nodes, cpus
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.first = free_ports()
        self.address = f"127.0.0.1:{self.first}"
        self.dashboard = f"http://127.0.0.1:{self.first + 1}"
        self.token = secrets.token_hex(32)
        self.token_file = self.folder / "token"
        # Ray's sockets allow 107 characters, and a test's own folder is longer than that.
        self._temp = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of drivers: no trace of another Ray, the token in a file."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        return inherited | {
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def start(self) -> None:
        """Start the head and the other nodes; returns when all of them have joined."""
        (self.folder / "home").mkdir(parents=True)
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(self.token, encoding="utf-8")
        try:
            for _ in range(self._wanted):
                self.add_node()
        except BaseException:
            self.stop()
            raise

    @property
    def sessions(self) -> list[int]:
        """The sessions that the nodes' processes belong to."""
        return [node.pid for node in self._nodes]

    def add_node(self, *, replacing: bool = False) -> int:
        """Start one more node and wait until it has joined; its number. The first is the head.

        `replacing`: another one was killed, which the head may not have noticed yet.
        """
        number = len(self._nodes)
        if replacing:
            self.wait(sum(node.poll() is None for node in self._nodes), ended=True)
        before = self.alive() if number else 0
        for last in (False, False, True):
            first = free_ports() if number else self.first
            self._nodes[number:] = [self._launch(number, first)]
            try:
                self.wait(before + 1)
                break
            except ChildProcessError:
                # Ray gives a start up after 30 s, and a busy machine may need more.
                end(self._nodes[number].pid)
                if last:
                    raise
        return number

    def kill_node(self, number: int) -> None:
        """End a node without a word: its raylet first, then all of its processes."""
        end(self._nodes[number].pid)
        self._nodes[number].wait(timeout=30)

    def processes(self, number: int) -> list[tuple[int, str]]:
        """The ids and names of a node's processes."""
        return session(self._nodes[number].pid)

    def alive(self) -> int:
        """How many nodes the head counts as alive."""
        code = (
            "from ray._raylet import GcsClient; "
            f"nodes = GcsClient(address={self.address!r}).get_all_node_info(timeout=10); "
            "print(sum(one.state == 0 for one in nodes.values()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return int(done.stdout) if done.returncode == 0 else 0

    def wait(self, nodes: int, timeout_s: float = 180, *, ended: bool = False) -> None:
        """Wait until so many nodes are alive.

        Raises `TimeoutError` with what they logged, and, unless it is known to have `ended`,
        `ChildProcessError` where the last one did.
        """
        until = time.monotonic() + timeout_s
        while self.alive() != nodes:
            if not ended and self._nodes[-1].poll() is not None:
                raise ChildProcessError(self.said())
            if time.monotonic() > until:
                raise TimeoutError(f"{self.alive()} of {nodes} nodes are alive\n{self.said()}")
            time.sleep(0.5)

    def said(self) -> str:
        """The end of what the nodes wrote, for the message of a failed test."""
        return "\n".join(
            path.read_text(encoding="utf-8", errors="replace")[-2000:]
            for path in sorted(self.folder.glob("node*.log"))
        )

    def stop(self) -> None:
        """Kill every process of every node, the head last."""
        for node in reversed(self._nodes):
            end(node.pid)
            node.wait(timeout=30)
        shutil.rmtree(self._temp, ignore_errors=True)

    def __enter__(self) -> TwoNodes:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _launch(self, number: int, first: int) -> subprocess.Popen[bytes]:
        if number:
            place = [f"--address={self.address}"]
        else:
            place = [
                "--head",
                f"--port={first}",
                "--dashboard-host=127.0.0.1",
                f"--dashboard-port={first + 1}",
                f"--ray-client-server-port={first + 2}",
            ]
        with (self.folder / f"node{number}.log").open("wb") as log:
            return subprocess.Popen(
                [
                    str(Path(sys.executable).with_name("ray")),
                    "start",
                    "--block",
                    *place,
                    f"--dashboard-agent-listen-port={first + 3}",
                    f"--dashboard-agent-grpc-port={first + 4}",
                    f"--runtime-env-agent-port={first + 5}",
                    f"--metrics-export-port={first + 6}",
                    f"--node-manager-port={first + 7}",
                    f"--object-manager-port={first + 8}",
                    f"--min-worker-port={first + 10}",
                    f"--max-worker-port={first + PORTS - 1}",
                    # Nodes that share a folder delete each other's working directories of jobs.
                    f"--temp-dir={self._temp / str(number)}",
                    f"--num-cpus={self._cpus}",
                    "--num-gpus=0",
                    f"--object-store-memory={100 * 2**20}",
                    "--disable-usage-stats",
                ],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
