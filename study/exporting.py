"""A trained model of a study for others: weights alone, and a card that says what it is worth.

The weights are a plain state dict, which loads without running anybody's code. The card says on
which data, against which threat models and by how many seeds its figures were found, because a
model that is called robust without them cannot be judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.metrics import metric as metric_of
from study.provenance import data_of
from trainables.core.errors import SettingError, nearest

if TYPE_CHECKING:
    from analysis.tables import RobustnessTable, TableRow
    from trainables.core.training import Training

Row = dict[str, Any]

WEIGHTS, CARD, TEXT = "weights.pt", "card.json", "card.md"
# Rebuilds the model in the folder of the card; the card shows it, and a test runs it.
SNIPPET = """\
import json, pathlib, torch
from trainables.core import catalog
card = json.loads(pathlib.Path("card.json").read_text(encoding="utf-8"))
model = catalog.build("architectures", card["architecture"], **card["facts"]).eval()
model.load_state_dict(torch.load("weights.pt", weights_only=True))
"""


@dataclass(frozen=True)
class _Study:
    """What the study's tables say."""

    row: Row
    trials: list[Row]
    evaluations: list[Row]
    table: RobustnessTable
    verdicts: dict[tuple[str, str], Any]  # benchmark by row's label, filled for confirmed rows
    answer: str


def export_model(
    folder: Path,
    *,
    arm: str = "",
    trial: int | None = None,
    best: bool = False,
    out: Path | None = None,
    data_root: str = "",
) -> Path:
    """Write `weights.pt`, `card.json` and `card.md` of one model of the study in `folder`.

    Without `arm` and `trial` it is the confirmed model with the best validation figure at its last
    epoch, of all arms or of `arm` ("trades", "trades × CoV"); test figures choose nothing. Before
    any confirmation it is the best search trial. `best` takes the checkpoint of the best epoch
    instead of the last one; figures on the test part are those of the last epoch, so that such a
    model has none. `out` is a folder that is not there yet, `folder`/export/<number> by default.
    Returns it. Raises `SettingError` for an unknown arm or trial and a folder that is there, and
    `MissingDataError` for a checkpoint or data that are not.
    """
    import torch

    from study import life, single

    found = _read(folder)
    chosen = _chosen(found, arm, trial)
    number = int(chosen["number"])
    target = out or folder / "export" / f"{number:04d}"
    if target.exists():
        raise SettingError(f"{target} exists; nothing was changed. Name another folder with --out.")
    run = folder / "trials" / f"{number:04d}"
    life.bring(run)
    training = single.restore(run, best=best, data_root=data_root, device="cpu")
    target.mkdir(parents=True)
    torch.save(training.model.state_dict(), target / WEIGHTS)
    card = _card(found, chosen, training, data_root, best)
    digest = hashlib.sha256((target / WEIGHTS).read_bytes()).hexdigest()
    card["weights"] = {"file": WEIGHTS, "sha256": digest} | card["weights"]
    plain = json.dumps(card, indent=1, ensure_ascii=False)
    (target / CARD).write_text(plain + "\n", encoding="utf-8")
    (target / TEXT).write_text(_text(card), encoding="utf-8")
    return target


def _read(folder: Path) -> _Study:
    from analysis import verdicts as judging
    from analysis.export import tables_with_history, with_recorded
    from analysis.tables import robustness_table

    made, history = tables_with_history(folder)
    table = robustness_table(made, history=history)
    found = judging.verdicts(table, judging.masks(with_recorded(folder, made)))
    return _Study(
        row=made["studies"].to_pylist()[0],
        trials=made["trials"].to_pylist(),
        evaluations=made["evaluations"].to_pylist(),
        table=table,
        verdicts={(" × ".join(key), name): one for (key, name), one in found.items()},
        answer=judging.answer(table, found),
    )


def _chosen(found: _Study, arm: str, trial: int | None) -> Row:
    if trial is not None:
        known = {one["number"]: one for one in found.trials}
        if trial not in known:
            raise SettingError(
                f"--trial: there is no trial {trial}; there are {len(known)}, from 0."
            )
        return known[trial]
    labels = list(dict.fromkeys(name for row in found.table.rows for name in (row.arm, row.label)))
    if arm and arm not in labels:
        raise SettingError(f"--arm: unknown arm {arm!r}.{nearest(arm, labels)}")
    rows = [row for row in found.table.rows if not row.control and arm in ("", row.arm, row.label)]
    behind = {number for row in rows for number in row.members}
    able = [
        one
        for one in found.trials
        if one["number"] in behind and one["state"] == "COMPLETE" and one["score"] is not None
    ]
    if not able:
        raise SettingError(
            f"{found.row['name']} has no trial of {arm or 'any arm'} that came to its end yet."
        )
    sign = -1 if found.row["goal"] == "min" else 1
    return max(able, key=lambda one: sign * one["score"])


