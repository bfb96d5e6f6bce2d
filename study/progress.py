"""What a running study shows: a live view in a terminal, plain lines elsewhere; on stderr.

It counts what the ledger says, as `study status` does, so that the two never disagree.
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis.metrics import metric as metric_of
from study.tally import Counted, Tally

if TYPE_CHECKING:
    from study.conductor import Conductor

# What foreseeing the end takes, times this, is how long it is not done again.
SELDOM = 50
# How an end is called where its reason is not a word of its own.
_ENDS = {
    "rung": "stopped at a rung",
    "budget": "complete",
    "error": "failed",
    "oom": "failed, out of memory",
    "lost": "failed, its process was lost too often",
}


class Progress:
    """Shows a conductor's trials while in a `with` block; `tick` is cheap and often called."""

    def __init__(self, conductor: Conductor, console: Console | None = None) -> None:
        self.conductor = conductor
        self.console = console or Console(file=sys.stderr)
        self._began = monotonic()
        self._read = 0
        self._tally = Tally(conductor.study.resolved())
        self._count()
        self._told = {number for number, one in self._tally.trials.items() if one.ended}
        self._retries = self._tally.retries
        self._pause = ""
        self._foreseen, self._foresee_at = "", 0.0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, get_renderable=self.view, refresh_per_second=2, transient=True
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.tick()
        if self._live is not None:
            self._live.stop()

    def tick(self) -> None:
        """Without a terminal, a line for every trial that has ended since, retry and pause."""
        if self._live is not None:
            return
        self._count()
        if self._tally.retries > self._retries:
            self._retries = self._tally.retries
            self._print(f"{self._retries} so far went on in a new process after one was lost")
        # It is called after every event, and most trials were told of long ago.
        for number in sorted(self._tally.trials.keys() - self._told):
            trial = self._tally.trials[number]
            if trial.ended:
                self._told.add(number)
                self._print(
                    f"[{len(self._told)}/{self._tally.expected}] {self._line(trial)}" + self._left()
                )
        if (pause := self._paused()) != self._pause:
            self._pause = pause
            self._print(pause or "goes on")

    def eta(self) -> float | None:
        """Seconds until the end, at the speed of this segment; None at first."""
        self._count()
        found = self._tally.eta(datetime.now(UTC))
        return None if found is None else found[0]

    def view(self) -> Group:
        """The live view: counts by state, each arm's part and best, what runs now, time left."""
        self._count()
        tally = self._tally
        failed = "  ".join(f"{one} {number}" for one, number in tally.failures().items())
        head = Text.assemble(
            (tally.study, "bold"),
            f"  {tally.ended}/{tally.expected} trials  ",
            "  ".join(f"{state.lower()} {count}" for state, count in tally.states().items()),
            f"  epochs {tally.epochs}",
            f"  retries {tally.retries}" if tally.retries else "",
            f"  failed by: {failed}" if failed else "",
            f"  {clock(monotonic() - self._began)}",
            self._left(),
        )
        arms = Table(box=None, pad_edge=False)
        names = ("arm", "weighter", "trials", "epochs", "share", f"best {tally.metric}", "now")
        for title in names:
            left = title in ("arm", "weighter", "now")
            arms.add_column(title, justify="left" if left else "right")
        total = tally.device_s(tally.trials.values())
        for name in tally.arms:
            own = tally.of(name)
            now = ", ".join(
                f"{one.number:04d} ({one.epoch}/{one.full})"
                for one in own
                if one.state == "RUNNING"
            )
            best = tally.best(name, tally.metric)
            arms.add_row(
                *name,
                f"{sum(one.ended for one in own)}",
                f"{sum(one.epoch for one in own)}",
                f"{100 * tally.device_s(own) / total:.0f} %" if total else "–",
                "–" if best is None else metric_of(tally.metric, tally.mode).shown(best),
                now,
            )
        bar = Table.grid()  # a bar by itself does not end its line
        bar.add_row(ProgressBar(total=tally.expected, completed=tally.ended, width=60))
        pause = [Text(self._paused(), style="bold")] if self._paused() else []
        return Group(head, bar, *pause, arms)

    def _count(self) -> None:
        """Take up what the ledger holds since the last time."""
        new = self.conductor.ledger.events[self._read :]
        self._read += len(new)
        self._tally.extend(new)

    def _left(self) -> str:
        # It looks at every trial: of thousands that take milliseconds, not at the end of each.
        if (began := monotonic()) >= self._foresee_at:
            self._foreseen = self._foresee()
            self._foresee_at = monotonic() + SELDOM * (monotonic() - began)
        return self._foreseen

    def _foresee(self) -> str:
        found = self._tally.eta(datetime.now(UTC))
        if found is None or found[0] <= 0:
            return ""
        # How long the test of a finalist takes is known when the first one has been through it.
        return f"  ETA {clock(found[0])}" + ("" if found[1] else " + tests")

    def _paused(self) -> str:
        """Why no more trials begin, where that is so; those that run end their epoch first."""
        kind, _, why = self.conductor.halted.partition(": ")
        if not kind:
            return ""
        return f"{'paused' if kind in ('disk', 'storage') else 'stopping'}: {why}"

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _line(self, trial: Counted) -> str:
        how = _ENDS.get(trial.reason, trial.reason)
        metric = self._tally.metric
        value = trial.values.get(metric, math.nan)
        shown = f"{metric} {metric_of(metric, self._tally.mode).shown(value)}"
        epochs = f"{trial.epoch} epoch{'' if trial.epoch == 1 else 's'}"
        return f"{trial.title}: {how} after {epochs}, {shown}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
