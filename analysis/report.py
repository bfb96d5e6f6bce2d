"""The report of a study: one HTML file that needs nothing else, with tables and figures beside it.

`report/index.html` holds the question, the verdict in a sentence, the robustness table, the paired
differences, the figures, what was run, what speaks against it and how to run it again;
`report/robustness.{md,csv,tex}` and `report/figures/` hold the same for papers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import formats, objectives, recorded, stops
from .export import export, tables_with_history
from .formats.html import fragment
from .grid import NOTHING, Column, Entry, Grid, counted, numbers, words
from .grids.ablation import ablation
from .grids.coefficients import coefficients
from .grids.confirmed import Shown, of_table
from .grids.corruptions import corruptions, severities
from .grids.selection import selection
from .grids.transfer import transfer
from .grids.weighters import weighters
from .history import History
from .metrics import metric as metric_of
from .notes import provenance, sizes
from .plots import FIGURES, write_figures
from .robustness import differences
from .robustness import figures as figures_of
from .style import labels_of
from .tables import Label, RobustnessTable, metrics_of, robustness_table

if TYPE_CHECKING:
    from .verdicts import Verdict

    Verdicts = Mapping[tuple[Label, str], Verdict]

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


def write_report(folder: Path | str) -> Path:
    """Export the tables of the study in `folder`, write its report and return the HTML file.

    Works at any time of a study's life; what is not known yet is said. Raises `NotAStudyError` for
    a folder that is no study.
    """
    from .verdicts import masks, verdicts

    folder = Path(folder)
    made, history = tables_with_history(folder)
    export(folder, made)
    target = folder / "report"
    known = str(made["studies"]["study_id"][0]), made["trials"]["number"].to_pylist()
    whole = made | recorded.tables(folder, *known)
    table = robustness_table(made, history=history)
    found = verdicts(table, masks(whole))
    figures, left_out = write_figures(whole, target / "figures")
    _write(target / "robustness.md", formats.to_markdown(table, found))
    _write(target / "robustness.csv", formats.to_csv(table, found))
    _write(target / "robustness.tex", formats.to_latex(table, found))
    stopped = stops.stops(history, str(made["studies"]["primary_metric"][0]))
    if stopped:
        _write(target / "stops.csv", stops.to_csv(stopped))
    page = target / "index.html"
    _write(page, _html(folder, made, history, table, found, figures, left_out))
    return page


def inline_svg(text: str, name: str) -> str:
    """An SVG file's text as an element of an HTML page, its ids made unique by `name`."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    # The fixed size in points would overflow a phone; the viewBox keeps the proportions.
    head, rest = text.split(">", 1)
    width = re.search(r'\swidth="([\d.]+)pt"', head)
    # A figure of one column is not blown up to the page's width.
    limit = f' style="max-width: {1.6 * float(width[1]):.0f}pt"' if width else ""
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f"{head}{limit}>{rest}"


