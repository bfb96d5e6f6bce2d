"""The robustness table of a study: arm x weighter rows, one column per benchmark.

The configuration of a row was chosen on the validation split; the figures are those of its
confirmation on fresh seeds, on the test split. Before any confirmation has ended they are the
validation figures of the best search trial, and the table says so. Control trials, where a study
has any, are rows below the arm that they control.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from .cautions import make_warnings, weight_warnings
from .history import History
from .metrics import Metric
from .metrics import metric as metric_of
from .notes import course_notes, make_notes
from .statistics import Interval, mean_interval, paired_difference

Row = dict[str, Any]
Label = tuple[str, str]

CORRUPTIONS = "corruptions"
ACCURACY = metric_of("accuracy")

# Of tables with a row for every report only what is read is taken out: it is most of the time.
_EVALUATED = [
    "trial_id", "step", "position", "split", "benchmark", "family", "name", "severity", "norm",
    "eps_text", "steps", "restarts", "metric", "value", "n_examples", "unreliable",
    "unreliable_why", "protocol", "source",
]  # fmt: skip
_WEIGHED = ["trial_id", "step", "loss", "weight"]

# What a control changed of the confirmed configuration -> how its rows say so.
CONTROLS = {
    "coefficient_0": "coefficient 0",
    "random_weights": "random weights",
    "replay": "replay",
    "matched_compute": "as long as",
}


@dataclass(frozen=True)
class Benchmark:
    """One column: a benchmark with the settings that its figures depend on.

    `configs` are the benchmarks of the study behind it: one, or all corruptions; empty where they
    cannot be told.
    """

    name: str
    family: str
    norm: str | None
    eps_text: str | None
    steps: int | None
    restarts: int | None
    n_examples: int
    unreliable: bool
    configs: tuple[Row, ...] = ()
    metric: Metric = ACCURACY
    protocol: str = ""
    source: str = ""


@dataclass(frozen=True)
class Cell:
    """The figures of one row on one benchmark: over seeds, and against the reference row.

    `by_seed` holds the value of each seed; `doubts` say, seed by seed, what was seen that speaks
    against the figure.
    """

    interval: Interval
    low: float
    high: float
    difference: Interval | None
    doubts: tuple[str, ...] = ()
    by_seed: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TableRow:
    """One arm with one weighter; `cells` has no entry for a benchmark without figures.

    `extra_forwards` and `extra_backwards` are passes per training step beyond those of a plain sum
    of the losses, None where the ledger does not say. `train_s` is the mean training time of the
    trials behind the row (numbers: `members`), times the devices of each, in seconds; `peak_bytes`
    the largest memory that one of them took on the accelerator.

    `control` is "" for an arm, else the name of the control, which the weighter's text names as
    well. `against` is the row that the differences are to, None for the reference itself.
    """

    arm: str
    weighter: str
    reference: bool
    n_seeds: int
    n_planned: int
    cells: dict[str, Cell]
    trials: int
    epochs: int
    time_ratio: float | None
    extra_forwards: float | None
    extra_backwards: float | None
    selected_trial: int | None
    selected: dict[str, float | str]
    control: str = ""
    against: Label | None = None
    members: tuple[int, ...] = ()
    train_s: float | None = None
    peak_bytes: int | None = None

    @property
    def key(self) -> Label:
        """Arm and weighter, which no two rows share."""
        return self.arm, self.weighter

    @property
    def label(self) -> str:
        return f"{self.arm} × {self.weighter}"


@dataclass(frozen=True)
class RobustnessTable:
    """The table with what a reader needs to judge it.

    `split` is "test", or "validation" as long as nothing was confirmed. Means, differences and
    interval ends are in the metric's own unit: accuracies as fractions. `data` is what the data set
    is called, "" for a ledger that does not say.
    """

    study: str
    question: str
    data: str
    status: str
    metric: Metric
    split: str
    benchmarks: tuple[Benchmark, ...]
    rows: tuple[TableRow, ...]
    caption: str
    notes: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())

    @property
    def has_extra_passes(self) -> bool:
        """Whether some row's weighter runs the model more often than a plain sum would."""
        return any(row.extra_forwards or row.extra_backwards for row in self.rows)

    def head(self, one: Benchmark) -> str:
        """A benchmark's name; one of another metric than the table's says so."""
        return one.name if one.metric == self.metric else f"{one.name} {one.metric.title}"

    def decimals(self, benchmark: str) -> int:
        """Digits after the point of a column, the same for means, intervals and differences."""
        cells = (row.cells.get(benchmark) for row in self.rows)
        metric = next((one.metric for one in self.benchmarks if one.name == benchmark), self.metric)
        return metric.decimals(one.interval.mean for one in cells if one is not None)

    @property
    def reference(self) -> TableRow | None:
        return next((row for row in self.rows if row.reference), None)

    def row(self, key: Label | None) -> TableRow | None:
        """The row of this arm and weighter."""
        return next((one for one in self.rows if one.key == key), None)


