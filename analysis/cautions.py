"""What speaks against reading a study's figures as they stand: the warnings beside every table."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .bloomers import bloomers
from .grid import joined
from .history import History
from .metrics import metric as metric_of
from .notes import place
from .optimism import optimism
from .ranges import edge, position
from .ranges import text as range_text

if TYPE_CHECKING:
    from .tables import Benchmark, TableRow

FEW_SEEDS = 3
LITTLE_WEIGHT = 0.1
LOW_TAU = 0.3
APART = 5

# Ends of a failed trial that are not an error of what it ran.
_CLASSES = {"diverged": "diverged", "oom": "ran out of memory", "lost": "lost with every retry"}

Rows = Sequence["TableRow"]


def make_warnings(
    source: Mapping[str, Any],
    trials: Sequence[dict[str, Any]],
    split: str,
    benchmarks: Sequence[Benchmark],
    rows: Rows,
    history: History | None,
) -> tuple[str, ...]:
    """The warnings in reading order: figures, seeds, search, what went wrong.

    `source` holds the study's tables, `trials` the rows of the table of that name. Without
    `history` the cutoffs of stopped trials are unknown, and what needs them is left out.
    """
    study = source["studies"].to_pylist()[0]
    primary = str(study["primary_metric"] or "")
    return (
        *_doubts(rows),
        *_generated(benchmarks),
        *_lacking(source, rows, split),
        *_nowhere_finite(rows),
        *_few(split, rows),
        *_apart(benchmarks, rows),
        *_optimistic(trials, rows, primary, study["goal"] or ""),
        *_budget(rows),
        *_edges(source["params"], trials, rows),
        *_late(trials, source["reports"], primary, study["goal"] or "", history),
        *_failures(trials),
        *_lost(trials, rows),
    )


def _generated(benchmarks: Sequence[Benchmark]) -> list[str]:
    made = [one.name for one in benchmarks if one.source == "generated"]
    if not made:
        return []
    return [
        f"Corruptions were made here ({joined(made)}): their figures are not comparable with those "
        "on the official files that papers report."
    ]


def _lacking(source: Mapping[str, Any], rows: Rows, split: str) -> list[str]:
    """Benchmarks that some row lacks, and benchmarks of the study that no row has."""
    names = dict.fromkeys(name for row in rows for name in row.cells)
    notes = []
    for row in rows:
        absent = [name for name in names if name not in row.cells]
        if row.cells and absent:
            notes.append(f"{row.label}: no figure on {joined(absent)}.")
    if split == "test":
        resolved = json.loads(source["studies"]["config_json"][0].as_py())
        configs = resolved.get("benchmarks") or []
        table = source["evaluations"]
        pairs = zip(table["split"].to_pylist(), table["benchmark"].to_pylist(), strict=True)
        seen = {of for at, of in pairs if at == "test" and of is not None}
        # Older ledgers do not say which benchmark made a row.
        left = [one.get("name", "?") for at, one in enumerate(configs) if seen and at not in seen]
        if left:
            notes.append(f"Benchmarks of the study without a test figure: {joined(left)}.")
    return notes


def _nowhere_finite(rows: Rows) -> list[str]:
    return [
        f"{row.label}: {name} is not a finite number on seed"
        f"{'' if len(seeds) == 1 else 's'} {joined([*map(str, seeds)])}; neither is the mean."
        for row in rows
        for name, cell in row.cells.items()
        if (seeds := [seed for seed, value in cell.by_seed.items() if not math.isfinite(value)])
    ]


def _few(split: str, rows: Rows) -> list[str]:
    if split != "test":
        return []
    notes = []
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


def _apart(benchmarks: Sequence[Benchmark], rows: Rows) -> list[str]:
    """Rows whose mean hangs on one seed: it is far from all others, which are close together."""
    notes = []
    for row in rows:
        for one in benchmarks:
            cell = row.cells.get(one.name)
            if cell is None or len(cell.by_seed) < 3:
                continue
            if (found := _outlier(cell.by_seed, fractions=one.metric.scale == 100)) is None:
                continue
            seed, value = found
            rest = [x for at, x in cell.by_seed.items() if at != seed]
            decimals = one.metric.decimals([*rest, value])
            ends = [one.metric.text(x, decimals) for x in (min(rest), max(rest))]
            notes.append(
                f"{row.label}, {one.name}: the mean hangs on seed {seed} "
                f"({one.metric.text(value, decimals)}; the others {' to '.join(ends)})."
            )
    return notes


def _outlier(values: Mapping[int, float], *, fractions: bool) -> tuple[int, float] | None:
    """The seed that is more than five ranges of the others away from their mean."""
    if not all(map(math.isfinite, values.values())):
        return None
    for seed, value in values.items():
        rest = [one for at, one in values.items() if at != seed]
        # Seeds that agree to the last digit must not make an outlier of one example more.
        floor = 0.02 if fractions else 0.02 * abs(fmean(rest))
        if abs(value - fmean(rest)) > APART * max(max(rest) - min(rest), floor):
            return seed, value
    return None


def _optimistic(trials: Sequence[dict[str, Any]], rows: Rows, primary: str, goal: str) -> list[str]:
    """Rows whose search figure lies above the interval of the same figure on fresh seeds."""
    metric = metric_of(primary, goal)
    notes = []
    for one in optimism(trials, rows, primary, metric):
        gain, half = one.gain(metric), one.confirmed and one.confirmed.half_width
        # A single trial was not chosen by its figure.
        if one.trials < 2 or gain is None or not half or gain <= half:
            continue
        assert one.confirmed is not None
        notes.append(
            f"{one.label}: chosen with {primary} {metric.shown(one.selected)}, the best of "
            f"{one.trials}; on fresh seeds the same is {metric.shown(one.confirmed.mean)}. "
            "The search's figure is too good, as the best of several always is."
        )
    return notes


def _edges(params: Any, trials: Sequence[dict[str, Any]], rows: Rows) -> list[str]:
    """Chosen values at an end of their range: a wider one may have had a better."""
    import pyarrow.compute as pc

    ids = {one["number"]: one["trial_id"] for one in trials}
    chosen = {ids[row.selected_trial]: row for row in rows if row.selected_trial in ids}
    notes = []
    sampled = params.filter(pc.fill_null(params["sampled"], False))
    for one in sampled.select(
        ["trial_id", "name", "value_num", "value_str", "distribution_json"]
    ).to_pylist():
        row = chosen.get(one["trial_id"])
        if row is None or not one["distribution_json"]:
            continue
        distribution = json.loads(one["distribution_json"])
        value = one["value_str"] if one["value_num"] is None else one["value_num"]
        if end := edge(position(value, distribution)):
            shown = f"{value:.4g}" if isinstance(value, float) else value
            notes.append(
                f"{row.label}: the chosen {one['name']} = {shown} lies at the {end} end of its "
                f"range ({range_text(distribution)}); the best value may lie outside."
            )
    return notes


def _late(
    trials: Sequence[dict[str, Any]], reports: Any, primary: str, goal: str, history: History | None
) -> list[str]:
    notes = []
    for one in bloomers(trials, reports, primary, goal, history):
        label = " × ".join(one.label)
        if one.stopped and one.tau is not None and one.tau < LOW_TAU:
            notes.append(
                f"{label}: what its schedule stopped may have become good. Over its "
                f"{one.completed} trials of full budget the rank correlation (Kendall's τ) between "
                f"{primary} at epoch {one.rung} and at the end is {one.tau:.2f}."
            )
        if one.close:
            notes.append(
                f"{label}: {one.close} of {one.stopped} stopped trials gained more in their last "
                "epoch than they lacked to the cutoff; they may have been stopped too early."
            )
    return notes


def _lost(trials: Sequence[dict[str, Any]], rows: Rows) -> list[str]:
    """Arms of which no search trial came to anything."""
    notes = []
    for row in rows:
        mine = [one for one in trials if (one["arm"], one["weighter"]) == row.key]
        ended = [one for one in mine if one["phase"] == "search" and one["state"] != "RUNNING"]
        if ended and all(one["state"] == "FAIL" for one in ended):
            notes.append(f"{row.label}: every search trial failed; the arm has no answer.")
    return notes


def _doubts(rows: Rows) -> list[str]:
    """What speaks against single figures: those that the table marks."""
    return [
        f"† {name}, {row.label}, {len(cell.doubts)} of {cell.interval.n} seeds: {why}. "
        "The model may be less robust than this figure."
        for row in rows
        for name, cell in row.cells.items()
        for why in list(dict.fromkeys(cell.doubts))[:1]
    ]


def _budget(rows: Rows) -> list[str]:
    searched = [row for row in rows if not row.control]
    if len({row.trials for row in searched}) < 2:
        return []
    spent = ", ".join(f"{row.label} {row.trials}" for row in searched)
    return [f"Unequal search budget (trials per row): {spent}."]


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


def _counted(
    trials: Sequence[dict[str, Any]], what: str, hit: Callable[[dict[str, Any]], bool]
) -> list[str]:
    counts = Counter(place(one) for one in trials if hit(one))
    if not counts:
        return []
    total = sum(counts.values())
    where = ", ".join(f"{label} {count}" for label, count in counts.items())
    return [f"{total} trial{'' if total == 1 else 's'} {what}: {where}."]


def weight_warnings(
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
        where = place(one)
        whole[where] = whole.get(where, 0) + 1
        share = _share(last.get(one["trial_id"], {}), main.get(one["trial_id"], ""))
        if share is not None and share < LITTLE_WEIGHT:
            low.setdefault(where, []).append(f"{one['number']}: {100 * share:.1f} %")
    return [
        f"{where}: in the last epoch the main loss had less than {100 * LITTLE_WEIGHT:.0f} % of "
        f"the sum of weights (coefficients aside) in {len(found)} of {whole[where]} trials of full "
        f"budget (trial {', '.join(found[:5])}{', ...' if len(found) > 5 else ''})."
        for where, found in low.items()
    ]


def _share(weights: Mapping[str, float], main: str) -> float | None:
    values = list(weights.values())
    if main not in weights or not all(math.isfinite(one) and one >= 0 for one in values):
        return None
    total = sum(values)
    if total == 0 or math.isclose(min(values), max(values)):
        return None
    return weights[main] / total
