"""A trial as Ray sees it: one configuration trained once with one seed, an epoch per step."""

from __future__ import annotations

import gc
import json
import os
import shutil
import traceback
from pathlib import Path
from typing import Any

import ray
import torch
from ray import _raylet, tune

from .core import records
from .core.training import Training


class Trial(tune.Trainable):  # type: ignore[misc]
    """Trains one planned trial and reports each epoch.

    `config["plan"]` is JSON text with: number, name, folder (of the study), recipe, data_root,
    cpus, gpus, reported (epochs that the ledger already has), probe_at (epochs after which
    `probe_benchmarks` run on at most `probe_limit` validation examples), test (whether `benchmarks`
    run on the test part at the end, on at most `test_limit` examples, 0 for all), metric and mode
    (which checkpoint is the best one), eval_seed.

    A checkpoint is written to `folder/trials/<number>` after every epoch, with all reports so far.
    Whoever starts the trial again, with a new driver or after a lost process, gets the reports that
    the ledger lacks and then new ones. Errors of the training are reported as a result, so that Ray
    retries only what was lost through no fault of the trial.
    """

    training: Training | None

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """The CPUs and GPUs, or parts of them, that the plan asks for."""
        plan = json.loads(config["plan"])
        return tune.PlacementGroupFactory([{"CPU": plan["cpus"], "GPU": plan["gpus"]}])

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the planned trial, from its checkpoint where there is one."""
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this process; nothing of the one before is left."""
        self.training = None
        if torch.cuda.is_available():
            # For the memory of the device alone: a collection takes half a second.
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self._begin(new_config)
        return True

    def __repr__(self) -> str:
        """How the dashboard's list of actors calls this process; Ray asks once, at its start."""
        return f"began with {getattr(self, 'plan', {}).get('name', 'no trial')}"

    def _begin(self, config: dict[str, Any]) -> None:
        self.plan: dict[str, Any] = json.loads(config["plan"])
        self.failure: dict[str, Any] | None = None
        self.training = None
        self.sent = int(self.plan["reported"])
        torch.set_num_threads(max(1, int(self.plan["cpus"])))
        self.folder = Path(self.plan["folder"]) / "trials" / f"{self.plan['number']:04d}"
        try:
            device = "cuda" if self.plan["gpus"] > 0 else "cpu"
            self.training = Training(
                self.plan["recipe"], root=self.plan["data_root"], device=device
            )
            if (self.folder / "last.pt").exists():
                self.training.load(self.folder / "last.pt")
                self._keep_best(self.training)
        except Exception as error:
            self.failure = _failure(error)

    def step(self) -> dict[str, Any]:
        """The next report that the ledger lacks, trained for if need be."""
        _entitle(f"ray::Trial {self.plan['name']}")
        if self.failure is None:
            try:
                return self._next()
            except Exception as error:
                self.failure = _failure(error)
        # Never "done": Ray would stop the trial without telling the scheduler what it reported.
        return {"failure": json.dumps(self.failure)}

    def _next(self) -> dict[str, Any]:
        training = self.training
        assert training is not None
        self._test(training)
        # More than once only where the checkpoint is older than the ledger: the same epochs again.
        while self.sent >= training.done:
            self._train(training)
        report: dict[str, Any] = training.reports[self.sent]
        self.sent += 1
        flat: dict[str, Any] = report["metrics"]
        return flat | {"epoch": report["epoch"], "report": json.dumps(report)}

    def _train(self, training: Training) -> None:
        found = training.epoch()
        last = training.done == training.epochs
        evaluations: list[dict[str, Any]] = []
        if found.epoch in self.plan["probe_at"] and not found.diverged:
            evaluations = training.evaluate(
                self.plan["probe_benchmarks"],
                part="validation",
                limit=self.plan["probe_limit"],
                seed=self.plan["eval_seed"],
            ).rows
        records.add_policies(self.folder / "policies.jsonl", found.epoch, found.records)
        probes = {
            f"{row['split']}/{row['name']}/{row['metric']}": row["value"]
            for row in evaluations
            if row["split"] == "validation" and row["family"] != "clean"
        }
        training.reports.append(
            {
                "epoch": found.epoch,
                "metrics": found.metrics | probes,
                "weights": found.weights,
                "evaluations": evaluations,
                "train_s": found.train_s,
                "eval_s": found.eval_s + sum(_seconds(evaluations)),
                "summary": self._summary(training),
                # What takes long is done after the epoch is saved, and not lost with a worker.
                "test_due": last and self.plan["test"] and not found.diverged,
            }
        )
        training.save(self.folder / "last.pt")
        self._keep_best(training)
        self._test(training)

    def _test(self, training: Training) -> None:
        """Run the benchmarks on the test part if that is still due after the last epoch."""
        if not training.reports or not training.reports[-1].get("test_due"):
            return
        tested = training.evaluate(
            self.plan["benchmarks"],
            part="test",
            limit=self.plan["test_limit"],
            seed=self.plan["eval_seed"],
            checks=True,
            store=Path(self.plan["folder"]) / "cache",
        )
        records.write_examples(self.folder / "examples.npz", tested.judged)
        report = training.reports[-1]
        report["evaluations"] = report["evaluations"] + tested.rows
        report["eval_s"] += sum(_seconds(tested.rows))
        report["summary"] = self._summary(training)
        report["test_due"] = False
        training.save(self.folder / "last.pt")
        self._keep_best(training)

    def _keep_best(self, training: Training) -> None:
        """Let best.pt be last.pt if that is the best; after a kill between the two writes, too."""
        if self._best(training):
            # The same bytes under a second name: no second copy of the model is written.
            twin = self.folder / f"best.{os.getpid()}.tmp"
            twin.unlink(missing_ok=True)
            try:
                twin.hardlink_to(self.folder / "last.pt")
            except OSError:  # a file system without hard links
                shutil.copyfile(self.folder / "last.pt", twin)
            twin.replace(self.folder / "best.pt")

    def _best(self, training: Training) -> bool:
        sign = 1 if self.plan["mode"] == "max" else -1
        metric = self.plan["metric"]
        known = [one["metrics"][metric] for one in training.reports if metric in one["metrics"]]
        now = training.reports[-1]["metrics"].get(metric)
        return now is not None and all(sign * now >= sign * one for one in known)

    def _summary(self, training: Training) -> dict[str, Any]:
        on_gpu = training.device.type == "cuda"
        return {
            "num_params": sum(one.numel() for one in training.model.parameters()),
            "peak_mem_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write everything that the next step depends on."""
        assert self.training is not None
        self.training.save(Path(checkpoint_dir) / "last.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on from what `save_checkpoint` wrote."""
        assert self.training is not None
        self.training.load(Path(checkpoint_dir) / "last.pt")
        self.sent = self.training.done


def _seconds(rows: list[dict[str, Any]]) -> list[float]:
    """The duration of each benchmark once; its metrics' rows all carry it."""
    return list({row["split"] + row["name"]: row["duration_s"] for row in rows}.values())


def _failure(error: Exception) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "text": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _entitle(title: str) -> None:
    """Let a worker's title, which the dashboard's Cluster page and `ps` show, be `title`."""
    worker = ray._private.worker
    if worker.global_worker.mode == worker.WORKER_MODE:
        _raylet.setproctitle(title)  # type: ignore[attr-defined]
