"""A study in TensorBoard: a folder of scalars for every trial, and its settings as hparams.

tensorboardX, which Ray Tune brings along, writes the files; nothing else has to be installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.core.errors import SettingError

if TYPE_CHECKING:
    from study.mirror import Record, Source

MARK = "mirrored.json"


class TensorBoard:
    """Scalars by epoch, with the times of the ledger; `folder` is what TensorBoard is shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[int, Any] = {}

    def update(self, source: Source, changed: Sequence[Record]) -> None:
        """Write the epochs that a trial's folder lacks; its mark says how many it has."""
        for record in changed:
            place = self.folder / source.study / re.sub(r"[^\w.-]+", "-", record.title)
            done = self._done(place, f"{source.study_id}-{record.number}")
            ended = record.ended is not None
            if done["epochs"] < len(record.reports) or ended != done["ended"]:
                self._write(source, record, place, done)

    def close(self) -> None:
        """Close the files of the trials that go on."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write(self, source: Source, record: Record, place: Path, done: dict[str, Any]) -> None:
        from tensorboardX import SummaryWriter

        writer = self._writers.get(record.number)
        if writer is None:
            place.mkdir(parents=True, exist_ok=True)
            # A file is called after the second it was opened in, which may come again.
            writer = SummaryWriter(str(place), filename_suffix=f".from{done['epochs']}")
            self._writers[record.number] = writer
        for report in record.reports[done["epochs"] :]:
            at = datetime.fromisoformat(report["time"]).timestamp()
            for name, value in record.figures(report).items():
                writer.add_scalar(name, value, int(report["epoch"]), walltime=at)
        ended = record.ended is not None
        if ended and not done["ended"]:
            last = {one: record.last(one) for one in source.objectives}
            known = {f"hparam/{one}": value for one, value in last.items() if value == value}
            writer.add_hparams({k: _plain(v) for k, v in record.settings.items()}, known, "hparams")
        writer.flush()
        done |= {"epochs": len(record.reports), "ended": ended}
        (place / MARK).write_text(json.dumps(done), encoding="utf-8")
        if ended:
            self._writers.pop(record.number).close()

    def _done(self, place: Path, trial: str) -> dict[str, Any]:
        try:
            done = json.loads((place / MARK).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"trial": trial, "epochs": 0, "ended": False}
        if done["trial"] != trial:
            raise SettingError(f"{place} mirrors another study; give another --tensorboard.")
        return dict(done)


def _plain(value: Any) -> bool | str | float | int:
    return value if isinstance(value, bool | str | float | int) else str(value)
