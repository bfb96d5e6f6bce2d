"""The figure that a configuration was chosen by, measured again, and on the test part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..grid import NOTHING, Entry, Grid, counted, figure, numbers, words
from ..history import History
from ..metrics import metric as metric_of
from ..optimism import optimism
from .confirmed import Shown, confirmed


def selection(
    tables: Mapping[str, Any], history: History | None = None, shown: Shown | None = None
) -> Grid:
    """Per row: the chosen search trial's figure, the same on fresh seeds, and the test's."""
    shown = shown or confirmed(tables, history)
    study = tables["studies"].to_pylist()[0]
    primary = str(study["primary_metric"] or "")
    metric = metric_of(primary, study["goal"] or "")
    trials = tables["trials"].drop_columns(["config_json"]).to_pylist()
    found = [
        one
        for one in optimism(trials, shown.table.rows, primary, metric)
        if one.confirmed is not None
    ]
    decimals = metric.decimals([one.selected for one in found])

    def line(one: Any) -> tuple[Entry, ...]:
        gain = one.gain(metric)
        gap = None if one.test is None else one.confirmed.mean - one.test.mean
        return (
            Entry(one.label),
            counted(one.trials),
            figure(one.selected, metric, decimals),
            figure(one.confirmed, metric, decimals),
            Entry(NOTHING) if gain is None else figure(gain, metric, decimals, sign=True),
            figure(one.test, metric, decimals),
            Entry(NOTHING)
            if gap is None
            else figure(-gap if metric.lower else gap, metric, decimals, sign=True),
        )

    unit = f" [{metric.unit}]" if metric.unit else ""
    step = f" [{metric.step}]" if metric.step else ""
    return Grid(
        name="selection",
        title="Selection",
        caption=(
            f"{study['name']}: {primary} of the chosen search trials, the best of so many; the "
            "same on fresh seeds; and the test's. optimism: by how much the search's figure is the "
            "better one, which the choice of the best of several explains; gap: by how much the "
            "validation figure is better than the test's, which the choice does not explain."
            if found
            else f"{study['name']}: nothing was searched and confirmed by the same metric yet."
        ),
        columns=(
            *words("arm × weighter"),
            *numbers(
                "trials",
                f"search{unit}",
                f"fresh seeds{unit}",
                f"optimism{step}",
                f"test{unit}",
                f"gap{step}",
            ),
        ),
        body=tuple(map(line, found)),
    )
