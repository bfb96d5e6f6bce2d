"""The Ray cluster that a study runs on: its own local one, or one that is named.

Ray's Jobs API and its ports run what they are sent, so token authentication is set explicitly on
every way in, and a cluster on the network is not joined without a token unless that is asked for.
"""

from __future__ import annotations

import ipaddress
import math
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import SplitResult, urlsplit

from trainables.core.errors import SettingError

# Ray reads these when its modules load, so they are set before anything of ours imports it.
os.environ |= {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our tables replace its loggers
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # nobody restores from the state that it would write
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
os.environ.setdefault("RAY_AUTH_MODE", "token")

ANSWER_WITHIN_S = 10.0
# Ray asks a node five times, every three seconds, before it gives it up.
NOTICED_S = 40.0


class ClusterError(SettingError):
    """A cluster cannot be joined, or not as asked; the message names it and says what to do."""


def _stderr(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass(frozen=True)
class Cluster:
    """A connected cluster: where its dashboard is and what it has.

    `nodes` holds the resources of each alive node by Ray's names (CPU, GPU, memory in bytes); where
    it is empty the cluster is one node of unknown memory.
    """

    local: bool
    dashboard: str
    cpus: float
    gpus: float
    nodes: tuple[Mapping[str, float], ...] = ()

    def slots(self, cpu: float, gpu: float, *, memory: float = 0) -> int:
        """How many trials fit at once; raises `SettingError` if not even one does.

        `cpu`, `gpu` and `memory` (bytes) are the whole trial's. A trial never spans nodes, so two
        nodes with half a trial's CPUs each hold none.
        """
        asked = {"CPU": cpu, "GPU": gpu, "memory": memory}
        nodes = self.nodes or ({"CPU": self.cpus, "GPU": self.gpus, "memory": math.inf},)
        fits = sum(_fits(node, asked) for node in nodes)
        if fits < 1:
            rest = f", memory={memory:g}" if memory else ""
            per_node = " and ".join(
                f"cpu={node.get('CPU', 0):g}, gpu={node.get('GPU', 0):g}" for node in nodes[:4]
            )
            spread = f" ({len(nodes)} nodes: {per_node})" if len(nodes) > 1 else ""
            raise SettingError(
                f"resources: a trial asks for cpu={cpu:g}, gpu={gpu:g}{rest}; the cluster "
                f"has cpu={self.cpus:g}, gpu={self.gpus:g}{spread}."
            )
        return fits

    def now(self) -> Cluster:
        """The same cluster with the nodes that are alive now; nodes come and go."""
        return _counted(self.local, self.dashboard)

    def scratch(self, folder: Path) -> Path:
        """Where Ray may write what nobody reads: shared storage unless the cluster is local."""
        if self.local:
            return Path(tempfile.gettempdir())
        place = folder / "ray"
        place.mkdir(exist_ok=True)
        return place


def _fits(node: Mapping[str, float], asked: Mapping[str, float]) -> int:
    """How many times what is asked for fits on a node."""
    return min(
        math.floor(min(node.get(name, 0.0) / amount, 1e6) + 1e-9)
        for name, amount in asked.items()
        if amount > 0
    )


def token_file(say: Callable[[str], None] = _stderr) -> Path:
    """The file with this user's Ray token, made with mode 0600 if there is none.

    Ray makes the default one readable by others where the umask allows it; that is mended. A file
    that `RAY_AUTH_TOKEN_PATH` names is somebody's decision, so that is only said.
    """
    path = _token_path()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    _only_the_owner_reads(path, say)
    return path


def has_token() -> bool:
    """Whether there is a token: in RAY_AUTH_TOKEN, else in its file."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    path = _token_path()
    try:
        return bool(path.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return False
    except (OSError, UnicodeError) as error:
        raise ClusterError(f"{path}: the token cannot be read: {error}.") from None


def authenticate(
    host: str, *, insecure: bool = False, say: Callable[[str], None] = _stderr
) -> None:
    """Set how this process shows itself to the Ray at `host`; a token is never made for it.

    Raises `ClusterError` where there is no token for a host that is not this machine itself
    (loopback), unless `insecure`.
    """
    switched_off = os.environ.get("RAY_AUTH_MODE") == "disabled"
    if insecure:
        os.environ["RAY_AUTH_MODE"] = "disabled"
        say(
            f"Warning: joining {host} without authentication (--insecure): whoever reaches it can "
            "run any code there and read its data."
        )
    elif has_token() and not switched_off:
        os.environ["RAY_AUTH_MODE"] = "token"
        if not os.environ.get("RAY_AUTH_TOKEN"):
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token_path())
            _only_the_owner_reads(_token_path(), say)
    elif loopback(host):
        os.environ["RAY_AUTH_MODE"] = "disabled"
    else:
        why = "RAY_AUTH_MODE is disabled" if switched_off else f"there is none in {_token_path()}"
        raise ClusterError(
            f"{host}: a cluster on the network is joined with a token, and {why}. Get the "
            "cluster's: run `ray get-auth-token` on its head node, then set RAY_AUTH_TOKEN_PATH "
            "to a file with it (chmod 600). If it has no authentication and nobody else can reach "
            "it, say --insecure."
        )
    _refresh()


def connect(
    address: str = "",
    *,
    cpus: int | None = None,
    gpus: int | None = None,
    dashboard: bool = True,
    dashboard_host: str = "127.0.0.1",
    insecure: bool = False,
    say: Callable[[str], None] = _stderr,
) -> Cluster:
    """Start a local cluster, or join the one at `address` (else at `RAY_ADDRESS`).

    "local" is a new cluster on this machine whatever the environment says; nobody else's running
    cluster is ever joined without being named ("auto" names the one that runs on this machine).
    `insecure` joins a named cluster without a token. `dashboard_host` is where a local cluster's
    dashboard listens. Raises `ClusterError` for a named cluster that does not answer or refuses.
    """
    address = address or os.environ.get("RAY_ADDRESS", "") or "local"
    if address != "local":
        return _join(address, insecure=insecure, say=say)
    if os.environ.get("RAY_AUTH_MODE") == "token" and not os.environ.get("RAY_AUTH_TOKEN"):
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file(say))
    if dashboard and not loopback(dashboard_host):
        say(
            f"Warning: Ray's dashboard listens on {dashboard_host}; who reaches it and has the "
            "token can run any code here."
        )
    _refresh()
    import ray

    context = ray.init(
        address="local",
        log_to_driver=False,
        logging_level="ERROR",
        num_cpus=cpus,
        num_gpus=gpus,
        include_dashboard=dashboard,
        dashboard_host=dashboard_host,
        _temp_dir=_short_temp(),
    )
    return _counted(True, str(context.dashboard_url or ""))


def disconnect() -> None:
    """Leave the cluster; a local one ends with it."""
    import ray

    ray.shutdown()


def on_every_node(
    task: Callable[[str], dict[str, Any]], *, timeout_s: float
) -> dict[str, dict[str, Any] | str]:
    """What `task` returns on each alive node for that node's id, or in words why it did not.

    The tasks take no CPU, so they run beside whatever keeps the nodes busy. A node that has not
    answered after `timeout_s` seconds is given up; one that was lost meanwhile is left out. A
    `task` that is defined within a function is sent as a whole, so it also runs where our packages
    are missing.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(task)
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            name = str(node["NodeID"])
            there = NodeAffinitySchedulingStrategy(node_id=name, soft=False)
            asked[remote.options(scheduling_strategy=there).remote(name)] = name
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)
    found: dict[str, dict[str, Any] | str] = {}
    lost = set()
    for one in late:
        ray.cancel(one, force=True)
        found[asked[one]] = f"it has not answered after {timeout_s:g} s"
    for one in ready:
        try:
            found[asked[one]] = ray.get(one)
        except Exception as error:
            last = (str(error).strip() or type(error).__name__).splitlines()[-1]
            found[asked[one]] = f"a task cannot run on it: {last}"
            if isinstance(error, ray.exceptions.NodeDiedError):
                lost.add(asked[one])
    # Ray lists a node for a while after it was lost. If it is, a study does without it.
    until = monotonic() + NOTICED_S
    while lost & declared().keys() and monotonic() < until:
        sleep(0.2)
    return {one: found[one] for one in sorted(found.keys() & declared().keys())}


def declared() -> dict[str, dict[str, float]]:
    """The resources that each alive node was started with, by the node's id."""
    import ray

    return {
        str(node["NodeID"]): {name: float(value) for name, value in node["Resources"].items()}
        for node in ray.nodes()
        if node["Alive"]
    }


def jobs(address: str, *, insecure: bool = False, say: Callable[[str], None] = _stderr) -> Any:
    """A client of the Jobs API at `address`, http(s)://HOST:PORT of Ray's dashboard.

    Raises `ClusterError` where nobody answers there, or the token is missing or wrong.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClusterError(
            f"--address: the dashboard of the cluster, such as http://127.0.0.1:8265; "
            f"found {address!r}."
        )
    authenticate(parts.hostname, insecure=insecure, say=say)
    if parts.scheme == "http" and not loopback(parts.hostname):
        say(
            f"Warning: the token goes to {parts.hostname} unencrypted; an SSH tunnel (ssh -L "
            f"8265:127.0.0.1:8265 {parts.hostname}) and --address http://127.0.0.1:8265 hide it."
        )
    _reach(address, parts, 443 if parts.scheme == "https" else 80)
    import requests
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise ClusterError(f"{address}: {str(error).splitlines()[0]}. {_whose_token()}") from None
    except (ConnectionError, RuntimeError, requests.RequestException, ValueError) as error:
        raise ClusterError(f"{address} answers, but not as Ray's dashboard does: {error}") from None


def loopback(host: str) -> bool:
    """Whether a host's name or number is this machine itself, reached by nobody else."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _join(address: str, *, insecure: bool, say: Callable[[str], None]) -> Cluster:
    # Ray itself looks there first when it is told "auto".
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    here = named in ("", "auto", "local")
    if "://" in named:
        hint = (
            "its address is HOST:PORT, by default port 6379. From a machine outside the cluster "
            "use: python -m study submit FILE --address http://HOST:8265"
        )
        raise ClusterError(f"--address: a study's driver runs within the cluster, so {hint}")
    parts = urlsplit(f"//{'127.0.0.1' if here else named}")
    authenticate(parts.hostname or "", insecure=insecure, say=say)
    if not here:
        _reach(named, parts, None)
    import ray
    from ray.exceptions import AuthenticationError

    try:
        context = ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except AuthenticationError as error:
        raise ClusterError(f"{named or address}: {str(error).splitlines()[0]}") from None
    except ConnectionError as error:
        if here:
            text = f"--address auto: no Ray runs on this machine ({error})."
        else:
            text = f"{named}: it answers, but does not let us join. {_whose_token()}"
        raise ClusterError(text) from None
    except RuntimeError as error:
        # Ray refuses other versions of itself and of Python this way.
        if "ersion" not in str(error):
            raise
        raise ClusterError(f"{named or address}: {str(error).splitlines()[0]}") from None
    return _counted(False, str(context.dashboard_url or ""))


def _counted(local: bool, dashboard: str) -> Cluster:
    nodes = tuple(declared().values())
    return Cluster(
        local=local,
        dashboard=dashboard,
        cpus=sum(node.get("CPU", 0.0) for node in nodes),
        gpus=sum(node.get("GPU", 0.0) for node in nodes),
        nodes=nodes,
    )


def _reach(address: str, parts: SplitResult, port: int | None) -> None:
    """Ray tries an address that nobody listens on for minutes; this says so at once."""
    try:
        port = parts.port or port
    except ValueError:
        port = None
    if not parts.hostname or not port:
        raise ClusterError(f"--address: HOST:PORT, such as 10.0.0.1:6379; found {address!r}.")
    try:
        socket.create_connection((parts.hostname, port), timeout=ANSWER_WITHIN_S).close()
    except OSError as error:
        raise ClusterError(
            f"{address}: nothing answers there ({error}). Is the cluster up, and is this its "
            "address as seen from here?"
        ) from None


def _whose_token() -> str:
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return "It may ask for a token, and none was sent; set RAY_AUTH_TOKEN_PATH."
    shown = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else str(_token_path())
    return (
        f"The token in {shown} is probably not this cluster's; `ray get-auth-token` on its head "
        "node shows the right one."
    )


def _token_path() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def _only_the_owner_reads(path: Path, say: Callable[[str], None]) -> None:
    mode = path.stat().st_mode
    if not mode & 0o077:
        return
    said = f"{path} holds the token that lets anybody run code on the cluster, and others than its"
    if path == Path.home() / ".ray" / "auth_token" and path.stat().st_uid == os.getuid():
        path.chmod(0o600)
        say(f"{said} owner could read it; its mode is 0600 now.")
    else:
        say(f"Warning: {said} owner can read it (mode {mode & 0o777:04o}); chmod 600 {path}")


def _refresh() -> None:
    """Let Ray read the environment again, if it was imported before it was set."""
    import ray

    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def _short_temp() -> str:
    """A temporary folder whose path leaves room for Ray's sockets (107 characters in all)."""
    base = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    place = base / f"ray-{os.getuid()}"
    return str(place if len(str(place)) <= 40 else Path("/tmp") / f"ray-{os.getuid()}")
