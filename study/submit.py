"""Send a study to a cluster as a Ray job, so that its driver runs there and this machine may leave.

Only the study file travels, and with `code` our own sources: what is sent is chosen by what a study
needs, so that data, other studies, git and keys stay here whatever the folder is.
"""

from __future__ import annotations

import asyncio
import fnmatch
import shlex
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from study import cluster
from study.cluster import ClusterError
from trainables.core.errors import SettingError

PACKAGES = ("study", "trainables", "search_spaces", "analysis")
KINDS = (".py", ".yaml", ".json", ".jinja")
# No source of ours is called like this; a file that is holds something that nobody else may have.
SECRET = (
    ".*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_*",
    "*token*",
    "*secret*",
    "*password*",
    "*credential*",
)
NOT_FOUND = 127  # what a shell answers for a program that is not there


@dataclass(frozen=True)
class Parcel:
    """What a job takes along: names relative to its working directory, and what stays here."""

    shipped: tuple[str, ...]
    excluded: tuple[str, ...]

    def summary(self) -> str:
        """Both in a few lines; our sources are only counted."""
        code = [one for one in self.shipped if "/" in one]
        lines = [f"Sent: {', '.join(one for one in self.shipped if '/' not in one)}"]
        if code:
            lines[0] += f" and {len(code)} files of {', '.join(PACKAGES)}"
        if self.excluded:
            lines.append(f"Not sent: {', '.join(self.excluded)}")
        return "\n".join(lines)


def pack(file: Path, place: Path, *, code: bool = False) -> Parcel:
    """Copy what a job needs into the empty folder `place`.

    That is the study file; with `code` also the sources of our packages, but no links, no files
    that are named like keys, and nothing of another kind than sources.
    """
    shutil.copyfile(file, place / file.name)
    shipped, excluded = [file.name], []
    home = Path(__file__).parent.parent
    for package in PACKAGES if code else ():
        for path in sorted((home / package).rglob("*")):
            name = path.relative_to(home).as_posix()
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            if not _source(path):
                excluded.append(name)
                continue
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place / name)
            shipped.append(name)
    return Parcel(tuple(shipped), tuple(excluded))


def would_send(file: Path, *, code: bool = False) -> Parcel:
    """What `pack` would send."""
    with tempfile.TemporaryDirectory(prefix="study-job-") as place:
        return pack(file, Path(place), code=code)


def entrypoint(
    file: str,
    study: str,
    *,
    python: str,
    root: str,
    resume: bool = False,
    options: Sequence[str] = (),
    changes: Sequence[str] = (),
) -> str:
    """The shell command of the job. With `resume` a study that was begun there goes on.

    `options` go to run and resume, `changes` (`--set …`, `--smoke-test`) only to run: a study that
    was begun keeps its settings. Raises `SettingError` for a `root` that is not absolute: a job's
    own folder is thrown away with it.
    """
    if not PurePosixPath(root).is_absolute():
        raise SettingError(
            "--root: where the study lives on the cluster, an absolute path that its nodes share; "
            f"found {root!r}. A job's own working directory is thrown away."
        )
    me = [python, "-m", "study"]
    shared = ["--address", "auto", *options]
    run = shlex.join([*me, "run", file, "--root", root, *shared, *changes])
    if not resume:
        return run
    folder = f"{root.rstrip('/')}/{study}"
    begun = shlex.quote(f"{folder}/ledger.jsonl")
    again = shlex.join([*me, "resume", folder, *shared])
    return f"if [ -e {begun} ]; then exec {again}; else exec {run}; fi"


def submit(
    address: str,
    file: Path,
    command: str,
    *,
    name: str,
    code: bool = False,
    insecure: bool = False,
    say: Callable[[str], None] = print,
) -> tuple[Any, str]:
    """Start `command` as a job with the study file `file`; the client and the job's id.

    Raises `ClusterError` where the cluster at `address` cannot be reached or refuses the job.
    """
    client = cluster.jobs(address, insecure=insecure, say=say)
    with tempfile.TemporaryDirectory(prefix="study-job-") as place:
        parcel = pack(file, Path(place), code=code)
        say(parcel.summary())
        try:
            job = client.submit_job(
                entrypoint=command,
                runtime_env={"working_dir": place},
                metadata={"study": name},
            )
        except RuntimeError as error:
            raise ClusterError(f"{address} refuses the job: {error}") from None
    return client, str(job)


def follow(client: Any, job: str, write: Callable[[str], None]) -> int:
    """Write the job's log as it comes; the study's exit code, 130 if the job was stopped."""

    async def tail() -> None:
        async for text in client.tail_job_logs(job):
            write(text)

    asyncio.run(tail())
    info = client.get_job_info(job)
    state = str(getattr(info.status, "value", info.status))
    if state == "STOPPED":
        return 130
    if state == "SUCCEEDED":
        return 0
    if state != "FAILED":
        raise ClusterError(f"{job}: its log ended while it is {state}; the cluster may be gone.")
    if info.driver_exit_code is None:
        raise ClusterError(f"{job} failed before the study began: {info.message}")
    if info.driver_exit_code == NOT_FOUND:
        write("Is there such a Python on the cluster? Name it with --python.\n")
    return int(info.driver_exit_code)


def _source(path: Path) -> bool:
    if path.is_symlink() or path.suffix not in KINDS:
        return False
    if path.suffix == ".py":
        return not path.name.startswith(".")
    return not any(fnmatch.fnmatch(path.name.lower(), one) for one in SECRET)
