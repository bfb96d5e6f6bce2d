"""What a reader must know beside the robustness table: protocol, selection, course."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .history import History, when
from .metrics import readable

if TYPE_CHECKING:
    from .tables import Benchmark, TableRow

_UNITS = {
    "sigma": "standard deviation, in units of the input",
    "eps": "in units of the input",
    "step_size": "in units of the input",
}


def make_notes(
    study: dict[str, Any],
    resolved: dict[str, Any],
    trials: Sequence[dict[str, Any]],
    split: str,
    benchmarks: Sequence[Benchmark],
    rows: Sequence[TableRow],
) -> tuple[str, ...]:
    """The notes in reading order: status, data, protocol, selection, seeds, what was survived."""
    return (
        *_status(study),
        *_data(study),
        *map(_protocol, benchmarks),
        _selection(study, resolved, split),
        *_seeds(trials, split),
        *_passes(rows),
        *_mishaps(trials),
        *_superseded(trials),
    )


def course_notes(history: History) -> tuple[str, ...]:
    """What the ledger tells of the study's course beside its trials: breaks, growth, exhaustion."""
    return (
        *_break(history),
        *_exhausted(history),
        *_extensions(history),
        *_without_control(history),
    )


def _break(history: History) -> list[str]:
    if history.status not in ("paused", "aborted") or not history.why:
        return []
    return [f"The study was {history.status}: {history.why}."]


def _exhausted(history: History) -> list[str]:
    trials = [one.planned for one in history.trials.values() if one.planned["phase"] == "search"]
    notes = []
    for arm, weighter in sorted(history.exhausted):
        own = sum((one["arm"], one["weighter"]) == (arm, weighter) for one in trials)
        notes.append(
            f"{arm} × {weighter}: the search ran out of new configurations after {own} "
            f"trial{'' if own == 1 else 's'}; it has tried all that its ranges allow."
        )
    return notes


def _without_control(history: History) -> list[str]:
    """Which configurations were asked for a control that they cannot have, and why."""
    return [
        f"{one['arm']} × {one['weighter']} has no control {one['control']}: {one['why']}."
        for one in history.left_out()
    ]


def _extensions(history: History) -> list[str]:
    """What the study was extended by, and whether somebody could have known the test figures."""
    tested = [
        when(report)
        for trial in history.trials.values()
        for report in trial.reports.values()
        if any(row.get("split") == "test" for row in report.get("evaluations") or [])
    ]
    notes = []
    for event in history.extensions:
        what = ", ".join(map(str, event.get("changes") or ())) or "nothing named"
        if tested and min(tested) < when(event):
            notes.append(
                f"Extended ({what}) after test figures were known: the selection still reads "
                "validation figures alone, but the decision to go on may have read the test's."
            )
        else:
            notes.append(f"Extended ({what}) before any test figure was known.")
    return notes


def _status(study: dict[str, Any]) -> list[str]:
    if study["status"] == "finished":
        return []
    return [f"The study is not finished (status: {study['status']}); figures may still change."]


def _data(study: dict[str, Any]) -> list[str]:
    """Where the data come from and how they were split; nothing for a ledger without it."""
    if not study["data_title"]:
        return []
    counted = sizes(study)
    return [f"Data: {provenance(study)}{'; examples: ' if counted else ''}{counted}."]


def sizes(study: dict[str, Any]) -> str:
    """How many examples each part has: `480 train, 120 validation, 2,000 test`."""
    counts = [(study[f"num_{part}"], part) for part in ("train", "validation", "test")]
    return ", ".join(f"{count:,} {part}" for count, part in counts if count is not None)


def provenance(study: Mapping[str, Any]) -> str:
    """What is known of a study's data, in a line; "" for a ledger that says nothing."""
    return described(study["data_title"] or "", study["data_provenance"] or "")


def described(title: str, text: str) -> str:
    """A data set's title and provenance, the title once."""
    return text if text.startswith(title) else f"{title}: {text}" if text else title