def _html(
    folder: Path,
    made: dict[str, Any],
    history: History,
    table: RobustnessTable,
    found: Verdicts,
    figures: dict[str, Path],
    left_out: list[str],
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from .verdicts import answer

    environment = Environment(
        loader=PackageLoader("analysis", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["digest"] = _digest
    # Safe: the fragment escapes every text of a grid.
    environment.filters["grid"] = lambda one: Markup(fragment(one))
    study = made["studies"].to_pylist()[0]
    trials = made["trials"].drop_columns(["config_json"]).to_pylist()
    drawn = [
        {
            # Safe: matplotlib has escaped every text in it.
            "svg": Markup(inline_svg(path.read_text(encoding="utf-8"), name)),
            "alternative": FIGURES[name].alternative,
            "caption": FIGURES[name].caption,
        }
        for name, path in figures.items()
    ]
    shown = of_table(table, made)
    return environment.get_template("report.html.jinja").render(
        table=table,
        study=study,
        answer=answer(table, found),
        robustness=figures_of(table, found),
        differences=differences(table, found),
        why=history.why,
        more=_more(made, history, shown),
        severities=_some(severities(made, history, shown)),
        others=_others(made, table),
        reading=objectives.reading(made),
        front=_texts("front", _FRONT, *objectives.front(made)),
        spent=_some(_spent(study, trials)),
        **_stopped(study, history),
        figures=drawn,
        notes=[*table.notes, *left_out],
        selected=_selected(table),
        facts=_facts(study, trials),
        failures=[one for one in trials if one["error_type"]],
        commands=_commands(folder, table),
    )


def _digest(script: str) -> str:
    """What a page's policy names the one script by that it allows."""
    return base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()


def _some(grid: Grid) -> Grid | None:
    return grid if grid.body else None


def _more(made: Mapping[str, Any], history: History, shown: Shown) -> list[Grid]:
    """The tables on parts of the answer, those that have a row."""
    makers = (corruptions, weighters, coefficients, ablation, transfer, selection)
    return [grid for one in makers if (grid := one(made, history, shown)).body]


def _texts(
    name: str, caption: str, head: Sequence[str], body: Sequence[Sequence[str]]
) -> Grid | None:
    """A grid of texts, two columns of labels and then numbers; None without a row."""
    columns = tuple(Column(one, one, number=at > 1) for at, one in enumerate(head))
    rows = tuple(tuple(map(Entry, row)) for row in body)
    return _some(Grid(name, name, caption, columns, rows))


def _stopped(study: dict[str, Any], history: History) -> dict[str, Any]:
    """What the schedule stopped, by rung and trial by trial."""
    name = str(study["primary_metric"])
    metric = metric_of(name, study["goal"] or "")
    found = stops.stops(history, name)
    at_rungs = stops.by_rung(history, found, metric, labels_of(study))
    one_by_one = stops.one_by_one(found, metric)
    return {
        "rungs": _texts("rungs", _RUNGS, *at_rungs),
        "stopped": _texts("stopped", f"By {name}, at the rung.", *one_by_one),
    }


def _spent(study: dict[str, Any], trials: list[dict[str, Any]]) -> Grid:
    """What each arm has cost, the search apart from its confirmation and its controls."""
    searched = [one for one in trials if one["phase"] == "search"]
    whole = sum(map(_seconds, searched))
    body = []
    for label in labels_of(study):
        mine = [one for one in trials if (one["arm"], one["weighter"]) == label]
        search = [one for one in mine if one["phase"] == "search"]
        controls = [one for one in mine if one["phase"] == "control"]
        seconds, control_s = sum(map(_seconds, search)), sum(map(_seconds, controls))
        body.append(
            (
                *map(Entry, label),
                counted(len(search)),
                counted(sum(one["epochs_done"] for one in search)),
                _timed(seconds),
                Entry(f"{100 * seconds / whole:.1f} %", seconds / whole)
                if whole
                else Entry(NOTHING),
                _timed(sum(map(_seconds, mine)) - seconds - control_s),
                *([_timed(control_s)] if _controlled(trials) else []),
            )
        )
    heads = ["trials", "epochs", "time", "share of the time", "confirmation"]
    heads += ["controls"] if _controlled(trials) else []
    columns = (*words("arm", "weighter"), *numbers(*heads))
    return Grid("spent", "Spent", _SPENT, columns, tuple(body) if trials else ())


def _controlled(trials: list[dict[str, Any]]) -> bool:
    return any(one["phase"] == "control" for one in trials)


def _timed(seconds: float) -> Entry:
    return Entry(_time(seconds), seconds)


def _seconds(trial: dict[str, Any]) -> float:
    return (trial["train_s"] or 0.0) + (trial["eval_s"] or 0.0)


def _others(made: dict[str, Any], table: RobustnessTable) -> list[Grid]:
    """The table by the task's further metrics; a loss is for training and not for comparing."""
    names = metrics_of(made["evaluations"].select(["metric"]).to_pylist())
    found: list[Grid] = []
    for name in names:
        if name in (table.metric.name, "loss", "error"):  # an error is the accuracy turned over
            continue
        grid = figures_of(robustness_table(made, metric=name))
        # What the rows cost is the same by every metric.
        last = next(at for at, one in enumerate(grid.columns) if one.key == "trials")
        body = tuple(row[:last] for row in grid.body)
        title = metric_of(name).title
        found.append(Grid(f"other-{len(found)}", title, grid.caption, grid.columns[:last], body))
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
