"""What the reading commands show: a study's standing, its answer, this machine."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from rich.table import Table

from analysis import events
from analysis.formats import console
from analysis.history import TrialHistory, fold
from analysis.metrics import metric as metric_of


def read(folder: Path) -> dict[str, Any]:
    """Status, counts by state, and per arm its trials, epochs and best value."""
    from study.life import load

    study = load(folder)
    history = fold(events.read(folder))
    trials = history.in_order()
    sign = 1 if study.search.mode == "max" else -1
    arms = []
    for arm in study.arms:
        own = [
            one
            for one in trials
            if (one.planned["arm"], one.planned["weighter"]) == (arm.arm, arm.weighter)
        ]
        values = [value for one in own if (value := _value(one, study.search.metric)) is not None]
        arms.append(
            {
                "arm": arm.arm,
                "weighter": arm.weighter,
                "trials": len(own),
                "ended": sum(one.ended is not None for one in own),
                "epochs": sum(len(one.reports) for one in own),
                "best": max(values, key=lambda value: sign * value) if values else None,
            }
        )
    confirming = study.confirm.top * study.confirm.seeds
    return {
        "study": study.study,
        "folder": str(folder),
        "data": (history.study.get("data") or {}).get("title"),
        "status": _status(history.status, folder),
        "metric": study.search.metric,
        "mode": study.search.mode,
        "trials": len(trials),
        "expected": len(study.arms) * (study.search.trials_per_arm + confirming),
        "states": dict(Counter(one.state for one in trials)),
        "epochs": sum(len(one.reports) for one in trials),
        "arms": arms,
    }


def show(found: dict[str, Any]) -> None:
    """The standing as text."""
    states = "  ".join(f"{state.lower()} {n}" for state, n in sorted(found["states"].items()))
    print(
        f"{found['study']}: {found['status']}, {found['trials']} of {found['expected']} trials, "
        f"{found['epochs']} epochs  {states}" + (f"  on {found['data']}" if found["data"] else "")
    )
    metric = metric_of(found["metric"], found["mode"])
    table = Table(box=None)
    for name in ("arm", "weighter", "trials", "ended", "epochs", f"best {found['metric']}"):
        table.add_column(name, justify="left" if name in ("arm", "weighter") else "right")
    for one in found["arms"]:
        best = "–" if one["best"] is None else metric.shown(one["best"])
        counts = (str(one[key]) for key in ("trials", "ended", "epochs"))
        table.add_row(one["arm"], one["weighter"], *counts, best)
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
    """The robustness table in the terminal."""
    from analysis.formats import to_rich
    from analysis.tables import robustness_table

    console().print(to_rich(robustness_table(folder)))


def answer(folder: Path) -> dict[str, Any]:
    """The robustness table as plain data."""
    from analysis.formats import records
    from analysis.tables import robustness_table

    table = robustness_table(folder)
    return {"caption": table.caption, "rows": records(table), "notes": list(table.notes)}


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


def _status(status: str, folder: Path) -> str:
    """A killed driver leaves "running" behind; the lock tells whether one is really there."""
    if status != "running":
        return status
    from study.ledger import locked

    return "running" if locked(folder) else "stopped (its driver is gone); resume it"


def _value(trial: TrialHistory, metric: str) -> float | None:
    for report in reversed(trial.in_order()):
        if metric in report["metrics"]:
            value = float(report["metrics"][metric])
            return value if value == value and abs(value) != float("inf") else None
    return None
