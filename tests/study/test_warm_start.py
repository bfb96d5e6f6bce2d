"""Warm start: what is read of earlier studies, from ledgers written here line by line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from analysis.events import encode
from study.searcher import Past, searcher
from study.warm_start import past
from trainables.core.errors import SettingError

TREE = {
    "lr": {"low": 0.001, "high": 1.0, "log": True},
    "way": {"values": ["a", {"name": "b", "n": {"low": 1, "high": 4}}]},
}
METRIC = "validation/accuracy"


def write(folder: Path, *trials: Any, arm: str = "kl", recipe: Any = TREE, **search: Any) -> Path:
    """A study of one arm: each trial is (params, metrics by epoch, state and reason, more)."""
    folder.mkdir()
    search = {"metric": METRIC, "mode": "max"} | search
    arms = [
        {"arm": "baseline", "weighter": "Fixed", "recipe": {"lr": TREE["lr"]}},
        {"arm": arm, "weighter": "CoV", "recipe": recipe},
    ]
    resolved = {"schema_version": 1, "search": search, "arms": arms}
    (folder / "resolved.json").write_text(json.dumps(resolved), encoding="utf-8")
    events: list[dict[str, Any]] = [{"event": "study", "schema_version": 1, "study": "old"}]
    for number, (params, reports, end, *more) in enumerate(trials):
        planned = {"phase": "search", "arm": arm, "weighter": "CoV", "params": params}
        planned |= more[0] if more else {}
        events.append({"event": "planned", "trial": number, "recipe": {}, **planned})
        events += [
            {"event": "report", "trial": number, "epoch": epoch, "metrics": metrics}
            | {"decision": "continue", "rung": None}
            for epoch, metrics in reports.items()
        ]
        if end:
            state, reason = end
            error = {"type": "ValueError", "text": "no"} if reason == "error" else None
            events.append(
                {"event": "ended", "trial": number, "state": state, "reason": reason}
                | {"error": error, "summary": None}
            )
    time = "2026-01-01T00:00:00+00:00"
    lines = [encode({**event, "time": time}) + "\n" for event in events]
    (folder / "ledger.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def one(value: float, **more: Any) -> dict[str, float]:
    return {METRIC: value, "validation/loss": 1.0 - value} | more


FULL = ("COMPLETE", "budget")


def test_what_each_trial_of_an_earlier_study_tells(tmp_path: Path) -> None:
    a, b = {"lr": 0.1, "way": "a"}, {"lr": 0.2, "way": "b", "way/n": 3}
    folder = write(
        tmp_path / "old",
        (a, {1: one(0.2), 2: one(0.6)}, FULL),
        (b, {1: one(0.3)}, ("PRUNED", "rung")),
        (a, {1: one(math.nan)}, ("FAIL", "diverged")),
        (a, {1: one(0.5)}, ("FAIL", "error")),
        (a, {1: one(0.5)}, None),  # cut off
        (a, {1: one(0.9)}, FULL, {"phase": "confirm"}),
        (a, {1: one(0.9)}, FULL, {"arm": "baseline", "weighter": "Fixed"}),
        (a, {1: {"validation/loss": 0.5}}, FULL),
        ({"lr": 0.1}, {1: one(0.5)}, FULL),
        ({"lr": 2.0, "way": "a"}, {1: one(0.5)}, FULL),
        ({**a, "momentum": 0.9}, {1: one(0.5)}, FULL),
    )
    found, notes = past([folder], "kl", "CoV", TREE, {METRIC: "max"})
    assert found[:2] == [Past(a, (0.6,), 2, "COMPLETE"), Past(b, (0.3,), 1, "PRUNED")]
    assert (found[2].params, found[2].epochs, found[2].state) == (a, 1, "FAIL")
    assert math.isnan((found[2].values or ())[0])
    assert len(found) == 3
    assert notes == [
        f"{folder}: 3 of 8 trials of kl × CoV; 2 without values; 3 outside of the ranges of this "
        "study"
    ]


def test_values_stand_in_the_order_of_the_objectives_and_are_the_last_known(
    tmp_path: Path,
) -> None:
    # A benchmark is measured at rungs only.
    params = {"lr": 0.1, "way": "a"}
    reports = {1: one(0.2), 2: one(0.4, **{"validation/pgd/accuracy": 0.3}), 3: one(0.5)}
    theirs = {METRIC: "max", "validation/loss": "min", "validation/pgd/accuracy": "max"}
    folder = write(tmp_path / "old", (params, reports, FULL), objectives=theirs)
    asked = {"validation/pgd/accuracy": "max", METRIC: "max"}
    found, _ = past([str(folder)], "kl", "CoV", TREE, asked)  # type: ignore[arg-type]
    assert found == [Past(params, (0.3, 0.5), 3, "COMPLETE")]


def test_arms_are_matched_by_name_and_else_by_the_paths_of_their_ranges(tmp_path: Path) -> None:
    params = {"lr": 0.1, "way": "a"}
    trials = [(params, {1: one(0.5)}, FULL)]
    same = write(tmp_path / "same", *trials)
    renamed = write(tmp_path / "renamed", *trials, arm="other")
    # The bounds may differ; what lies outside of today's is passed over.
    wider = {**TREE, "lr": {"low": 1e-6, "high": 1.0}}
    moved = write(tmp_path / "moved", *trials, arm="third", recipe=wider)
    fewer = write(tmp_path / "fewer", *trials, arm="fourth", recipe={"way": TREE["way"]})
    found, notes = past([same, renamed, moved, fewer], "kl", "CoV", TREE, {METRIC: "max"})
    assert found == [Past(params, (0.5,), 1, "COMPLETE")] * 3
    assert notes == [
        f"{same}: 1 of 1 trials of kl × CoV",
        f"{renamed}: 1 of 1 trials of other × CoV",
        f"{moved}: 1 of 1 trials of third × CoV",
        f"{fewer}: no arm kl × CoV, and none with the same ranges",
    ]
    assert past([same], "kl", "Fixed", {"lr": 1}, {METRIC: "max"})[0] == []


@pytest.mark.parametrize(
    ("objectives", "words"),
    [
        ({METRIC: "min"}, [f"goes by {METRIC} (min)", f"went by {METRIC} (max)"]),
        ({"validation/loss": "min"}, ["goes by validation/loss (min)", f"{METRIC} (max)"]),
        ({METRIC: "max", "validation/loss": "min"}, ["same metric and mode"]),
    ],
)
def test_other_objectives_are_refused(tmp_path: Path, objectives: Any, words: list[str]) -> None:
    folder = write(tmp_path / "old")
    with pytest.raises(SettingError) as caught:
        past([folder], "kl", "CoV", TREE, objectives)
    for word in [*words, str(folder)]:
        assert word in str(caught.value)


def test_folders_that_are_no_studies_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"found '.*nowhere': there is no resolved.json in it"):
        past([tmp_path / "nowhere"], "kl", "CoV", TREE, {METRIC: "max"})
    folder = write(tmp_path / "old")
    (folder / "ledger.jsonl").write_text("damaged\n{}\n", encoding="utf-8")
    with pytest.raises(SettingError, match=r"old cannot be read: .*line 1: not valid JSON"):
        past([folder], "kl", "CoV", TREE, {METRIC: "max"})


def test_a_search_begins_where_the_earlier_one_was_good(tmp_path: Path) -> None:
    trials = [
        ({"lr": 10 ** -(k / 8), "way": "a"}, {3: one(1 - abs(k / 8 - 2) / 4)}, FULL)
        for k in range(24)
    ]
    folder = write(tmp_path / "old", *trials)
    found, _ = past([folder], "kl", "CoV", TREE, {METRIC: "max"})
    near = {}
    for label, known in (("cold", []), ("warm", found)):
        draws = [
            searcher("TPE", TREE, seed=seed, arm="a", modes=["max"], past=known).ask(1)
            for seed in range(12)
        ]
        near[label] = sum(abs(math.log10(one.params["lr"]) + 2) < 0.5 for one in draws if one)
    assert near["warm"] >= 9 > near["cold"]
