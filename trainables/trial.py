"""A trial as Ray sees it: one configuration trained once with one seed, an epoch per step."""

from __future__ import annotations

import gc
import json
import math
import traceback
from pathlib import Path
from time import monotonic
from typing import Any

import ray
import torch
from ray import _raylet, tune

from . import ranks
from .checkpoints import EXAMPLES, LAST, POLICIES, Checkpoints
from .core import records
from .core.parallel import ProcessLost
from .core.training import Training
from .storage import DISK_ERRNOS, Scratch, Storage, StorageError, local_folder

# How libraries say that memory is used up, where they have no class of errors for it.
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)

# Epochs of together so many seconds are reported at once: a report costs milliseconds of Ray's.
AHEAD_S = 0.2


class Trial(tune.Trainable):  # type: ignore[misc]
    """Trains one planned trial and reports each epoch.

    `config["plan"]` is JSON text with: number, name, folder (of the study), recipe, data_root,
    cpus and gpus (of all its processes together), processes (which share every batch; 1 where it is
    left out), reported (epochs that the ledger already has), decided_at (the epochs after which the
    driver may stop it; None or left out: after any), probe_at (epochs after which
    `probe_benchmarks` run on at most `probe_limit` validation examples), test (whether `benchmarks`
    run on the test part at the end, on at most `test_limit` examples, 0 for all), metric and mode
    (which checkpoint is the best one), eval_seed, and storage (a path or the address of a storage
    elsewhere; "": `folder`).

    A checkpoint is kept in `trials/<number>` of the storage after every epoch, with all reports so
    far. Whoever starts the trial again, with a new driver or after a lost process, gets the reports
    that the ledger lacks and then new ones. Where an older checkpoint than the ledger's last report
    had to be taken, the next report says so: `checkpoint`, with the epoch gone back to and the
    problem. Errors of the training are reported as a result, so that Ray retries only what was lost
    through no fault of the trial; their `class` is oom, storage (no fault of the configuration:
    what was kept is kept, and the trial can go on from it) or error.
    """

    training: Training | None = None
    scratch: Scratch | None = None

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """The CPUs and GPUs, or parts of them, and the memory that the plan asks for."""
        plan = json.loads(config["plan"])
        asked = {"CPU": plan["cpus"], "GPU": plan["gpus"]}
        if plan.get("memory"):
            asked["memory"] = plan["memory"]
        return tune.PlacementGroupFactory([asked])

    def setup(self, config: dict[str, Any]) -> None:
        """Take the plan; nothing of the trial is touched before its first step.

        Ray may start a process for a trial and then give the trial to another one that came free.
        """
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this process; nothing of the one before is left."""
        self._end_training()
        if torch.cuda.is_available():
            # For the memory of the device alone: a collection takes half a second.
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self._take(new_config)
        return True

    def __repr__(self) -> str:
        """How the dashboard's list of actors calls this process; Ray asks once, at its start."""
        return f"began with {getattr(self, 'plan', {}).get('name', 'no trial')}"

    def _take(self, config: dict[str, Any]) -> None:
        self.plan: dict[str, Any] = json.loads(config["plan"])
        self.failure: dict[str, Any] | None = None
        self.went_back: dict[str, Any] | None = None
        self.training = None
        self.sent = int(self.plan["reported"])

    def begin(self) -> None:
        """Begin the planned trial, from its checkpoint where there is one; `step` may do it."""
        torch.set_num_threads(max(1, int(self.plan["cpus"])))
        try:
            self.kept = self._kept()
            self.training = ranks.begin(
                self.plan["recipe"],
                root=self.plan["data_root"],
                processes=int(self.plan.get("processes", 1)),
                cpus=self.plan["cpus"],
                gpus=self.plan["gpus"],
            )
            self._go_on(self.training)
        except ProcessLost:
            # For Ray, which starts the trial again, as if its own process had been lost.
            raise
        except Exception as error:
            self.failure = _failure(error)

    def _kept(self) -> Checkpoints:
        """Where the trial's files are, and where those of the evaluation are kept (`cache`)."""
        name = f"trials/{self.plan['number']:04d}"
        place = self.plan.get("storage", "")
        folder = local_folder(place or self.plan["folder"])
        if folder is not None:
            self.cache = Path(self.plan["folder"]) / "cache"
            return Checkpoints(folder / name)
        self.scratch = self.scratch or Scratch()
        self.cache = self.scratch.folder / "cache"
        return Checkpoints(self.scratch.emptied("trial"), Storage(place), name)

    def _go_on(self, training: Training) -> None:
        """From the newest checkpoint that can be read; the next report tells if one could not."""
        problem = self.kept.load(training)
        if not problem and training.done < self.sent:
            problem = "there is no newer checkpoint"
        if problem:
            self.went_back = {"epoch": training.done, "problem": problem}
        self._keep_best(training)

    def step(self) -> dict[str, Any]:
        """The next report that the ledger lacks, trained for if need be; several of short epochs.

        They end with the first report that the driver decides on, or after `AHEAD_S`.
        """
        _entitle(f"ray::Trial {self.plan['name']}")
        if self.training is None and self.failure is None:
            self.begin()
        if self.failure is None:
            try:
                return self._next()
            except ProcessLost:
                raise
            except Exception as error:
                self.failure = _failure(error)
        # Never "done": Ray would stop the trial without telling the scheduler what it reported.
        return {"failure": json.dumps(self.failure)}

    def _next(self) -> dict[str, Any]:
        began = monotonic()
        reports = [self._report()]
        while monotonic() < began + AHEAD_S and not self._awaited(reports[-1]):
            try:
                reports.append(self._report())
            except ProcessLost:
                raise
            except Exception as error:
                # What went well before it is reported, the next step tells of it.
                self.failure = _failure(error)
                break
        # As text: Ray keeps statistics of every number that it sees, and nobody reads them.
        return {"epoch": reports[-1]["epoch"], "reports": json.dumps(reports)}

    def _awaited(self, report: dict[str, Any]) -> bool:
        """Whether the trial goes on after the report only if the driver says so."""
        decided_at = self.plan.get("decided_at")
        return (
            decided_at is None
            or report["epoch"] in decided_at
            or not all(math.isfinite(one) for one in report["metrics"].values())
        )

    def _report(self) -> dict[str, Any]:
        training = self.training
        assert training is not None
        self._test(training)
        # More than once only where the checkpoint is older than the ledger: the same epochs again.
        while self.sent >= training.done:
            self._train(training)
        report: dict[str, Any] = training.reports[self.sent]
        self.sent += 1
        if self.went_back is not None:
            report = report | {"checkpoint": self.went_back}
            self.went_back = None
        return report

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
        if found.records:
            records.add_policies(self.kept.folder / POLICIES, found.epoch, found.records)
            self.kept.keep(POLICIES)
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
        self.kept.save(training)
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
            store=self.cache,
        )
        records.write_examples(self.kept.folder / EXAMPLES, tested.judged)
        self.kept.keep(EXAMPLES)
        report = training.reports[-1]
        report["evaluations"] = report["evaluations"] + tested.rows
        report["eval_s"] += sum(_seconds(tested.rows))
        report["summary"] = self._summary(training)
        report["test_due"] = False
        self.kept.save(training)
        self._keep_best(training)

    def _keep_best(self, training: Training) -> None:
        """Let best.pt be last.pt if that is the best; after a kill between the two writes, too."""
        if training.reports and self._best(training):
            self.kept.keep_best()

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
        """Write everything that the next step depends on; there has been one."""
        assert self.training is not None
        self.training.save(Path(checkpoint_dir) / LAST)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on from what `save_checkpoint` wrote."""
        if self.training is None:
            self.begin()
        assert self.training is not None
        self.training.load(Path(checkpoint_dir) / LAST)
        self.sent = self.training.done

    def _end_training(self) -> None:
        if self.training is not None:
            self.training.close()
            self.training = None

    def cleanup(self) -> None:
        """Leave no further process, and nothing on the local disk of a storage elsewhere."""
        self._end_training()
        if self.scratch is not None:
            self.scratch.remove()
            self.scratch = None


def _seconds(rows: list[dict[str, Any]]) -> list[float]:
    """The duration of each benchmark once; its metrics' rows all carry it."""
    return list({row["split"] + row["name"]: row["duration_s"] for row in rows}.values())


def _failure(error: Exception) -> dict[str, Any]:
    return {
        "class": _class(error),
        "type": type(error).__name__,
        "text": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _class(error: BaseException) -> str:
    """oom, storage or error: whose fault it is, and what may be done about it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "oom"
    if isinstance(error, RuntimeError) and any(one in str(error) for one in OUT_OF_MEMORY):
        return "oom"
    if isinstance(error, StorageError):
        return "storage"
    if isinstance(error, OSError) and error.errno in DISK_ERRNOS:
        return "storage"
    # torch wraps what the file that it writes to raises.
    cause = error.__cause__ or error.__context__
    if isinstance(error, RuntimeError) and cause is not None:
        return _class(cause)
    return "error"


def _entitle(title: str) -> None:
    """Let a worker's title, which the dashboard's Cluster page and `ps` show, be `title`."""
    worker = ray._private.worker
    if worker.global_worker.mode == worker.WORKER_MODE:
        _raylet.setproctitle(title)  # type: ignore[attr-defined]
