"""The columns of the six Parquet tables of a study: the contract with every reader.

Types are explicit, every column is always there (null where nothing is known yet), key columns are
inside the file. So pandas, polars and duckdb read a glob over studies with no options. Within a
schema version columns are only added; a study's tables are made from its ledger, so exporting an
older study again (`python -m analysis export DIR`) gives it the columns of today, null where its
ledger does not say.

Not measured is null; a value that diverged is NaN. Fractions lie in [0, 1], times are seconds,
eps and sigma are in input units.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1

_TIME = pa.timestamp("us", tz="UTC")


def _field(name: str, kind: Any, description: str, unit: str = "") -> Any:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, metadata=metadata)


_STUDY = _field("study_id", pa.string(), "identifies the study across all tables")
_TRIAL = _field("trial_id", pa.string(), "study_id and the trial's number: <study_id>-0007")
_STEP = _field("step", pa.int32(), "epochs done when this was reported, from 1", "epochs")

_FIELDS: dict[str, list[Any]] = {
    "studies": [
        _STUDY,
        _field("name", pa.string(), "the study's name, also its folder's"),
        _field("question", pa.string(), "what the study asks"),
        _field("baseline", pa.string(), "label of the arm that the others are compared with"),
        _field("created_at", _TIME, "time of the ledger's first line"),
        _field("finished_at", _TIME, "time of the last end; null unless status is finished"),
        _field(
            "status",
            pa.string(),
            "created, running (or killed), interrupted, paused, aborted, finished",
        ),
        _field("task", pa.string(), "classification, regression or detection"),
        _field("dataset", pa.string(), "name of the data"),
        _field("data_title", pa.string(), "what tables call the data; says subset where it is one"),
        _field("data_provenance", pa.string(), "where the data come from, what was done to them"),
        _field("data_units", pa.string(), "units of the inputs, which eps and sigma are in"),
        _field("num_train", pa.int32(), "examples that trials train on"),
        _field("num_validation", pa.int32(), "examples that the search is selected on"),
        _field(
            "num_test", pa.int32(), "examples of the test part; evaluations say how many were used"
        ),
        _field("primary_metric", pa.string(), "metric that the search sees: <split>/<metric>"),
        _field("goal", pa.string(), "max or min"),
        _field("num_trials", pa.int32(), "trials planned so far, search and confirmation"),
        _field("num_seeds", pa.int32(), "seeds of each confirmed configuration"),
        _field("git_sha", pa.string(), "commit of the working tree at the start"),
        _field("git_dirty", pa.bool_(), "whether the working tree had changes at the start"),
        _field("versions_json", pa.string(), "versions of Python and libraries, as JSON"),
        _field("config_json", pa.string(), "the resolved study, as JSON"),
        _field("search_json", pa.string(), "search, schedule and confirm settings, as JSON"),
        _field("hardware_json", pa.string(), "processors and accelerators, as JSON"),
        _field("gpu_hours", pa.float64(), "training and evaluation time x GPUs per trial", "h"),
    ],
    "trials": [
        _STUDY,
        _TRIAL,
        _field("number", pa.int32(), "number of the trial in its study, from 0"),
        _field(
            "phase",
            pa.string(),
            "search, confirm, control, or superseded: of the latter two, one of the past",
        ),
        _field("arm", pa.string(), "label of the arm"),
        _field("weighter", pa.string(), "label of the weighter"),
        _field("group_id", pa.string(), "hash of the recipe without its seed"),
        _field("seed", pa.int64(), "seed of the trial"),
        _field("state", pa.string(), "WAITING, RUNNING, PAUSED, COMPLETE, PRUNED or FAIL"),
        _field("ray_status", pa.string(), "status in Ray's words, where known"),
        _field("stop_reason", pa.string(), "budget, rung, diverged, error, oom or lost"),
        _field("started_at", _TIME, "first start"),
        _field("ended_at", _TIME, "end"),
        _field("duration_s", pa.float64(), "time from starts to last events, gaps left out", "s"),
        _field("train_s", pa.float64(), "time in training, over all reports", "s"),
        _field("eval_s", pa.float64(), "time in evaluation, over all reports", "s"),
        _field("epochs_done", pa.int32(), "epochs reported", "epochs"),
        _field("max_t", pa.int32(), "epochs of a full trial", "epochs"),
        _field("retries", pa.int32(), "times the trial was retried after a lost worker"),
        _field(
            "fallbacks",
            pa.int32(),
            "times a checkpoint that was unreadable or gone made it go back",
        ),
        _field("model", pa.string(), "name of the architecture"),
        _field("dataset", pa.string(), "name of the data"),
        _field("loss_set", pa.string(), "names of the losses, main loss first, joined by +"),
        _field(
            "attack_train", pa.string(), "names of the training views that are attacks, joined by +"
        ),
        _field(
            "clean_acc",
            pa.float64(),
            "accuracy: of the search the last validation, else test; null without a classification",
            "fraction",
        ),
        _field("robust_acc", pa.float64(), "lowest accuracy over the attacks", "fraction"),
        _field("corrupt_acc", pa.float64(), "mean accuracy over the corruptions", "fraction"),
        _field("score", pa.float64(), "primary metric at the last report; NaN if diverged"),
        _field("peak_mem_bytes", pa.int64(), "peak memory of the accelerator", "bytes"),
        _field("num_params", pa.int64(), "parameters of the model"),
        _field("error_type", pa.string(), "class of the error that ended the trial"),
        _field("error_text", pa.string(), "text of the error that ended the trial"),
        _field(
            "checkpoint_path", pa.string(), "folder of the checkpoints: in the study's, or a URI"
        ),
        _field("config_json", pa.string(), "the resolved recipe, as JSON"),
        _field(
            "control",
            pa.string(),
            "coefficient_0, random_weights, replay or matched_compute; null for other phases",
        ),
        _field(
            "place",
            pa.int32(),
            "number of the search's trial that it confirms or controls; null in the search",
        ),
    ],
    "params": [
        _STUDY,
        _TRIAL,
        _field("name", pa.string(), "path into the recipe: losses/kl/coefficient"),
        _field("value_num", pa.float64(), "value of a float, an int or a bool"),
        _field("value_str", pa.string(), "value of a category; lists as JSON"),
        _field("kind", pa.string(), "float, int, bool or cat"),
        _field("distribution_json", pa.string(), "the range that the search drew it from, as JSON"),
        _field(
            "sampled", pa.bool_(), "whether the search drew it, also for the trial that confirms it"
        ),
    ],
    "reports": [
        _STUDY,
        _TRIAL,
        _STEP,
        _field("epoch", pa.float64(), "epochs done, as a number that can hold parts", "epochs"),
        _field("wall_s", pa.float64(), "training and evaluation time up to this report", "s"),
        _field("split", pa.string(), "train, validation or test; null where none applies"),
        _field("metric", pa.string(), "name of the metric without its split"),
        _field("value", pa.float64(), "value of the metric"),
        _field("rung", pa.int32(), "the scheduler's rung at this report; null off the rungs"),
        _field("decision", pa.string(), "continue, stop, pause, complete or diverged"),
    ],
    "evaluations": [
        _STUDY,
        _TRIAL,
        _STEP,
        _field("position", pa.int32(), "place among the rows of this report, from 0"),
        _field("split", pa.string(), "validation or test"),
        _field(
            "benchmark", pa.int32(), "place among the study's benchmarks, from 0; null: of several"
        ),
        _field("family", pa.string(), "clean, noise, corruption, adversarial, calibration, ..."),
        _field("name", pa.string(), "benchmark with its settings: pgd_linf_8/255_20"),
        _field("severity", pa.int8(), "severity of a corruption, 1 to 5"),
        _field("norm", pa.string(), "linf, l2 or l1"),
        _field("eps", pa.float64(), "radius of the threat model", "input units"),
        _field("eps_text", pa.string(), "eps as written: 8/255"),
        _field("steps", pa.int32(), "steps of the attack"),
        _field("restarts", pa.int32(), "restarts of the attack"),
        _field("metric", pa.string(), "accuracy, loss, rmse, mae, r2, map, map_50, ..."),
        _field(
            "value", pa.float64(), "value of the metric; accuracy, average precision: fractions"
        ),
        _field("n_examples", pa.int32(), "examples evaluated"),
        _field("n_correct", pa.int64(), "examples that were right; null where none is counted"),
        _field("ci_low", pa.float64(), "95 % Wilson interval over examples, lower end", "fraction"),
        _field(
            "ci_high", pa.float64(), "95 % Wilson interval over examples, upper end", "fraction"
        ),
        _field("reference_value", pa.float64(), "value of a reference model, for relative errors"),
        _field("seed", pa.int64(), "seed of the evaluation"),
        _field("duration_s", pa.float64(), "time of the evaluation", "s"),
        _field("unreliable", pa.bool_(), "whether it may flatter the model; null unchecked"),
        _field("unreliable_why", pa.string(), "what was seen that speaks against the figure"),
        _field("protocol", pa.string(), "what a composed attack or a worst case consists of"),
        _field("black_box", pa.bool_(), "whether the attack works without gradients"),
        _field("source", pa.string(), "corruptions: official files or generated here"),
    ],
    "weights": [
        _STUDY,
        _TRIAL,
        _STEP,
        _field("loss", pa.string(), "label of the loss; a trial's main loss comes first"),
        _field("raw_loss", pa.float64(), "mean loss of the epoch, before weight and coefficient"),
        _field("weight", pa.float64(), "mean weight of the epoch, without the coefficient"),
        _field("weighted_loss", pa.float64(), "mean of weight x coefficient x loss over the epoch"),
        _field("loss_ratio", pa.float64(), "mean of loss over the loss in the trial's first step"),
        _field("grad_norm", pa.float64(), "norm of the loss's gradient, where measured"),
        _field("grad_cos", pa.float64(), "cosine with the main loss's gradient, where measured"),
        _field(
            "grad_conflict", pa.float64(), "share of the steps in which that cosine was below 0"
        ),
    ],
}

TABLES = tuple(_FIELDS)

# What trials record beside the ledger, where they do: tables that not every study has.
_RECORDED: dict[str, list[Any]] = {
    "examples": [
        _STUDY,
        _TRIAL,
        _field("name", pa.string(), "benchmark with its settings, as in evaluations"),
        _field("number", pa.int32(), "number of the example in the test split"),
        _field("target", pa.float32(), "number of its class; standardised value for regression"),
        _field("prediction", pa.float32(), "number of the class that the model gave its view"),
        _field("correct", pa.bool_(), "right on the view, under attacks on the clean input, too"),
        _field("clean_correct", pa.bool_(), "right on the clean input; attacks only"),
        _field("loss", pa.float32(), "loss on the view"),
        _field("linf", pa.float32(), "largest change of a value; attacks only", "input units"),
        _field("l2", pa.float32(), "Euclidean length of the change; attacks only", "input units"),
        _field("l1", pa.float32(), "sum of the changes; attacks only", "input units"),
        _field("error", pa.float32(), "standardised prediction less target; regression only"),
    ],
    "policies": [
        _STUDY,
        _TRIAL,
        _field("view", pa.string(), "label of the view that the policies make"),
        _field("epoch", pa.int32(), "epoch in which the policies were in force", "epochs"),
        _field("update", pa.int64(), "number of the controller's update that drew them, from 0"),
        _field("steps", pa.int32(), "training steps of the epoch in which it was in force"),
        _field("policy", pa.int32(), "number of the policy among those of the update"),
        _field("operations", pa.list_(pa.string()), "operations, two for each sub-policy"),
        _field("magnitudes", pa.list_(pa.int32()), "magnitude of each operation, 0 to 9"),
        _field("loss", pa.float64(), "mean loss under the policy while it was in force"),
        _field("log_probability", pa.float64(), "of the policy under the controller; null: none"),
    ],
}
RECORDED = tuple(_RECORDED)


def schema(table: str, study_id: str = "") -> Any:
    """The pyarrow schema of a table (one of `TABLES`), with the metadata of its study's file."""
    metadata = {
        "table": table,
        "schema_version": str(SCHEMA_VERSION),
        "created_by": "analysis",
        "study_id": study_id,
    }
    return pa.schema((_FIELDS | _RECORDED)[table], metadata=metadata)
