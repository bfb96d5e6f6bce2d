"""A study in MLflow: an experiment of its name with a run for every trial.

`mlflow-skinny` is enough to write to a server.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trainables.core.errors import MissingDataError

if TYPE_CHECKING:
    from analysis.events import Event
    from study.mirror import Record, Source

# Tags by which a run is found again.
TRIAL, EPOCHS = "study.trial", "study.epochs"
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
_AT_ONCE = 1000  # metrics that a server takes in one call


class MLflow:
    """Runs at a tracking URI; a tag of each says which trial it is and how far it is known."""

    def __init__(self, uri: str) -> None:
        try:
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise MissingDataError(
                "Mirroring to MLflow needs a package that is not installed: "
                "pip install mlflow-skinny"
            ) from None
        self._client: Any = MlflowClient(tracking_uri=uri)
        self._experiment = ""
        self._runs: dict[str, Any] = {}
        self._sent: dict[str, int] = {}
        self._ended: set[str] = set()

    def update(self, source: Source, changed: Sequence[Record]) -> None:
        """Log the epochs that a run lacks, and end the runs of trials that have ended."""
        if not self._experiment:
            self._open(source)
        for record in changed:
            trial = f"{source.study_id}-{record.number:04d}"
            if trial not in self._runs:
                self._begin(source, record, trial)
            self._log(record, trial)
            if record.ended is not None and trial not in self._ended:
                run = self._runs[trial]
                self._client.set_tag(run, "study.reason", record.ended["reason"])
                self._client.set_terminated(run, _STATUS[record.state], _ms(record.ended))
                self._ended.add(trial)

    def close(self) -> None:
        """Nothing is pending."""

    def _open(self, source: Source) -> None:
        found = self._client.get_experiment_by_name(source.study)
        self._experiment = (
            found.experiment_id if found else self._client.create_experiment(source.study)
        )
        token = None
        while token != "":
            page = self._client.search_runs([self._experiment], max_results=500, page_token=token)
            for run in page:
                trial = run.data.tags.get(TRIAL, "")
                self._runs[trial] = run.info.run_id
                self._sent[trial] = int(run.data.tags.get(EPOCHS, 0))
                if run.info.status != "RUNNING":
                    self._ended.add(trial)
            token = page.token or ""

    def _begin(self, source: Source, record: Record, trial: str) -> None:
        planned = record.planned
        tags = {TRIAL: trial, "study.phase": planned["phase"], "study.group": planned["group"]}
        run = self._client.create_run(
            self._experiment,
            start_time=_ms(record.started or planned),
            run_name=record.title,
            tags=tags,
        )
        self._runs[trial], self._sent[trial] = run.info.run_id, 0
        for key, value in (record.settings | {"seed": planned["seed"]}).items():
            self._client.log_param(run.info.run_id, _key(key), value)

    def _log(self, record: Record, trial: str) -> None:
        from mlflow.entities import Metric

        fresh = record.reports[self._sent[trial] :]
        if not fresh:
            return
        run = self._runs[trial]
        rows = [
            Metric(_key(name), value, _ms(report), int(report["epoch"]))
            for report in fresh
            for name, value in record.figures(report).items()
        ]
        for first in range(0, len(rows), _AT_ONCE):
            self._client.log_batch(run, metrics=rows[first : first + _AT_ONCE])
        self._sent[trial] = len(record.reports)
        self._client.set_tag(run, EPOCHS, str(self._sent[trial]))


def _key(name: str) -> str:
    """A name with only what MLflow allows in one."""
    return re.sub(r"[^\w\-./ :]", "-", name)


def _ms(event: Event) -> int:
    return int(1000 * datetime.fromisoformat(event["time"]).timestamp())
