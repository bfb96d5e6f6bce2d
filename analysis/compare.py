"""Several studies side by side: what differs in their settings, and what in their results.

Figures of two studies are compared only where they measure the same: the same test set, the same
benchmark with the same settings. Where seeds, data and split are the same, both trained from the
same initial weights on the same batches, and the comparison is paired; else it is Welch's, and says
so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from .grid import NOTHING, Column, Entry, Grid, figure, plain, words
from .metrics import Metric
from .statistics import Interval, paired_difference
from .tables import Benchmark, Cell, Label, RobustnessTable, robustness_table

# A study's identity is no setting.
_IDENTITY = ("study", "study_id", "schema_version")
_PARTS = ("num_train", "num_validation", "num_test")
# Settings that cut the training examples alone (trainables.core.splits).
_SPLITTING = ("validation", "folds", "fold", "seed", "limit", "fraction", "labels")


@dataclass(frozen=True)
class Compared:
    """One study: its tables' row of `studies`, its settings by path, its robustness table."""

    name: str
    study: Mapping[str, Any]
    settings: Mapping[str, Any]
    table: RobustnessTable


@dataclass(frozen=True)
class Difference:
    """Another study's figure less that of the first one, for one arm on one benchmark.

    `how` is "paired" or "Welch", or why nothing is compared: then there is no `interval`.
    """

    study: str
    row: Label
    benchmark: str
    metric: Metric
    first: Interval | None
    other: Interval | None
    interval: Interval | None
    how: str


@dataclass(frozen=True)
class Comparison:
    """`settings` are the paths that differ, with each study's value as JSON, None where absent."""

    studies: tuple[str, ...]
    settings: dict[str, tuple[str | None, ...]]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def compare(folders: Sequence[Path]) -> Comparison:
    """The studies in `folders`, each against the first.

    Raises `NotAStudyError` for a folder without a study, `ValueError` for fewer than two.
    """
    if len(folders) < 2:
        raise ValueError(f"compare needs two studies or more, found {len(folders)}")
    found = [_read(folder) for folder in folders]
    names = _names(folders, found)
    first, others = found[0], found[1:]
    paths = list(dict.fromkeys(path for one in found for path in one.settings))
    values = {path: tuple(_json(one.settings, path) for one in found) for path in paths}
    differing = {path: own for path, own in values.items() if len(set(own)) > 1}
    differences = [
        row
        for name, other in zip(names[1:], others, strict=True)
        for row in _differences(name, first, other)
    ]
    notes = [
        note
        for name, other in zip(names[1:], others, strict=True)
        for note in _notes(names[0], name, first, other)
    ]
    return Comparison(names, differing, tuple(differences), tuple(notes))


