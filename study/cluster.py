"""The Ray cluster that a study runs on: its own local one, or one that is named.

A local cluster listens on this machine only, with token authentication set explicitly and the token
in a file that only its owner can read.
"""

from __future__ import annotations

import math
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.core.errors import SettingError

# Ray reads these when its modules load, so they are set before anything of ours imports it.
os.environ |= {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our tables replace its loggers
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
os.environ.setdefault("RAY_AUTH_MODE", "token")


@dataclass(frozen=True)
class Cluster:
    """A connected cluster: where its dashboard is and what it has."""

    local: bool
    dashboard: str
    cpus: float
    gpus: float

    def slots(self, cpu: float, gpu: float) -> int:
        """How many trials fit at once; raises `SettingError` if not even one does."""
        fits = [math.floor(self.cpus / cpu)]
        if gpu > 0:
            fits.append(math.floor(self.gpus / gpu + 1e-9))
        if min(fits) < 1:
            raise SettingError(
                f"resources: a trial asks for cpu={cpu:g}, gpu={gpu:g}; the cluster has "
                f"cpu={self.cpus:g}, gpu={self.gpus:g}."
            )
        return min(fits)

    def scratch(self, folder: Path) -> Path:
        """Where Ray may write what nobody reads: shared storage unless the cluster is local."""
        if self.local:
            return Path(tempfile.gettempdir())
        place = folder / "ray"
        place.mkdir(exist_ok=True)
        return place


def token_file() -> Path:
    """The file with this user's Ray token, made with mode 0600 if there is none."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    return path


def connect(
    address: str = "", *, cpus: int | None = None, gpus: int | None = None, dashboard: bool = True
) -> Cluster:
    """Start a local cluster, or join the one at `address` (else at `RAY_ADDRESS`).

    "local" is a new cluster on this machine whatever the environment says; nobody else's running
    cluster is ever joined without being named.
    """
    if os.environ["RAY_AUTH_MODE"] == "token" and not os.environ.get("RAY_AUTH_TOKEN"):
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file())
    import ray

    # Refreshes what Ray read from the environment if it was imported before this module.
    ray._raylet.Config.initialize("")
    address = address or os.environ.get("RAY_ADDRESS", "") or "local"
    settings: dict[str, Any] = {
        "address": address,
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if address == "local":
        settings |= {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "include_dashboard": dashboard,
            "dashboard_host": "127.0.0.1",
            "_temp_dir": _short_temp(),
        }
    context = ray.init(**settings)
    total = ray.cluster_resources()
    return Cluster(
        local=address == "local",
        dashboard=str(context.dashboard_url or ""),
        cpus=float(total.get("CPU", 0)),
        gpus=float(total.get("GPU", 0)),
    )


def disconnect() -> None:
    """Leave the cluster; a local one ends with it."""
    import ray

    ray.shutdown()


def _short_temp() -> str:
    """A temporary folder whose path leaves room for Ray's sockets (107 characters in all)."""
    base = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    place = base / f"ray-{os.getuid()}"
    return str(place if len(str(place)) <= 40 else Path("/tmp") / f"ray-{os.getuid()}")
