"""A study's life: its folder is made or opened, the study runs on Ray, and the answer is written.

The folder holds `study.yaml` (as given), `resolved.json`, `ledger.jsonl` (the truth), `trials/`,
`tables/` and `report/`. Nothing in it is ever overwritten by another study.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from analysis import events
from study import watch
from study.conductor import Conductor
from study.ledger import Ledger, StudyLock, StudyStorageError
from study.progress import Progress
from study.provenance import check_same, data_of
from study.refresh import Refresh
from study.spec import Study, extended
from study.spec import load as load_file
from trainables.core.errors import SettingError

if TYPE_CHECKING:
    from study.cluster import Cluster


class TooManyFailuresError(RuntimeError):
    """More trials failed than `budget.max_failed` allows; the message says how many."""


# How the changes of --set stand at the end of `study.yaml`.
SET = "# --set "
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
    watch.room(root)
    return folder


def create(study: Study, text: str, root: Path, data: Mapping[str, Any] | None = None) -> Path:
    """Make the study's folder below `root`; raises `SettingError` where something is already.

    `data` is what `rehearse` says of the data; the ledger's first event keeps it.
    """
    folder = vacant(study, root)
    warm_start(study)  # an error of it is found before there is a folder
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
    if isinstance(plain, dict) and "imported" in plain:
        raise SettingError(
            f"{folder} was imported from {plain['imported'].get('from')}: its trials cannot be "
            "trained here. Read it with status, report, compare, python -m analysis."
        )
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
    insecure: bool = False,
    data_root: str = "",
    storage: str = "",
    cpus: int | None = None,
    dashboard: bool = True,
    data: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> tuple[bool, int]:
    """Run the study in `folder` until it is done or interrupted, then write tables and report.

    While there is no room on the disk, or it cannot be written, the study waits. `data` is what
    `rehearse` found now. Returns whether it is done, and how many trials failed. Raises
    `SettingError` where the data are not those that the study was begun with,
    `TooManyFailuresError`, and what the lock, the ledger and the cluster raise; what has been
    reported by then is kept.
    """
    study = load(folder)
    with StudyLock(folder):
        if not (folder / events.FILE).exists():
            _begin(folder, study, data)
        watch.room(folder)
        watch.unask(folder)
        while True:
            with Ledger.open(folder) as ledger:
                check_same(str(folder), ledger.events[0].get("data"), data)
                storage = _same_storage(ledger.events, storage_of(storage, study))
                conductor = Conductor(_as_extended(folder, study, ledger.events), ledger)
                conductor.settle()
                if not conductor.finished and not conductor.too_many_failures:
                    segment = sum(one["event"] == "segment" for one in ledger.events)
                    ledger.append(
                        "segment", segment=segment, command=command, storage=storage or None
                    )
                    try:
                        connection = address, insecure, cpus, dashboard
                        _run(conductor, folder, connection, data_root, storage, say)
                    except StudyStorageError as error:
                        conductor.halted = f"storage: {error}"
                full = conductor.halted.startswith(("disk:", "storage:"))
                if not full:
                    _close(conductor)
                    return conductor.finished, conductor.failures
                with suppress(StudyStorageError):
                    ledger.append(
                        "paused", reason=conductor.halted, free_bytes=watch.free_bytes(folder)
                    )
            watch.wait_for_room(folder, conductor.halted, say)


def _close(conductor: Conductor) -> None:
    """Record how this driver left the study; what is recorded already is not said twice."""
    ledger = conductor.ledger
    if conductor.finished:
        if events.latest(ledger.events) != "finished":
            ledger.append("finished", failed=conductor.failures)
    elif conductor.too_many_failures:
        allowed = conductor.study.budget.max_failed
        reason = f"{conductor.failures} trials failed, budget.max_failed allows {allowed}"
        if events.latest(ledger.events) != "aborted":
            ledger.append("aborted", reason=reason)
        raise TooManyFailuresError(
            f"The study ends here: {reason}. Look at the errors in its report; to go on all the "
            "same: extend --set budget.max_failed=N."
        )
    else:
        ledger.append("interrupted", reason=conductor.halted)


def extend(folder: Path, changes: Sequence[str]) -> Study:
    """Let the study in `folder` grow by changes such as "search.trials_per_arm=24".

    Nothing runs yet; `conduct` does, from where the study is. Raises `SettingError` for a change
    that would make the trials that there are something else.
    """
    if not changes:
        raise SettingError("Nothing was asked for: --trials, --seeds, --epochs or --set.")
    old = load(folder)
    path = folder / "study.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingError(
            f"{path} cannot be read ({error.strerror}); it says what may grow."
        ) from None
    made = [line.removeprefix(SET) for line in text.splitlines() if line.startswith(SET)]
    with StudyLock(folder), Ledger.open(folder) as ledger:
        old = _as_extended(folder, old, ledger.events)
        new = extended(old, load_file(path, (*made, *changes)))
        ledger.append("extended", changes=list(changes), study=new.resolved())
        _write(folder / "resolved.json", json.dumps(new.resolved(), indent=1))
        _write(path, text.rstrip("\n") + "".join(f"\n{SET}{one}" for one in changes) + "\n")
    return new


def growth(folder: Path, *, trials: int = 0, seeds: int = 0, epochs: int = 0) -> list[str]:
    """The changes that make a study so much larger."""
    now = load(folder)
    changes = []
    if trials:
        changes.append(f"search.trials_per_arm={now.search.trials_per_arm + trials}")
    if seeds:
        changes.append(f"confirm.seeds={now.confirm.seeds + seeds}")
    if epochs:
        longer = now.epochs + epochs
        changes += [f"training.epochs={longer}", f"schedule.max_epochs={longer}"]
    return changes


def _as_extended(folder: Path, study: Study, found: Sequence[Mapping[str, Any]]) -> Study:
    """The study as its ledger has it, which was written before `resolved.json`."""
    grown = [one["study"] for one in found if one["event"] == "extended"]
    if not grown or grown[-1] == study.resolved():
        return study
    _write(folder / "resolved.json", json.dumps(grown[-1], indent=1))
    return Study.from_resolved(grown[-1])


def _same_storage(found: Sequence[Mapping[str, Any]], asked: str) -> str:
    """Where the checkpoints are; raises `SettingError` for another place than at the beginning."""
    begun = [one.get("storage") or "" for one in found if one["event"] == "segment"]
    if not begun or asked in ("", begun[0]):
        return begun[0] if begun else asked
    raise SettingError(
        f"--storage cannot change: the checkpoints of this study are in "
        f"{begun[0] or 'its own folder'}, found {asked}."
    )


def storage_of(asked: str, study: Study) -> str:
    """Where `--storage` puts the checkpoints of this study: below its name; "" for its folder.

    Raises `SettingError` for an address that holds secrets or names no place.
    """
    from trainables.storage import checked, within

    return within(checked(asked), study.study) if asked else ""


def remote(folder: Path) -> str:
    """The address of the storage elsewhere that the study keeps its checkpoints in, or ""."""
    from trainables.storage import local_folder

    storage = _same_storage(events.read(folder), "")
    return "" if not storage or local_folder(storage) is not None else storage


def bring(run: Path) -> None:
    """Bring the checkpoints of a study's trial into its folder, where they are kept elsewhere."""
    study = run.parent.parent
    if run.exists() or not run.name.isdecimal() or not (study / events.FILE).exists():
        return
    if place := remote(study):
        from study.remote import fetch_trial

        fetch_trial(place, study, int(run.name))


