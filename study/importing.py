"""A plain Ray Tune experiment -> a study's folder, which every reading command understands.

Only text is read: the trials' `params.json`, `result.json` (else `progress.csv`) and `error.txt`,
and of `experiment_state-*.json` the trials' states; the pickles beside them are never opened. The
folder gets what a driver would have written, `resolved.json` and `ledger.jsonl`, so that tables,
report, status and queries need to know nothing of imports. Names of hosts, processes and addresses
stay behind.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis import events
from study.spec import group
from trainables.core.errors import SettingError, nearest

Tree = dict[str, Any]

# What Ray adds to every result; most of it says where a trial ran, and that is nobody's business.
_RAYS = {
    "checkpoint_dir_name",
    "config",
    "date",
    "done",
    "episodes_total",
    "experiment_id",
    "experiment_tag",
    "hostname",
    "iterations_since_restore",
    "node_ip",
    "pid",
    "should_checkpoint",
    "time_since_restore",
    "time_this_iter_s",
    "time_total_s",
    "timestamp",
    "timesteps_since_restore",
    "timesteps_total",
    "training_iteration",
    "trial_id",
    "trial_log_path",
    "warmup_time",
}
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "eval": "validation",
    "test": "test",
}
# Ray's words for a trial that may still go on.
_OPEN = ("PENDING", "RUNNING", "PAUSED")


@dataclass
class _Trial:
    """One trial as Ray left it; `results` by iteration."""

    name: str
    config: Tree
    sampled: set[str] | None = None
    status: str = ""
    error: str = ""
    results: dict[int, Tree] = field(default_factory=dict)

    @property
    def leaves(self) -> Tree:
        """The settings by path: config/optimizer/lr."""
        return dict(_flat(self.config, "config/"))


def import_ray(
    experiment: Path,
    root: Path,
    *,
    name: str = "",
    metric: str = "",
    mode: str = "",
    arm: str = "",
    weighter: str = "",
    seed: str = "",
    say: Callable[[str], None] = print,
) -> Path:
    """Make a study of the Ray Tune experiment in `experiment`; its folder below `root`.

    `arm`, `weighter` and `seed` are settings (config/method) whose values name each trial's arm,
    weighter and seed; without them there is one arm, and one seed. Trials of one configuration that
    differ in the seed are confirmations of it, and their figures called test/… those of the test
    split; all other figures that do not say train or test are validation figures. `metric` is what
    the search went by, `mode` max or min. What is left out is said. Raises `SettingError` for a
    folder without an experiment, for unknown settings and metrics, and for a study that is there.
    """
    found = _trials(experiment, say)
    name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", experiment.resolve().name)
    folder = root / name
    if folder.exists():
        raise SettingError(
            f"{folder} exists; nothing was changed. Choose another --name or --root."
        )
    keys = {
        "--arm": _setting(arm, "--arm", found),
        "--weighter": _setting(weighter, "--weighter", found),
        "--seed": _setting(seed, "--seed", found),
    }
    metric, mode = _objective(metric, mode, found)
    rows = _planned(found, keys)
    identity = json.dumps([name, sorted(one.name for one in found)])
    study_id = hashlib.sha256(identity.encode()).hexdigest()[:12]
    resolved = _resolved(name, study_id, rows, metric, mode, experiment, found)
    unfinished = folder.with_name(f".{name}.importing")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        (unfinished / "resolved.json").write_text(json.dumps(resolved, indent=1), encoding="utf-8")
        _write(unfinished / events.FILE, _events(resolved, found, rows, metric))
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    arms = ", ".join(f"{one['arm']} × {one['weighter']}" for one in resolved["arms"])
    say(f"{len(found)} trials; {metric} ({mode}); arms: {arms}.")
    return folder


def _trials(experiment: Path, say: Callable[[str], None]) -> list[_Trial]:
    """The trials in the order of their names, which is that of their numbers."""
    folders = sorted(path.parent for path in experiment.glob("*/params.json"))
    if not folders:
        raise SettingError(
            f"{experiment} is no Ray Tune experiment: no folder in it has a params.json."
        )
    states = _states(experiment)
    found = []
    left_out: Counter[str] = Counter()
    for folder in folders:
        config = json.loads((folder / "params.json").read_text(encoding="utf-8"))
        state = states.get(folder.name, {})
        one = _Trial(folder.name, config, status=str(state.get("status", "")))
        if isinstance(state.get("evaluated_params"), dict):
            one.sampled = {f"config/{key}" for key in state["evaluated_params"]}
        if (folder / "error.txt").is_file():
            one.error = (folder / "error.txt").read_text(encoding="utf-8", errors="replace")
        one.results = dict(_results(folder, left_out))
        found.append(one)
    for what, times in sorted(left_out.items()):
        say(f"Left out: {what} ({times} times).")
    return found


def _states(experiment: Path) -> dict[str, Tree]:
    """Folder of a trial -> what Ray's newest state file says of it; {} where there is none."""
    paths = sorted(experiment.glob("experiment_state-*.json"))
    found = {}
    try:
        for text, _ in json.loads(paths[-1].read_text(encoding="utf-8"))["trial_data"]:
            state = json.loads(text)
            found[str(state["relative_logdir"])] = state
    except (IndexError, ValueError, KeyError, TypeError):
        # None, or cut off by a kill: the trials' own files have to do.
        return {}
    return found


