"""What the reading commands show: a study's standing, its answer, this machine."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.events import FILE, LedgerError
from analysis.formats import console
from analysis.metrics import metric as metric_of
from study.follow import Follower
from study.ledger import LOCK_FILE, locked, machine
from study.progress import clock
from study.tally import Counted, Name, Tally, shown
from trainables.core.errors import SettingError

# Standings in which nobody works on the study and nobody is about to.
OVER = ("finished", "aborted", "interrupted", "stopped")


# With no lock in sight a driver on another machine is believed in for so long after its last event.
SILENCE_S = 300.0
WATCH_S = 2.0


class Standing:
    """Where the study in a folder stands, from its ledger alone; `read` again reads what is new.

    Raises `SettingError` for a folder that is no study's and `LedgerError` for a ledger that cannot
    be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tally = Tally(resolved(folder))
        self._follower = Follower(folder)

    def read(self, now: datetime | None = None) -> dict[str, Any]:
        """The standing as plain data; times in seconds, `now` is the present unless given."""
        self._tally.extend(self._follower.new())
        tally = self._tally
        if tally.last is None:
            raise LedgerError(f"{self.folder}: the ledger holds no study; nothing was recorded")
        now = max(now or datetime.now(UTC), tally.last)
        age = (now - tally.last).total_seconds()
        status, why = _status(tally, self.folder, age)
        left = tally.eta(now) if status == "running" else None
        metric = tally.metric
        spent = {name: tally.of(name, "search") for name in tally.arms}
        total = sum(tally.device_s(own) for own in spent.values())
        return {
            "study": tally.study,
            "question": tally.question,
            "folder": str(self.folder),
            "data": (tally.first.get("data") or {}).get("title"),
            "status": status,
            "why": why,
            "metric": metric,
            "mode": tally.mode,
            "objectives": tally.objectives,
            "trials": len(tally.trials),
            "ended": tally.ended,
            "expected": tally.expected,
            "states": tally.states(),
            "failed": tally.failures(),
            "diverged": sum(one.reason == "diverged" for one in tally.trials.values()),
            "retries": tally.retries,
            "epochs": tally.epochs,
            "wall_s": tally.wall_s(now if status == "running" else None),
            "eta_s": None if left is None else left[0],
            "eta_with_tests": None if left is None else left[1],
            "last_event": tally.last.isoformat(),
            "last_event_age_s": age,
            "segments": [
                {"segment": one.segment, "command": one.command, "wall_s": one.wall_s}
                | {"began": one.began.isoformat(), "last_event": one.last.isoformat()}
                for one in tally.segments
            ],
            "arms": [_arm(tally, name, spent[name], total) for name in tally.arms],
            "rungs": tally.rungs(),
        }


def read(folder: Path) -> dict[str, Any]:
    """Where the study in a folder stands; see `Standing`."""
    return Standing(folder).read()


def resolved(folder: Path) -> dict[str, Any]:
    """What `resolved.json` holds, without the checks that only running a study needs."""
    path = folder / "resolved.json"
    if not path.is_file():
        raise SettingError(f"{folder} is no study's folder: it has no resolved.json.")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        Tally(plain)
    except (ValueError, KeyError, TypeError):
        raise SettingError(f"{path} is damaged: it is no resolved study.") from None
    return dict(plain)


def watch(folder: Path, as_json: bool = False, every_s: float = WATCH_S) -> None:
    """Show the standing until nobody works on the study any more.

    In a terminal it is drawn again in place; elsewhere there is a line (of JSON, if asked for)
    whenever something has changed.
    """
    standing, out, before = Standing(folder), console(), None
    if out.is_terminal and not as_json:
        with Live(console=out, auto_refresh=False) as live:
            while True:
                found = standing.read()
                live.update(view(found), refresh=True)
                if found["status"] in OVER:
                    return
                time.sleep(every_s)
    while True:
        found = standing.read()
        now = (found["status"], found["states"], found["epochs"], found["retries"])
        if now != before:
            print(json.dumps(found) if as_json else headline(found), flush=True)
        before = now
        if found["status"] in OVER:
            return
        time.sleep(every_s)


def show(found: dict[str, Any]) -> None:
    """The standing as text."""
    print(headline(found))
    console().print(*_below(found), sep="\n")


def view(found: dict[str, Any]) -> Group:
    """The standing as it is drawn in a terminal."""
    return Group(Text(headline(found)), *_below(found))


def headline(found: dict[str, Any]) -> str:
    """The standing in one line."""
    states = "  ".join(f"{state.lower()} {n}" for state, n in found["states"].items())
    why = f" ({found['why']})" if found["why"] else ""
    left = ""
    if found["eta_s"] is not None:
        left = f"  ETA {clock(found['eta_s'])}" + ("" if found["eta_with_tests"] else " + tests")
    return (
        f"{found['study']}: {found['status']}{why}, {found['trials']} of {found['expected']} "
        f"trials, {found['epochs']} epochs  {states}{left}"
        + (f"  on {found['data']}" if found["data"] else "")
    )