def _card(found: _Study, trial: Row, training: Training, data_root: str, best: bool) -> Row:
    recipe = training.recipe
    full = training.done == trial["epochs_done"]
    row = next((one for one in found.table.rows if trial["number"] in one.members), None)
    data = data_of(training, data_root)
    figures = _figures(found, trial, row) if full else []
    return {
        "model": f"{trial['arm']} × {trial['weighter']}, trial {trial['number']}",
        "study": {
            "name": found.row["name"],
            "id": found.row["study_id"],
            "question": found.row["question"],
            "answer": found.answer,
        },
        "trial": {
            "number": trial["number"],
            "phase": trial["phase"],
            "arm": trial["arm"],
            "weighter": trial["weighter"],
            "seed": trial["seed"],
            "checkpoint": "best" if best else "last",
            "epochs": training.done,
            "chosen_by": f"{found.row['primary_metric']} ({found.row['goal']}): "
            f"{trial['score']:.6g} at its last epoch",
        },
        "data": data | {"class_names": list(training.parts.classes), "split": recipe["data"]},
        "input": f"float32 [n, {', '.join(map(str, data['shape']))}], {data['units']}; "
        "normalisation is the model's first layer",
        "output": _output(training),
        "architecture": recipe["architecture"],
        "facts": _facts(training, data_root),
        "weights": {"parameters": sum(one.numel() for one in training.model.parameters())},
        "figures": figures,
        "verdict": _verdict(found, row),
        "threat_models": _threats(figures),
        "recipe": recipe,
        "versions": json.loads(found.row["versions_json"] or "{}"),
        "git": {"sha": found.row["git_sha"], "dirty": found.row["git_dirty"]},
        "intended_use": "To check and to extend the study's result, on data like those above.",
        "limits": _limits(found, trial, figures, full),
    }


def _output(training: Training) -> str:
    """How the model's output is to be read."""
    from trainables.core.tasks import Classification, Regression

    task = training.task
    if isinstance(task, Classification):
        return "logits, one for each of class_names, in their order"
    if isinstance(task, Regression):
        return f"standardised; the target is output * {task.deviation!r} + {task.mean!r}"
    return "boxes with their scores and labels, by model.detect"


def _facts(training: Training, data_root: str) -> Row:
    """What the architecture's constructor asks for beside its settings."""
    from inspect import signature

    from trainables.core.training import load_source

    source = load_source(training.recipe["data"], data_root)
    shape = training.parts.train.shape
    channels = shape[0]
    known = {
        "shape": list(shape),
        "outputs": training.task.width(len(training.parts.classes)),
        # Where the data set names none, those of the training part are in the weights.
        "mean": [0.0] * channels if source.mean is None else list(source.mean),
        "deviation": [1.0] * channels if source.deviation is None else list(source.deviation),
    }
    asked = signature(type(training.model)).parameters
    return {name: value for name, value in known.items() if name in asked}


def _figures(found: _Study, trial: Row, row: TableRow | None) -> list[Row]:
    """The model's own figures on the test part, and those of its arm over seeds."""
    made = []
    for one in found.evaluations:
        if one["trial_id"] != trial["trial_id"] or one["split"] != "test":
            continue
        cell = row.cells.get(one["name"]) if row else None
        told = row is not None and any(
            b.name == one["name"] and b.metric.name == one["metric"] for b in found.table.benchmarks
        )
        keys = ("name", "family", "norm", "eps", "eps_text", "steps", "restarts", "severity")
        more = ("metric", "value", "n_examples", "n_correct", "ci_low", "ci_high")
        made.append(
            {key: one[key] for key in (*keys, "protocol", "source", *more)}
            | {"unreliable": one["unreliable_why"] or None}
            | {
                "over_seeds": None
                if cell is None or not told
                else {
                    "mean": cell.interval.mean,
                    "low": cell.interval.low,
                    "high": cell.interval.high,
                    "n": cell.interval.n,
                }
            }
        )
    return made


def _verdict(found: _Study, row: TableRow | None) -> list[Row]:
    if row is None:
        return []
    beside = found.table.row(row.against)
    return [
        {
            "benchmark": name,
            "compared_with": beside.label if beside else None,
            "word": one.word,
            "difference": one.difference.mean,
            "low": one.difference.low,
            "high": one.difference.high,
            "seeds": one.difference.n,
            "p_holm": one.p_holm,
        }
        for (label, name), one in found.verdicts.items()
        if label == row.label
    ]


def _threats(figures: list[Row]) -> list[str]:
    """The threat models that were attacked, in words."""
    return list(
        dict.fromkeys(
            f"{one['norm']}, eps {one['eps_text']}"
            for one in figures
            if one["eps_text"] is not None
        )
    )


