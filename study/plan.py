"""What a study will take, before anything runs: trials, epochs, hours, disk, and until when.

Every arm is built with its defaults, and trained and evaluated for a moment on this machine. Then
the whole study is played through with these times by the study's own schedules, on values drawn at
random, because how many epochs a search takes and how well trials fill the slots follows from no
formula. Nothing is written but a checkpoint in a temporary folder, for its size.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from study.controls import LONGER, MATCHED_COMPUTE, foreseen
from study.schedules import Decision, schedule
from study.spec import Study

if TYPE_CHECKING:
    from trainables.core.data._source import Examples
    from trainables.core.training import Training

# Measured on two cores, see benchmarks/README.md: Ray and the first process of a trial, a trial
# that is planned and recorded, a report that is sent and recorded, and tables and report.
START_S = 9.0
TRIAL_S = 0.03
REPORT_S = 0.015
FINISH_S = 8.0
# By how much a machine that also does other things, or a moment of measuring, misleads either way.
NOISE = 1.3
# Of the time that an attack takes which leaves what it has fooled alone: where nothing stands, and
# where about as much stands as does usually.
FOOLED, USUAL = 0.05, 0.4
# Longer searches of an attack are timed with so few steps, and scaled.
FEW_STEPS = 20
# Of the CPUs that other programs use, from which on times say little; measuring uses one itself.
BUSY = 1.2
# An epoch or a benchmark that takes no time is timed at most so often.
REPEATS = 9
# Examples on which the figures of an attack are checked (`reliability.FEW`).
CHECKED = 100
# Bytes of tables per byte of the ledger: measured on tiny and on usual studies.
TABLES_PER_LEDGER = 0.1
# Plays of the study; fewer of a study with so many epochs that they would take long.
PLAYS = 20
EPOCHS_IN_ALL = 200_000


@dataclass(frozen=True)
class Estimate:
    """A number with the range in which it is expected."""

    low: float
    middle: float
    high: float

    def times(self, factor: float) -> Estimate:
        """All three times a number."""
        return Estimate(self.low * factor, self.middle * factor, self.high * factor)

    def plus(self, other: Estimate) -> Estimate:
        """The sum; its range is that of two that err the same way."""
        return Estimate(self.low + other.low, self.middle + other.middle, self.high + other.high)


NOTHING = Estimate(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Cost:
    """What one trial of an arm takes, measured with the arm's defaults.

    Seconds to begin, of an epoch (training and validation, with its checkpoint), of the benchmarks
    at a rung, of those on the test part; bytes of a checkpoint, of a report in the ledger, and of
    what is kept of every test example.
    """

    begin_s: float
    epoch_s: float
    probe_s: Estimate = NOTHING
    test_s: Estimate = NOTHING
    checkpoint_bytes: int = 0
    report_bytes: int = 0
    examples_bytes: int = 0


@dataclass
class Played:
    """One way in which a study may go: per arm epochs and seconds of trials, and all it lasted.

    `begun` are trials, `probes` rungs at which benchmarks ran, `tested` confirmed trials.
    """

    epochs: list[int]
    confirmed: list[int]
    busy_s: list[float]
    begun: int = 0
    probes: int = 0
    tested: int = 0
    wall_s: float = 0.0


@dataclass(frozen=True)
class ArmPlan:
    """A row of the table: trials and epochs of an arm with its confirmation, and their time.

    With its controls, too; the baseline trained as long as the arm counts as the arm's.
    """

    arm: str
    trials: int
    epochs: Estimate
    most_epochs: int
    epoch_s: float
    probe_s: float
    test_s: float
    share: float
    device_h: Estimate


@dataclass(frozen=True)
class Plan:
    """What a study will take. `slots` trials run at once; `device` is what hours are of."""

    study: str
    slots: int
    device: str
    trials_per_arm: int
    search_trials: int
    confirm_trials: int
    control_trials: int
    most_epochs: int
    epochs: Estimate
    device_h: Estimate
    disk_bytes: Estimate
    wall_s: Estimate
    arms: list[ArmPlan]
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def plan(
    study: Study,
    *,
    data_root: str = "",
    slots: int = 1,
    spend_s: float = 2.0,
    say: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Measure every arm for about `spend_s` seconds of training and as many per benchmark.

    Raises what `Training` raises for data that are not there and settings that do not fit.
    """
    import torch

    gpu = study.resources.gpu > 0
    device = "cuda" if gpu and torch.cuda.is_available() else "cpu"
    costs = []
    with _threads(max(1, int(study.resources.cpu))):
        for arm in study.arms:
            say(f"Timing {arm.name} …")
            costs.append(measure(study, arm.tree, data_root, device, spend_s))
    found = reckon(study, costs, slots)
    if gpu and device == "cpu":
        found.notes.insert(
            0,
            "There is no GPU here: all was timed on a processor, and a GPU will be much faster.",
        )
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > BUSY * cores:
        found.notes.insert(
            0,
            f"This machine is busy (a load of {load:.0f} on {cores} CPUs): steps were timed on "
            "what is left of it, and a study will share that among its trials.",
        )
    if study.resources.processes > 1:
        found.notes.append(
            f"A trial's {study.resources.processes} processes were timed as one that does all."
        )
    return found