def robustness_table(
    source: Path | str | Mapping[str, Any],
    *,
    metric: str | None = None,
    history: History | None = None,
) -> RobustnessTable:
    """The robustness table of a study folder, or of the tables that `export.tables` gave.

    `metric` is one of the evaluations (accuracy, rmse, map, ...); without it accuracy where there
    is one, else the one that the search went by. `history` adds the notes that the tables alone do
    not tell (extensions, why a study was paused); a folder has its own. Raises `NotAStudyError` for
    a folder without a study, `ValueError` for a metric that no benchmark reported.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(source, Mapping):
        from .export import tables_with_history

        source, history = tables_with_history(source)
    study = source["studies"].to_pylist()[0]
    resolved = json.loads(study["config_json"])
    trials = source["trials"].drop_columns(["config_json"]).to_pylist()
    names = dict.fromkeys(source["evaluations"]["metric"].to_pylist())
    primary = str(study["primary_metric"] or "").rpartition("/")[2]
    metric = _metric(list(names), metric, primary)
    found = metric_of(metric, study["goal"] if metric == primary else "")
    # Calibration has no accuracy, but belongs beside it.
    beside = {("calibration", "ece")} if metric in ("accuracy", "error") else set()
    shown = pc.is_in(source["evaluations"]["metric"], pa.array([metric, *(of for _, of in beside)]))
    figures = _Figures(
        [
            row
            for row in source["evaluations"].filter(shown).select(_EVALUATED).to_pylist()
            if row["metric"] == metric or (row["family"], row["metric"]) in beside
        ]
    )

    confirmed = any(one["phase"] == "confirm" and figures.of(one, "test") for one in trials)
    split = "test" if confirmed else "validation"
    chosen = {label: _chosen(trials, label, study, figures, split) for label in _labels(resolved)}
    reference = next(iter(chosen))
    behind = {one["trial_id"] for members in chosen.values() for one in members}
    behind |= {one["trial_id"] for one in trials if one["phase"] == "control"}
    seconds, forwards, backwards = (
        _per_epoch(source["reports"], name, behind)
        for name in ("train_s", "extra_forwards", "extra_backwards")
    )
    params = _sampled(source["params"])
    benchmarks = figures.benchmarks(split, resolved.get("benchmarks") or [])
    devices = _devices(resolved.get("resources") or {})

    def row(key: Label, members: list[Row], against: Label | None, **more: Any) -> TableRow:
        """A row of the trials `members`, compared with the row `against`."""
        values = _by_benchmark(members, figures, split)
        other = _by_benchmark(chosen[against] if against else [], figures, split)
        whole = [one["train_s"] for one in members if one["state"] == "COMPLETE"]
        peaks = [one["peak_mem_bytes"] for one in members if one["peak_mem_bytes"] is not None]
        return TableRow(
            arm=key[0],
            weighter=key[1],
            reference=key == reference,
            n_seeds=max((len(one) for one in values.values()), default=0),
            n_planned=len(members),
            cells=_cells(values, other, against is None, figures.doubts(members, split)),
            time_ratio=_ratio(seconds(members), seconds(chosen[reference])),
            extra_forwards=forwards(members),
            extra_backwards=backwards(members),
            members=tuple(one["number"] for one in members),
            train_s=devices * fmean(whole) if whole else None,
            peak_bytes=max(peaks, default=None),
            against=against,
            **more,
        )

    rows = []
    for label, members in chosen.items():
        searched = [one for one in trials if _label(one) == label and one["phase"] == "search"]
        winner = _searched_as(searched, members)
        rows.append(
            row(
                label,
                members,
                None if label == reference else reference,
                trials=len(searched),
                epochs=sum(one["epochs_done"] for one in searched),
                selected_trial=winner["number"] if winner else None,
                selected=params.get(winner["trial_id"], {}) if winner else {},
            )
        )
        for control, (of, those) in _controls(trials, label, winner, history).items():
            # What replays an arm's mean weights asks whether adapting them helps that arm.
            rows.append(
                row(
                    of,
                    those,
                    label if control == "replay" else reference,
                    control=control,
                    trials=0,
                    epochs=0,
                    selected_trial=None,
                    selected={},
                )
            )
    # Warnings by weights need the label of each trial's main loss.
    mains = _main_losses(source["trials"])
    return RobustnessTable(
        study=study["name"],
        question=study["question"] or "",
        data=study["data_title"] or "",
        status=study["status"],
        metric=found,
        split=split,
        benchmarks=benchmarks,
        rows=tuple(rows),
        caption=_caption(study, found, split, rows),
        notes=(
            *make_notes(study, resolved, trials, split, benchmarks, rows),
            *(course_notes(history) if history else ()),
        ),
        warnings=(
            *make_warnings(source, trials, split, benchmarks, rows, history),
            *weight_warnings(trials, _last(source["weights"].select(_WEIGHED)), mains),
        ),
    )


class _Figures:
    """The last evaluation of every trial on every split: benchmark -> value."""

    def __init__(self, evaluations: list[Row]) -> None:
        self._rows: dict[tuple[str, str], list[Row]] = {}
        for row in evaluations:
            kept = self._rows.setdefault((row["trial_id"], row["split"]), [])
            if kept and kept[0]["step"] < row["step"]:
                kept.clear()
            if row["value"] is not None:
                kept.append(row)

    def of(self, trial: Row, split: str) -> dict[str, float]:
        """A trial's value per benchmark; the corruptions count as one, by their mean."""
        values: dict[str, list[float]] = {}
        for row in self._rows.get((trial["trial_id"], split), []):
            values.setdefault(column_of(row), []).append(row["value"])
        return {name: fmean(found) for name, found in values.items()}

    def doubts(self, trials: list[Row], split: str) -> dict[str, tuple[str, ...]]:
        """Benchmark -> what speaks against its figures, in the trials where something does."""
        found: dict[str, tuple[str, ...]] = {}
        for one in trials:
            for row in self._rows.get((one["trial_id"], split), []):
                if row["unreliable_why"]:
                    name = column_of(row)
                    found[name] = (*found.get(name, ()), row["unreliable_why"])
        return found

    def benchmarks(self, split: str, configs: list[Row]) -> tuple[Benchmark, ...]:
        """The columns in the study's order, which is the order of every trial's rows.

        `configs` are the study's benchmarks.
        """
        found: dict[str, list[Row]] = {}
        for (_, of), rows in self._rows.items():
            for row in rows if of == split else []:
                found.setdefault(column_of(row), []).append(row)
        order = sorted(found, key=lambda name: min(row["position"] for row in found[name]))
        told = _told(found, configs)
        return tuple(_benchmark(name, found[name], told.get(name, ())) for name in order)


