"""A study in Weights & Biases: a run for every trial, grouped by arm.

Key and server are W&B's own business (`wandb login`, WANDB_MODE=offline, WANDB_BASE_URL).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainables.core.errors import MissingDataError

if TYPE_CHECKING:
    from study.mirror import Record, Source


class WandB:
    """Runs in a project; a run's id is the trial's, so that it is never there twice."""

    def __init__(self, project: str) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingDataError(
                "Mirroring to W&B needs a package that is not installed: pip install wandb"
            ) from None
        self._wandb: Any = wandb
        self.project = project
        self._runs: dict[int, Any] = {}
        self._sent: dict[int, int] = {}

    def update(self, source: Source, changed: Sequence[Record]) -> None:
        """Send the epochs that a run lacks, and finish the runs of trials that have ended."""
        for record in changed:
            if record.number not in self._runs:
                self._begin(source, record)
            run = self._runs[record.number]
            for report in record.reports[self._sent[record.number] :]:
                run.log(record.figures(report), step=int(report["epoch"]))
            self._sent[record.number] = len(record.reports)
            if record.ended is not None:
                run.summary["state"] = record.state
                run.summary["reason"] = record.ended["reason"]
                error = record.ended["reason"] in ("error", "oom", "lost")
                run.finish(exit_code=int(error))
                del self._runs[record.number]

    def close(self) -> None:
        """Let the runs of trials that go on be; they are taken up again by their ids."""
        for run in self._runs.values():
            run.finish()
        self._runs.clear()

    def _begin(self, source: Source, record: Record) -> None:
        planned = record.planned
        run = self._wandb.init(
            project=self.project,
            id=f"{source.study_id}-{record.number:04d}",
            name=record.title,
            group=f"{planned['arm']} {planned['weighter']}",
            job_type=planned["phase"],
            tags=[source.study],
            config=record.settings | {"seed": planned["seed"], "group": planned["group"]},
            resume="allow",
            # Trials run beside one another.
            reinit="create_new",
            settings=self._wandb.Settings(
                # The trials ran elsewhere: this machine's load and code say nothing about them.
                x_disable_stats=True,
                disable_code=True,
                disable_git=True,
                console="off",
                silent=True,
            ),
        )
        self._runs[record.number] = run
        # A run that is taken up again has all epochs before its next step.
        self._sent[record.number] = max(0, int(run.step) - 1) if run.resumed else 0