def studies(root: Path, deep: bool = False) -> list[dict[str, Any]]:
    """Every study right below `root`, or anywhere below it; `problem` says what is wrong with one.

    Raises `SettingError` where `root` is no folder.
    """
    if not root.is_dir():
        raise SettingError(f"{root} is no folder; studies lie below --root of `study run`.")
    rows = []
    for folder in _studies(root, 64 if deep else 1):
        row: dict[str, Any] = {"folder": str(folder), "study": folder.name, "problem": ""}
        try:
            found = read(folder)
        except (SettingError, LedgerError, OSError) as error:
            rows.append(row | {"problem": str(error)})
            continue
        sign = 1 if found["mode"] == "max" else -1
        known = [one for one in found["arms"] if one["best"] is not None]
        best = max(known, key=lambda one: sign * one["best"], default=None)
        rows.append(
            row
            | {
                key: found[key]
                for key in ("study", "status", "why", "ended", "expected", "metric", "question")
            }
            | {
                "best_arm": best and shown((best["arm"], best["weighter"])),
                "best": best and best["best"],
                "last_event": found["last_event"],
                "last_event_age_s": found["last_event_age_s"],
            }
        )
    return rows


def show_studies(rows: list[dict[str, Any]]) -> None:
    """The list of studies as text."""
    table = Table(box=None)
    for name in ("study", "status", "trials", "best arm", "best", "last event", "question"):
        table.add_column(name, justify="right" if name in ("trials", "best") else "left")
    for row in rows:
        if row["problem"]:
            table.add_row(row["study"], "unreadable", "", "", "", "", row["problem"])
            continue
        best = "–" if row["best"] is None else metric_of(row["metric"]).shown(row["best"])
        table.add_row(
            row["study"],
            row["status"],
            f"{row['ended']}/{row['expected']}",
            row["best_arm"] or "–",
            best,
            f"{clock(row['last_event_age_s'])} ago",
            row["question"],
        )
    console().print(table)


def show_rows(rows: list[dict[str, Any]]) -> None:
    """Evaluation rows as text, with Wilson's interval where examples are counted."""
    from analysis.statistics import wilson_interval

    table = Table(box=None)
    for name in ("split", "benchmark", "metric", "value", "95 % interval", "examples", "seconds"):
        left = name in ("split", "benchmark", "metric")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        counted = row["n_correct"] is not None
        metric = metric_of(row["metric"])
        value = metric.shown(row["value"])
        span = "–"
        if counted:
            low, high = wilson_interval(row["n_correct"], row["n_examples"])
            span = f"{100 * low:.2f} – {100 * high:.2f} %"
        seconds = f"{row['duration_s']:.2f}"
        names = (row["split"], row["name"], metric.title)
        table.add_row(*names, value, span, str(row["n_examples"]), seconds)
    console().print(table)


def show_answer(folder: Path) -> None:
    """The robustness table with its verdicts in the terminal."""
    from analysis.formats import to_rich

    console().print(to_rich(*_judged(folder)))


def answer(folder: Path) -> dict[str, Any]:
    """The robustness table with its verdicts as plain data."""
    from analysis.formats import records

    table, found = _judged(folder)
    return {
        "caption": table.caption,
        "rows": records(table, found),
        "warnings": list(table.warnings),
        "notes": list(table.notes),
    }


def _judged(folder: Path) -> tuple[Any, Any]:
    from analysis.export import tables_with_history
    from analysis.judgement import judge
    from analysis.tables import robustness_table

    made, history = tables_with_history(folder)
    table = robustness_table(made, history=history)
    return table, judge(table, made, folder)


def doctor(data_root: str) -> dict[str, str]:
    """Versions against the tested set, hardware, Ray address, data root and free space."""
    import torch
    import torchvision

    from study.life import hardware, versions
    from trainables.core.data._source import data_root as root_of

    root = root_of(data_root)
    cpus, gpus = hardware()
    found = versions()
    # The operator that a torchvision built for another torch lacks.
    boxes, scores = torch.zeros(1, 4), torch.zeros(1)
    pair = "work together"
    try:
        torchvision.ops.nms(boxes, scores, 0.5)
    except RuntimeError as error:
        pair = f"do not belong together: {error}"
    sets = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return found | {
        "torch pair": pair,
        "cpus": str(cpus),
        "gpus": ", ".join(torch.cuda.get_device_name(i) for i in range(gpus)) or "none",
        "ray address": os.environ.get("RAY_ADDRESS", "") or "none (a local cluster is started)",
        "data root": f"{root} ({', '.join(sets) or 'nothing there; Digits needs nothing'})",
        "free space": f"{shutil.disk_usage('.').free / 2**30:.1f} GiB here",
    }