def column_of(row: Row) -> str:
    """The column of the robustness table that a row of the evaluations belongs to."""
    if row["family"] != "corruption":
        return str(row["name"])
    # The two are never to be compared.
    return f"{CORRUPTIONS} (official)" if row["source"] == "official" else CORRUPTIONS


def _told(found: dict[str, list[Row]], configs: list[Row]) -> dict[str, tuple[Row, ...]]:
    """Column -> the configs behind it; empty unless each config made rows of one name in its turn.

    Rows say which of the study's benchmarks made them. Those of older ledgers do not, but come in
    the order of the benchmarks.
    """
    if any(row["benchmark"] is not None for one in found.values() for row in one):
        return {
            name: tuple(configs[place] for place in sorted(places) if place < len(configs))
            for name, one in found.items()
            if (places := {row["benchmark"] for row in one if row["benchmark"] is not None})
        }
    rows = sorted((row for one in found.values() for row in one), key=lambda row: row["position"])
    firsts = list({(row["name"], row["severity"]): row for row in reversed(rows)}.values())[::-1]
    if len(firsts) != len(configs):
        return {}
    told: dict[str, tuple[Row, ...]] = {}
    for row, config in zip(firsts, configs, strict=True):
        for key in ("norm", "steps", "restarts", "severity"):
            if key in config and row[key] is not None and config[key] != row[key]:
                return {}
        told[column_of(row)] = (*told.get(column_of(row), ()), config)
    return told


