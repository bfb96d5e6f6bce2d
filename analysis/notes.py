"""What a reader must know beside the robustness table: protocol, selection, what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tables import Benchmark, TableRow

FEW_SEEDS = 3


def make_notes(
    study: dict[str, Any],
    resolved: dict[str, Any],
    trials: Sequence[dict[str, Any]],
    split: str,
    benchmarks: Sequence[Benchmark],
    rows: Sequence[TableRow],
) -> tuple[str, ...]:
    """The notes in the order of reading: status, protocol, selection, seeds, budget, failures."""
    return (
        *_status(study),
        *map(_protocol, benchmarks),
        _selection(study, resolved, split),
        *_seeds(trials, split, rows),
        *_budget(rows),
        *_failures(trials),
    )


def _status(study: dict[str, Any]) -> list[str]:
    if study["status"] == "finished":
        return []
    return [f"The study is not finished (status: {study['status']}); figures may still change."]


def _protocol(benchmark: Benchmark) -> str:
    parts = [benchmark.family]
    if benchmark.norm is not None:
        parts.append(benchmark.norm)
    if benchmark.eps_text is not None:
        parts.append(f"eps {benchmark.eps_text}")
    if benchmark.steps is not None:
        parts.append(f"{benchmark.steps} steps")
    if benchmark.restarts is not None:
        plural = "" if benchmark.restarts == 1 else "s"
        parts.append(f"{benchmark.restarts} restart{plural}")
    parts.append(f"{benchmark.n_examples} examples")
    flag = "; flagged unreliable by the benchmark itself" if benchmark.unreliable else ""
    return f"{benchmark.name}: {', '.join(parts)}{flag}."


def _selection(study: dict[str, Any], resolved: dict[str, Any], split: str) -> str:
    better = "lowest" if study["goal"] == "min" else "highest"
    rule = f"Selection: {better} {study['primary_metric']} among each arm's search trials"
    if split != "test":
        return f"{rule}; nothing is confirmed on fresh seeds yet."
    top = int(resolved.get("confirm", {}).get("top") or 1)
    if top > 1:
        rule += f", then the best of the top {top} by its mean over the confirmation seeds"
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


def _failures(trials: Sequence[dict[str, Any]]) -> list[str]:
    return [
        *_counted(trials, "diverged", lambda one: one["stop_reason"] == "diverged"),
        *_counted(
            trials,
            "failed",
            lambda one: one["state"] == "FAIL" and one["stop_reason"] != "diverged",
        ),
    ]


def _counted(
    trials: Sequence[dict[str, Any]], what: str, hit: Callable[[dict[str, Any]], bool]
) -> list[str]:
    counts = Counter(
        f"{one['arm']} × {one['weighter']} ({one['phase']})" for one in trials if hit(one)
    )
    if not counts:
        return []
    total = sum(counts.values())
    where = ", ".join(f"{label} {count}" for label, count in counts.items())
    return [f"{total} trial{'' if total == 1 else 's'} {what}: {where}."]