def _results(folder: Path, left_out: Counter[str]) -> Iterator[tuple[int, Tree]]:
    """Iteration -> figures by name, with Ray's own under their names; later rows replace earlier.

    A trial that was restored repeats iterations and goes on from the later ones.
    """
    for row in _rows(folder, left_out):
        flat = dict(_flat({key: value for key, value in row.items() if key != "config"}))
        iteration = flat.get("training_iteration")
        if not isinstance(iteration, int | float) or not math.isfinite(iteration) or iteration < 1:
            left_out["a result without training_iteration"] += 1
            continue
        figures: Tree = {}
        for key, value in flat.items():
            if key in _RAYS:
                figures[key] = value
            elif isinstance(value, bool) or not isinstance(value, int | float):
                if value is not None:
                    left_out[f"{key}, which is no number"] += 1
            else:
                figures[key] = float(value)
        yield int(iteration), figures


def _rows(folder: Path, left_out: Counter[str]) -> Iterator[Tree]:
    lines, table = folder / "result.json", folder / "progress.csv"
    if lines.is_file() and lines.stat().st_size:
        for line in lines.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)  # Ray writes NaN and Infinity as they are
            except ValueError:
                row = None
            if isinstance(row, dict):
                yield row
            elif line.strip():
                left_out["a result that is damaged or unfinished"] += 1
    elif table.is_file():
        with table.open(encoding="utf-8", errors="replace", newline="") as file:
            for cells in csv.DictReader(file):
                known = {key: _number(text) for key, text in cells.items() if key and text}
                yield {key: one for key, one in known.items() if not key.startswith("config/")}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}/")
        else:
            yield f"{path}{key}", value


def _setting(asked: str, option: str, found: list[_Trial]) -> str:
    """The path of a setting, config/…; "" if none was asked for."""
    if not asked:
        return ""
    key = asked if asked.startswith("config/") else f"config/{asked}"
    lacking = [one for one in found if key not in one.leaves]
    if lacking:
        known = sorted({path for one in found for path in one.leaves})
        few = f"{len(lacking)} of {len(found)} trials have" if len(lacking) < len(found) else "has"
        raise SettingError(f"{option}: no setting {key!r} {few}.{nearest(key, known)}")
    return key


def renamed(name: str) -> str:
    """Ray's name of a figure -> <split>/<name>: val_acc, eval/acc and acc are validation/acc."""
    match = re.match(r"([A-Za-z]+)[/_](.+)", name)
    if match and match[1].lower() in _SPLITS:
        return f"{_SPLITS[match[1].lower()]}/{match[2]}"
    return f"validation/{name}"


def _figures(result: Mapping[str, Any]) -> dict[str, float]:
    return {renamed(key): value for key, value in result.items() if key not in _RAYS}


def _objective(metric: str, mode: str, found: list[_Trial]) -> tuple[str, str]:
    known = sorted({key for one in found for row in one.results.values() for key in _figures(row)})
    if not metric:
        usual = ("validation/accuracy", "validation/acc", "validation/loss")
        metric = next((one for one in usual if one in known), "")
        if not metric:
            raise SettingError(f"--metric: say what the search went by. Known: {', '.join(known)}.")
    elif metric not in known:
        metric = renamed(metric)
    if metric not in known:
        raise SettingError(f"--metric: no trial reported {metric!r}.{nearest(metric, known)}")
    if mode not in ("", "max", "min"):
        raise SettingError(f"--mode must be max or min, found {mode!r}.")
    lower = re.search(r"loss|error|rmse|mse|mae|nll|perplexity", metric) is not None
    return metric, mode or ("min" if lower else "max")


