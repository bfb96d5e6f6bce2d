from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from analysis import columns
from analysis.export import NotAStudyError, export, load_study, stored, tables
from analysis.schema import TABLES, schema
from analysis.tables import robustness_table

from .fake_study import BASELINE, KL, TECATOR, Ledger, realistic, regression, row, three, tiny


def by_trial(folder: Path, table: str = "trials") -> dict[int, dict[str, Any]]:
    return {one["number"]: one for one in tables(folder)[table].to_pylist()}


def test_states_reasons_and_times(tmp_path: Path) -> None:
    tiny(tmp_path / "s", finished=False)
    trials = by_trial(tmp_path / "s")
    states = [(one["state"], one["stop_reason"]) for one in trials.values()]
    assert states == [
        ("PRUNED", "rung"),
        ("COMPLETE", "budget"),
        ("COMPLETE", "budget"),
        ("PRUNED", "rung"),
        ("RUNNING", None),
        ("WAITING", None),
    ]
    first = trials[0]
    # started, report, report, ended: one second apart on the ledger's clock
    assert first["duration_s"] == 3
    assert (first["train_s"], first["eval_s"], first["epochs_done"]) == (4, 1, 2)
    assert (first["clean_acc"], first["robust_acc"], first["score"]) == (0.8, 0.25, 0.8)
    assert first["corrupt_acc"] is None
    assert first["trial_id"].endswith("-0000")
    assert first["checkpoint_path"] == "trials/0000"
    assert (trials[2]["loss_set"], trials[2]["attack_train"]) == ("CrossEntropy+Consistency", "PGD")
    assert (trials[0]["loss_set"], trials[0]["attack_train"]) == ("CrossEntropy", None)
    waiting = trials[5]
    assert waiting["started_at"] is waiting["duration_s"] is waiting["checkpoint_path"] is None


def test_confirm_trials_show_test_figures_and_the_worst_attack(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE, "confirm", 100)
    ledger.start(trial)
    attack = {"family": "adversarial", "split": "test"}
    corruption = {"family": "corruption", "split": "test"}
    rows = [
        *three(0.5, 0.4, 0.01),
        *three(0.9, 0.8, 0.3, split="test"),
        row("pgd_l2_0.5_20", 0.2, **attack),
        row("fog", 0.6, severity=1, **corruption),
        row("fog", 0.4, severity=5, **corruption),
    ]
    ledger.report(trial, 1, 0.5, rows)
    found = by_trial(tmp_path / "s")[trial]
    assert (found["clean_acc"], found["robust_acc"], found["corrupt_acc"]) == (0.9, 0.2, 0.5)


def test_errors_are_no_accuracies(tmp_path: Path) -> None:
    regression(tmp_path / "s")
    for one in tables(tmp_path / "s")["trials"].to_pylist():
        assert one["clean_acc"] is one["robust_acc"] is one["corrupt_acc"] is None
        assert one["score"] >= 11
    rows = tables(tmp_path / "s")["evaluations"].to_pylist()
    assert {(one["n_correct"], one["ci_low"], one["ci_high"]) for one in rows} == {(None,) * 3}


def test_the_study_tells_its_data_and_an_old_ledger_does_not(tmp_path: Path) -> None:
    regression(tmp_path / "new")
    tiny(tmp_path / "old")
    new, old = (tables(tmp_path / one)["studies"].to_pylist()[0] for one in ("new", "old"))
    keys = ("data_title", "data_provenance", "data_units", "num_train", "num_validation")
    assert [new[key] for key in (*keys, "num_test")] == [
        TECATOR[key] for key in ("title", "provenance", "units", "train", "validation", "test")
    ]
    assert [old[key] for key in (*keys, "num_test")] == [None] * 6
    assert old["dataset"] == "Digits"


def test_gap_between_attempts_is_no_work(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    ledger.report(trial, 1, 0.5)
    for _ in range(100):
        ledger.event("interrupted")
    ledger.event("segment", segment=1, command="resume")
    ledger.start(trial)
    ledger.event("retried", trial=trial, reason="node lost")
    ledger.start(trial)
    ledger.report(trial, 2, 0.6)
    ledger.end(trial)
    found = by_trial(tmp_path / "s")[trial]
    # 1 s to the first report; 1 s to the loss; 1 s to the second report and 1 s to the end
    assert (found["duration_s"], found["retries"], found["epochs_done"]) == (4, 1, 2)


def test_status_follows_the_last_segment(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])

    def status() -> tuple[str, bool]:
        found = tables(tmp_path / "s")["studies"].to_pylist()[0]
        return found["status"], found["finished_at"] is not None

    assert status() == ("running", False)
    ledger.event("interrupted")
    assert status() == ("interrupted", False)
    ledger.event("segment", segment=1, command="resume")
    ledger.event("finished", failed=0)
    assert status() == ("finished", True)
    ledger.event("segment", segment=2, command="resume")
    assert status() == ("running", False)


