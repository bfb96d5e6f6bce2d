"""Arms against types of corruption."""

from __future__ import annotations

import re
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from ..grid import Column, Entry, Grid, counted, figure, numbers, words
from ..history import History
from ..metrics import Metric
from ..metrics import metric as metric_of
from ..statistics import mean_interval
from .confirmed import Shown, confirmed

# trial -> (type, severity) -> value; severity None: over all of them.
Values = dict[str, dict[tuple[str, int], float]]


def corruptions(
    tables: Mapping[str, Any], history: History | None = None, shown: Shown | None = None
) -> Grid:
    """Rows of the robustness table against types of corruption, each a mean over severities.

    The mean over all types comes first, with its error or accuracy beside it, then mCE and relative
    mCE where trials reported them (images of 224 pixels and AlexNet's errors: ImageNet-C). Figures
    are means over seeds; official and generated ones stand in different rows.
    """
    shown = shown or confirmed(tables, history)
    metric, split = shown.table.metric, shown.table.split
    rows = _rows(tables, metric, split)
    sources = sorted({one["source"] or "" for one in rows})
    types = list(dict.fromkeys(_type(one) for one in rows))
    indices = [name for name in ("mce", "relative_mce") if name in _indices(tables, split)]
    body = []
    for source in sources:
        values = _values([one for one in rows if (one["source"] or "") == source])
        for row in shown.table.rows:
            mine = [values[one] for one in shown.trials[row.key] if one in values]
            if not mine:
                continue
            means = [_by_type(one) for one in mine]
            whole = [fmean(one.values()) for one in means]
            extra = [_mean_of(tables, shown, row.key, name, split) for name in indices]
            body.append(
                (
                    Entry(f"{row.arm} (ref.)" if row.reference else row.arm),
                    Entry(row.weighter + (f", {source}" if len(sources) > 1 else "")),
                    counted(len(mine)),
                    figure(mean_interval(whole), metric, 2),
                    *_complement(whole, metric),
                    *(
                        Entry("–") if one is None else figure(one, metric_of(name), 2)
                        for name, one in zip(indices, extra, strict=True)
                    ),
                    *(_cell([one[kind] for one in means if kind in one], metric) for kind in types),
                )
            )
    unit = f" [{metric.unit}]" if metric.unit else ""
    other = "error" if metric.name == "accuracy" else "accuracy"
    beside = [Column(f"mean {other} [%]", f"mean_{other}")] if metric.scale == 100 else []
    return Grid(
        name="corruptions",
        title="Corruptions by type",
        caption=_caption(shown, metric, sources, bool(body), each="over severities and"),
        columns=(
            *words("arm", "weighter"),
            *numbers("n", f"mean{unit}"),
            *beside,
            *numbers(*(f"{metric_of(name).title} [%]" for name in indices)),
            *(Column(f"{kind.replace('_', ' ')}{unit}", kind) for kind in types),
        ),
        body=tuple(body),
    )


def severities(
    tables: Mapping[str, Any], history: History | None = None, shown: Shown | None = None
) -> Grid:
    """Types of corruption against severities, one row per arm and type; means over seeds."""
    shown = shown or confirmed(tables, history)
    metric = shown.table.metric
    rows = _rows(tables, metric, shown.table.split)
    sources = sorted({one["source"] or "" for one in rows})
    levels = sorted({one["severity"] for one in rows})
    body = []
    for source in sources:
        values = _values([one for one in rows if (one["source"] or "") == source])
        for row in shown.table.rows:
            mine = [values[one] for one in shown.trials[row.key] if one in values]
            for kind in dict.fromkeys(kind for one in mine for kind, _ in one):
                cells = [[one[kind, at] for one in mine if (kind, at) in one] for at in levels]
                label = row.label + (f", {source}" if len(sources) > 1 else "")
                body.append(
                    (
                        Entry(label),
                        Entry(kind.replace("_", " ")),
                        counted(len(mine)),
                        *(_cell(one, metric) for one in cells),
                    )
                )
    unit = f" [{metric.unit}]" if metric.unit else ""
    return Grid(
        name="severities",
        title="Corruptions by severity",
        caption=_caption(shown, metric, sources, bool(body), each="of each severity"),
        columns=(
            *words("arm × weighter", "type"),
            *numbers("n"),
            *(Column(f"severity {at}{unit}", f"severity_{at}") for at in levels),
        ),
        body=tuple(body),
    )


