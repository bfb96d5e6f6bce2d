"""What a reader must know beside the robustness table: protocol, selection, what went wrong."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .history import History, when
from .metrics import readable

if TYPE_CHECKING:
    from .tables import Benchmark, TableRow

FEW_SEEDS = 3
LITTLE_WEIGHT = 0.1

# Ends of a failed trial that are not an error of what it ran.
_CLASSES = {"diverged": "diverged", "oom": "ran out of memory", "lost": "lost with every retry"}

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
    """The notes in reading order: status, data, protocol, selection, seeds, budget, failures."""
    return (
        *_status(study),
        *_data(study),
        *map(_protocol, benchmarks),
        *_doubts(rows),
        _selection(study, resolved, split),
        *_seeds(trials, split, rows),
        *_budget(rows),
        *_passes(rows),
        *_failures(trials),
        *_mishaps(trials),
        *_superseded(trials),
    )


def course_notes(history: History) -> tuple[str, ...]:
    """What the ledger tells of the study's course beside its trials: breaks, growth, exhaustion."""
    return (*_break(history), *_exhausted(history), *_extensions(history))


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
    parts.append(f"{benchmark.n_examples} examples")
    return f"{benchmark.name}: {', '.join(part for part in parts if part)}."


def _doubts(rows: Sequence[TableRow]) -> list[str]:
    """What speaks against single figures: those that the table marks."""
    return [
        f"† {name}, {row.label}, {len(cell.doubts)} of {cell.interval.n} seeds: {why}. "
        "The model may be less robust than this figure."
        for row in rows
        for name, cell in row.cells.items()
        for why in list(dict.fromkeys(cell.doubts))[:1]
    ]


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


def _seeds(trials: Sequence[dict[str, Any]], split: str, rows: Sequence[TableRow]) -> list[str]:
    if split != "test":
        return ["One seed per row: differences between rows may be chance."]
    used = sorted({one["seed"] for one in trials if one["phase"] == "confirm"})
    shown = ", ".join(map(str, used[:10])) + (", ..." if len(used) > 10 else "")
    notes = [f"Intervals are over seeds ({shown}), not over examples or data splits."]
    few = [row.label for row in rows if 0 < row.n_seeds < FEW_SEEDS]
    if few:
        notes.append(
            f"Fewer than {FEW_SEEDS} seeds: {', '.join(few)}. "
            "Intervals over so few seeds are very wide or absent."
        )
    notes += [
        f"{row.label}: {row.n_seeds} of {row.n_planned} seeds have test figures; "
        "the mean leaves the others out."
        for row in rows
        if row.n_seeds < row.n_planned
    ]
    notes += [f"{row.label}: not confirmed." for row in rows if row.n_planned == 0]
    return notes


def _budget(rows: Sequence[TableRow]) -> list[str]:
    if len({row.trials for row in rows}) < 2:
        return []
    spent = ", ".join(f"{row.label} {row.trials}" for row in rows)
    return [f"Unequal search budget (trials per row): {spent}."]


def _passes(rows: Sequence[TableRow]) -> list[str]:
    if not any(row.extra_forwards or row.extra_backwards for row in rows):
        return []
    return [
        "Extra passes: forward (fwd) and backward (bwd) passes per training step beyond those of "
        "a plain sum of the losses; with a scope each backward pass is a partial one."
    ]


def _failures(trials: Sequence[dict[str, Any]]) -> list[str]:
    return [
        *_counted(trials, _CLASSES["diverged"], lambda one: one["stop_reason"] == "diverged"),
        *_counted(
            trials,
            "failed",
            lambda one: one["state"] == "FAIL" and one["stop_reason"] not in _CLASSES,
        ),
        *_counted(trials, _CLASSES["oom"], lambda one: one["stop_reason"] == "oom"),
        *_counted(trials, _CLASSES["lost"], lambda one: one["stop_reason"] == "lost"),
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
        counts[_place(one)] += one[column] or 0
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


def _counted(
    trials: Sequence[dict[str, Any]], what: str, hit: Callable[[dict[str, Any]], bool]
) -> list[str]:
    counts = Counter(_place(one) for one in trials if hit(one))
    if not counts:
        return []
    total = sum(counts.values())
    where = ", ".join(f"{label} {count}" for label, count in counts.items())
    return [f"{total} trial{'' if total == 1 else 's'} {what}: {where}."]


def _place(trial: Mapping[str, Any]) -> str:
    return f"{trial['arm']} × {trial['weighter']} ({trial['phase']})"


def weight_notes(
    trials: Sequence[Mapping[str, Any]],
    weights: Sequence[Mapping[str, Any]],
    main: Mapping[str, str],
) -> list[str]:
    """Where a weighter took nearly all weight from the main loss; `main` maps trial -> its label.

    Share = the main loss's mean weight in the last epoch of a trial of full budget, over the sum
    of all weights, coefficients aside. Weights that are all equal were not adapted.
    """
    last: dict[str, dict[str, float]] = {}
    steps: dict[str, int] = {}
    for row in weights:
        trial = row["trial_id"]
        if row["step"] > steps.get(trial, 0):
            last[trial], steps[trial] = {}, row["step"]
        if row["step"] == steps[trial] and row["weight"] is not None:
            last[trial][row["loss"]] = row["weight"]
    whole: dict[str, int] = {}
    low: dict[str, list[str]] = {}
    for one in trials:
        if one["state"] != "COMPLETE":
            continue
        place = _place(one)
        whole[place] = whole.get(place, 0) + 1
        share = _share(last.get(one["trial_id"], {}), main.get(one["trial_id"], ""))
        if share is not None and share < LITTLE_WEIGHT:
            low.setdefault(place, []).append(f"{one['number']}: {100 * share:.1f} %")
    return [
        f"{place}: in the last epoch the main loss had less than {100 * LITTLE_WEIGHT:.0f} % of "
        f"the sum of weights (coefficients aside) in {len(found)} of {whole[place]} trials of full "
        f"budget (trial {', '.join(found[:5])}{', ...' if len(found) > 5 else ''})."
        for place, found in low.items()
    ]


def _share(weights: Mapping[str, float], main: str) -> float | None:
    values = list(weights.values())
    if main not in weights or not all(math.isfinite(one) and one >= 0 for one in values):
        return None
    total = sum(values)
    if total == 0 or math.isclose(min(values), max(values)):
        return None
    return weights[main] / total
