"""What a schedule would have been worth to a study that has run: spent, stopped, found.

A schedule is chosen before anything is known of the curves that it will judge. Afterwards they are
in the ledger, and `simulate` sends them through any other one; here its outcome is held against
what full training showed: was the best stopped, how far is what was chosen from it, how much does a
rung know of the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from rich.table import Table

from analysis import events
from analysis.formats import console
from analysis.history import fold
from analysis.metrics import metric as metric_of
from analysis.metrics import readable
from study import confirm
from study.progress import clock
from study.schedules import schedule, sign
from study.simulate import (
    Arm,
    Curve,
    Outcome,
    Setting,
    curves,
    setting_of,
    simulate,
    slots_of,
    sweep,
)
from study.spec import Study
from trainables.core.errors import SettingError, nearest
from trainables.core.quantities import whole

_COUNTS = ("trials", "epochs", "epochs_most", "full", "spent", "unknown", "stale", "missing")


@dataclass(frozen=True)
class Question:
    """What is asked of every setting: the metric that decides, and a second one to judge by."""

    metric: str
    mode: str
    final: str = ""
    final_mode: str = "max"


def told(
    trials: Sequence[Curve], setting: Setting, asked: Question, *, slots: int = 1
) -> dict[str, Any]:
    """What a setting would have spent and found, in all and by arm, as plain data.

    `epochs` are known to be spent, `epochs_most` if every unknown trial had gone on to its end;
    `saved` is what the latter saves of training all trials in full. `regret` is how far the final
    value of the configuration that the search would have chosen is from the best one's, in the
    metric's units; it is None where that is not known. The best trial was kept to its end, stopped,
    or chosen although it was not trained to its end. `score` weighs both, the less the better:
    the share of the epochs that is spent, plus the regret over the distance between the best
    configuration and the median one. Training everything has 1, a blind pick for nothing, too.
    """
    found = simulate(trials, setting, metric=asked.metric, mode=asked.mode, slots=slots)
    arms = [
        _of_arm(arm, [one for one in trials if one.arm == arm], found.outcomes, setting, asked)
        for arm in dict.fromkeys(one.arm for one in trials)
    ]
    spent = {key: sum(one[key] for one in arms) for key in _COUNTS}
    known = [one for one in arms if one["winner"] is not None]
    regrets = [one["regret"] for one in known]
    whole_regrets = [one for one in regrets if one is not None]
    complete = bool(known) and len(whole_regrets) == len(regrets)
    return {
        "schedule": setting.name,
        "form": setting.form if setting.name == "ASHA" else "",
        "grace_epochs": setting.grace_epochs,
        "reduction_factor": setting.reduction_factor,
        "title": setting.title,
        **spent,
        "saved": _saved(spent),
        "wall_s": found.wall_s,
        "winners": len(known),
        "winners_stopped": sum(one["winner_fate"] == "stopped" for one in known),
        "final_winners_stopped": sum(one["final_winner_fate"] == "stopped" for one in known),
        "regret": fmean(whole_regrets) if complete else None,
        "regret_most": max(whole_regrets) if complete else None,
        "score": fmean(one["score"] for one in known) if complete else None,
        "arms": arms,
    }


def answer(
    folder: Path,
    *,
    name: str = "",
    form: str = "",
    changes: Sequence[str] = (),
    metric: str = "",
    final: str = "",
    slots: int = 0,
) -> dict[str, Any]:
    """What `python -m study simulate` tells of a study, as plain data.

    Without a schedule, a form or changes a sweep of settings, the best trade-off first. `slots`:
    how many trials run at once; 0: as many as did. Raises `SettingError` for a folder without a
    study or without a search to learn from, for a metric that was not measured and for impossible
    settings.
    """
    from study.life import load

    study = load(folder)
    recorded = events.read(folder)
    trials = [one for one in curves(fold(recorded), study.epochs) if one.metrics or one.failed]
    if not any(one.metrics for one in trials):
        raise SettingError(f"{folder} has no reports of a search yet: nothing to simulate.")
    asked = _question(study, trials, metric, final)
    slots = whole("--slots", slots) or slots_of(recorded)
    own = Setting(**{key: getattr(study.schedule, key) for key in Setting.__dataclass_fields__})
    one = bool(name or form or changes)
    settings = [setting_of(study, name, form, changes)] if one else sweep(study.epochs)
    if not one and own not in settings:
        settings.append(own)
    rows = [
        told(trials, setting, asked, slots=slots) | {"recorded": setting == own}
        for setting in settings
    ]
    rows.sort(key=lambda row: math.inf if row["score"] is None else row["score"])
    return {
        "study": study.study,
        "metric": asked.metric,
        "mode": asked.mode,
        "final": asked.final,
        "max_epochs": study.epochs,
        "slots": slots,
        "trials": len(trials),
        "cut": sum(not one.whole for one in trials),
        "spent": sum(len(one.metrics) for one in trials),
        "settings": rows,
        "notes": _notes(trials, rows, asked, study.epochs),
    }


def show(found: Mapping[str, Any]) -> None:
    """The answer as text: by arm for one setting, by setting for a sweep."""
    print(
        f"{found['study']}: {found['trials']} trials of at most {found['max_epochs']} epochs by "
        f"{readable(found['metric'])}, {found['slots']} at a time; {found['spent']} epochs were "
        "spent"
    )
    rows = found["settings"]
    console().print(_by_arm(found, rows[0]) if len(rows) == 1 else _by_setting(found, rows))
    for note in found["notes"]:
        print(note)


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rank correlation in [-1, 1], ties with their mean rank.

    None for fewer than three pairs and where all values of a side are equal.
    """
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _question(study: Study, trials: Sequence[Curve], metric: str, final: str) -> Question:
    """With metrics that were measured on the validation part, and which way they are better."""
    measured = {
        name
        for one in trials
        for known in one.metrics
        for name in known
        if name.startswith("validation/")
    }
    for option, name in (("--metric", metric), ("--final", final)):
        if name and name not in measured:
            raise SettingError(f"{option} cannot be {name!r}.{nearest(name, measured)}")

    def mode(name: str) -> str:
        return study.search.objectives.get(name) or metric_of(name).better

    chosen = metric or study.metric
    return Question(chosen, mode(chosen), final, mode(final) if final else "max")


