"""The report of a study: one HTML file that needs nothing else, with tables and figures beside it.

`report/index.html` holds the question, the robustness table, the paired differences, the figures,
what was run and how to run it again; `report/robustness.{md,csv,tex}` and `report/figures/` hold
the same for papers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from . import formats
from .export import export, tables
from .notes import provenance, sizes
from .plots import write_figures
from .tables import RobustnessTable, metrics_of, robustness_table

_ALTERNATIVES = {
    "learning_curves": "Learning curves: the search's metric against the epoch, by arm.",
    "clean_robust": "Clean figures against robust ones, by trial and confirmed arm.",
    "corruptions": "Figures by arm and type of corruption.",
    "policies": "What augmentation policies did over the epochs, by arm.",
}
_CAPTIONS = {
    "learning_curves": (
        "Every search trial, one panel per arm and weighter. Crosses: stopped by the scheduler at "
        "a rung; strong lines: full budget."
    ),
    "clean_robust": (
        "Small: search trials, last validation figures. Large: confirmed configurations, mean test "
        "figures with 95 % Student-t intervals over seeds, close up at the right once there are "
        "any; the dashed frame shows which part that is."
    ),
    "corruptions": "By type of corruption; each number is a mean over severities and seeds.",
    "policies": (
        "Augmentation policies epoch by epoch: strong lines are means over an arm's confirmed "
        "trials, thin ones the trials."
    ),
}


def write_report(folder: Path | str) -> Path:
    """Export the tables of the study in `folder`, write its report and return the HTML file.

    Works at any time of a study's life; what is not known yet is said. Raises `NotAStudyError` for
    a folder that is no study.
    """
    folder = Path(folder)
    made = tables(folder)
    export(folder, made)
    target = folder / "report"
    table = robustness_table(made)
    figures, left_out = write_figures(made, target / "figures")
    _write(target / "robustness.md", formats.to_markdown(table))
    _write(target / "robustness.csv", formats.to_csv(table))
    _write(target / "robustness.tex", formats.to_latex(table))
    page = target / "index.html"
    _write(page, _html(folder, made, table, figures, left_out))
    return page


def inline_svg(text: str, name: str) -> str:
    """An SVG file's text as an element of an HTML page, its ids made unique by `name`."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    # The fixed size in points would overflow a phone; the viewBox keeps the proportions.
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f"{head}>{rest}"


def _html(
    folder: Path,
    made: dict[str, Any],
    table: RobustnessTable,
    figures: dict[str, Path],
    left_out: list[str],
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("analysis", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study = made["studies"].to_pylist()[0]
    trials = made["trials"].drop_columns(["config_json"]).to_pylist()
    shown = [
        {
            # Safe: matplotlib has escaped every text in it.
            "svg": Markup(inline_svg(path.read_text(encoding="utf-8"), name)),
            "alternative": _ALTERNATIVES[name],
            "caption": _CAPTIONS[name],
        }
        for name, path in figures.items()
    ]
    return environment.get_template("report.html.jinja").render(
        table=table,
        study=study,
        body=formats.cells(table),
        difference_head=formats.difference_columns(table),
        difference_body=formats.difference_cells(table),
        difference_caption=formats.difference_caption(table),
        others=_others(made, table),
        figures=shown,
        notes=[*table.notes, *left_out],
        selected=_selected(table),
        facts=_facts(study, trials),
        failures=[one for one in trials if one["error_type"]],
        commands=_commands(folder, table),
    )


def _others(made: dict[str, Any], table: RobustnessTable) -> list[dict[str, Any]]:
    """The table by the task's further metrics; a loss is for training and not for comparing."""
    names = metrics_of(made["evaluations"].select(["metric"]).to_pylist())
    found: list[dict[str, Any]] = []
    for name in names:
        if name in (table.metric.name, "loss"):
            continue
        other = robustness_table(made, metric=name)
        columns = range(3 + len(other.benchmarks))
        found.append(
            {
                "id": f"other-{len(found)}",
                "caption": other.caption,
                "head": [other.columns[place] for place in columns],
                "body": [[row[place] for place in columns] for row in formats.cells(other)],
            }
        )
    return found


def _selected(table: RobustnessTable) -> list[dict[str, Any]]:
    return [
        {
            "label": row.label,
            "trial": row.selected_trial,
            "settings": ", ".join(
                f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
                for name, value in sorted(row.selected.items())
            )
            or "nothing searched",
        }
        for row in table.rows
        if row.selected_trial is not None
    ]


def _facts(study: dict[str, Any], trials: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What was run, as pairs of a name and a text."""
    resolved = json.loads(study["config_json"])
    states = Counter(f"{one['phase']}: {one['state'].lower()}" for one in trials)
    train_s = sum(one["train_s"] or 0.0 for one in trials)
    eval_s = sum(one["eval_s"] or 0.0 for one in trials)
    versions = json.loads(study["versions_json"] or "{}")
    dirty = " with uncommitted changes" if study["git_dirty"] else ""
    facts = {
        "Status": study["status"],
        "Task": study["task"],
        "Data": provenance(study),
        "Data settings": _settings(resolved.get("data")),
        "Examples": sizes(study),
        "Units of the input": study["data_units"],
        "Search": _settings(resolved.get("search")),
        "Schedule": _settings(resolved.get("schedule")),
        "Confirmation": _settings(resolved.get("confirm")),
        "Resources per trial": _settings(resolved.get("resources")),
        "Trials": ", ".join(f"{key} {count}" for key, count in sorted(states.items())),
        "Epochs": str(sum(one["epochs_done"] for one in trials)),
        "Time": f"{_time(train_s)} training, {_time(eval_s)} evaluation"
        + (f", {study['gpu_hours']:.2f} GPU hours" if study["gpu_hours"] else ""),
        "Study seed": resolved.get("seed"),
        "Started": f"{study['created_at']:%Y-%m-%d %H:%M:%S} UTC" if study["created_at"] else None,
        "Finished": f"{study['finished_at']:%Y-%m-%d %H:%M:%S} UTC"
        if study["finished_at"]
        else None,
        "Versions": _settings(versions),
        "Hardware": _settings(json.loads(study["hardware_json"] or "{}")),
        "Commit": f"{study['git_sha']}{dirty}" if study["git_sha"] else None,
        "Study id": study["study_id"],
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _settings(values: dict[str, Any] | None) -> str:
    """`Digits, validation 0.2`: the name first, the settings after it."""
    values = dict(values or {})
    name = values.pop("name", None)
    parts = [f"{key} {value}" for key, value in values.items()]
    return ", ".join(parts if name is None else [str(name), *parts])


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _commands(folder: Path, table: RobustnessTable) -> list[tuple[str, str]]:
    """Command lines relative to the folder that holds `studies/`: a report names no machine."""
    from shlex import quote

    place = f"studies/{folder.resolve().name}"
    commands = [
        (
            "the whole study again",
            f"python -m study run {quote(f'{place}/study.yaml')} --root again",
        ),
        ("this report and its tables", f"python -m analysis report {quote(place)}"),
    ]
    if table.status != "finished":
        commands.insert(0, ("go on with it", f"python -m study resume {quote(place)}"))
    for row in table.rows:
        if row.selected_trial is not None:
            command = f"python -m study reproduce {quote(place)} {row.selected_trial}"
            commands.append((f"the chosen search trial of {row.label}", command))
    return commands


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