def tell(folder: Path) -> Path:
    """Write the tables and the report; the path of the report."""
    from analysis.report import write_report

    if place := remote(folder):
        from study.remote import Mirror, fetch_recorded

        fetch_recorded(place, folder)
        found = write_report(folder)
        Mirror(folder, place).copy()
        return found
    return write_report(folder)


def _run(
    conductor: Conductor,
    folder: Path,
    connection: tuple[str, bool, int | None, bool],
    data_root: str,
    storage: str,
    say: Callable[[str], None],
) -> None:
    say("Starting Ray …")
    began = monotonic()
    from study import cluster

    address, insecure, cpus, dashboard = connection
    _, gpus = hardware()
    with watch.Signals(lambda: _give_up(conductor, folder, say)) as signals:
        try:
            found = cluster.connect(
                address, cpus=cpus, gpus=gpus, dashboard=dashboard, insecure=insecure, say=say
            )
            signals.arm()
            try:
                took = monotonic() - began
                say(f"Ray is up after {took:.0f} s: {found.cpus:g} CPUs, {found.gpus:g} GPUs")
                if found.dashboard:
                    login = Path(sys.executable).with_name("ray")
                    say(f"Ray dashboard: http://{found.dashboard}  (token: {login} get-auth-token)")
                _search(conductor, folder, found, data_root, storage, say)
            finally:
                cluster.disconnect()
        except KeyboardInterrupt:
            # Before or after Ray catches signals itself; the ledger has all that was reported.
            pass
        except Exception:
            # A signal to the whole group ends Ray's processes, too, and then Ray complains.
            if not signals.terminated:
                raise