def _caption(shown: Shown, metric: Metric, sources: list[str], some: bool, *, each: str) -> str:
    name, split = shown.table.study, shown.table.split
    if not some:
        return f"{name}: no corruption was evaluated in several types on the {split} split."
    origin = {
        "generated": "made here, not the official files",
        "official": "the official files",
        "": "of unknown origin",
    }
    made = "; ".join(origin.get(one, one) for one in sources)
    better = "lower is better" if metric.lower else "higher is better"
    unit = " in percent" if metric.unit == "%" else ""
    return (
        f"{name}: {metric.title}{unit} ({better}) by type of corruption on the {split} split, "
        f"means {each} over the n seeds ({made})."
    )


def _rows(tables: Mapping[str, Any], metric: Metric, split: str) -> list[dict[str, Any]]:
    """Evaluations of single types and severities, of each trial's last report."""
    import pyarrow.compute as pc

    table = tables["evaluations"]
    hit = pc.and_(pc.equal(table["family"], "corruption"), pc.equal(table["metric"], metric.name))
    hit = pc.and_(hit, pc.and_(pc.equal(table["split"], split), pc.is_valid(table["severity"])))
    columns = ["trial_id", "step", "name", "severity", "value", "source"]
    rows = table.filter(pc.fill_null(hit, False)).select(columns).to_pylist()
    last: dict[str, int] = {}
    for one in rows:
        last[one["trial_id"]] = max(one["step"], last.get(one["trial_id"], 0))
    return [
        one for one in rows if one["step"] == last[one["trial_id"]] and one["value"] is not None
    ]


def _type(row: Mapping[str, Any]) -> str:
    return re.sub(rf"_{row['severity']}(_official)?$", "", row["name"])


def _values(rows: list[dict[str, Any]]) -> Values:
    found: Values = {}
    for one in rows:
        found.setdefault(one["trial_id"], {})[_type(one), one["severity"]] = one["value"]
    return found


def _by_type(values: dict[tuple[str, int], float]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for (kind, _), value in values.items():
        found.setdefault(kind, []).append(value)
    return {kind: fmean(one) for kind, one in found.items()}


def _cell(values: list[float], metric: Metric) -> Entry:
    """A mean without its interval: so many beside each other are for looking, not for judging."""
    if not values:
        return Entry("–")
    mean = fmean(values)
    return Entry(metric.text(mean, 1 if metric.scale == 100 else metric.decimals([mean])), mean)


def _complement(whole: list[float], metric: Metric) -> list[Entry]:
    if metric.scale != 100:
        return []
    other = fmean(1 - one for one in whole)
    return [Entry(metric.text(other, 2), other)]


def _indices(tables: Mapping[str, Any], split: str) -> set[str]:
    import pyarrow.compute as pc

    table = tables["evaluations"]
    return set(table.filter(pc.equal(table["split"], split))["metric"].to_pylist())


def _mean_of(
    tables: Mapping[str, Any], shown: Shown, key: tuple[str, str], name: str, split: str
) -> float | None:
    import pyarrow.compute as pc

    table = tables["evaluations"]
    hit = pc.and_(pc.equal(table["metric"], name), pc.equal(table["split"], split))
    rows = table.filter(hit).select(["trial_id", "value"]).to_pylist()
    values = [one["value"] for one in rows if one["trial_id"] in shown.trials[key]]
    return fmean(values) if values else None
