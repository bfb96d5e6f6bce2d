"""Accuracies as errors, as papers on corruptions and augmentation policies report them.

The tables themselves are turned over, so that everything made of them follows: columns, intervals,
differences with their signs, and which way is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_error(tables: Mapping[str, Any]) -> dict[str, Any]:
    """A study's tables with error = 1 - accuracy in the place of every accuracy.

    Changed are evaluations, reports, the search's metric with its goal, and the trials' scores of
    it. `examples` and the accuracies in the trials table stay. A study without accuracies comes
    back as it is.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    made = dict(tables)
    evaluations = made["evaluations"]
    # Errors that suites of corruptions report are there a second time, as accuracies.
    evaluations = evaluations.filter(pc.not_equal(evaluations["metric"], "error"))
    hit = pc.equal(evaluations["metric"], "accuracy")
    ends = evaluations["ci_low"], evaluations["ci_high"]
    for name, values in (
        ("value", evaluations["value"]),
        ("ci_low", ends[1]),
        ("ci_high", ends[0]),
        ("reference_value", evaluations["reference_value"]),
    ):
        turned = pc.if_else(hit, pc.subtract(1.0, values), evaluations[name])
        evaluations = _put(evaluations, name, turned)
    metrics = pc.if_else(hit, pa.scalar("error"), evaluations["metric"])
    made["evaluations"] = _put(evaluations, "metric", metrics)

    reports = made["reports"]
    hit = pc.or_(
        pc.equal(reports["metric"], "accuracy"), pc.ends_with(reports["metric"], "/accuracy")
    )
    turned = pc.if_else(hit, pc.subtract(1.0, reports["value"]), reports["value"])
    names = pc.if_else(
        hit,
        pc.replace_substring_regex(reports["metric"], "accuracy$", "error"),
        reports["metric"],
    )
    made["reports"] = _put(_put(reports, "value", turned), "metric", names)

    primary = made["studies"]["primary_metric"][0].as_py() or ""
    if primary.rpartition("/")[2] == "accuracy":
        studies = _put(
            made["studies"],
            "primary_metric",
            pa.array([primary.removesuffix("accuracy") + "error"]),
        )
        goal = {"max": "min", "min": "max"}.get(studies["goal"][0].as_py())
        made["studies"] = _put(studies, "goal", pa.array([goal], pa.string()))
        trials = made["trials"]
        made["trials"] = _put(trials, "score", pc.subtract(1.0, trials["score"]))
    return made


def _put(table: Any, name: str, values: Any) -> Any:
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    return table.set_column(place, field, values.cast(field.type))
