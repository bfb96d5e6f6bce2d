"""What a study went through: breaks, failures, extensions; what stays and what enters answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.export import tables
from analysis.report import write_report
from analysis.tables import robustness_table

from .fake_study import BASELINE, KL, Ledger, three, tiny


def notes(folder: Path) -> tuple[str, ...]:
    return robustness_table(folder).notes


def confirmed(ledger: Ledger, place: int, accuracy: float, seed: int = 1000) -> int:
    """A confirmation of search trial `place`."""
    trial = ledger.plan(BASELINE, "confirm", seed, f"group{place:07d}", place=place)
    ledger.start(trial)
    rows = three(accuracy, 0.5, 0.1, split="test")
    ledger.report(trial, 3, accuracy, rows, decision="complete")
    ledger.end(trial)
    return trial


def extended(folder: Path, *, again: bool) -> Ledger:
    """A study whose winner changed with its extension; `again`: the new one is confirmed, too."""
    ledger = Ledger(folder, [BASELINE], version=2)

    def search(accuracy: float) -> None:
        trial = ledger.plan(BASELINE)
        ledger.start(trial)
        ledger.report(trial, 3, accuracy, three(accuracy, 0.5, 0.1), decision="complete")
        ledger.end(trial)

    search(0.8)
    ledger.event("confirming", winners={"plain × Fixed": [0]})
    confirmed(ledger, 0, 0.70)
    ledger.event("finished", failed=0)
    grown = ledger.resolved | {"question": "The same with more trials?"}
    ledger.event("extended", changes=["search.trials_per_arm=2"], study=grown)
    ledger.event("segment", segment=1, command="extend", storage=None)
    search(0.9)
    if again:
        ledger.event("confirming", winners={"plain × Fixed": [2]})
        confirmed(ledger, 2, 0.85)
        ledger.event("finished", failed=0)
    return ledger


def test_superseded_confirmations_stay_in_the_table_and_out_of_the_answer(tmp_path: Path) -> None:
    extended(tmp_path / "s", again=True)
    trials = tables(tmp_path / "s")["trials"].to_pylist()
    assert [one["phase"] for one in trials] == ["search", "superseded", "search", "confirm"]
    # Its figures are the test's, as they were measured.
    assert trials[1]["clean_acc"] == 0.70
    table = robustness_table(tmp_path / "s")
    (row,) = table.rows
    assert row.cells["clean"].interval.mean == 0.85
    assert (row.n_seeds, row.n_planned, row.selected_trial, row.trials) == (1, 1, 2, 2)
    assert any(one.startswith("Left out of the answer: 1 confirmation of") for one in table.notes)
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    assert "superseded: complete 1" in html


def test_until_it_is_chosen_again_the_old_answer_stands(tmp_path: Path) -> None:
    extended(tmp_path / "s", again=False)
    table = robustness_table(tmp_path / "s")
    assert table.rows[0].cells["clean"].interval.mean == 0.70
    assert table.status == "running"
    assert not any(one.startswith("Left out") for one in table.notes)


def test_the_study_is_the_one_that_it_was_extended_to(tmp_path: Path) -> None:
    # The driver was killed between the ledger's line and resolved.json.
    extended(tmp_path / "s", again=False)
    assert robustness_table(tmp_path / "s").question == "The same with more trials?"


def test_an_extension_after_the_test_is_told(tmp_path: Path) -> None:
    extended(tmp_path / "s", again=True)
    (note,) = (one for one in notes(tmp_path / "s") if one.startswith("Extended"))
    assert note.startswith("Extended (search.trials_per_arm=2) after test figures were known")


def test_an_extension_before_the_test_is_told_as_such(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE], version=2)
    ledger.event("extended", changes=["a=1", "b=2"], study=ledger.resolved)
    confirmed(ledger, 0, 0.9)
    assert "Extended (a=1, b=2) before any test figure was known." in notes(tmp_path / "s")


@pytest.mark.parametrize("status", ["paused", "aborted"])
def test_why_a_study_stands_still(tmp_path: Path, status: str) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE], version=2)
    more = {"free_bytes": 5} if status == "paused" else {}
    ledger.event(status, reason="disk: 5 bytes are left", **more)
    found = notes(tmp_path / "s")
    assert found[0].startswith(f"The study is not finished (status: {status})")
    assert f"The study was {status}: disk: 5 bytes are left." in found
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    assert f"(status: {status}: disk: 5 bytes are left)" in html
    ledger.event("segment", segment=1, command="resume", storage=None)
    assert not any(one.startswith("The study was") for one in notes(tmp_path / "s"))


def test_arms_that_ran_out_of_configurations_are_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL], version=2)
    ledger.plan(BASELINE)
    ledger.event("exhausted", arm=BASELINE[0], weighter=BASELINE[1])
    assert (
        "plain × Fixed: the search ran out of new configurations after 1 trial; it has tried all "
        "that its ranges allow."
    ) in notes(tmp_path / "s")


def test_failures_are_counted_by_class(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL], version=2)
    for reason in ("error", "oom", "oom", "lost", "diverged"):
        trial = ledger.plan(KL)
        ledger.start(trial)
        if reason in ("error", "oom", "lost"):
            ledger.event("failed", trial=trial, type="E", text="t", **{"class": reason})
        ledger.end(trial, "FAIL", reason)
    found = robustness_table(tmp_path / "s").warnings
    place = "gaussian-kl × CoV (search)"
    assert f"1 trial failed: {place} 1." in found
    assert f"2 trials ran out of memory: {place} 2." in found
    assert f"1 trial lost with every retry: {place} 1." in found
    assert f"1 trial diverged: {place} 1." in found
    reasons = tables(tmp_path / "s")["trials"]["stop_reason"].to_pylist()
    assert reasons == ["error", "oom", "oom", "lost", "diverged"]
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    assert html.count("oom: RuntimeError: ") == 2
    assert "lost: RuntimeError: " in html
    assert "error: RuntimeError: " not in html


def test_retries_and_fallbacks_are_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL], version=2)
    for pair, retries, fallbacks in ((BASELINE, 0, 0), (KL, 2, 1), (KL, 1, 0)):
        trial = ledger.plan(pair)
        ledger.start(trial)
        for _ in range(retries):
            ledger.event("retried", trial=trial, reason="its process was lost")
        for _ in range(fallbacks):
            ledger.event("checkpoint", trial=trial, epoch=1, problem="cut off")
    found = notes(tmp_path / "s")
    assert "Retries after a lost process: gaussian-kl × CoV (search) 3." in found
    assert (
        "Checkpoints that could not be read, an earlier one taken: gaussian-kl × CoV (search) 1."
    ) in found
    assert tables(tmp_path / "s")["trials"]["fallbacks"].to_pylist() == [0, 1, 0]


def test_a_study_without_mishaps_has_no_such_note(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    starts = ("Retries", "Checkpoints", "Extended", "Left out", "The study was", "plain × Fixed: t")
    assert not any(one.startswith(starts) for one in notes(tmp_path / "s"))


def test_paused_trials_are_neither_failed_nor_over(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE], version=2)
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    ledger.report(trial, 1, 0.5, three(0.5, 0.4, 0.1), decision="pause", rung=1)
    (row,) = tables(tmp_path / "s")["trials"].to_pylist()
    assert (row["state"], row["ended_at"], row["epochs_done"]) == ("PAUSED", None, 1)
    # Waiting for a promotion is no work.
    ledger.event("promoted", trial=trial, rung=1)
    ledger.start(trial)
    ledger.report(trial, 2, 0.6)
    (row,) = tables(tmp_path / "s")["trials"].to_pylist()
    assert (row["state"], row["duration_s"]) == ("RUNNING", 2.0)


def test_what_was_spent_is_a_table(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    table = html[html.index('id="spent"') :]
    table = table[: table.index("</table>")]
    rows = [
        [cell.split("</")[0].split(">")[-1] for cell in line.split("<t")[2:]]
        for line in table.splitlines()
        if line.startswith('<tr><th scope="row">')
    ]
    # Epochs of 2 s (gaussian-kl's second: 3 s) and half a second each of evaluation.
    assert rows == [
        ["plain", "Fixed", "2", "4", "10.0 s", "45.5 %", "5.0 s"],
        ["gaussian-kl", "CoV", "2", "4", "12.0 s", "54.5 %", "7.0 s"],
    ]


@pytest.mark.parametrize(
    ("segment", "path"),
    [
        ({}, "trials/0000"),
        ({"storage": None}, "trials/0000"),
        ({"storage": "s3://bucket/study/"}, "s3://bucket/study/trials/0000"),
    ],
)
def test_checkpoints_lie_where_the_study_keeps_them(
    tmp_path: Path, segment: dict[str, Any], path: str
) -> None:
    folder = tmp_path / "s"
    ledger = Ledger(folder, [BASELINE], version=2)
    # The first segment says where; the fake one's line is made to.
    text = (folder / "ledger.jsonl").read_text()
    first = '"command": "run"'
    more = "".join(
        f', "{key}": {"null" if value is None else chr(34) + value + chr(34)}'
        for key, value in segment.items()
    )
    (folder / "ledger.jsonl").write_text(text.replace(first, first + more))
    ledger.start(ledger.plan(BASELINE))
    assert tables(folder)["trials"]["checkpoint_path"].to_pylist() == [path]
