"""A study's life: its folder is made or opened, the study runs on Ray, and the answer is written.

The folder holds `study.yaml` (as given), `resolved.json`, `ledger.jsonl` (the truth), `trials/`,
`tables/` and `report/`. Nothing in it is ever overwritten by another study.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from analysis import events
from study.conductor import Conductor
from study.ledger import Ledger, StudyLock, StudyStorageError
from study.progress import Progress
from study.provenance import check_same, data_of
from study.spec import Study
from trainables.core.errors import SettingError

# A study of small models needs little; below this a checkpoint or a table may not fit.
LEAST_FREE_BYTES = 200 * 2**20
PACKAGES = ("torch", "torchvision", "ray", "optuna", "numpy", "pandas", "pyarrow")


def vacant(study: Study, root: Path) -> Path:
    """The study's folder below `root`; raises `SettingError` where something is already."""
    folder = root / study.study
    if (folder / events.FILE).exists():
        done = any(one["event"] == "finished" for one in events.read(folder))
        what = "has finished" if done else f"was begun; go on with: python -m study resume {folder}"
        raise SettingError(
            f"{folder} holds a study that {what}. Nothing was changed. To run another one give it "
            "a name of its own (--set study=NAME) or another --root."
        )
    foreign = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if [name for name in foreign if name not in ("study.yaml", "resolved.json", "lock")]:
        raise SettingError(
            f"{folder} holds files that are no study ({', '.join(foreign[:3])} …). Nothing was "
            "changed; give the study a name of its own (--set study=NAME) or another --root."
        )
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"{folder} is a file; a study needs a folder of its own.")
    _room(root)
    return folder


def create(study: Study, text: str, root: Path, data: Mapping[str, Any] | None = None) -> Path:
    """Make the study's folder below `root`; raises `SettingError` where something is already.

    `data` is what `rehearse` says of the data; the ledger's first event keeps it.
    """
    folder = vacant(study, root)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "study.yaml", text)
    _write(folder / "resolved.json", json.dumps(study.resolved(), indent=1))
    with StudyLock(folder):
        _begin(folder, study, data)
    return folder


def load(folder: Path) -> Study:
    """The study in a folder; raises `SettingError` where there is none."""
    path = folder / "resolved.json"
    if not path.is_file():
        raise SettingError(f"{folder} is no study's folder: it has no resolved.json.")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise SettingError(f"{path} is damaged: it is no JSON.") from None
    return Study.from_resolved(plain)


def trial(folder: Path, number: int) -> tuple[dict[str, Any], dict[int, dict[str, float]]]:
    """How a trial was planned, and its metrics by epoch; raises `SettingError` for another one."""
    load(folder)
    found = list(events.read(folder))
    planned = {one["trial"]: one for one in found if one["event"] == "planned"}
    if number not in planned:
        raise SettingError(f"{folder} has no trial {number}; it has {len(planned)}, from 0.")
    reported = {
        one["epoch"]: one["metrics"]
        for one in found
        if one["event"] == "report" and one["trial"] == number
    }
    if not reported:
        raise SettingError(f"Trial {number} of {folder} has reported nothing to compare with.")
    return planned[number], reported


def rehearse(study: Study, data_root: str, *, address: str, cpus: int | None) -> dict[str, Any]:
    """Build every arm once with its defaults, before Ray or an accelerator is taken.

    The benchmarks run on two validation examples, so that one which the data or the task does not
    allow is found now and not at the first rung.

    Returns what is to be known of the data: title, provenance, units and the parts' sizes. Raises
    `MissingDataError` for data that is not there and `SettingError` for settings that do not fit
    it, or a trial too large for a local cluster.
    """
    from search_spaces.ranges import defaults
    from study.cluster import Cluster
    from trainables.core.training import Training

    if not (address or os.environ.get("RAY_ADDRESS")):
        found, gpus = hardware()
        local = Cluster(local=True, dashboard="", cpus=cpus or found, gpus=gpus)
        local.slots(study.resources.cpu, study.resources.gpu)

    data: dict[str, Any] = {}
    for arm in study.arms:
        try:
            training = Training(defaults(arm.tree) | {"seed": study.seed}, root=data_root)
        except SettingError as error:
            raise SettingError(f"arms.{arm.arm}: {error}") from None
        if not data:
            data = data_of(training, data_root)
            for one in study.benchmarks:
                try:
                    training.rehearse(one)
                except SettingError as error:
                    raise SettingError(f"benchmarks: {one['name']}: {error}") from None
    return data