def _limits(found: _Study, trial: Row, figures: list[Row], full: bool) -> list[str]:
    limits = []
    if not full:
        limits.append(
            "This is the checkpoint of another epoch than the last, which the study evaluated: "
            "there are no test figures of these weights."
        )
    elif not figures:
        limits.append(
            f"A trial of phase {trial['phase']}: it was not evaluated on the test part, and was "
            "chosen by validation figures, which therefore flatter it."
        )
    if any(one["norm"] for one in figures):
        least = found.row["goal"] == "min"
        bounds = "lower bounds of the error" if least else "upper bounds of the robust accuracy"
        limits.append(
            f"Figures under attack are {bounds}: a stronger attack may find more, and nothing is "
            "known of other threat models."
        )
    elif figures:
        limits.append("No attack was evaluated: nothing is known of its robustness against any.")
    doubts = [one for one in figures if one["unreliable"]]
    limits += [f"{one['name']} may flatter the model: {one['unreliable']}." for one in doubts]
    smallest = min((one["n_examples"] or 0 for one in figures), default=0)
    if smallest and found.row["num_test"] and smallest < found.row["num_test"]:
        limits.append(f"Evaluated on {smallest} of {found.row['num_test']} test examples.")
    limits.append("Not made for decisions about people, nor for safety.")
    return limits


def _text(card: Mapping[str, Any]) -> str:
    """The card for people, in Markdown."""
    trial, data, study = card["trial"], card["data"], card["study"]
    sizes = ", ".join(f"{data[part]} {part}" for part in ("train", "validation", "test"))
    versions = ", ".join(f"{name} {one}" for name, one in card["versions"].items())
    lines = [
        f"# {card['model']}",
        "",
        f"From the study {study['name']} ({study['id']}): {study['question']}",
        "",
        f"> {study['answer']}",
        "",
        f"Phase {trial['phase']}, seed {trial['seed']}, {trial['epochs']} epochs, checkpoint "
        f"{trial['checkpoint']}. Chosen by {trial['chosen_by']}.",
        "",
        "## Data",
        "",
        f"{data['title']}. {data['provenance']}. Parts: {sizes}.",
        "",
        f"Input: {card['input']}. Output: {card['output']}.",
        "",
        "## Figures on the test part",
        "",
        *_figure_lines(card["figures"]),
        "",
        f"Threat models: {'; '.join(card['threat_models']) or 'none was attacked'}.",
        "",
        "## Verdict",
        "",
        *(_verdict_lines(card["verdict"]) or ["None: nothing to compare this model's arm with."]),
        "",
        "## Use and limits",
        "",
        card["intended_use"],
        "",
        *(f"- {one}" for one in card["limits"]),
        "",
        "## Load it",
        "",
        f"{card['weights']['parameters']:,} parameters; SHA-256 of `{WEIGHTS}`: "
        f"`{card['weights']['sha256']}`. In this folder:",
        "",
        "```python",
        SNIPPET.rstrip("\n"),
        "```",
        "",
        "## Training",
        "",
        f"Versions: {versions or 'not recorded'}. Commit: {card['git']['sha'] or 'not recorded'}"
        f"{' with changes' if card['git']['dirty'] else ''}.",
        "",
        "```json",
        json.dumps(card["recipe"], indent=1, ensure_ascii=False),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _figure_lines(figures: list[Row]) -> list[str]:
    if not figures:
        return ["None; see the limits below."]
    lines = [
        "| benchmark | metric | this model | 95 % over examples (Wilson) | examples "
        "| arm, 95 % over seeds (t) | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in figures:
        metric = metric_of(one["metric"])
        over = one["over_seeds"]
        severity = f" severity {one['severity']}" if one["severity"] else ""
        cells = [
            f"{one['name']}{severity}{' †' if one['unreliable'] else ''}",
            metric.title,
            "" if one["value"] is None else metric.shown(one["value"]),
            _between(metric, one["ci_low"], one["ci_high"]),
            str(one["n_examples"]),
            ""
            if over is None
            else f"{metric.shown(over['mean'])} "
            f"{_between(metric, over['low'], over['high'])}".strip(),
            "" if over is None else str(over["n"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _between(metric: Any, low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"({metric.shown(low)} to {metric.shown(high)})"


def _verdict_lines(verdict: list[Row]) -> list[str]:
    lines = []
    for one in verdict:
        p = "" if one["p_holm"] is None else f", corrected p = {one['p_holm']:.2g}"
        ends = "" if one["low"] is None else f" ({one['low']:+.4g} to {one['high']:+.4g})"
        seeds = f"{one['seeds']} seed{'' if one['seeds'] == 1 else 's'}"
        lines.append(
            f"- {one['benchmark']}: {one['word']}; difference to {one['compared_with']} "
            f"{one['difference']:+.4g}{ends} over {seeds}{p}"
        )
    return lines