def reckon(study: Study, costs: Sequence[Cost], slots: int) -> Plan:
    """The plan that follows from what a trial of each arm costs; `costs` are in order of arms."""
    most = len(study.arms) * (study.search.trials_per_arm + _confirmations(study)) * study.epochs
    longer = _controls(study, costs)
    plays = max(3, min(PLAYS, EPOCHS_IN_ALL // most)) if study.schedule.name != "none" else 1
    likely = [play(study, costs, slots, seed) for seed in range(plays)]
    least = [play(study, _scaled(costs, "low"), slots, seed) for seed in range(plays)]
    worst = [play(study, _scaled(costs, "high"), slots, seed) for seed in range(plays)]

    def spread(of: Callable[[Played], float]) -> Estimate:
        return Estimate(min(map(of, least)), statistics.fmean(map(of, likely)), max(map(of, worst)))

    arms = []
    whole = statistics.fmean(sum(one.busy_s) for one in likely)
    for i, (arm, cost) in enumerate(zip(study.arms, costs, strict=True)):
        hours = spread(lambda one, i=i: one.busy_s[i] / 3600)  # type: ignore[misc]
        again = _again(study)
        arms.append(
            ArmPlan(
                arm=arm.name,
                trials=_trials(study) + again + again * len(longer[i]),
                epochs=spread(lambda one, i=i: one.epochs[i] + one.confirmed[i]),  # type: ignore[misc]
                most_epochs=(_trials(study) + again) * study.epochs
                + again * sum(one.epochs for one in longer[i]),
                epoch_s=cost.epoch_s,
                probe_s=cost.probe_s.middle,
                test_s=cost.test_s.middle,
                share=statistics.fmean(one.busy_s[i] for one in likely) / whole,
                device_h=hours.times(study.resources.gpu or study.resources.cpu),
            )
        )
    total = NOTHING
    for row in arms:
        total = total.plus(row.device_h)
    return Plan(
        study=study.study,
        slots=slots,
        device="GPU" if study.resources.gpu > 0 else "CPU",
        trials_per_arm=_trials(study),
        search_trials=len(arms) * _trials(study),
        confirm_trials=len(arms) * _again(study),
        control_trials=_again(study) * sum(map(len, longer)),
        most_epochs=sum(row.most_epochs for row in arms),
        epochs=spread(lambda one: sum(one.epochs) + sum(one.confirmed)),
        device_h=total,
        disk_bytes=_disk(study, costs, likely),
        wall_s=spread(lambda one: one.wall_s),
        arms=arms,
        notes=_notes(study, costs, likely, slots),
    )


def play(study: Study, costs: Sequence[Cost], slots: int, seed: int) -> Played:
    """Run the study in made-up time: a trial's value is drawn once and stays the same.

    So the order of two trials never changes between rungs, which is what early stopping counts on.
    Arms take turns, and the schedule of each judges its trials; `budget` ends the search of an arm
    as it would.
    """
    draws = random.Random(seed)
    arms = range(len(study.arms))
    found = Played([0 for _ in arms], [0 for _ in arms], [0.0 for _ in arms])
    schedules = [schedule(study.schedule, study.mode) for _ in arms]
    rungs = {*schedules[0].rungs(), study.epochs}
    # A benchmark's figure that the search goes by is measured at the end of a confirmed trial, too.
    known_at_rungs = study.metric.count("/") > 1
    epochs: dict[int, int] = {}
    values: dict[int, float] = {}
    events: list[tuple[float, int, int]] = []
    planned = [0 for _ in arms]
    searched_s = [0.0 for _ in arms]
    limit = _trials(study)
    now = START_S if slots else 0.0
    part = 1 / len(study.arms)

    def spent(arm: int) -> bool:
        asked = study.budget
        per_trial = study.resources.gpu or study.resources.cpu
        return (
            planned[arm] >= limit
            or (asked.epochs > 0 and found.epochs[arm] >= asked.epochs * part)
            or (asked.device_s > 0 and searched_s[arm] * per_trial >= asked.device_s * part)
            or (asked.wall_s > 0 and now >= asked.wall_s)
        )

    def after(number: int, arm: int, began: float) -> None:
        """The end of the trial's next epoch."""
        epoch = epochs[number] + 1
        takes = costs[arm].epoch_s + REPORT_S
        if epoch in rungs:
            takes += costs[arm].probe_s.middle
            found.probes += 1
        searched_s[arm] += takes
        found.busy_s[arm] += takes + began
        heapq.heappush(events, (now + takes + began, number, arm))

    def take() -> bool:
        """Fill one slot: a paused trial that may go on comes before a new one."""
        for arm in arms:
            waiting = schedules[arm].promotable()
            if waiting is not None:
                schedules[arm].promoted(waiting)
                after(waiting, arm, TRIAL_S + costs[arm].begin_s)
                return True
        open_ = [arm for arm in arms if not spent(arm)]
        if not open_:
            return False
        arm = min(open_, key=lambda one: (planned[one], one))
        number = sum(planned)
        planned[arm] += 1
        epochs[number], values[number] = 0, draws.random()
        after(number, arm, TRIAL_S + costs[arm].begin_s)
        return True

    reports = 0
    free = slots
    while True:
        while free and take():
            free -= 1
        if not events:
            break
        now, number, arm = heapq.heappop(events)
        reports += 1
        epochs[number] += 1
        found.epochs[arm] += 1
        known = not known_at_rungs or epochs[number] in rungs
        decision = Decision.CONTINUE
        if known:
            decision = schedules[arm].report(number, epochs[number], values[number]).decision
        if decision is Decision.CONTINUE:
            after(number, arm, 0.0)
        else:
            free += 1
    now = _confirmed(study, costs, slots, now, found, planned)
    found.begun = sum(planned) + found.tested
    # One driver records everything: with many slots and short epochs it is what is waited for.
    alone = REPORT_S / 2 * (reports + sum(found.confirmed)) + TRIAL_S / 2 * found.begun
    found.wall_s = max(now, START_S + alone) + FINISH_S
    return found


def _confirmed(
    study: Study,
    costs: Sequence[Cost],
    slots: int,
    now: float,
    found: Played,
    planned: Sequence[int],
) -> float:
    """Play confirmation and controls, which begin when the search has ended; when they end."""
    ready = [now] * slots
    last = now
    # Controls begin with the last confirmations, and most of them when these have ended.
    confirmed = [[_Further(study.epochs, cost)] for cost in costs]
    for each in (confirmed, _controls(study, costs)):
        for _ in range(study.confirm.seeds):
            for arm, own in enumerate(each):
                for one in own * min(study.confirm.top, planned[arm]):
                    takes = TRIAL_S + one.cost.begin_s
                    takes += one.epochs * (one.cost.epoch_s + REPORT_S)
                    takes += one.cost.test_s.middle
                    end = heapq.heappop(ready) + takes
                    heapq.heappush(ready, end)
                    last = max(last, end)
                    found.confirmed[arm] += one.epochs
                    found.busy_s[arm] += takes
                    found.tested += 1
    return last


@dataclass(frozen=True)
class _Further:
    """What a trial of confirmation or controls takes: epochs, each as costly as `cost` says."""

    epochs: int
    cost: Cost


def _controls(study: Study, costs: Sequence[Cost]) -> list[list[_Further]]:
    """By arm the controls of each confirmed configuration, as far as its tree and costs tell.

    Other weights cost at most what the arm's do. The baseline gets the arm's time.
    """
    base = costs[study.arms.index(study.reference)]
    found = []
    for arm, cost in zip(study.arms, costs, strict=True):
        own = []
        for control in foreseen(study.confirm.controls, arm.tree, arm is study.reference):
            if control != MATCHED_COMPUTE:
                own.append(_Further(study.epochs, cost))
                continue
            ratio = cost.epoch_s / base.epoch_s
            longer = math.floor(study.epochs * ratio + 0.5)
            if ratio > LONGER and longer > study.epochs:
                own.append(_Further(longer, base))
        found.append(own)
    return found


def _confirmations(study: Study) -> int:
    return study.confirm.top * study.confirm.seeds


def _again(study: Study) -> int:
    """Confirmations of an arm: it cannot have more winners than trials."""
    return min(study.confirm.top, _trials(study)) * study.confirm.seeds


def _trials(study: Study) -> int:
    """Trials of an arm's search; a budget of trials is shared equally."""
    if study.budget.trials > 0:
        return min(study.search.trials_per_arm, study.budget.trials // len(study.arms))
    return study.search.trials_per_arm


def _scaled(costs: Sequence[Cost], end: str) -> list[Cost]:
    """The costs at one end of their ranges, with the noise of measuring."""
    factor = 1 / NOISE if end == "low" else NOISE

    def at(found: Estimate) -> Estimate:
        value = getattr(found, end) * factor
        return Estimate(value, value, value)

    return [
        replace(
            one,
            begin_s=one.begin_s * factor,
            epoch_s=one.epoch_s * factor,
            probe_s=at(one.probe_s),
            test_s=at(one.test_s),
        )
        for one in costs
    ]


def _disk(study: Study, costs: Sequence[Cost], likely: Sequence[Played]) -> Estimate:
    """Bytes of checkpoints, ledger, tables and what is kept of test examples.

    A trial keeps its last checkpoint and the one before; the best one is a file of its own unless
    it is one of these.
    """
    files = kept = ledger = 0.0
    longer = _controls(study, costs)
    for i, cost in enumerate(costs):
        again = _again(study) * (1 + len(longer[i]))
        trials = _trials(study) + again
        reports = statistics.fmean(one.epochs[i] + one.confirmed[i] for one in likely)
        files += trials * cost.checkpoint_bytes
        kept += again * cost.examples_bytes
        # A trial's plan, start and end are about as long as four reports.
        ledger += (reports + 4 * trials) * cost.report_bytes
    rest = kept + ledger * (1 + TABLES_PER_LEDGER)
    return Estimate(files + rest, 2.5 * files + rest, 3 * files + rest)


def _notes(study: Study, costs: Sequence[Cost], likely: Sequence[Played], slots: int) -> list[str]:
    """What the plan takes for granted, and what most of the time goes to."""
    notes = []
    whole = statistics.fmean(sum(one.busy_s) for one in likely)
    busy = [statistics.fmean(one.busy_s[i] for one in likely) for i in range(len(costs))]
    first = busy.index(max(busy))
    share = busy[first] / whole
    if len(costs) > 1 and share > 1.5 / len(costs):
        notes.append(f"{study.arms[first].name} takes {100 * share:.0f} % of the time.")
    longer = _controls(study, costs)
    tests = _again(study) * sum(
        one.test_s.middle * (1 + len(own)) for one, own in zip(costs, longer, strict=True)
    )
    n = len(study.arms)
    probes = (
        statistics.fmean(one.probes for one in likely)
        / n
        * sum(one.probe_s.middle for one in costs)
    )
    for part, what in (
        (tests / whole, "benchmarks on the test part; test.limit bounds them"),
        (probes / whole, "benchmarks at rungs; probe.limit and probe.benchmarks bound them"),
    ):
        if part > 0.2:
            notes.append(f"{100 * part:.0f} % goes to {what}.")
    reports = statistics.fmean(sum(one.epochs) + sum(one.confirmed) for one in likely)
    begun = statistics.fmean(one.begun for one in likely)
    overhead = (REPORT_S * reports + TRIAL_S * begun) / whole
    if overhead > 0.2:
        notes.append(
            f"{100 * overhead:.0f} % goes to sending and recording reports: epochs of "
            f"{min(one.epoch_s for one in costs):.2g} s are short for a study."
        )
    if slots > len(costs) * _trials(study):
        notes.append(f"Of {slots} slots the search can fill {len(costs) * _trials(study)}.")
    if any(one.test_s.high > 5 * one.test_s.low > 0 for one in costs):
        notes.append(
            "An attack that leaves fooled examples alone takes between "
            f"{100 * FOOLED:.0f} % and all of its steps; {100 * USUAL:.0f} % are expected."
        )
    asked = study.confirm.controls
    fit = {one for arm in study.arms for one in foreseen(asked, arm.tree, arm is study.reference)}
    notes += [f"No arm can have the control {one}." for one in asked if one not in fit]
    if study.schedule.name != "none":
        notes.append(
            f"Epochs under {study.schedule.name} are those of trials whose order is random and "
            "stays the same from rung to rung."
        )
    costly = sorted({path for arm in study.arms for path in _varied(arm.tree)})
    if costly:
        notes.append(
            f"Timed with the defaults; a search over {', '.join(costly)} makes trials that take "
            "more or less."
        )
    return notes


def _varied(tree: Mapping[str, Any]) -> list[str]:
    """Ranges on which the time of a step depends: whole numbers and choices of components."""
    from search_spaces.ranges import Choice, Integer, Range, default, sample

    met: list[str] = []

    def choose(path: str, found: Range) -> Any:
        if isinstance(found, Integer) or (
            isinstance(found, Choice) and any(isinstance(one, Mapping) for one in found.values)
        ):
            met.append(path)
        return default(path, found)

    sample(tree, choose)
    return met


def measure(
    study: Study, tree: Mapping[str, Any], data_root: str, device: str, spend_s: float
) -> Cost:
    """What a trial of an arm costs, timed for a moment with its defaults."""
    from search_spaces.ranges import defaults
    from trainables.core.training import Training

    recipe = defaults(tree) | {"seed": study.seed}
    # The first one reads the data, which each process does once and not for every trial.
    Training(recipe, root=data_root, device=device)
    began = perf_counter()
    training = Training(recipe, root=data_root, device=device)
    begin_s = perf_counter() - began
    epoch_s, report = _epoch_s(training, spend_s)
    timed = _Timed(training, study.seed, spend_s)
    probe = NOTHING
    rows: list[dict[str, Any]] = []
    for one in study.probe.benchmarks or []:
        takes = timed.seconds(one, "validation", study.probe.limit)
        probe = probe.plus(takes)
        rows += timed.rows
    tests, kept = NOTHING, 0.0
    if study.confirm.seeds:
        for one in study.benchmarks:
            takes = timed.seconds(one, "test", study.test.limit)
            tests = tests.plus(takes)
            kept += timed.bytes_each
    tested = study.test.limit or len(training.parts.test)
    line = {"metrics": report.metrics, "weights": report.weights, "rung": 1}
    # Only some reports have figures of benchmarks.
    share = (len(rows) and _rungs(study)) / study.epochs
    size, save_s = _checkpoint(training, line, study.epochs)
    return Cost(
        begin_s=begin_s,
        epoch_s=epoch_s + save_s,
        probe_s=probe,
        test_s=tests,
        checkpoint_bytes=size,
        report_bytes=100 + len(json.dumps(line)) + round(share * len(json.dumps(rows))),
        examples_bytes=round(kept * min(tested, len(training.parts.test))),
    )


def _rungs(study: Study) -> int:
    return len({*schedule(study.schedule, study.mode).rungs(), study.epochs})


def _epoch_s(training: Training, spend_s: float) -> tuple[float, Any]:
    """Seconds of an epoch with its validation, from growing shares of one, and its report."""
    import torch

    whole = training.parts
    size = int(training.settings["batch_size"])
    steps = max(1, math.ceil(len(whole.train) / size))

    def part(examples: Examples, share: float) -> Examples:
        n = max(min(2, len(examples)), math.ceil(len(examples) * share))
        return examples.take(torch.arange(n, device=examples.y.device))

    def timed(n: int) -> tuple[float, Any]:
        train = part(whole.train, min(1.0, n * size / len(whole.train)))
        training.parts = replace(whole, train=train, validation=part(whole.validation, n / steps))
        # In the middle of the budget: what begins after a warm-up has begun.
        training.done = training.epochs // 2
        report = training.epoch()
        _settled(training)
        return report.train_s + report.eval_s, report

    try:
        seconds, report = _growing(timed, steps, spend_s)
    finally:
        training.parts = whole
    return seconds, report


def _growing(
    timed: Callable[[int], tuple[float, Any]], whole: int, spend_s: float
) -> tuple[float, Any]:
    """Seconds of `whole` from parts 1, 4, 16, … that take `spend_s` together, or from the whole.

    Of a part that is not the whole, what the last growth added is carried on: a constant beside it
    is not multiplied. The whole is timed again while there is time, and the median taken.
    """
    # The first call pays for everything that happens once.
    _, found = timed(1)
    n, spent = 1, 0.0
    known: list[tuple[int, float]] = []
    while True:
        seconds, found = timed(n)
        known.append((n, seconds))
        spent += seconds
        if n == whole:
            break
        larger = min(whole, 4 * n)
        if spent + seconds * larger / n > spend_s and len(known) > 1:
            (before, less), (last, more) = known[-2:]
            slope = max(0.0, (more - less) / (last - before))
            # Noise must not make the rest free.
            slope = max(slope, 0.25 * more / last)
            return more + slope * (whole - last), found
        n = larger
    times = [known[-1][1]]
    while len(times) < REPEATS and spent + times[0] <= spend_s:
        seconds, found = timed(whole)
        times.append(seconds)
        spent += seconds
    return statistics.median(times), found


class _Timed:
    """Times benchmarks on a training's model; `rows` and `bytes_each` are of the last one."""

    def __init__(self, training: Training, seed: int, spend_s: float) -> None:
        self.training = training
        self.seed = seed
        self.spend_s = spend_s
        self.rows: list[dict[str, Any]] = []
        self.bytes_each = 0.0

    def seconds(self, config: Any, part: str, limit: int) -> Estimate:
        """Of a benchmark on at most `limit` examples (0: all) of "validation" or "test"."""
        from trainables.core import evaluation

        whole = self.training.parts
        total = len(getattr(whole, part))
        target = min(limit, total) if limit else total
        made: Any = evaluation.benchmark(config, evaluation.Context())
        stops = any(getattr(one, "stops", False) for one in made.modules())
        cheap, factor = cheaper(evaluation.expand(config), stops)

        def timed(n: int, checks: bool = False) -> tuple[float, Any]:
            examples = getattr(whole, part)
            numbers = evaluation.some(total, min(target, 2 * n))
            some = self._standing(examples.take(numbers.to(examples.y.device)), part)
            self._judge_on(part, some)
            began = perf_counter()
            found = self.training.evaluate([cheap], part=part, seed=self.seed, checks=checks)
            _settled(self.training)
            return perf_counter() - began, (found, len(some))

        try:
            seconds, (found, n) = _growing(timed, max(1, math.ceil(target / 2)), self.spend_s)
            if part == "test":
                # What is checked of an attack does not grow with the examples for ever.
                few = min(n, CHECKED)
                without, with_ = (timed(math.ceil(few / 2), checks)[0] for checks in (False, True))
                seconds += max(0.0, with_ - without) * min(target, CHECKED) / few
        finally:
            self.training.parts = whole
        self.rows = found.rows
        kept = (tensor for one in found.judged.values() for tensor in one.values())
        self.bytes_each = sum(one.nbytes for one in kept) / n
        seconds *= factor
        if stops:
            return Estimate(FOOLED * seconds, USUAL * seconds, seconds)
        # What was scaled by steps or examples may be wrong by more than what was timed as it is.
        doubt = 1.3 if factor > 1 or n < target else 1.0
        return Estimate(seconds / doubt, seconds, seconds * doubt)

    def _judge_on(self, part: str, examples: Examples) -> None:
        """Let the part hold these examples alone."""
        parts = self.training.parts
        if part == "test":
            self.training.parts = replace(parts, test=examples)
        else:
            self.training.parts = replace(parts, validation=examples)

    def _standing(self, examples: Examples, part: str) -> Examples:
        """The examples with the model's answers for targets, so that an attack begins with all.

        The model has learnt nothing yet, and attacks leave alone what is wrong anyway.
        """
        self._judge_on(part, examples)
        clean = self.training.evaluate(["Clean"], part=part).judged.get("clean", {})
        if "prediction" not in clean:
            return examples
        return replace(examples, y=clean["prediction"].to(examples.y))


def cheaper(config: Mapping[str, Any], stops: bool) -> tuple[dict[str, Any], float]:
    """A benchmark with few steps, queries and restarts, and how many times as long the real takes.

    With `stops`, eps is 0, so that nothing is ever fooled and every step is made.
    """
    found = dict(config)
    factor = 1.0
    if isinstance(found.get("budget"), int | float):
        asked = float(found["budget"])
        found["budget"] = min(asked, FEW_STEPS / 1000)
        factor *= asked / found["budget"]
    for key, least in (("steps", FEW_STEPS), ("queries", FEW_STEPS), ("restarts", 1)):
        count = found.get(key)
        if isinstance(count, int) and not isinstance(count, bool) and count > least:
            found[key] = least
            factor *= count / least
    if stops and "eps" in found:
        found["eps"] = 0.0
    return found, factor


def _checkpoint(training: Training, line: Mapping[str, Any], epochs: int) -> tuple[int, float]:
    """Bytes of a trial's last checkpoint, which holds all its reports, and seconds to save it."""
    training.reports = [dict(line)] * epochs
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "last.pt"
        training.save(path)
        began = perf_counter()
        training.save(path)
        return path.stat().st_size, perf_counter() - began


def _settled(training: Training) -> None:
    import torch

    if training.device.type == "cuda":
        torch.cuda.synchronize(training.device)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """As many threads as a trial of the study has."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def slots(
    study: Study,
    *,
    address: str = "",
    cpus: int | None = None,
    gpus: int | None = None,
    insecure: bool = False,
) -> int:
    """How many trials will run at once: on the cluster at `address`, else on this machine.

    `cpus` and `gpus` are taken instead of what there is. Raises `SettingError` where not even one
    trial fits, and what joining a cluster raises.
    """
    from study import cluster, life

    asked = study.resources
    if cpus is None and (address or os.environ.get("RAY_ADDRESS")):
        found = cluster.connect(address, insecure=insecure)
        cluster.disconnect()
    else:
        here = life.hardware()
        found = cluster.Cluster(
            local=True,
            dashboard="",
            cpus=here[0] if cpus is None else cpus,
            gpus=here[1] if gpus is None else gpus,
        )
    fit = found.slots(asked.cpu, asked.gpu, memory=asked.memory)
    return min(fit, asked.max_concurrent) if asked.max_concurrent else fit


def show(found: Plan) -> None:
    """The plan as text on stdout."""
    from rich.table import Table

    from analysis.formats import console

    out = console()
    controls = f" with {found.control_trials} controls" if found.control_trials else ""
    out.print(
        f"{found.study}: {found.search_trials} trials of the search "
        f"({found.trials_per_arm} for each of {len(found.arms)} arms) and {found.confirm_trials} "
        f"confirmations{controls}, {found.slots} at once"
    )
    table = Table(box=None)
    columns = ("arm", "trials", "epochs", "at most", "s/epoch", "s/probe", "s/test", "share")
    for name in (*columns, f"{found.device} hours"):
        table.add_column(name, justify="left" if name == "arm" else "right")
    for row in found.arms:
        table.add_row(
            row.arm,
            str(row.trials),
            f"{row.epochs.middle:.0f}",
            str(row.most_epochs),
            *(f"{one:.3g}" for one in (row.epoch_s, row.probe_s, row.test_s)),
            f"{100 * row.share:.0f} %",
            _range(row.device_h, lambda one: f"{one:.3g}"),
        )
    out.print(table)
    out.print(
        f"epochs        {_range(found.epochs, lambda one: f'{one:.0f}')}, at most "
        f"{found.most_epochs}\n"
        f"{found.device} hours     {_range(found.device_h, lambda one: f'{one:.3g}')}\n"
        f"disk          {_range(found.disk_bytes, _bytes)}\n"
        f"until done    {_range(found.wall_s, _lasting)}"
    )
    for note in found.notes:
        out.print(f"- {note}")


def _range(found: Estimate, shown: Callable[[float], str]) -> str:
    return f"{shown(found.middle)} ({shown(found.low)} to {shown(found.high)})"


def _lasting(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