def conduct(
    folder: Path,
    command: str,
    *,
    address: str = "",
    data_root: str = "",
    cpus: int | None = None,
    dashboard: bool = True,
    data: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> tuple[bool, int]:
    """Run the study in `folder` until it is done or interrupted, then write tables and report.

    `data` is what `rehearse` found now. Returns whether it is done, and how many trials failed.
    Raises `SettingError` where the data are not those that the study was begun with, and what the
    lock, the ledger and the cluster raise; what has been reported by then is kept.
    """
    study = load(folder)
    with StudyLock(folder):
        if not (folder / events.FILE).exists():
            _begin(folder, study, data)
        _room(folder)
        with Ledger.open(folder) as ledger:
            check_same(str(folder), ledger.events[0].get("data"), data)
            conductor = Conductor(study, ledger)
            conductor.settle()
            if not conductor.finished:
                segment = sum(one["event"] == "segment" for one in ledger.events)
                ledger.append("segment", segment=segment, command=command)
                _run(conductor, folder, address, data_root, cpus, dashboard, say)
            done = conductor.finished
            # A diverged trial is an outcome; a failed one is an error.
            failed = sum(one.reason == "error" for one in conductor.trials)
            ended = any(one["event"] == "finished" for one in ledger.events)
            if done and not ended:
                ledger.append("finished", failed=failed)
            elif not done:
                ledger.append("interrupted")
    return done, failed


def tell(folder: Path) -> Path:
    """Write the tables and the report; the path of the report."""
    from analysis.report import write_report

    return write_report(folder)


def _run(
    conductor: Conductor,
    folder: Path,
    address: str,
    data_root: str,
    cpus: int | None,
    dashboard: bool,
    say: Callable[[str], None],
) -> None:
    say("Starting Ray …")
    began = monotonic()
    from study import cluster, engine

    _, gpus = hardware()
    found = cluster.connect(address, cpus=cpus, gpus=gpus, dashboard=dashboard)
    try:
        say(
            f"Ray is up after {monotonic() - began:.0f} s: {found.cpus:g} CPUs, {found.gpus:g} GPUs"
        )
        if found.dashboard:
            login = Path(sys.executable).with_name("ray")
            say(f"Ray dashboard: http://{found.dashboard}  (token: {login} get-auth-token)")
        with _sigterm_as_sigint(), Progress(conductor) as progress:
            refresh = _Refresh(folder)

            def tick() -> None:
                progress.tick()
                refresh.tick()

            # Before or after Ray catches signals itself; the ledger has all that was reported.
            with suppress(KeyboardInterrupt):
                engine.run(conductor, folder, cluster=found, data_root=data_root, tick=tick)
    finally:
        cluster.disconnect()


class _Refresh:
    """Writes the tables while the study runs, at most a twentieth of the time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next = monotonic() + 30

    def tick(self) -> None:
        began = monotonic()
        if began < self._next:
            return
        from analysis.export import export

        export(self._folder)
        self._next = monotonic() + max(30.0, 20 * (monotonic() - began))


@contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """SIGTERM, which schedulers send before they kill, ends the segment as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _begin(folder: Path, study: Study, data: Mapping[str, Any] | None) -> None:
    cpus, gpus = hardware()
    Ledger.create(
        folder,
        {
            "schema_version": events.SCHEMA_VERSION,
            "study": study.study,
            "study_id": study.study_id,
            "versions": versions(),
            "git": _git(),
            "hardware": {"cpus": cpus, "gpus": gpus},
            "data": data,
        },
    ).close()


def versions() -> dict[str, str]:
    """The versions of Python and of what results depend on."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def hardware() -> tuple[int, int]:
    """CPUs and GPUs of this machine."""
    import torch

    return os.cpu_count() or 1, torch.cuda.device_count()


def _git() -> dict[str, Any]:
    """The commit of the code that runs, where it is a git checkout."""

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(Path(__file__).parent), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    changes = ask("status", "--porcelain", "--untracked-files=no")
    return {"sha": ask("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def _room(folder: Path) -> None:
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < LEAST_FREE_BYTES:
        raise StudyStorageError(
            f"{folder}: only {free} bytes are free there, a study needs at least "
            f"{LEAST_FREE_BYTES}; make room or choose another --root."
        )


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".new")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise StudyStorageError(f"{path}: cannot be written: {error.strerror}") from error
