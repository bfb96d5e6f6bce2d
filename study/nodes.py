"""What every node of a cluster must have in common with the driver, looked at before a study runs.

A study on several nodes fails late and in odd ways where one of them has another torch, no data or
a storage of its own. So each node is asked, by a task that is sent as a whole and therefore also
runs where our packages are missing.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from study import cluster
from study.cluster import Cluster, ClusterError
from trainables.storage import Storage, StorageError
from trainables.storage import shown as without_secrets

Row = dict[str, Any]

# Below this Ray stops placing work on a node, or a checkpoint may not fit.
LEAST_FREE_BYTES = 500 * 2**20
PACKAGES = ("torch", "torchvision", "ray", "optuna", "numpy", "pandas", "pyarrow")
OURS = ("study", "trainables", "search_spaces", "analysis")
SHOWN = 8  # characters of a node's id

# Runs in a process of its own: it imports torch and reads the data, and a worker of Ray would keep
# both for ever. What it prints last is the answer.
_ASKED = """
import json, sys
asked = json.loads(sys.argv[1])
found = {}
try:
    import torch
    found["gpus"] = torch.cuda.device_count()
except Exception as error:
    found["torch"] = f"{type(error).__name__}: {error}"
try:
    import trainables.trial
    if asked["data"] is not None:
        from trainables.core.recipe import complete_data
        from trainables.core.training import load_source
        source = load_source(complete_data(asked["data"]), asked["data_root"])
        found["data"] = [len(source.train), len(source.test)]
except Exception as error:
    found["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def check(
    folder: Path,
    data_root: str = "",
    storage: str = "",
    *,
    data: Mapping[str, Any] | None = None,
    hosts: bool = False,
    timeout_s: float = 180.0,
) -> list[Row]:
    """A row for every alive node of the connected cluster; `problems` says what is to be mended.

    `storage` is where trials keep their checkpoints, a path or the URI of a pyarrow file system
    ("": in `folder`); the driver and every node write a file there and read each other's. `data` is
    the study's data config (None: not looked at), read from `data_root` on every node. Rows have
    `node` (the first 8 characters of Ray's id), `python`, `versions`, `code` (a hash of our
    sources), `cpus`, `gpus` (lent to Ray), `gpus_seen` (by torch), `free_bytes` (of Ray's temporary
    folder), `data` (training and test examples), `problems`, and with `hosts` the node's `host`
    name, which is never stored.
    """
    place = storage or str(folder.resolve())
    asked = {
        "nonce": secrets.token_hex(8),
        "storage": place,
        "local": "://" not in place,
        "data": None if data is None else dict(data),
        "data_root": data_root,
        "packages": PACKAGES,
        "ours": OURS,
        "code": _ASKED,
        "timeout_s": timeout_s - 5,
    }
    lent = cluster.declared()
    task = _task(asked)
    try:
        _put(place, _nonce_file(asked), str(asked["nonce"]))
    except OSError as error:
        raise ClusterError(f"--storage: the driver cannot write there: {error}") from None
    try:
        mine = task("driver")
        if "error" in mine:
            raise ClusterError(f"the driver itself cannot run this study: {mine['error']}")
        answers = cluster.on_every_node(task, timeout_s=timeout_s)
        rows = []
        for node, answer in answers.items():
            there = lent.get(node, {})
            if isinstance(answer, str):
                rows.append({"node": node[:SHOWN], "problems": [f"{answer}; {_WHAT_TO_DO}"]})
                continue
            answer["read_back"] = _got(place, f"{_nonce_file(asked)}-{node}") == asked["nonce"]
            rows.append(_row(node, answer, mine, there, place, hosts))
    finally:
        for name in ("", "-driver", *(f"-{node}" for node in lent)):
            _drop(place, _nonce_file(asked) + name)
    return rows


