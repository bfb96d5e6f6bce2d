"""Ledgers written by hand, with times of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from analysis import events

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Tree = dict[str, Any]


def at(second: float) -> datetime:
    """So many seconds after the study began."""
    return BEGAN + timedelta(seconds=second)


def asked(**changes: Any) -> Tree:
    """A resolved study of two arms with two trials each and one confirmation; 4 epochs a trial."""
    plain: Tree = {
        "schema_version": 2,
        "study": "written",
        "study_id": "abc",
        "question": "Is it so?",
        "baseline": "plain",
        "arms": [{"arm": "plain", "weighter": "Fixed"}, {"arm": "kl", "weighter": "CoV"}],
        "search": {"trials_per_arm": 2, "objectives": {"validation/accuracy": "max"}},
        "schedule": {"max_epochs": 4},
        "confirm": {"top": 1, "seeds": 1},
        "budget": {},
        "resources": {"cpu": 2, "gpu": 0},
    }
    for key, value in changes.items():
        plain[key] = plain[key] | value if isinstance(value, dict) else value
    return plain


class Written:
    """A study's folder whose ledger is written line by line."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.resolved = asked(**changes)
        (folder / "resolved.json").write_text(json.dumps(self.resolved), encoding="utf-8")
        self.ledger = folder / events.FILE
        self.trials = 0
        self.add(0, "study", schema_version=2, study="written", study_id="abc")

    def add(self, second: float, event: str, **fields: Any) -> None:
        """One more line, `second` after the study began."""
        time = at(second).isoformat()
        line = events.encode({"event": event, "time": time} | fields) + "\n"
        with self.ledger.open("a", encoding="utf-8") as file:
            file.write(line)

    def planned(self, second: float, arm: int = 0, **changes: Any) -> int:
        """A planned and started trial of an arm; its number."""
        one = self.resolved["arms"][arm]
        fields = {
            "trial": self.trials,
            "phase": "search",
            "arm": one["arm"],
            "weighter": one["weighter"],
            "seed": 0,
            "group": f"g{self.trials}",
            "recipe": {},
            "params": {},
            "distributions": {},
            "place": 0,
        }
        self.add(second, "planned", **fields | changes)
        self.add(second, "started", trial=self.trials)
        self.trials += 1
        return self.trials - 1

    def report(
        self,
        second: float,
        trial: int,
        epoch: int,
        accuracy: float = 0.5,
        decision: str = "continue",
        rung: int | None = None,
        train_s: float = 1.0,
        eval_s: float = 1.0,
        **metrics: float,
    ) -> None:
        """A report of one second of training and one of validation."""
        found = {"validation/accuracy": accuracy} | {
            key.replace("_", "/"): value for key, value in metrics.items()
        }
        self.add(
            second,
            "report",
            trial=trial,
            epoch=epoch,
            metrics=found,
            weights={"main": {"weight": 1.0}},
            evaluations=[],
            rung=rung,
            train_s=train_s,
            eval_s=eval_s,
            decision=decision,
            summary=None,
        )

    def ended(self, second: float, trial: int, state: str, reason: str, **fields: Any) -> None:
        """The end of a trial."""
        rest = {"error": None, "summary": None} | fields
        self.add(second, "ended", trial=trial, state=state, reason=reason, **rest)

    def trained(
        self, second: float, trial: int, epochs: int = 4, accuracy: float = 0.5, **last: Any
    ) -> None:
        """All epochs of a trial, one every two seconds, and its end by its budget."""
        for epoch in range(1, epochs + 1):
            done = epoch == epochs
            self.report(
                second + 2 * epoch,
                trial,
                epoch,
                accuracy,
                "complete" if done else "continue",
                **(last if done else {}),
            )
        self.ended(second + 2 * epochs, trial, "COMPLETE", "budget")