def _planned(found: list[_Trial], keys: Mapping[str, str]) -> list[Tree]:
    """How each trial would have been planned by a study."""
    varied = _varied(found)
    special = {one for one in keys.values() if one}
    rows: list[Tree] = []
    for number, one in enumerate(found):
        leaves = one.leaves
        sampled = (varied if one.sampled is None else one.sampled & set(leaves)) - special
        without = {key: value for key, value in leaves.items() if key != keys["--seed"]}
        rows.append(
            {
                "trial": number,
                "phase": "search",
                "arm": _label(leaves, keys["--arm"], "all"),
                "weighter": _label(leaves, keys["--weighter"], "unknown"),
                "seed": _seed(leaves, keys["--seed"]),
                "group": group(without),
                # Below a name of its own: a setting `losses` of theirs is no part of our recipes.
                "recipe": {"config": one.config},
                "params": {key: leaves[key] for key in sorted(sampled) if _plain(leaves[key])},
                "distributions": {},
                "place": number,
            }
        )
    seeds: dict[str, set[int]] = {}
    for row in rows:
        seeds.setdefault(row["group"], set()).add(row["seed"])
    for row in rows:
        if len(seeds[row["group"]]) > 1:
            row["phase"] = "confirm"
    return rows


def _varied(found: list[_Trial]) -> set[str]:
    values: dict[str, set[str]] = {}
    for one in found:
        for key, value in one.leaves.items():
            values.setdefault(key, set()).add(json.dumps(value, sort_keys=True))
    return {key for key, own in values.items() if len(own) > 1}


def _plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)


def _label(leaves: Tree, key: str, otherwise: str) -> str:
    if not key:
        return otherwise
    value = leaves[key]
    return value if isinstance(value, str) else json.dumps(value)