def _arm(tally: Tally, name: Name, search: list[Counted], total: float) -> dict[str, Any]:
    own, confirm = tally.of(name), tally.of(name, "confirm")
    controls = tally.controls_of(name)
    bests = {metric: tally.best(name, metric) for metric in tally.objectives}
    spent = tally.device_s(search)
    return {
        "arm": name[0],
        "weighter": name[1],
        "trials": len(own),
        "ended": sum(one.ended for one in own),
        "epochs": sum(one.epoch for one in own),
        "best": bests[tally.metric],
        "bests": bests,
        "search": {
            "trials": len(search),
            "epochs": sum(one.epoch for one in search),
            "device_s": spent,
            "share": spent / total if total else None,
        },
        "limits": tally.limits(),
        "confirm": {
            "trials": tally.finalists(name),
            "ended": sum(one.ended for one in confirm),
            "device_s": tally.device_s(confirm),
            "test_s": sum(one.test_s for one in confirm),
        },
        "controls": {
            "trials": tally.controls(name),
            "ended": sum(one.ended for one in controls),
            "device_s": tally.device_s(controls),
            "test_s": sum(one.test_s for one in controls),
        },
    }


def _below(found: dict[str, Any]) -> list[Any]:
    """What stands below the headline."""
    parts: list[Any] = []
    if found["segments"]:
        last = found["segments"][-1]
        parts.append(
            Text(
                f"segment {len(found['segments'])} ({last['command']}), "
                f"{clock(found['wall_s'])} of work in all, "
                f"last event {clock(found['last_event_age_s'])} ago"
            )
        )
    failed = [f"{number} {name}" for name, number in found["failed"].items()]
    counted = {
        "failed": ", ".join(failed),
        "diverged": found["diverged"] or "",
        "retries": found["retries"] or "",
    }
    if any(counted.values()):
        parts.append(Text("  ".join(f"{key}: {one}" for key, one in counted.items() if one)))
    parts.append(_arms(found))
    if found["rungs"]:
        parts += [Text(""), _rungs(found)]
    return parts


def _arms(found: dict[str, Any]) -> Table:
    """What every arm has used of its part of the search, and what it has come to."""
    table = Table(box=None)
    names = ["arm", "weighter", "trials", "epochs", "device s", "share", "confirmed"]
    controlled = any(one["controls"]["trials"] for one in found["arms"])
    names += ["controls"] * controlled + ["best"]
    for name in names:
        heading = f"best {found['metric']}" if name == "best" else name
        table.add_column(heading, justify="left" if name in ("arm", "weighter") else "right")
    metric = metric_of(found["metric"], found["mode"])
    for one in found["arms"]:
        search, limits, confirm = one["search"], one["limits"], one["confirm"]
        share = search["share"]
        table.add_row(
            one["arm"],
            one["weighter"],
            _of(search["trials"], limits["trials"]),
            _of(search["epochs"], limits["epochs"]),
            _of(search["device_s"], limits["device_s"]),
            "–" if share is None else f"{100 * share:.0f} %",
            _of(confirm["ended"], confirm["trials"]),
            *[_of(one["controls"]["ended"], one["controls"]["trials"])] * controlled,
            "–" if one["best"] is None else metric.shown(one["best"]),
        )
    return table


def _rungs(found: dict[str, Any]) -> Table:
    table = Table(box=None)
    names = ("arm", "weighter", "rung", "reached", "stopped", "paused", "went on", "cutoff")
    for name in names:
        table.add_column(name, justify="left" if name in ("arm", "weighter") else "right")
    metric = metric_of(found["metric"], found["mode"])
    for one in found["rungs"]:
        counts = (str(one[key]) for key in ("rung", "reached", "stopped", "paused", "went_on"))
        cutoff = "–" if one["cutoff"] is None else metric.shown(one["cutoff"])
        table.add_row(one["arm"], one["weighter"], *counts, cutoff)
    return table


def _of(used: float, limit: float | None) -> str:
    text = f"{used:.2g}" if 0 < used < 10 else f"{used:.0f}"
    return text if limit is None else f"{text}/{limit:.0f}"


def _status(tally: Tally, folder: Path, age_s: float) -> tuple[str, str]:
    """A killed driver leaves "running" behind; the lock tells whether one is really there."""
    if tally.status not in ("running", "created", "paused"):
        return tally.status, tally.why
    if locked(folder):
        return "starting" if tally.status == "created" else tally.status, tally.why
    if tally.status == "paused" and not _elsewhere(folder):
        return "stopped", f"paused: {tally.why}; resume it"
    if tally.status == "created":
        return "created", ""
    if _elsewhere(folder):
        # Locks of another machine do not show on every shared file system.
        if tally.status == "paused" or age_s < SILENCE_S:
            return tally.status, tally.why or "on another machine"
        return "stopped", "its driver on another machine has written nothing since"
    return "stopped", "its driver is gone; resume it"


def _elsewhere(folder: Path) -> bool:
    """Whether the last driver that did not take its name from the lock ran on another machine."""
    try:
        holder = json.loads((folder / LOCK_FILE).read_text(encoding="utf-8"))
        return bool(holder["machine"] != machine())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _studies(root: Path, depth: int) -> Iterator[Path]:
    """Folders with a study in them, not looking into any; links are not followed."""
    if any((root / name).exists() for name in ("resolved.json", FILE)):
        yield root
        return
    if depth == 0:
        return
    try:
        inner = sorted(one for one in root.iterdir() if one.is_dir() and not one.is_symlink())
    except OSError:
        return
    for one in inner:
        yield from _studies(one, depth - 1)