def _of_arm(
    arm: Arm,
    trials: Sequence[Curve],
    outcomes: Mapping[int, Outcome],
    setting: Setting,
    asked: Question,
) -> dict[str, Any]:
    end = setting.max_epochs
    own = {one.trial: outcomes[one.trial] for one in trials}
    counts = {
        "trials": len(trials),
        "epochs": sum(one.epochs for one in own.values()),
        "epochs_most": sum(end if one.state == "unknown" else one.epochs for one in own.values()),
        "full": sum(len(one.metrics) if one.whole else end for one in trials),
        "spent": sum(len(one.metrics) for one in trials),
        "unknown": sum(one.state == "unknown" for one in own.values()),
        "stale": sum(one.stale for one in own.values()),
        "missing": sum(one.missing for one in own.values()),
    }
    rungs = schedule(setting, asked.mode).rungs()
    picked = _picked(trials, own, asked)
    first = _judged(trials, own, end, picked, asked.metric, asked.mode)
    spread = first.pop("spread")
    found = {
        "arm": arm[0],
        "weighter": arm[1],
        **counts,
        "saved": _saved(counts),
        "picked": picked,
        **first,
        "score": None,
        "correlation": _correlation(trials, rungs, end, asked.metric, asked.metric),
    }
    if found["regret"] is not None:
        lost = found["regret"] / spread if spread > 0 else float(found["regret"] > 0)
        found["score"] = 1 - found["saved"] + lost
    if not asked.final:
        return found | {"final_winner_fate": ""}
    second = _judged(trials, own, end, picked, asked.final, asked.final_mode)
    second.pop("spread")
    found |= {f"final_{key}": value for key, value in second.items()}
    found["final_correlation"] = _correlation(trials, rungs, end, asked.metric, asked.final)
    return found