def gather(
    address: str,
    nodes: int,
    *,
    wait_s: float = 0.0,
    insecure: bool = False,
    say: Callable[[str], None] = print,
) -> Cluster:
    """Join the cluster at `address`, waiting up to `wait_s` seconds until it has so many nodes.

    Raises `ClusterError` where it does not answer by then or has fewer.
    """
    until = monotonic() + wait_s
    while True:
        try:
            found = cluster.connect(address, insecure=insecure, dashboard=False, say=say)
            break
        except ClusterError:
            if monotonic() >= until:
                raise
            sleep(1)
    while len(found.nodes) < nodes:
        if monotonic() >= until:
            cluster.disconnect()
            raise ClusterError(
                f"--nodes {nodes}: {len(found.nodes)} have joined after {wait_s:g} s; look at the "
                "log of the ones that are missing, or wait longer (--wait-s)."
            )
        sleep(1)
        found = found.now()
    return found


def demand(rows: Sequence[Row]) -> None:
    """Raises `ClusterError` that names every node with a problem, and its problems."""
    wrong = [f"  node {row['node']}: {one}" for row in rows for one in row["problems"]]
    if wrong:
        raise ClusterError("not every node can run this study:\n" + "\n".join(wrong))


def shown(rows: Sequence[Row]) -> str:
    """The rows as a table in plain text; problems below it."""
    titles = ("node", "python", "torch", "ray", "cpus", "gpus", "seen", "free", "data", "")
    table: list[tuple[str, ...]] = [titles]
    for row in rows:
        versions = row.get("versions", {})
        free = f"{row['free_bytes'] / 2**30:.1f} GiB" if "free_bytes" in row else "-"
        count = "{:,} + {:,}".format(*row["data"]) if row.get("data") else "-"
        table.append(
            (
                row["node"] + (f" ({row['host']})" if "host" in row else ""),
                row.get("python", "-"),
                versions.get("torch", "-"),
                versions.get("ray", "-"),
                f"{row.get('cpus', 0):g}",
                f"{row.get('gpus', 0):g}",
                str(row.get("gpus_seen", "-")),
                free,
                count,
                "wrong" if row["problems"] else "ok",
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    wrong = [f"node {row['node']}: {one}" for row in rows for one in row["problems"]]
    return "\n".join([*lines, *wrong])


_WHAT_TO_DO = (
    "look at Ray's log on it (ray logs --node-id …), and whether it runs the Python and the Ray "
    "of the driver"
)


def _row(
    node: str,
    found: Row,
    mine: Row,
    lent: Mapping[str, float],
    place: str,
    hosts: bool,
) -> Row:
    row: Row = {
        "node": node[:SHOWN],
        "python": found["python"],
        "versions": found["versions"],
        "code": found["code"],
        "cpus": lent.get("CPU", 0.0),
        "gpus": lent.get("GPU", 0.0),
        "gpus_seen": found.get("gpus", 0),
        "free_bytes": found["free_bytes"],
        "data": found.get("data"),
        "problems": [*_versions(found, mine), *_rest(found, mine, lent, place)],
    }
    return row | ({"host": found["host"]} if hosts else {})


def _versions(found: Row, mine: Row) -> list[str]:
    said = []
    pairs = {"python": (found["python"], mine["python"])} | {
        name: (found["versions"][name], mine["versions"][name]) for name in PACKAGES
    }
    other = [
        f"{name} {theirs or 'missing'} (driver: {ours})"
        for name, (theirs, ours) in pairs.items()
        if theirs != ours
    ]
    if other:
        said.append(f"other versions than the driver's: {', '.join(other)}; install the same ones")
    if not found["code"]:
        said.append(
            "our packages (study, trainables, …) cannot be imported there; install them in the "
            "Python that runs Ray, or send them with: study submit --code"
        )
    elif found["code"] != mine["code"]:
        said.append(
            f"other code of ours ({found['code']}) than the driver's ({mine['code']}); install the "
            "same release, or send yours with: study submit --code"
        )
    return said


def _rest(found: Row, mine: Row, lent: Mapping[str, float], place: str) -> list[str]:
    said = []
    if found["storage"]:
        said.append(
            f"--storage {without_secrets(place)} is not shared with it: {found['storage']}; name a "
            "folder that all nodes mount, or a bucket that all may write (s3://…)"
        )
    elif not found["read_back"]:
        said.append(
            f"--storage {without_secrets(place)}: what it wrote there does not reach the driver; "
            "it has a folder of the same name that is not shared"
        )
    if "torch" in found:
        said.append(f"torch cannot be imported: {found['torch']}")
    declared, seen = lent.get("GPU", 0.0), found.get("gpus", 0)
    if "torch" not in found and declared > seen:
        said.append(
            f"it lends {declared:g} GPUs to Ray, and torch sees {seen}; start it with "
            f"--num-gpus={seen}, or mend its driver or its torch"
        )
    if "error" in found and found["code"]:
        said.append(found["error"])
    elif found.get("data") != mine.get("data") and found["code"]:
        said.append(f"other data: {found.get('data')} examples, the driver has {mine.get('data')}")
    if found["free_bytes"] < LEAST_FREE_BYTES:
        said.append(
            f"only {found['free_bytes'] // 2**20} MiB are free in Ray's temporary folder; at least "
            f"{LEAST_FREE_BYTES // 2**20} MiB are needed"
        )
    return said


def _task(asked: Mapping[str, Any]) -> Callable[[str], Row]:
    """The task for a node. It uses nothing of this module: Ray sends local functions as a whole."""

    def look(node: str) -> Row:
        import hashlib
        import importlib.metadata
        import importlib.util
        import json
        import os
        import platform
        import shutil
        import subprocess
        import sys
        import tempfile
        from pathlib import Path

        def version(name: str) -> str:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                return ""

        def code() -> str:
            whole = hashlib.sha256()
            for name in asked["ours"]:
                found = importlib.util.find_spec(name)
                if found is None or not found.origin:
                    return ""
                folder = Path(found.origin).parent
                for path in sorted(folder.rglob("*.py")):
                    whole.update(str(path.relative_to(folder.parent)).encode())
                    whole.update(path.read_bytes())
            return whole.hexdigest()[:12]

        def storage() -> str:
            from pyarrow import fs

            try:
                system, base = fs.FileSystem.from_uri(asked["storage"])
                name = f"{base}/.study-check-{asked['nonce']}"
                with system.open_input_stream(name) as file:
                    if file.read().decode() != asked["nonce"]:
                        return "it reads other files there than the driver wrote"
                with system.open_output_stream(f"{name}-{node}") as file:
                    file.write(asked["nonce"].encode())
            except Exception as error:
                return f"{type(error).__name__}: {error}"
            return ""

        # A task without a GPU may see none; the process that started it sees what its node has.
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(one for one in sys.path if one)
        try:
            raw = Path(f"/proc/{os.getppid()}/environ").read_bytes().decode(errors="replace")
            around = dict(one.partition("=")[::2] for one in raw.split("\0"))
        except OSError:
            around = {}
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if "CUDA_VISIBLE_DEVICES" in around:
            environment["CUDA_VISIBLE_DEVICES"] = around["CUDA_VISIBLE_DEVICES"]
        try:
            words = {"data": asked["data"], "data_root": asked["data_root"]}
            done = subprocess.run(
                [sys.executable, "-c", asked["code"], json.dumps(words)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=asked["timeout_s"],
                check=True,
            )
            answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            answer = {"error": f"a process of its Python fails: {error}"}
        return answer | {
            "python": platform.python_version(),
            "versions": {name: version(name) for name in asked["packages"]},
            "code": code(),
            "free_bytes": shutil.disk_usage(tempfile.gettempdir()).free,
            "storage": storage(),
            "host": platform.node(),
        }

    return look


def _nonce_file(asked: Mapping[str, Any]) -> str:
    return f".study-check-{asked['nonce']}"


def _put(place: str, name: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        path.write_text(text, encoding="utf-8")
        Storage(place).put(path, name)


def _got(place: str, name: str) -> str:
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(StorageError):
        path = Path(scratch) / name
        if Storage(place).get(name, path):
            return path.read_text(encoding="utf-8")
    return ""


def _drop(place: str, name: str) -> None:
    with contextlib.suppress(StorageError):
        Storage(place).delete(name)
