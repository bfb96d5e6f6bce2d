"""A study as pandas frames, as users of trackers know them: settings and figures beside the trial.

The wide columns are `param.*` and `metric.*`, as in MLflow and Weights & Biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .schema import RECORDED, TABLES, schema

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class StudyFrames:
    """The tables of a study as pandas frames.

    `trials` is wide: beside the table's columns it has `param.<path>` for every parameter that any
    trial sampled and `metric.<split>/<metric>` with the value at the trial's last report.
    `examples` and `policies` have no rows where no trial recorded any.
    """

    studies: pd.DataFrame
    trials: pd.DataFrame
    params: pd.DataFrame
    reports: pd.DataFrame
    evaluations: pd.DataFrame
    weights: pd.DataFrame
    examples: pd.DataFrame
    policies: pd.DataFrame


def frames(tables: Mapping[str, Any]) -> StudyFrames:
    """The frames of a study's tables, name -> `pyarrow.Table`."""
    found = {
        name: (tables[name] if name in tables else schema(name).empty_table()).to_pandas()
        for name in (*TABLES, *RECORDED)
    }
    found["trials"] = _wide(found["trials"], found["params"], found["reports"])
    return StudyFrames(**found)


def _wide(trials: pd.DataFrame, params: pd.DataFrame, reports: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    order = pd.Index(trials["trial_id"])
    beside = [trials]
    sampled = params[params["sampled"]]
    for name in sorted(set(sampled["name"])):
        rows = params[params["name"] == name].set_index("trial_id")
        numeric = (rows["kind"] != "cat").all()
        values = rows["value_num"] if numeric else rows["value_str"].fillna(rows["value_num"])
        beside.append(values.reindex(order).rename(f"param.{name}").reset_index(drop=True))
    last = reports[reports["step"] == reports.groupby("trial_id")["step"].transform("max")]
    names = last["metric"].where(last["split"].isna(), last["split"] + "/" + last["metric"])
    for name in sorted(set(names)):
        values = last[names == name].set_index("trial_id")["value"]
        beside.append(values.reindex(order).rename(f"metric.{name}").reset_index(drop=True))
    return pd.concat(beside, axis=1)