def _benchmark(name: str, rows: list[Row], configs: tuple[Row, ...]) -> Benchmark:
    first = rows[0]
    return Benchmark(
        name=name,
        family=first["family"],
        norm=first["norm"],
        eps_text=first["eps_text"],
        steps=first["steps"],
        restarts=first["restarts"],
        # Imported figures do not say on how many examples they were measured: 0.
        n_examples=min(row["n_examples"] or 0 for row in rows),
        unreliable=any(row["unreliable"] for row in rows),
        configs=configs,
        metric=metric_of(first["metric"]),
        protocol=first["protocol"] or "",
        source=first["source"] or "",
    )


def metrics_of(evaluations: list[Row]) -> list[str]:
    """The metrics that benchmarks reported, in the order of the task."""
    return list(dict.fromkeys(str(row["metric"]) for row in evaluations))


def _metric(known: list[str], wanted: str | None, primary: str) -> str:
    if wanted is None:
        if "accuracy" in known:
            return "accuracy"
        return primary if primary in known else (known or [primary or "accuracy"])[0]
    if wanted not in known:
        raise ValueError(f"No benchmark reported {wanted!r}. Known: {', '.join(known) or 'none'}.")
    return wanted


def _labels(resolved: Row) -> list[Label]:
    """Arm and weighter of every row in the study's order, those of the baseline arm first."""
    labels = [(one["arm"], one["weighter"]) for one in resolved["arms"]]
    return sorted(labels, key=lambda label: label[0] != resolved.get("baseline"))


def _label(trial: Row) -> Label:
    return trial["arm"], trial["weighter"]


def _chosen(
    trials: list[Row], label: Label, study: Row, figures: _Figures, split: str
) -> list[Row]:
    """The trials behind a row: all seeds of the chosen configuration, or the best search trial.

    Everything here reads validation figures; test figures choose nothing.
    """
    sign = -1.0 if study["goal"] == "min" else 1.0
    mine = [one for one in trials if _label(one) == label]
    if split == "validation":
        ranked = [one for one in mine if one["phase"] == "search" and one["state"] != "FAIL"]
        ranked = [one for one in ranked if _finite(one["score"]) and figures.of(one, split)]
        return [max(ranked, key=lambda one: sign * one["score"])] if ranked else []
    return finalists([one for one in mine if one["phase"] == "confirm"], study["goal"])


def finalists(trials: Sequence[Row], goal: str) -> list[Row]:
    """Of an arm's confirmed trials those of one configuration: the one that tables show.

    One that is sound on all seeds comes before others, then the best by the mean of the search's
    metric, which is a validation figure; `goal` is min or max.
    """
    sign = -1.0 if goal == "min" else 1.0
    groups: dict[str, list[Row]] = {}
    for one in trials:
        groups.setdefault(one["group_id"], []).append(one)

    def rank(group: list[Row]) -> tuple[bool, float]:
        scores = [one["score"] for one in group if one["score"] is not None]
        finite = [one for one in scores if math.isfinite(one)]
        sound = bool(scores) and len(finite) == len(scores)
        return sound, sign * fmean(finite) if finite else -math.inf

    return max(groups.values(), key=rank, default=[])


def _controls(
    trials: list[Row], label: Label, winner: Row | None, history: History | None
) -> dict[str, tuple[Label, list[Row]]]:
    """Control -> the key of its row and its trials, of those that control this row's winner.

    Controls with more training run as the baseline but stand below the arm whose time they got.
    """
    found: dict[str, tuple[Label, list[Row]]] = {}
    for one in trials:
        control = one.get("control")
        if one["phase"] != "control" or not control:
            continue
        place = _place(one, history)
        if place is None:
            # Nothing tells which of several configurations it is of: at least the arm is right.
            mine = _label(one) == label
        else:
            mine = winner is not None and place == winner["number"]
        if mine:
            what = CONTROLS.get(control, control.replace("_", " "))
            if control == "matched_compute":
                what += f" {' × '.join(label)}"
            key = one["arm"], f"{one['weighter']} ({what})"
            found.setdefault(control, (key, []))[1].append(one)
    order = [*CONTROLS, *found]
    return {name: found[name] for name in sorted(found, key=order.index)}


def _place(trial: Row, history: History | None) -> int | None:
    """Number of the search trial that a trial confirms or controls; None where nothing tells."""
    place = trial.get("place")
    if place is None and history is not None:
        place = history.trials[trial["number"]].planned.get("place")
    return place


