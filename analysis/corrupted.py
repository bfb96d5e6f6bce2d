"""What each type of corruption does to each arm of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .metrics import Metric
from .metrics import metric as metric_of
from .searched import confirmed, picked, runs
from .style import PAGE, STYLE, Label, NothingToPlotError, labels_of, letters_on, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALTERNATIVE = "Figures by arm and type of corruption."
CAPTION = (
    "By type of corruption; each number is a mean over severities and seeds. Light is good, "
    "whichever direction is better."
)


@dataclass(frozen=True)
class Reported:
    """Figures under corruptions by arm and weighter, then (type, severity), then seed; unscaled.

    `split` is test for confirmed configurations, and validation for the best search trials as long
    as nothing was confirmed.
    """

    metric: Metric
    split: str
    values: dict[Label, dict[tuple[str, int], dict[int, float]]]


def reported(tables: Mapping[str, Any]) -> Reported:
    """Accuracy (else the search's metric) under each type and severity of corruption.

    Where official files and generated corruptions were both evaluated only the official ones are
    taken: the two are never averaged.
    """
    study = tables["studies"].to_pylist()[0]
    columns = ["trial_id", "step", "split", "family", "name", "severity", "metric", "value"]
    rows = [
        row
        for row in tables["evaluations"].select([*columns, "source"]).to_pylist()
        if row["family"] == "corruption" and row["severity"] and row["value"] is not None
    ]
    names = {row["metric"] for row in rows}
    primary = str(study["primary_metric"]).rpartition("/")[2]
    name = "accuracy" if "accuracy" in names else primary
    official = any(row["source"] == "official" for row in rows)
    finalists = confirmed(tables)
    tested = {row["trial_id"] for row in rows if row["split"] == "test"}
    split = (
        "test"
        if any(one["trial_id"] in tested for of in finalists.values() for one in of)
        else "validation"
    )
    if split == "test":
        of = {
            one["trial_id"]: (label, one["seed"]) for label, of in finalists.items() for one in of
        }
    else:
        of = {one.id: (label, 0) for label, one in picked(tables, runs(tables)).items()}
    last: dict[str, int] = {}
    for row in rows:
        if row["split"] == split:
            last[row["trial_id"]] = max(last.get(row["trial_id"], 0), row["step"])
    values: dict[Label, dict[tuple[str, int], dict[int, float]]] = {}
    for row in rows:
        if row["metric"] != name or row["split"] != split or row["trial_id"] not in of:
            continue
        if row["step"] != last[row["trial_id"]] or official != (row["source"] == "official"):
            continue
        label, seed = of[row["trial_id"]]
        kind = str(row["name"]).replace(f"_{row['severity']}", "", 1).replace("_", " ")
        seeds = values.setdefault(label, {}).setdefault((kind, row["severity"]), {})
        seeds[seed] = row["value"]
    return Reported(metric_of(name, str(study["goal"])), split, values)


def corruptions(tables: Mapping[str, Any]) -> Figure:
    """Accuracy (else the search's metric) by type of corruption and arm, a mean over severities.

    One row per arm, one column per type, colours from the least to the greatest number and the
    number itself; means over seeds of the test split, or of validation before confirmation.
    Raises `NothingToPlotError` where fewer than two types were evaluated.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    study = tables["studies"].to_pylist()[0]
    found = reported(tables)
    metric = found.metric
    labels = [label for label in labels_of(study) if label in found.values]
    types = list(dict.fromkeys(kind for label in labels for kind, _ in found.values[label]))
    if len(types) < 2:
        raise NothingToPlotError("fewer than two types of corruption were evaluated")
    means = [[_mean(found.values[label], kind) for kind in types] for label in labels]
    flat = [one for row in means for one in row if one == one]
    decimals = 0 if metric.scale != 1 else max(0, metric.decimals(flat) - 1)
    # Light is good in either direction.
    colours = colormaps["cividis_r" if metric.lower else "cividis"]
    norm = Normalize(min(flat, default=0.0), max(flat, default=1.0))
    with rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 1.3 + 0.22 * len(labels)), layout="constrained")
        axes = figure.subplots()
        axes.imshow(means, aspect="auto", cmap=colours, norm=norm)
        for place, row in enumerate(means):
            for column, value in enumerate(row):
                if value == value:
                    axes.text(
                        column, place, metric.text(value, decimals), ha="center", va="center",
                        fontsize=6, color=letters_on(colours(norm(value))),
                    )  # fmt: skip
        axes.set_xticks(range(len(types)), types, rotation=45, ha="right")
        names = [shortened(" × ".join(label), 40) for label in labels]
        axes.set_yticks(range(len(labels)), names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        text = f"{found.split} {metric.heading}, mean over severities and seeds"
        axes.set_title(text, loc="left")
    return figure


def _mean(of: Mapping[tuple[str, int], Mapping[int, float]], kind: str) -> float:
    """The mean of a type over all its severities and seeds; NaN where it was not evaluated."""
    found = [one for (name, _), seeds in of.items() if name == kind for one in seeds.values()]
    return fmean(found) if found else float("nan")