def _protocol(benchmark: Benchmark) -> str:
    """What was evaluated: the benchmark's settings as the study or, failing that, its rows say."""
    reported = {
        "norm": benchmark.norm,
        "eps": benchmark.eps_text,
        "steps": benchmark.steps,
        "restarts": benchmark.restarts,
    }
    known = {key: value for key, value in reported.items() if value is not None}
    several = len(benchmark.configs) > 1
    parts = [] if benchmark.family == benchmark.name else [benchmark.family]
    if several:
        parts.append(f"mean over {len(benchmark.configs)} benchmarks")
    for config in benchmark.configs or ({},):
        settings = ({} if several else known) | {
            key: value for key, value in config.items() if key != "name" and key not in known
        }
        listed = ", ".join(_setting(key, value) for key, value in settings.items())
        name = config.get("name", "") if settings or parts else ""
        parts.append(f"{name} with {listed}" if name and listed else name or listed)
    if benchmark.protocol:
        parts.append(benchmark.protocol)
    if benchmark.source:
        origin = {"official": "read from the official files"}
        parts.append(origin.get(benchmark.source, "made here, not the official files"))
    n = benchmark.n_examples
    parts.append(f"{n} examples" if n else "on how many examples is not known")
    return f"{benchmark.name}: {', '.join(part for part in parts if part)}."


def _setting(key: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # "auto" has no unit.
    unit = f" ({_UNITS[key]})" if key in _UNITS and text[:1].isdigit() else ""
    return f"{key} {text}{unit}"


def _selection(study: dict[str, Any], resolved: dict[str, Any], split: str) -> str:
    better = "lowest" if study["goal"] == "min" else "highest"
    several = resolved.get("search", {}).get("objectives") or {}
    rule = f"Selection: {better} {study['primary_metric']} among each arm's search trials"
    if split != "test":
        first = ", the first of several objectives" if len(several) > 1 else ""
        return f"{rule}{first}; nothing is confirmed on fresh seeds yet."
    top = int(resolved.get("confirm", {}).get("top") or 1)
    if len(several) > 1:
        named = " and ".join(f"{readable(name)} ({mode})" for name, mode in several.items())
        rule = (
            f"Selection: of each arm's longest trained search trials the first {top} by {named} "
            "together, Pareto front by front, the least crowded first"
        )
    if top > 1:
        mean = f"mean {study['primary_metric']}" if len(several) > 1 else "mean"
        rule += f", then the best of the top {top} by its {mean} over the confirmation seeds"
    return f"{rule}; test figures chose nothing."


def _seeds(trials: Sequence[dict[str, Any]], split: str) -> list[str]:
    if split != "test":
        return ["One seed per row: differences between rows may be chance."]
    used = sorted({one["seed"] for one in trials if one["phase"] == "confirm"})
    shown = ", ".join(map(str, used[:10])) + (", ..." if len(used) > 10 else "")
    return [f"Intervals are over seeds ({shown}), not over examples or data splits."]


def _passes(rows: Sequence[TableRow]) -> list[str]:
    if not any(row.extra_forwards or row.extra_backwards for row in rows):
        return []
    return [
        "Extra passes: forward (fwd) and backward (bwd) passes per training step beyond those of "
        "a plain sum of the losses; with a scope each backward pass is a partial one."
    ]


def _mishaps(trials: Sequence[dict[str, Any]]) -> list[str]:
    """What the study survived: it costs time and changes no figure."""
    return [
        *_summed(trials, "retries", "Retries after a lost process"),
        *_summed(trials, "fallbacks", "Checkpoints that could not be read, an earlier one taken"),
    ]


def _summed(trials: Sequence[dict[str, Any]], column: str, what: str) -> list[str]:
    counts: Counter[str] = Counter()
    for one in trials:
        counts[place(one)] += one[column] or 0
    where = ", ".join(f"{label} {count}" for label, count in counts.items() if count)
    return [f"{what}: {where}."] if where else []


def _superseded(trials: Sequence[dict[str, Any]]) -> list[str]:
    count = sum(one["phase"] == "superseded" for one in trials)
    if not count:
        return []
    many = "confirmation" if count == 1 else "confirmations"
    return [
        f"Left out of the answer: {count} {many} of configurations that are no longer among the "
        "best of their arms since the study was extended."
    ]


def place(trial: Mapping[str, Any]) -> str:
    """`gaussian-kl × CoV (search)`: where a trial belongs."""
    return f"{trial['arm']} × {trial['weighter']} ({trial['phase']})"