def _judged(
    trials: Sequence[Curve],
    outcomes: Mapping[int, Outcome],
    end: int,
    picked: int | None,
    metric: str,
    mode: str,
) -> dict[str, Any]:
    """The best trial after full training, what became of it, and what the pick lacks."""
    finals = {one.trial: value for one in trials if (value := one.final(end, metric)) is not None}
    found: dict[str, Any] = {
        "winner": None,
        "winner_fate": "",
        "winner_rung": None,
        "winner_rank": None,
        "winner_of": None,
        "regret": None,
        "spread": 0.0,
    }
    if not finals:
        return found
    better = sign(mode)
    # Of equal ones the one that lasted longest: a tie is no loss.
    winner = max(finals, key=lambda one: (better * finals[one], outcomes[one].epochs, -one))
    best, outcome = finals[winner], outcomes[winner]
    stopped = outcome.state == "stopped"
    found |= {
        "winner": winner,
        "winner_fate": "kept" if not stopped else "chosen" if winner == picked else "stopped",
        "spread": better * (best - median(finals.values())),
    }
    if stopped and outcome.verdict is not None:
        found |= {
            "winner_rung": outcome.verdict.rung,
            "winner_rank": outcome.verdict.rank,
            "winner_of": outcome.verdict.of,
        }
    if picked in finals:
        found["regret"] = better * (best - finals[picked]) + 0.0
    return found


def _picked(
    trials: Sequence[Curve], outcomes: Mapping[int, Outcome], asked: Question
) -> int | None:
    """The configuration that the study would go on to confirm."""
    candidates = []
    for one in trials:
        found = outcomes[one.trial]
        value = one.at(found.epochs, asked.metric)
        ended = "FAIL" if found.state in ("failed", "diverged") else "COMPLETE"
        values = (math.nan if value is None else value,)
        candidates.append(confirm.Candidate(one.trial, one.group, ended, found.epochs, values))
    best = confirm.winners(candidates, 1, (asked.mode,))
    return best[0].number if best else None


def _saved(counts: Mapping[str, int]) -> float:
    return 1 - counts["epochs_most"] / counts["full"] if counts["full"] else 0.0


def _correlation(
    trials: Sequence[Curve], rungs: Sequence[int], end: int, metric: str, final: str
) -> dict[str, float | None]:
    """By rung Spearman's correlation of the metric there with the final one, over full curves."""
    found = {}
    for rung in rungs:
        pairs = [
            (early, late)
            for one in trials
            if (late := one.final(end, final)) is not None
            and (early := one.at(rung, metric)) is not None
            and math.isfinite(early)
        ]
        found[str(rung)] = spearman([one[0] for one in pairs], [one[1] for one in pairs])
    return found


def _ranks(values: Sequence[float]) -> np.ndarray[Any, Any]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean: np.ndarray[Any, Any] = np.cumsum(counts) - (counts - 1) / 2
    return mean[place]


def _notes(
    trials: Sequence[Curve], rows: Sequence[Mapping[str, Any]], asked: Question, end: int
) -> list[str]:
    notes = [
        "The configurations are those that were tried; a sampler that learns would have drawn "
        "others under another schedule."
    ]
    cut = [one for one in trials if not one.whole]
    if cut:
        most = max(row["unknown"] for row in rows)
        notes.append(
            f"{len(cut)} of {len(trials)} trials were cut off before {end} epochs. Where a "
            f"schedule would have let one go on, the answer is unknown (at most {most} trials): "
            "epochs are then a lower bound, saved is counted as if it had gone on to its end, and "
            "the best is the best of those that were trained in full."
        )
    if any(row["stale"] for row in rows):
        notes.append(
            f"{asked.metric} was not measured at every rung; its last value before stood in "
            f"(up to {max(row['stale'] for row in rows)} times), which judges late improvement "
            "too harshly."
        )
    if any(row["missing"] for row in rows):
        notes.append(
            f"Rungs before the first value of {asked.metric} stopped nobody "
            f"(up to {max(row['missing'] for row in rows)} times)."
        )
    full: dict[Arm, int] = dict.fromkeys((one.arm for one in trials), 0)
    for one in trials:
        full[one.arm] += one.final(end, asked.metric) is not None
    few = min(full.values())
    if few < 5:
        notes.append(
            f"An arm has only {few} trial{'' if few == 1 else 's'} with a full curve: too few to "
            "prefer one schedule to another."
        )
    return notes