def _seed(leaves: Tree, key: str) -> int:
    if not key:
        return 0
    value = leaves[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise SettingError(f"--seed: {key} must be a whole number in every trial, found {value!r}.")
    return value


def _resolved(
    name: str,
    study_id: str,
    rows: list[Tree],
    metric: str,
    mode: str,
    experiment: Path,
    found: list[_Trial],
) -> Tree:
    arms = list(dict.fromkeys((row["arm"], row["weighter"]) for row in rows))
    longest = max((epoch for one in found for epoch in one.results), default=0)
    searched = Counter((row["arm"], row["weighter"]) for row in rows if row["phase"] == "search")
    seeds = {row["seed"] for row in rows if row["phase"] == "confirm"}
    return {
        "schema_version": events.SCHEMA_VERSION,
        "study": name,
        "study_id": study_id,
        "question": f"What did the Ray Tune experiment {experiment.resolve().name} find?",
        "seed": 0,
        "baseline": arms[0][0],
        "task": None,
        "data": {},
        "arms": [{"arm": arm, "weighter": weighter, "recipe": {}} for arm, weighter in arms],
        "search": {
            "sampler": "unknown",
            "trials_per_arm": max(searched.values(), default=0),
            "metric": metric,
            "mode": mode,
            "objectives": {metric: mode},
        },
        "schedule": {"name": "unknown", "max_epochs": longest},
        "confirm": {"top": 1 if seeds else 0, "seeds": len(seeds)},
        "benchmarks": [],
        "budget": {},
        "resources": {"cpu": 1, "gpu": 0},
        "imported": {"from": "Ray Tune", "experiment": experiment.resolve().name},
    }


def _events(resolved: Tree, found: list[_Trial], rows: list[Tree], metric: str) -> list[Tree]:
    """All events in the order of time; equal times stay in the order of the trials."""
    longest = resolved["schedule"]["max_epochs"]
    timed: list[tuple[float, Tree]] = []
    began = min((_began(one) for one in found if one.results), default=0.0)
    for one, row in zip(found, rows, strict=True):
        start = _began(one) if one.results else began
        timed.append((start, {"event": "planned"} | row))
        timed += _course(one, row, start, metric, longest)
    timed.sort(key=lambda pair: pair[0])
    ended = max(time for time, _ in timed)
    head = {
        "event": "study",
        "schema_version": events.SCHEMA_VERSION,
        "study": resolved["study"],
        "study_id": resolved["study_id"],
        "versions": {},
        "git": {},
        "hardware": {},
        "data": None,
        "imported": resolved["imported"],
    }
    going_on = any(one.status in _OPEN for one in found)
    last = {"event": "interrupted", "reason": "imported before its end"} if going_on else None
    whole = [
        (began, head),
        (began, {"event": "segment", "segment": 0, "command": "import"}),
        *timed,
        (ended, last or {"event": "finished", "failed": sum(bool(one.error) for one in found)}),
    ]
    return [event | {"time": _text(time)} for time, event in whole]


def _course(
    one: _Trial, row: Tree, start: float, metric: str, longest: int
) -> Iterator[tuple[float, Tree]]:
    """What became of a trial: its start, its reports, its end."""
    number = row["trial"]
    if not one.results:
        if one.error:
            yield start, {"event": "started", "trial": number, "node": None}
            yield from _failure(one, number, start)
        return
    yield start, {"event": "started", "trial": number, "node": None}
    order = sorted(one.results)
    time = start
    state, reason = _end(one, metric, order[-1] >= longest)
    for epoch in order:
        result = one.results[epoch]
        time = max(time, float(result.get("timestamp") or 0))
        last = epoch == order[-1]
        figures = _figures(result)
        decision = {"COMPLETE": "complete", "PRUNED": "stop"}.get(state, "continue")
        yield (
            time,
            {
                "event": "report",
                "trial": number,
                "epoch": epoch,
                "metrics": figures,
                "weights": {},
                "evaluations": list(_evaluations(figures)) if last else [],
                "rung": None,
                "decision": ("diverged" if reason == "diverged" else decision)
                if last
                else "continue",
                "train_s": float(result.get("time_this_iter_s") or 0),
                "eval_s": 0.0,
                "summary": None,
            },
        )
    if one.error:
        yield from _failure(one, number, time)
    elif state:
        end = {"state": state, "reason": reason, "error": None, "summary": None}
        yield time, {"event": "ended", "trial": number} | end


def _end(one: _Trial, metric: str, full: bool) -> tuple[str, str]:
    """State and reason; ("", "") for a trial that may still go on."""
    if one.status in _OPEN or one.error:
        return "", ""
    value = _figures(one.results[max(one.results)]).get(metric)
    if value is not None and not math.isfinite(value):
        return "FAIL", "diverged"
    # Ray does not say who ended a trial; a shorter one was stopped by a schedule or itself.
    return ("COMPLETE", "budget") if full else ("PRUNED", "stopped")


def _failure(one: _Trial, number: int, time: float) -> Iterator[tuple[float, Tree]]:
    # The traceback above its last line names processes, addresses and folders.
    last = next((line for line in reversed(one.error.splitlines()) if line.strip()), "")
    match = re.match(r"\s*([\w.]+(?:Error|Exception|Interrupt|Exit))\b:?\s*(.*)", last)
    kind, text = (match[1], match[2]) if match else ("", last.strip())
    text = re.sub(r"\b(pid|ip|node_ip|actor_id)=[\w.:]+", r"\1=…", text)
    error = {"type": kind.rpartition(".")[2], "text": text}
    yield time, {"event": "failed", "trial": number, "class": "error"} | error
    end = {"state": "FAIL", "reason": "error", "error": error, "summary": None}
    yield time, {"event": "ended", "trial": number} | end


def _evaluations(figures: Mapping[str, float]) -> Iterator[Tree]:
    """The last validation and test figures as rows: test/pgd/accuracy is benchmark pgd's."""
    for name, value in figures.items():
        split, _, rest = name.partition("/")
        if split == "train":
            continue
        benchmark, _, metric = rest.rpartition("/")
        yield {
            "split": split,
            "family": "other" if benchmark else "clean",
            "name": benchmark or "clean",
            "metric": {"acc": "accuracy"}.get(metric, metric),
            "value": value,
        }


def _began(one: _Trial) -> float:
    first = one.results[min(one.results)]
    return float(first.get("timestamp") or 0) - float(first.get("time_this_iter_s") or 0)


def _text(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds")


def _write(path: Path, lines: list[Tree]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(events.encode(one) + "\n" for one in lines)