def welch(a: Sequence[float], b: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Mean of `b` less mean of `a`, independent samples, with its Welch interval.

    difference ± t(1 - (1 - confidence)/2, ν) · √(s_a²/n_a + s_b²/n_b) with Satterthwaite's degrees
    of freedom ν (Welch, Biometrika 34, 1947). No ends where either has a single value; `n` is the
    smaller number of values. Raises `ValueError` for no values.
    """
    if not a or not b:
        raise ValueError("welch needs at least one value on each side")
    mean, n = fmean(b) - fmean(a), min(len(a), len(b))
    if n < 2:
        return Interval(mean, None, None, n)
    own = [variance(one) / len(one) for one in (a, b)]
    error = math.sqrt(sum(own))
    if error == 0:
        return Interval(mean, mean, mean, n)
    freedom = sum(own) ** 2 / sum(
        part**2 / (len(one) - 1) for part, one in zip(own, (a, b), strict=True)
    )
    from scipy.special import stdtrit  # scipy.stats would cost a second of start-up

    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * error
    return Interval(mean, mean - half, mean + half, n)


def _read(folder: Path) -> Compared:
    from .export import tables_with_history

    made, history = tables_with_history(folder)
    study = made["studies"].to_pylist()[0]
    resolved = json.loads(study["config_json"])
    settings = {
        path: value for path, value in _leaves(resolved) if path.partition("/")[0] not in _IDENTITY
    }
    return Compared(study["name"], study, settings, robustness_table(made, history=history))


def _names(folders: Sequence[Path], found: Sequence[Compared]) -> tuple[str, ...]:
    """The studies' names; where two have the same, their folders."""
    names = [one.name for one in found]
    return tuple(names) if len(set(names)) == len(names) else tuple(map(str, folders))


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by path; arms by their labels, so that another order is no difference."""
    if path == "arms/" and isinstance(tree, list):
        tree = {f"{one['arm']} × {one['weighter']}": one.get("recipe", {}) for one in tree}
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{path}{key}/")
    else:
        yield path.removesuffix("/"), tree


def _json(settings: Mapping[str, Any], path: str) -> str | None:
    return json.dumps(settings[path], ensure_ascii=False) if path in settings else None


def _differences(name: str, first: Compared, other: Compared) -> Iterator[Difference]:
    """Common rows on all benchmarks that either has."""
    whole = _incomparable(first, other)
    mine = {row.key: row for row in first.table.rows if not row.control}
    theirs = {row.key: row for row in other.table.rows if not row.control}
    benchmarks = {one.name: one for one in first.table.benchmarks}
    others = {one.name: one for one in other.table.benchmarks}
    for key in [one for one in mine if one in theirs]:
        for label in dict.fromkeys([*benchmarks, *others]):
            a, b = benchmarks.get(label), others.get(label)
            metric = (a or b or first.table.benchmarks[0]).metric
            one, two = mine[key].cells.get(label), theirs[key].cells.get(label)
            why = whole or _not_the_same(a, b, first, other)
            interval, how = _compared(one, two, first, other) if not why else (None, why)
            yield Difference(
                study=name,
                row=(key[0], key[1]),
                benchmark=label,
                metric=metric,
                first=one.interval if one else None,
                other=two.interval if two else None,
                interval=interval,
                how=how,
            )


def _incomparable(first: Compared, other: Compared) -> str:
    """Why no figure of the two can be compared; "" where they can."""
    if first.table.metric.name != other.table.metric.name:
        return f"other metric: {first.table.metric.name}, {other.table.metric.name}"
    if first.table.split != other.table.split:
        return f"other split: {first.table.split}, {other.table.split}"
    if first.table.split == "test":
        a, b = _test_set(first), _test_set(other)
        return "" if a == b else f"other test set: {a}; {b}"
    same = _data(first) == _data(other)
    return "" if same else "validation figures on other data or another split"


def _test_set(one: Compared) -> str:
    # How the training examples are split has no part in which ones are the test's.
    own = {key: value for key, value in _data(one).items() if key not in _SPLITTING and value}
    told = ", ".join(f"{key} {json.dumps(own[key])}" for key in sorted(own))
    return f"{one.study['data_title']}, {one.study['num_test']} examples ({told})"


def _data(one: Compared) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(one.study["config_json"]).get("data") or {}
    return data


def _not_the_same(
    a: Benchmark | None, b: Benchmark | None, first: Compared, other: Compared
) -> str:
    """Why a benchmark of one is not that of the other; "" where it is."""
    if a is None or b is None:
        present, lacking = (b, first) if a is None else (a, other)
        assert present is not None
        twins = [one for one in lacking.table.benchmarks if one.family == present.family]
        if present.family == "corruption" and twins:
            return "official and generated corruptions are not compared"
        return f"not evaluated in {lacking.name}"
    for key in ("norm", "eps_text", "steps", "restarts", "protocol", "source", "n_examples"):
        mine, theirs = getattr(a, key), getattr(b, key)
        if mine != theirs:
            return f"other {key}: {mine}, {theirs}"
    # Some of the test examples are chosen by the study's seed.
    some = a.n_examples != first.study["num_test"]
    seeds = [json.loads(one.study["config_json"]).get("seed") for one in (first, other)]
    if some and seeds[0] != seeds[1]:
        return f"other {a.n_examples} of the test examples: the studies' seeds differ"
    return ""


def _compared(
    one: Cell | None, two: Cell | None, first: Compared, other: Compared
) -> tuple[Interval | None, str]:
    if one is None or two is None:
        return None, f"no figures in {(first if one is None else other).name}"
    alike = _data(first) == _data(other)
    alike &= all(first.study[key] == other.study[key] for key in _PARTS)
    if alike and one.by_seed.keys() == two.by_seed.keys():
        return paired_difference(two.by_seed, one.by_seed), "paired"
    return welch(list(one.by_seed.values()), list(two.by_seed.values())), "Welch"


def _notes(name: str, against: str, first: Compared, other: Compared) -> Iterator[str]:
    mine, theirs = ({row.key for row in one.table.rows} for one in (first, other))
    for own, lacking, of in ((mine - theirs, against, name), (theirs - mine, name, against)):
        if own:
            rows = ", ".join(sorted(" × ".join(one[:2]) for one in own))
            yield f"Only in {of}, not in {lacking}: {rows}."
    for one, called in ((first, name), (other, against)):
        if one.table.split != "test":
            yield f"{called} has no confirmed trials: its figures are validation figures."
        if one.study["num_test"] is None:
            yield f"{called} does not say what its test set is; it may be another one."
        if one.study["status"] != "finished":
            yield f"{called} is not finished ({one.study['status']})."


def grids(found: Comparison) -> list[Grid]:
    """The settings that differ, and the differences of the results, study by study."""
    made = [_settings_grid(found)]
    made += [_grid(found, name) for name in found.studies[1:]]
    return made


def _settings_grid(found: Comparison) -> Grid:
    columns = words("setting") + tuple(
        Column(name, f"study_{place}", number=False) for place, name in enumerate(found.studies)
    )
    body = tuple(
        plain(path, *(NOTHING if one is None else one for one in values))
        for path, values in found.settings.items()
    )
    caption = "Settings that differ." if body else "All settings are the same."
    return Grid("settings", "Settings", caption, columns, body, found.notes)


def _grid(found: Comparison, name: str) -> Grid:
    own = [one for one in found.differences if one.study == name]
    first = found.studies[0]
    columns = (
        *words("arm", "benchmark"),
        Column(first, "first"),
        Column(name, "other"),
        Column("difference", "difference"),
        *words("how"),
    )
    body = tuple(
        (
            *plain(" × ".join(one.row), one.benchmark),
            figure(one.first, one.metric),
            figure(one.other, one.metric),
            figure(one.interval, one.metric, sign=True),
            Entry(_how(one)),
        )
        for one in own
    )
    what = "less" if any(one.interval for one in own) else "beside"
    caption = (
        f"{name} {what} {first}: means over seeds ± half widths of 95 % intervals. "
        "Paired: the same seeds, data and split. Welch: independent samples."
        if body
        else f"{name} and {first} have no arm in common."
    )
    return Grid("differences", f"{name} against {first}", caption, columns, body)


def _how(one: Difference) -> str:
    if one.interval is None:
        return f"not compared: {one.how}"
    return f"{one.how}, n = {one.interval.n}"


def to_plain(found: Comparison) -> dict[str, Any]:
    """The comparison for programs: figures as fractions, intervals as [mean, low, high, n]."""

    def interval(one: Interval | None) -> dict[str, Any] | None:
        if one is None:
            return None
        values = {"mean": one.mean, "low": one.low, "high": one.high}
        # JSON has no word for NaN.
        known = {k: v if v is None or math.isfinite(v) else None for k, v in values.items()}
        return known | {"n": one.n}

    return {
        "studies": list(found.studies),
        "settings": {path: list(values) for path, values in found.settings.items()},
        "notes": list(found.notes),
        "differences": [
            {
                "study": one.study,
                "against": found.studies[0],
                "arm": one.row[0],
                "weighter": one.row[1],
                "benchmark": one.benchmark,
                "metric": one.metric.name,
                "first": interval(one.first),
                "other": interval(one.other),
                "difference": interval(one.interval),
                "how": one.how,
            }
            for one in found.differences
        ],
    }