def _by_setting(found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Table:
    metric = metric_of(found["metric"], found["mode"])
    table = Table(box=None)
    table.add_column("schedule")
    names = ["epochs", "saved", "takes", "best kept", f"regret{_unit(metric)}", "worst", "score"]
    if found["final"]:
        names.insert(4, f"best by {readable(found['final'])} kept")
    if any(row["unknown"] for row in rows):
        names.append("unknown")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        cells = [
            _epochs(row),
            f"{100 * row['saved']:.0f} %",
            clock(row["wall_s"]),
            f"{row['winners'] - row['winners_stopped']} of {row['winners']}",
            _text(metric, row["regret"]),
            _text(metric, row["regret_most"]),
            "–" if row["score"] is None else f"{row['score']:.2f}",
        ]
        if found["final"]:
            cells.insert(4, f"{row['winners'] - row['final_winners_stopped']} of {row['winners']}")
        if "unknown" in names:
            cells.append(str(row["unknown"]))
        table.add_row(row["title"] + (" (as it ran)" if row["recorded"] else ""), *cells)
    return table


def _by_arm(found: Mapping[str, Any], row: Mapping[str, Any]) -> Table:
    metric = metric_of(found["metric"], found["mode"])
    table = Table(box=None, title=row["title"], title_justify="left")
    rungs = list(dict.fromkeys(rung for one in row["arms"] for rung in one["correlation"]))
    left = ("arm", "weighter", "best trial", f"best by {readable(found['final'])}")
    names = ["arm", "weighter", "epochs", "were", "in full", "saved", "best trial"]
    if found["final"]:
        names.append(left[3])
    names += [f"regret{_unit(metric)}", *(f"ρ at {rung}" for rung in rungs)]
    if row["unknown"]:
        names.append("unknown")
    for name in names:
        table.add_column(name, justify="left" if name in left else "right")
    for one in row["arms"]:
        cells = [one["arm"], one["weighter"], _epochs(one), str(one["spent"]), str(one["full"])]
        cells += [f"{100 * one['saved']:.0f} %", _fate(one, "winner")]
        if found["final"]:
            cells.append(_fate(one, "final_winner"))
        cells.append(_text(metric, one["regret"]))
        for rung in rungs:
            value = one["correlation"][rung]
            cells.append("–" if value is None else f"{value:.2f}")
        if row["unknown"]:
            cells.append(str(one["unknown"]))
        table.add_row(*cells)
    return table


def _fate(one: Mapping[str, Any], who: str) -> str:
    if one[who] is None:
        return "–"
    if one[f"{who}_fate"] == "kept":
        return f"{one[who]}: kept"
    place = f"at {one[f'{who}_rung']}, place {one[f'{who}_rank']} of {one[f'{who}_of']}"
    return f"{one[who]}: {one[f'{who}_fate']} {place}"


def _epochs(one: Mapping[str, Any]) -> str:
    return f"{'≥ ' if one['unknown'] else ''}{one['epochs']}"


def _unit(metric: Any) -> str:
    return f" in {metric.step}" if metric.step else ""


def _text(metric: Any, value: float | None) -> str:
    return "–" if value is None else metric.text(value, metric.decimals([value]))
