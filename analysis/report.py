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

from . import formats, objectives, stops
from .export import export, tables_with_history
from .history import History
from .metrics import metric as metric_of
from .notes import provenance, sizes
from .plots import write_figures
from .style import labels_of
from .tables import RobustnessTable, metrics_of, robustness_table

_FRONT = (
    "The Pareto front of the search over all arms, validation figures at the last report: none of "
    "these trials is dominated by another in all objectives together."
)
_SPENT = (
    "What was spent on each arm: trials, epochs, training and validation time of its search, its "
    "share of all arms' search, and the time of its confirmation with the test."
)
_RUNGS = (
    "What the schedule decided at its rungs. Cutoffs are what it asked for, from the lowest to the "
    "highest, where the ledger has them."
)
_ALTERNATIVES = {
    "learning_curves": "Learning curves: the search's metric against the epoch, by arm.",
    "clean_robust": "Clean figures against robust ones, by trial and confirmed arm.",
    "objectives": "The search's trials by their objectives, with the Pareto front.",
    "hypervolume": "Hypervolume of each arm against its trials and its device seconds.",
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
    "objectives": (
        "The search's objectives, each trial at its last validation figures. Ringed: dominated by "
        "no other in all objectives together; stairs: the edge of what is dominated."
    ),
    "hypervolume": (
        "Hypervolume of the search: what the ended trials of an arm dominate, in percent of what "
        "those of all arms dominate together."
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
    made, history = tables_with_history(folder)
    export(folder, made)
    target = folder / "report"
    table = robustness_table(made, history=history)
    figures, left_out = write_figures(made, target / "figures")
    _write(target / "robustness.md", formats.to_markdown(table))
    _write(target / "robustness.csv", formats.to_csv(table))
    _write(target / "robustness.tex", formats.to_latex(table))
    stopped = stops.stops(history, str(made["studies"]["primary_metric"][0]))
    if stopped:
        _write(target / "stops.csv", stops.to_csv(stopped))
    page = target / "index.html"
    _write(page, _html(folder, made, history, table, figures, left_out))
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
    history: History,
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
        why=history.why,
        others=_others(made, table),
        reading=objectives.reading(made),
        front=_grid("front", _FRONT, *objectives.front(made)),
        spent=_grid("spent", _SPENT, *_spent(study, trials)),
        **_stopped(study, history),
        figures=shown,
        notes=[*table.notes, *left_out],
        selected=_selected(table),
        facts=_facts(study, trials),
        failures=[one for one in trials if one["error_type"]],
        commands=_commands(folder, table),
    )


def _grid(
    id: str, caption: str, head: tuple[str, ...], body: list[list[str]]
) -> dict[str, Any] | None:
    """A table for the page; None without a row."""
    return {"id": id, "caption": caption, "head": head, "body": body} if body else None


def _stopped(study: dict[str, Any], history: History) -> dict[str, Any]:
    """What the schedule stopped, by rung and trial by trial."""
    name = str(study["primary_metric"])
    metric = metric_of(name, study["goal"] or "")
    found = stops.stops(history, name)
    at_rungs = stops.by_rung(history, found, metric, labels_of(study))
    one_by_one = stops.one_by_one(found, metric)
    return {
        "rungs": _grid("rungs", _RUNGS, *at_rungs),
        "stopped": _grid("stopped", f"By {name}, at the rung.", *one_by_one),
    }


def _spent(
    study: dict[str, Any], trials: list[dict[str, Any]]
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Heads and rows of a table: what each arm has cost, the search apart from its confirmation."""
    searched = [one for one in trials if one["phase"] == "search"]
    whole = sum(map(_seconds, searched))
    body = []
    for label in labels_of(study):
        mine = [one for one in trials if (one["arm"], one["weighter"]) == label]
        search = [one for one in mine if one["phase"] == "search"]
        seconds = sum(map(_seconds, search))
        body.append(
            [
                *label,
                str(len(search)),
                str(sum(one["epochs_done"] for one in search)),
                _time(seconds),
                f"{100 * seconds / whole:.1f} %" if whole else formats.NOTHING,
                _time(sum(map(_seconds, mine)) - seconds),
            ]
        )
    heads = ("arm", "weighter", "trials", "epochs", "time", "share of the time", "confirmation")
    return heads, body if trials else []


def _seconds(trial: dict[str, Any]) -> float:
    return (trial["train_s"] or 0.0) + (trial["eval_s"] or 0.0)


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
        "Search": _settings(_search(resolved.get("search") or {})),
        "Budget of the search": _budget(resolved.get("budget") or {}),
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


def _search(values: dict[str, Any]) -> dict[str, Any]:
    """The search's settings without those that say nothing; several objectives in one line."""
    left = {key: value for key, value in values.items() if value not in ([], {})}
    several = left.pop("objectives", {})
    if len(several) > 1:
        del left["metric"], left["mode"]
        left["objectives"] = " and ".join(f"{name} ({mode})" for name, mode in several.items())
    if "warm_start" in left:
        left["warm_start"] = " and ".join(left["warm_start"])
    return left


def _budget(values: dict[str, Any]) -> str:
    """The limits that there are: `trials 40, device_s 3600`; each arm had an equal part."""
    none = {"max_failed": -1}
    return _settings({key: one for key, one in values.items() if one != none.get(key, 0)})


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