def _search(
    conductor: Conductor,
    folder: Path,
    found: Cluster,
    data_root: str,
    storage: str,
    say: Callable[[str], None],
) -> None:
    """Run the study on the cluster, watched from all sides, until it is done or interrupted."""
    from study import engine, nodes
    from study.monitor import Metrics

    if not found.local:
        data = conductor.study.arms[0].tree["data"]
        nodes.demand(nodes.check(folder, data_root, storage, data=data))
    metrics = Metrics(conductor)
    mirror = _mirror(folder, say)
    tables = Refresh(folder, say)
    with Progress(conductor) as progress:
        turns = (
            progress.tick,
            metrics.tick,
            mirror,
            tables.tick,
            watch.Watch(conductor, folder).tick,
        )

        def tick() -> None:
            for turn in turns:
                turn()

        try:
            engine.run(
                conductor, folder, cluster=found, data_root=data_root, storage=storage, tick=tick
            )
        finally:
            tables.end()
        metrics.tick(now=True)
        mirror(now=True)


def interrupted(folder: Path) -> str:
    """What is said when a study was interrupted: the command that goes on with it."""
    again = f"{Path(sys.executable)} -m study resume {folder}"
    return f"Interrupted; everything reported is kept. Go on with:\n  {again}"


def _give_up(conductor: Conductor, folder: Path, say: Callable[[str], None]) -> None:
    """End this process: it was told to, and Ray, whose processes are gone, does not let it.

    Ray waits a minute for them, which is longer than schedulers give before they kill.
    """
    with suppress(Exception):
        conductor.ledger.append("interrupted", reason="SIGTERM; Ray's processes were gone")
    say(interrupted(folder))
    os._exit(130)


def _mirror(folder: Path, say: Callable[[str], None]) -> Callable[..., None]:
    """What copies the study's own files to a storage elsewhere, where its checkpoints are."""
    place = remote(folder)
    if not place:
        return lambda now=False: None
    from study.remote import Mirror

    mirror = Mirror(folder, place)
    told: set[str] = set()

    def tick(now: bool = False) -> None:
        problem = mirror.tick(now=now)
        if problem and problem not in told:
            told.add(problem)
            say(f"{problem} The study goes on; its copy there is older.")

    return tick


def _begin(folder: Path, study: Study, data: Mapping[str, Any] | None) -> None:
    cpus, gpus = hardware()
    earlier = warm_start(study)
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
        }
        | ({"warm_start": earlier} if earlier else {}),
    ).close()


def warm_start(study: Study) -> list[dict[str, Any]]:
    """By arm the trials of earlier studies that the search is told, and what was left out.

    Raises `SettingError` for a folder that is no study or one with other objectives.
    """
    if not study.search.warm_start:
        return []
    from study.warm_start import past

    found = []
    for arm in study.arms:
        folders = [Path(one) for one in study.search.warm_start]
        trials, notes = past(folders, arm.arm, arm.weighter, arm.tree, study.search.objectives)
        rows = [
            {"params": one.params, "values": one.values, "epochs": one.epochs, "state": one.state}
            for one in trials
            if one.values is not None and all(map(math.isfinite, one.values))
        ]
        found.append({"arm": arm.arm, "weighter": arm.weighter, "past": rows, "notes": notes})
    return found


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
