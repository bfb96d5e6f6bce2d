"""What each type of corruption does to each arm of a study."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .metrics import metric as metric_of
from .style import STYLE, NothingToPlotError, labels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def corruptions(tables: Mapping[str, Any]) -> Figure:
    """Accuracy (else the search's metric) by type of corruption and arm, a mean over severities.

    One row per arm, one column per type, colours from the least to the greatest number and the
    number itself; means over seeds of the test split, or of validation before confirmation.
    Raises `NothingToPlotError` where fewer than two types were evaluated.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    study = tables["studies"].to_pylist()[0]
    rows = [
        row
        for row in tables["evaluations"].to_pylist()
        if row["family"] == "corruption" and row["severity"] and row["value"] is not None
    ]
    reported = {row["metric"] for row in rows}
    primary = str(study["primary_metric"]).rpartition("/")[2]
    name = "accuracy" if "accuracy" in reported else primary
    split = "test" if any(row["split"] == "test" for row in rows) else "validation"
    metric = metric_of(name, study["goal"])
    trials = {
        one["trial_id"]: (one["arm"], one["weighter"])
        for one in tables["trials"].drop_columns(["config_json"]).to_pylist()
    }
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        if row["metric"] == name and row["split"] == split:
            of = values.setdefault(trials[row["trial_id"]], {})
            kind = str(row["name"]).replace(f"_{row['severity']}", "", 1).replace("_", " ")
            of.setdefault(kind, []).append(row["value"])
    labels = [label for label in labels_of(study) if label in values]
    types = list(dict.fromkeys(kind for label in labels for kind in values[label]))
    if len(types) < 2:
        raise NothingToPlotError("fewer than two types of corruption were evaluated")
    means = [
        [fmean(values[label][kind]) if kind in values[label] else float("nan") for kind in types]
        for label in labels
    ]
    flat = [one for row in means for one in row if one == one]
    middle = (min(flat) + max(flat)) / 2
    decimals = 0 if metric.scale != 1 else max(0, metric.decimals(flat) - 1)
    with rc_context(STYLE):
        size = (2.2 + 0.42 * len(types), 1.5 + 0.32 * len(labels))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        # Light is good in either direction.
        axes.imshow(means, aspect="auto", cmap="cividis_r" if metric.lower else "cividis")
        for place, row in enumerate(means):
            for column, value in enumerate(row):
                bright = (value > middle) != metric.lower
                text = metric.text(value, decimals)
                axes.text(
                    column,
                    place,
                    text,
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="black" if bright else "white",
                )
        axes.set_xticks(range(len(types)), types, rotation=45, ha="right")
        axes.set_yticks(range(len(labels)), [" × ".join(label) for label in labels])
        axes.spines[:].set_visible(False)
        unit = f" [{metric.unit}]" if metric.unit else ""
        axes.set_title(f"{split} {metric.title}{unit}, mean over severities and seeds", loc="left")
    return figure
