"""What a running study shows: a live view in a terminal, plain lines elsewhere; on stderr."""

from __future__ import annotations

import math
import sys
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis.metrics import metric as metric_of

if TYPE_CHECKING:
    from study.conductor import Conductor, Trial

ENDED = ("COMPLETE", "PRUNED", "FAIL")


class Progress:
    """Shows a conductor's trials while in a `with` block; `tick` is cheap and often called."""

    def __init__(self, conductor: Conductor, console: Console | None = None) -> None:
        self.conductor = conductor
        self.console = console or Console(file=sys.stderr)
        self._began = monotonic()
        self._before = _epochs(conductor)
        self._told = {one.number for one in conductor.trials if one.state in ENDED}
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
        """Without a terminal, a line for every trial that has ended since."""
        if self._live is not None:
            return
        for trial in self.conductor.trials:
            if trial.state in ENDED and trial.number not in self._told:
                self._told.add(trial.number)
                left = self.eta()
                self.console.print(
                    f"[{len(self._told)}/{self.conductor.expected}] {self._line(trial)}"
                    + (f"  ETA {clock(left)}" if left else ""),
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )

    def eta(self) -> float | None:
        """Seconds until the end, from the epochs per second of this segment; None at first."""
        spent = _epochs(self.conductor) - self._before
        if spent == 0:
            return None
        trials = self.conductor.trials
        full = self.conductor.study.epochs
        searched = [one.epoch for one in trials if one.phase == "search" and one.state in ENDED]
        typical = sum(searched) / len(searched) if searched else full
        unplanned = max(0, self.conductor.searching - len(trials))
        confirming = self.conductor.expected - self.conductor.searching
        confirmed = sum(one.epoch for one in trials if one.phase == "confirm")
        open_ = sum(
            max(0.0, typical - one.epoch)
            for one in trials
            if one.phase == "search" and one.state not in ENDED
        )
        left = open_ + unplanned * typical + confirming * full - confirmed
        return left * (monotonic() - self._began) / spent

    def view(self) -> Group:
        """The live view: counts by state, the best of every arm, what runs now, time left."""
        trials = self.conductor.trials
        states = Counter(one.state for one in trials)
        ended = sum(states[one] for one in ENDED)
        left = self.eta()
        head = Text.assemble(
            (self.conductor.study.study, "bold"),
            f"  {ended}/{self.conductor.expected} trials  ",
            "  ".join(f"{state.lower()} {count}" for state, count in sorted(states.items())),
            f"  epochs {_epochs(self.conductor)}",
            f"  {clock(monotonic() - self._began)}",
            f"  ETA {clock(left)}" if left else "",
        )
        metric = self.conductor.study.search.metric
        arms = Table(box=None, pad_edge=False)
        for name in ("arm", "weighter", "trials", "epochs", f"best {metric}", "now"):
            arms.add_column(name, justify="left" if name in ("arm", "weighter", "now") else "right")
        for arm in self.conductor.study.arms:
            own = [one for one in trials if one.arm.name == arm.name]
            now = ", ".join(
                f"{one.number:04d} ({one.epoch}/{self.conductor.study.epochs})"
                for one in own
                if one.running
            )
            arms.add_row(
                arm.arm,
                arm.weighter,
                f"{sum(one.state in ENDED for one in own)}",
                f"{sum(one.epoch for one in own)}",
                _best(own, metric, self.conductor.study.search.mode),
                now,
            )
        bar = Table.grid()  # a bar by itself does not end its line
        bar.add_row(ProgressBar(total=self.conductor.expected, completed=ended, width=60))
        return Group(head, bar, arms)

    def _line(self, trial: Trial) -> str:
        how = {"rung": "stopped at a rung", "budget": "complete"}.get(trial.reason, trial.reason)
        search = self.conductor.study.search
        value = f"{search.metric} {metric_of(search.metric, search.mode).shown(trial.value)}"
        epochs = f"{trial.epoch} epoch{'' if trial.epoch == 1 else 's'}"
        return f"{trial.name}: {how} after {epochs}, {value}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _epochs(conductor: Conductor) -> int:
    return sum(one.epoch for one in conductor.trials)


def _best(trials: list[Trial], metric: str, mode: str) -> str:
    values = [one.value for one in trials if math.isfinite(one.value)]
    if not values:
        return "–"
    return metric_of(metric, mode).shown(max(values) if mode == "max" else min(values))