def _by_benchmark(members: list[Row], figures: _Figures, split: str) -> dict[str, dict[int, float]]:
    """Benchmark -> seed -> value."""
    values: dict[str, dict[int, float]] = {}
    for one in members:
        for name, value in figures.of(one, split).items():
            values.setdefault(name, {})[one["seed"]] = value
    return values


def _cells(
    mine: dict[str, dict[int, float]],
    reference: dict[str, dict[int, float]],
    is_reference: bool,
    doubts: dict[str, tuple[str, ...]],
) -> dict[str, Cell]:
    return {
        name: Cell(
            interval=mean_interval(list(by_seed.values())),
            low=min(by_seed.values()),
            high=max(by_seed.values()),
            difference=None
            if is_reference
            else paired_difference(by_seed, reference.get(name, {})),
            doubts=doubts.get(name, ()),
            by_seed=by_seed,
        )
        for name, by_seed in mine.items()
    }


def _searched_as(searched: list[Row], members: list[Row]) -> Row | None:
    """The search trial whose configuration the row's trials have."""
    group = members[0]["group_id"] if members else None
    return next((one for one in searched if one["group_id"] == group), None)


def _per_epoch(reports: Any, metric: str, trials: set[str]) -> Callable[[list[Row]], float | None]:
    """A metric of the training: the median over all epochs of some of `trials`, else None."""
    import pyarrow as pa
    import pyarrow.compute as pc

    mine = pc.is_in(reports["trial_id"], pa.array(sorted(trials), pa.string()))
    rows = reports.filter(pc.and_(pc.equal(reports["metric"], metric), mine))
    by_trial: dict[str, list[float]] = {}
    for trial, value in zip(rows["trial_id"].to_pylist(), rows["value"].to_pylist(), strict=True):
        by_trial.setdefault(trial, []).append(value)

    def of(members: list[Row]) -> float | None:
        values = [value for one in members for value in by_trial.get(one["trial_id"], [])]
        return median(values) if values else None

    return of


def _last(weights: Any) -> list[Row]:
    """The rows of each trial's last step."""
    import numpy as np

    codes = np.asarray(weights["trial_id"].combine_chunks().dictionary_encode().indices)
    steps = np.asarray(weights["step"])
    most = np.zeros(codes.max(initial=-1) + 1, steps.dtype)
    np.maximum.at(most, codes, steps)
    return list(weights.filter(steps == most[codes]).to_pylist())


def _devices(resources: Row) -> float:
    """How many devices a trial has: its GPUs, or its processors where it has none."""
    return float(resources.get("gpu") or resources.get("cpu") or 1)


def _sampled(params: Any) -> dict[str, dict[str, float | str]]:
    found: dict[str, dict[str, float | str]] = {}
    for row in params.filter(params["sampled"]).to_pylist():
        value = row["value_str"] if row["value_num"] is None else row["value_num"]
        found.setdefault(row["trial_id"], {})[row["name"]] = value
    return found


def _main_losses(trials: Any) -> dict[str, str]:
    """Trial -> label of its first loss."""
    found = {}
    for row in trials.select(["trial_id", "config_json"]).to_pylist():
        losses = json.loads(row["config_json"]).get("losses") or {}
        if losses:
            found[row["trial_id"]] = next(iter(losses))
    return found


def _ratio(mine: float | None, reference: float | None) -> float | None:
    return mine / reference if mine is not None and reference else None


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _caption(study: Row, metric: Metric, split: str, rows: list[TableRow]) -> str:
    what, of = _what(metric), f" of {study['data_title']}" if study["data_title"] else ""
    if split != "test":
        return (
            f"{study['name']}: {what} on the validation split{of}, not test: "
            "best search trial of each arm, one seed, chosen on these same data."
        )
    several = any(row.n_seeds > 1 for row in rows)
    single = any(row.n_seeds == 1 for row in rows)
    spread = "mean over n seeds ± half width of the 95 % Student-t interval" if several else ""
    one = "rows with n = 1 are a single seed and have no interval" if single else ""
    text = "; ".join(part for part in (spread, one) if part)
    return f"{study['name']}: {what} on the test split{of}; {text}."


def _what(metric: Metric) -> str:
    """`accuracy in percent`, `RMSE (in units of the target; lower is better)`."""
    if metric.unit == "%":
        return f"{metric.title} in percent"
    direction = "lower is better" if metric.lower else "higher is better"
    return f"{metric.title} ({'; '.join(part for part in (metric.about, direction) if part)})"
