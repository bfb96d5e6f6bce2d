from __future__ import annotations

import pyarrow as pa
import pytest

from analysis.schema import TABLES, schema

# The columns that readers rely on; a version may add to them, never drop one.
PROMISED = {
    "studies": "study_id name created_at finished_at status task dataset primary_metric goal "
    "num_trials num_seeds git_sha git_dirty versions_json config_json search_json hardware_json "
    "gpu_hours data_title data_provenance data_units num_train num_validation num_test",
    "trials": "study_id trial_id number group_id seed state ray_status stop_reason started_at "
    "ended_at duration_s train_s eval_s epochs_done max_t model dataset loss_set weighter "
    "attack_train clean_acc robust_acc corrupt_acc score peak_mem_bytes num_params error_type "
    "error_text checkpoint_path config_json phase arm control place",
    "params": "study_id trial_id name value_num value_str kind distribution_json sampled",
    "reports": "study_id trial_id step epoch wall_s split metric value rung decision",
    "evaluations": "study_id trial_id split family name severity norm eps eps_text steps restarts "
    "metric value n_examples n_correct ci_low ci_high reference_value seed duration_s unreliable",
    "weights": "study_id trial_id step loss raw_loss weight weighted_loss grad_norm grad_cos "
    "loss_ratio grad_conflict",
}


def test_six_tables() -> None:
    assert set(TABLES) == set(PROMISED)


@pytest.mark.parametrize("table", TABLES)
def test_promised_columns_exist_once(table: str) -> None:
    names = schema(table).names
    assert set(PROMISED[table].split()) <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_typed_and_described(table: str) -> None:
    for field in schema(table):
        assert field.type != pa.null()
        assert field.nullable
        assert field.metadata[b"description"]


def test_metadata_of_the_table() -> None:
    assert schema("trials", "0123456789ab").metadata == {
        b"table": b"trials",
        b"schema_version": b"1",
        b"created_by": b"analysis",
        b"study_id": b"0123456789ab",
    }


def test_types_that_readers_depend_on() -> None:
    trials, evaluations = schema("trials"), schema("evaluations")
    assert trials.field("started_at").type == pa.timestamp("us", tz="UTC")
    assert trials.field("seed").type == pa.int64()
    assert evaluations.field("severity").type == pa.int8()
    assert evaluations.field("n_correct").type == pa.int64()
    assert schema("reports").field("wall_s").metadata[b"unit"] == b"s"