def test_diverged_is_nan_and_not_measured_is_null(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial, other = ledger.plan(BASELINE), ledger.plan(BASELINE)
    ledger.start(trial)
    ledger.report(trial, 1, math.nan, decision="diverged")
    ledger.end(trial, "FAIL", "diverged")
    found = by_trial(tmp_path / "s")
    assert math.isnan(found[trial]["score"])
    assert found[other]["score"] is None
    loss = [one for one in tables(tmp_path / "s")["reports"].to_pylist() if one["metric"] == "loss"]
    assert loss
    assert all(math.isnan(one["value"]) for one in loss)
    weights = tables(tmp_path / "s")["weights"].to_pylist()[0]
    assert math.isnan(weights["raw_loss"])
    assert weights["grad_norm"] is None


def test_reports_are_long_with_split_and_rung(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    rows = tables(tmp_path / "s")["reports"].to_pylist()
    mine = [one for one in rows if one["trial_id"].endswith("-0000")]
    assert [(one["step"], one["split"], one["metric"]) for one in mine[:5]] == [
        (1, None, "eval_s"),
        (1, "train", "loss"),
        (1, None, "train_s"),
        (1, "validation", "accuracy"),
        (1, "validation", "loss"),
    ]
    assert {(one["step"], one["rung"], one["decision"]) for one in mine} == {
        (1, 1, "continue"),
        (2, None, "stop"),
    }
    assert {(one["step"], one["wall_s"]) for one in mine} == {(1, 2.5), (2, 5.0)}


def test_second_report_of_an_epoch_is_left_out(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    ledger.report(trial, 1, 0.5)
    ledger.report(trial, 1, 0.9)
    assert by_trial(tmp_path / "s")[trial]["score"] == 0.5
    assert tables(tmp_path / "s")["weights"].num_rows == 1


def test_params_hold_every_leaf_and_know_what_was_sampled(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    ledger.plan(KL)
    rows = {one["name"]: one for one in tables(tmp_path / "s")["params"].to_pylist()}
    sampled = rows["losses/aux/coefficient"]
    assert (sampled["value_num"], sampled["kind"], sampled["sampled"]) == (0.1, "float", True)
    assert json.loads(sampled["distribution_json"]) == {"low": 0.1, "high": 10, "log": True}
    assert (rows["seed"]["value_num"], rows["seed"]["kind"]) == (0, "int")
    assert rows["weighter/name"]["value_str"] == "CoV"
    assert rows["architecture/widths"]["value_str"] == "[8,16]"
    assert rows["weighter/name"]["sampled"] is False
    assert list(rows) == sorted(rows)


def test_confirm_trials_name_the_range_that_their_values_were_drawn_from(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    rows = tables(tmp_path / "s")["params"].to_pylist()
    mine = [one for one in rows if one["name"] == "losses/aux/coefficient"]
    assert [one["trial_id"][-4:] for one in mine] == ["0002", "0003", "0006", "0007"]
    assert all(json.loads(one["distribution_json"])["high"] == 10 for one in mine)


def test_an_attack_in_training_is_a_view_with_a_threat_model(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    pgd, fgsm = ({"name": one, "norm": "l2", "eps": 0.5} for one in ("PGD", "FGSM"))
    views = {"a": pgd, "noisy": {"name": "GaussianNoise", "sigma": 0.1, "eps": 1e-8}, "b": fgsm}
    losses = {"main": {"name": "CrossEntropy"}}
    planned = {"phase": "search", "arm": "plain", "weighter": "Fixed", "seed": 0, "group": "g"}
    ledger.event("planned", trial=0, recipe={"views": views, "losses": losses}, **planned)
    assert by_trial(tmp_path / "s")[0]["attack_train"] == "PGD+FGSM"


def test_weights_are_in_the_order_of_the_recipe(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE, KL])
    trial = ledger.plan(KL)
    ledger.report(trial, 1, 0.9, weights={"zeta": 0.5, "aux": 0.3, "main": 0.2})
    rows = tables(tmp_path / "s")["weights"].to_pylist()
    assert [one["loss"] for one in rows] == ["main", "aux", "zeta"]


def test_evaluations_carry_a_wilson_interval(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    rows = tables(tmp_path / "s")["evaluations"].to_pylist()
    half = next(one for one in rows if one["value"] == 0.5)
    # p = 1/2: 1/2 ± z/(2 √(n + z²)) with n = 200
    spread = 1.959964 / (2 * math.sqrt(200 + 1.959964**2))
    assert (half["ci_low"], half["ci_high"]) == pytest.approx((0.5 - spread, 0.5 + spread))
    assert [one["name"] for one in rows[:3]] == ["clean", "gaussian_0.1", "pgd_linf_8/255_20"]


def test_same_ledger_gives_the_same_bytes(tmp_path: Path) -> None:
    realistic(tmp_path / "s")
    before = {path: path.read_bytes() for path in export(tmp_path / "s")}
    after = {path: path.read_bytes() for path in export(tmp_path / "s")}
    assert before == after
    assert sorted(path.name for path in (tmp_path / "s" / "tables").iterdir()) == sorted(
        f"{name}.parquet" for name in TABLES
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "tables").iterdir()}


def test_tables_that_were_deleted_come_back_the_same(tmp_path: Path) -> None:
    realistic(tmp_path / "s")
    export(tmp_path / "s")
    before = files(tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / "tables")
    export(tmp_path / "s")
    assert files(tmp_path / "s") == before


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_tables_of_a_study_that_was_killed_and_resumed_are_those_of_the_whole(
    tmp_path: Path, share: float
) -> None:
    realistic(tmp_path / "s")
    export(tmp_path / "s")
    whole = files(tmp_path / "s")
    ledger = tmp_path / "s" / "ledger.jsonl"
    text = ledger.read_bytes()
    # Cut in the middle of a line.
    ledger.write_bytes(text[: int(share * len(text))])
    export(tmp_path / "s")
    assert files(tmp_path / "s").keys() == whole.keys()
    assert files(tmp_path / "s") != whole
    ledger.write_bytes(text)
    export(tmp_path / "s")
    assert files(tmp_path / "s") == whole


def test_large_tables_are_made_in_parts_of_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    realistic(tmp_path / "s")
    whole = tables(tmp_path / "s")
    monkeypatch.setattr(columns, "_PART", 7)
    parts = tables(tmp_path / "s")
    for name in ("reports", "evaluations", "weights"):
        assert parts[name].column(0).num_chunks > 3
        # As texts, in which NaN equals itself.
        assert repr(parts[name].to_pylist()) == repr(whole[name].to_pylist())


def test_metrics_that_come_and_go_stay_with_their_reports(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "s", [BASELINE])
    trial = ledger.plan(BASELINE)
    ledger.start(trial)
    for epoch in (1, 2, 3):
        probe = {"validation/pgd/accuracy": epoch / 10} if epoch == 2 else {}
        ledger.report(trial, epoch, epoch / 4, metrics={"lr": float(epoch)} | probe)
    rows = tables(tmp_path / "s")["reports"].to_pylist()
    found = {(one["step"], one["split"], one["metric"]): one["value"] for one in rows}
    assert len(found) == len(rows) == 3 * 6 + 1
    assert found[2, "validation", "pgd/accuracy"] == 0.2
    assert [found[step, None, "lr"] for step in (1, 2, 3)] == [1, 2, 3]
    assert [found[step, "validation", "accuracy"] for step in (1, 2, 3)] == [0.25, 0.5, 0.75]


def test_the_robustness_table_is_the_same_from_the_files(tmp_path: Path) -> None:
    realistic(tmp_path / "s")
    export(tmp_path / "s")
    quick, slow = (robustness_table(one(tmp_path / "s")) for one in (stored, tables))
    assert quick == slow
    shutil.rmtree(tmp_path / "s" / "tables")
    with pytest.raises(NotAStudyError, match="python -m analysis export"):
        stored(tmp_path / "s")


def test_what_a_killed_export_left_is_swept_away(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    (tmp_path / "s" / "tables").mkdir()
    old, new = (tmp_path / "s" / "tables" / f".trials.{pid}.tmp" for pid in (1, 2))
    for one in (old, new):
        one.write_bytes(b"half")
    os.utime(old, (0, 0))
    export(tmp_path / "s")
    # Another process may still be writing the second.
    assert (old.exists(), new.exists()) == (False, True)


def test_files_have_the_schema_and_its_metadata(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    study_id = tables(tmp_path / "s")["studies"]["study_id"][0].as_py()
    for path in export(tmp_path / "s"):
        assert pq.read_schema(path).equals(schema(path.stem, study_id), check_metadata=True)


@pytest.mark.parametrize("table", TABLES)
def test_three_readers_need_no_options(tmp_path: Path, table: str) -> None:
    # The second study has planned trials only: most of its columns hold nothing but null.
    tiny(tmp_path / "studies" / "first")
    Ledger(tmp_path / "studies" / "second", [BASELINE]).plan(BASELINE)
    for name in ("first", "second"):
        export(tmp_path / "studies" / name)
    pattern = str(tmp_path / "studies" / "*" / "tables" / f"{table}.parquet")
    paths = sorted(tmp_path.glob(f"studies/*/tables/{table}.parquet"))
    single = [pd.read_parquet(path) for path in paths]
    expected = sum(len(one) for one in single)
    assert expected > 0
    both = pd.read_parquet([str(path) for path in paths])
    assert len(both) == expected
    assert set(both["study_id"]) == {one for frame in single for one in frame["study_id"]}
    assert pl.read_parquet(pattern).height == expected
    assert pl.scan_parquet(pattern).collect().height == expected
    with duckdb.connect() as database:
        assert database.sql(f"select * from '{pattern}'").pl().height == expected
    assert list(single[0].columns) == list(single[1].columns) == schema(table).names


def test_figures_survive_the_way_through_duckdb(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    export(tmp_path / "s")
    query = f"""
        select t.arm, avg(e.value) from '{tmp_path}/s/tables/evaluations.parquet' e
        join '{tmp_path}/s/tables/trials.parquet' t using (study_id, trial_id)
        where e.split = 'test' and e.family = 'adversarial' group by t.arm order by t.arm
    """
    with duckdb.connect() as database:
        found = database.sql(query).fetchall()
    assert found == [("gaussian-kl", pytest.approx(0.4)), ("plain", pytest.approx(0.15))]


def test_load_study_gives_wide_trials(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    study = load_study(tmp_path / "s")
    wide = study.trials.set_index("number")
    assert wide.loc[2, "param.losses/aux/coefficient"] == pytest.approx(0.3)
    assert pd.isna(wide.loc[0, "param.losses/aux/coefficient"])
    assert wide.loc[0, "metric.validation/accuracy"] == 0.8
    assert len(wide) == 8
    assert set(study.reports["trial_id"]) == set(study.trials["trial_id"])


def test_killed_while_writing_a_line(tmp_path: Path) -> None:
    tiny(tmp_path / "s", finished=False)
    whole = tables(tmp_path / "s")
    with (tmp_path / "s" / "ledger.jsonl").open("a") as ledger:
        ledger.write('{"event":"report","trial":4,"ep')
    assert tables(tmp_path / "s") == whole


def test_study_without_trials(tmp_path: Path) -> None:
    Ledger(tmp_path / "s", [BASELINE])
    made = tables(tmp_path / "s")
    assert made["studies"].num_rows == 1
    assert made["trials"].num_rows == made["evaluations"].num_rows == 0
    study = load_study(tmp_path / "s")
    assert len(study.trials) == len(study.examples) == len(study.policies) == 0
    assert list(study.examples.columns) == schema("examples").names


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no resolved.json"),
        ({"resolved.json": "{}"}, "has no ledger.jsonl"),
        ({"resolved.json": "{", "ledger.jsonl": ""}, "is not JSON"),
        ({"resolved.json": '{"study_id": "x"}', "ledger.jsonl": "no\nno\n"}, "ledger.jsonl"),
        (
            {
                "resolved.json": '{"study": "s", "study_id": "x"}',
                "ledger.jsonl": '{"event":"study","time":"2026-11-21T19:00:00+00:00",'
                '"schema_version":1}\n',
            },
            "it has no arms",
        ),
    ],
)
def test_not_a_study(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(NotAStudyError, match=message):
        tables(tmp_path)
