"""A study on Ray: the conductor's answers as a searcher and a scheduler of `ray.tune.Tuner`.

The only file that knows Tuner. Ray places trials, keeps their processes and restarts lost ones; it
decides nothing, and what it writes is thrown away.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

# First of all: it sets what Ray reads from the environment when its modules load.
from study.cluster import Cluster  # isort: skip

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.conductor import Conductor, plan
from trainables.core.errors import SettingError
from trainables.trial import Trial

# How often the nodes of a cluster are counted again; they come and go.
RECOUNT_S = 15.0
# How often the loss of a process in which a trial never began is not counted against the trial.
FORGIVEN = 16


class _Searcher(Searcher):  # type: ignore[misc]
    """Ray asks for the next trial."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def suggest(self, trial_id: str) -> Any:
        return self._run.suggest(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the conductor saw the end in the report that caused it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""


class _Scheduler(FIFOScheduler):  # type: ignore[misc]
    """Ray asks whether a trial goes on."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        goes_on = self._run.result(trial.trial_id, result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)


class _Callback(tune.Callback):  # type: ignore[misc]
    """Ray tells when a trial's process starts, is lost and retried, or is given up."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._run.started(self._run.number(trial.trial_id))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._run.recovered(self._run.number(trial.trial_id)):
            # It never began there: Ray gave it a waiting process that was lost as well.
            trial.max_failures += 1

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = self._run.number(trial.trial_id)
        if self._run.forgives(number):
            # Ray retries only what it calls running. It is asked for again under another name.
            self._run.conductor.let_go(number, "a process was lost before the trial began in it")
        else:
            self._run.conductor.failed(number, *_lost(trial), of_class="lost")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._run.turn()


@dataclass
class _Run:
    """One segment of a study: the conductor, and which Ray trial is which of ours."""

    conductor: Conductor
    folder: Path
    data_root: str
    storage: str
    cluster: Cluster
    tick: Callable[[], None]

    def __post_init__(self) -> None:
        self.slots = self._slots()
        self._counted = monotonic()
        self._numbers: dict[str, int] = {}
        self._begun: set[int] = set()
        self._forgiven: Counter[int] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles searcher and scheduler for its own restore, which is never used here.
        return {}

    def turn(self) -> None:
        """After every turn of Ray's loop."""
        if not self.cluster.local and monotonic() > self._counted + RECOUNT_S:
            self._counted = monotonic()
            self.cluster = self.cluster.now()
            with suppress(SettingError):  # for now not even one fits; what runs may go on
                self.slots = self._slots()
        self.tick()

    def _slots(self) -> int:
        asked = self.conductor.study.resources
        fits = self.cluster.slots(asked.cpu, asked.gpu, memory=asked.memory)
        return min(asked.max_concurrent or fits, fits)

    def number(self, trial_id: str) -> int:
        return self._numbers[trial_id]

    def started(self, number: int) -> None:
        self._begun.add(number)
        self.conductor.started(number)

    def recovered(self, number: int) -> bool:
        """Record that a trial's process was lost; whether that does not count as a retry.

        When several processes die at once, Ray can hand a dead waiting one to a trial that it
        retries, again and again within milliseconds, which would use up all retries for nothing.
        """
        self.conductor.retried(number, "the process was lost")
        forgiven = self.forgives(number)
        self._begun.discard(number)
        return forgiven

    def forgives(self, number: int) -> bool:
        """Whether the loss of a process is no loss of the trial's, because it never began there."""
        forgiven = number not in self._begun and self._forgiven[number] < FORGIVEN
        self._forgiven[number] += forgiven
        return forgiven

    def suggest(self, trial_id: str) -> Any:
        if self.conductor.finished or self.conductor.halted or self.conductor.too_many_failures:
            return Searcher.FINISHED
        if len(self.conductor.running) >= self.slots:
            return None
        trial = self.conductor.next()
        if trial is None:
            return None
        self._numbers[trial_id] = trial.number
        found = plan(
            self.conductor, trial, str(self.folder), self.data_root, self.storage, ahead=True
        )
        return {"plan": found}

    def result(self, trial_id: str, result: dict[str, Any]) -> bool:
        number = self.number(trial_id)
        if "failure" in result:
            failure = json.loads(result["failure"])
            if failure["class"] == "storage":
                # No fault of the trial, and the next one would fare no better.
                self.conductor.let_go(number, failure["text"])
                self.conductor.halted = self.conductor.halted or f"storage: {failure['text']}"
            else:
                self.conductor.failed(
                    number, failure["type"], failure["traceback"], failure["class"]
                )
            return False
        with self.conductor.ledger.together():
            return all(self.conductor.report(number, one) for one in json.loads(result["reports"]))


def _lost(trial: Any) -> tuple[str, str]:
    """Type and text of the error that Ray holds against a trial."""
    error = trial.get_pickled_error() or trial.get_error()
    if error is None:
        return "ProcessLost", "the trial's process was lost more often than resources.max_retries"
    return type(error).__name__, str(error)


def run(
    conductor: Conductor,
    folder: Path,
    *,
    cluster: Cluster,
    data_root: str = "",
    storage: str = "",
    tick: Callable[[], None] = lambda: None,
) -> bool:
    """Run the study on a connected cluster until it is done; whether it was (else interrupted).

    `storage` is where trials keep their checkpoints ("": in the study's folder, which every node
    then has to see). `tick` is called after every turn of Ray's loop. The first SIGINT ends the
    segment with all that has been reported kept; trials go on from their last checkpoints at the
    next one.
    """
    resources = conductor.study.resources
    segment = _Run(
        conductor=conductor,
        folder=folder.resolve(),
        data_root=data_root,
        storage=storage,
        cluster=cluster,
        tick=tick,
    )
    # All processes start at once. With Ray's default of one pending trial, a short trial would end
    # before the next process is up, hand its own on, and the study would run one trial at a time.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(segment.slots)
    scratch = Path(tempfile.mkdtemp(prefix="tune-", dir=cluster.scratch(folder)))
    try:
        with warnings.catch_warnings(), _handlers_kept():
            warnings.simplefilter("ignore")
            logging.getLogger("ray.tune").setLevel(logging.ERROR)
            tune.Tuner(
                Trial,
                tune_config=tune.TuneConfig(
                    num_samples=-1,
                    search_alg=_Searcher(segment),
                    scheduler=_Scheduler(segment),
                    reuse_actors=True,
                    trial_name_creator=lambda trial: f"trial_{trial.trial_id}",
                    trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}",
                ),
                run_config=tune.RunConfig(
                    name="segment",
                    storage_path=str(scratch),
                    verbose=0,
                    callbacks=[_Callback(segment)],
                    failure_config=tune.FailureConfig(max_failures=resources.max_retries),
                    # Trials keep their own; Ray would ask each for one more at its end.
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return conductor.finished


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray catches Ctrl-C and SIGUSR1 and leaves its handlers behind, which then do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def connected() -> bool:
    """Whether this process is connected to a Ray cluster."""
    return bool(ray.is_initialized())
