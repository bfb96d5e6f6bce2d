"""Writes the files that start a cluster and run a study on it: Slurm, KubeRay, `ray up`.

They are files and not commands of ours, because clusters differ: what is written is complete and
can be read, changed and kept beside the study.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from study import spec
from study.submit import entrypoint
from trainables.core.errors import SettingError
from trainables.core.quantities import one_of

NEXT = {"slurm": "sbatch {file}", "kuberay": "kubectl apply -f {file}", "ray-up": "ray up {file}"}
PROVIDERS = ("local", "aws")
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Asked:
    """What the files are to ask for.

    `storage` is an absolute path that all nodes share; studies live below it. `python` runs on the
    nodes and has this package. `time` is Slurm's limit (hours:minutes:seconds), `claim` and `image`
    KubeRay's shared volume and container; the rest is for `ray up`: `provider` (local, aws),
    `install` (what pip installs on new nodes: a wheel, a git URL), `head_ip`, `worker_ips`,
    `ssh_user`, `region` and `instance`.
    """

    storage: str
    nodes: int = 1
    cpus: int = 1
    gpus: int = 0
    python: str = sys.executable
    data_root: str = ""
    time: str = "24:00:00"
    image: str = ""
    claim: str = "study-storage"
    provider: str = "local"
    install: str = ""
    head_ip: str = ""
    worker_ips: tuple[str, ...] = ()
    ssh_user: str = "ubuntu"
    region: str = "us-west-2"
    instance: str = "m5.2xlarge"

    def __post_init__(self) -> None:
        _at_least("--nodes", self.nodes, 1)
        _at_least("--cpus-per-node", self.cpus, 1)
        _at_least("--gpus-per-node", self.gpus, 0)
        one_of("--provider", self.provider, PROVIDERS)
        if not PurePosixPath(self.storage).is_absolute():
            raise SettingError(
                "--storage: an absolute path that all nodes share, such as /shared/studies; "
                f"found {self.storage!r}."
            )
        if not re.fullmatch(r"(\d+-)?\d{1,3}(:\d{2}){0,2}", self.time):
            raise SettingError(
                f"--time: hours:minutes:seconds, or with days 2-00:00:00; found {self.time!r}."
            )


def write(kind: str, study: str, asked: Asked, out: Path) -> list[Path]:
    """Write the files of a kind for a study file or preset into `out`; their paths, main one first.

    Raises `SettingError` for an unknown kind, for what it needs and was not given, and where a file
    is there already: nothing is overwritten.
    """
    one_of("kind", kind, NEXT)
    path = spec.find(study)
    name = spec.load(path).study
    text = path.read_text(encoding="utf-8")
    files: dict[str, tuple[str, int]]
    if kind == "slurm":
        files = _slurm(name, text, asked)
    elif kind == "kuberay":
        files = _kuberay(name, text, asked)
    else:
        files = _ray_up(name, text, asked)
    there = [one for one in files if (out / one).exists()]
    if there:
        raise SettingError(
            f"{out / there[0]} is there already. Nothing was written; remove it, or name another "
            "folder with --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    for one, (content, mode) in files.items():
        handle = os.open(out / one, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
    return [out / one for one in files]


def _slurm(name: str, text: str, asked: Asked) -> dict[str, tuple[str, int]]:
    script = _filled(
        "slurm.sh",
        name=name,
        file=f"{name}.yaml",
        root=asked.storage.rstrip("/"),
        nodes=asked.nodes,
        cpus=asked.cpus,
        gpus=asked.gpus,
        time=asked.time,
        python=asked.python,
        data_root=asked.data_root,
    )
    return {f"{name}.sbatch": (script, 0o755), f"{name}.yaml": (text, 0o644)}


def _kuberay(name: str, text: str, asked: Asked) -> dict[str, tuple[str, int]]:
    import importlib.metadata

    if not asked.image:
        raise SettingError(
            "--image: KubeRay needs a container image with Ray and this package, such as "
            "registry.example.org/studies:1; none was given. docs/cluster.md shows how to make one."
        )
    mount = "/" + PurePosixPath(asked.storage).parts[1] if asked.storage != "/" else "/"
    command = entrypoint(
        "/etc/study/study.yaml", name, python="python", root=asked.storage, resume=True
    )
    job = _filled(
        "kuberay.yaml",
        name=name,
        label=_label(name),
        text=text,
        command=command,
        ray_version=importlib.metadata.version("ray"),
        image=asked.image,
        claim=asked.claim,
        mount=mount,
        data_root=asked.data_root or f"{mount.rstrip('/')}/data",
        nodes=asked.nodes,
        cpus=asked.cpus,
        gpus=asked.gpus,
        memory=f"{4 * asked.cpus}Gi",
    )
    return {f"{name}.kuberay.yaml": (job, 0o644)}


def _ray_up(name: str, text: str, asked: Asked) -> dict[str, tuple[str, int]]:
    if asked.provider == "local" and not asked.head_ip:
        raise SettingError(
            "--head-ip: `ray up` on machines of your own needs the head's address, and the "
            "others' with --worker-ip; none was given."
        )
    if asked.provider == "aws" and not asked.install:
        raise SettingError(
            "--install: what pip installs on a new machine, a wheel's or a git URL of this "
            "package; none was given."
        )
    lent = f" --num-cpus={asked.cpus} --num-gpus={asked.gpus}" if asked.provider == "local" else ""
    token = f"{name}.token"
    cluster = _filled(
        "ray_up.yaml",
        name=name,
        label=_label(name),
        file=f"{name}.yaml",
        token=f"./{token}",
        root=asked.storage,
        nodes=asked.nodes,
        python=asked.python,
        ray=shlex.quote(str(PurePosixPath(asked.python).with_name("ray"))),
        data=f" STUDY_DATA={shlex.quote(asked.data_root)}" if asked.data_root else "",
        lent=lent,
        provider=asked.provider,
        install=shlex.quote(asked.install) if asked.install else "",
        head_ip=asked.head_ip,
        worker_ips=list(asked.worker_ips),
        ssh_user=asked.ssh_user,
        region=asked.region,
        instance=asked.instance,
    )
    return {
        f"{name}.ray-up.yaml": (cluster, 0o644),
        f"{name}.yaml": (text, 0o644),
        token: (secrets.token_hex(32), 0o600),
    }


def _filled(template: str, **values: object) -> str:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["shell"] = lambda value: shlex.quote(str(value))
    text = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)


def _label(name: str) -> str:
    """A name as Kubernetes and cloud providers allow them: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "study"


def _at_least(name: str, value: float, least: int) -> None:
    if not (math.isfinite(value) and value >= least):
        raise SettingError(f"{name}: a whole number from {least}; found {value!r}.")
