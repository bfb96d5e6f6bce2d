"""What the confirmed figures say of every row against its reference: helps, hurts, or neither.

A difference has to hold for new seeds (paired t-test) and, where the recorded table `examples` says
which examples each model had right, for new test examples as well: a test part is a sample, too.
The larger of the two p-values counts, and it is corrected over all comparisons of the table.
docs/statistics.md says why these tests, and how often they are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .comparisons import Comparison, differences, effect_size, holm, mixed, paired_t
from .power import detectable
from .statistics import Interval
from .tables import Benchmark, Label, RobustnessTable, TableRow, column_of

if TYPE_CHECKING:
    import numpy as np

Word = Literal["helps", "hurts", "no difference seen", "not enough seeds"]
Key = tuple[Label, str]

FEWEST_PAIRS = 3


@dataclass(frozen=True)
class Mask:
    """Which test examples one trained model had right on one benchmark.

    `numbers` [e] are the examples' numbers in the split, ascending, `correct` [e] lies in [0, 1]:
    the share of the column's evaluations in which the example was right.
    """

    seed: int
    numbers: np.ndarray
    correct: np.ndarray


# Number of the trial and name of the benchmark -> mask.
Masks = Mapping[tuple[int, str], Mask]


@dataclass(frozen=True)
class Verdict:
    """What the comparison of a row with its reference on one benchmark came to.

    `difference` is treated minus reference in the metric's unit with its interval over seeds;
    `wider` the same for new test examples, too, None without masks. `p` is two-sided: over seeds,
    or the larger of that and the one over seeds and examples; None where seeds do not tell.
    `p_holm` is corrected over the family, None for a comparison that is not in it. `effect` is the
    standardised paired difference (Hedges), `detectable` the smallest true difference that this
    many seeds with this spread find with 80 % power at level / (comparisons of the family).
    """

    word: Word
    difference: Interval
    wider: Interval | None
    p: float | None
    p_holm: float | None
    effect: float | None
    detectable: float | None


def verdicts(
    table: RobustnessTable, masks: Masks | None = None, *, level: float = 0.05
) -> dict[Key, Verdict]:
    """(row, benchmark) -> verdict, for every row with a reference and every benchmark of both.

    The family of Holm's correction is every comparison with 3 pairs or more, all of them finite.
    "helps" and "hurts" need a corrected p below `level`. "not enough seeds" are fewer than 3 pairs,
    a pair that diverged, a p below `level` that the correction lifts above it, and a design that
    would miss even the largest difference that the metric allows. Everything else is "no difference
    seen", which does not say that there is none. Nothing is compared on the validation split, where
    the row was chosen by the same figures. Raises `ValueError` for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, found {level}; usual is 0.05")
    if table.split != "test":
        return {}
    seen = {
        (row.key, one.name): found
        for row in table.rows
        for one in table.benchmarks
        if (found := _compare(table, row, one, masks or {}, level)) is not None
    }
    family = [key for key, one in seen.items() if one.counts]
    corrected = dict(zip(family, holm([seen[key].p or 0.0 for key in family]), strict=True))
    return {key: one.verdict(corrected.get(key), level, len(family)) for key, one in seen.items()}


def masks(tables: Mapping[str, Any]) -> Masks:
    """The masks in the recorded table `examples` of a study, for its confirmed trials.

    `tables` are those of `export.tables` and of `recorded.tables`; without `examples` there are no
    masks. A column of several evaluations (the corruptions) has the mean of each example.
    """
    if "examples" not in tables:
        return {}
    import numpy as np
    import pyarrow.compute as pc

    trials = tables["trials"].select(["trial_id", "number", "seed"]).to_pylist()
    known = {one["trial_id"]: (one["number"], one["seed"]) for one in trials}
    parts = _parts(tables["evaluations"])
    examples = tables["examples"].select(["trial_id", "name", "number", "correct"])
    examples = examples.filter(pc.is_valid(examples["correct"]))
    found: dict[tuple[int, str], Mask] = {}
    for trial, names in parts.items():
        rows = examples.filter(pc.equal(examples["trial_id"], trial))
        if not len(rows):
            continue
        number, seed = known[trial]
        coded = rows["name"].combine_chunks().dictionary_encode()
        codes = np.asarray(coded.indices)
        numbers = rows["number"].to_numpy()
        correct = rows["correct"].to_numpy().astype(np.float64)
        order = np.lexsort((numbers, codes))
        cuts = np.flatnonzero(np.diff(codes[order])) + 1
        blocks = {
            coded.dictionary[int(codes[block[0]])].as_py(): block for block in np.split(order, cuts)
        }
        for column, members in names.items():
            own = [blocks[name] for name in members if name in blocks]
            first = numbers[own[0]] if own else None
            # Everything must be known of the same examples, each of them once.
            if first is None or len(own) < len(members) or len(np.unique(first)) < len(first):
                continue
            if all(np.array_equal(numbers[one], first) for one in own):
                mean = np.mean([correct[one] for one in own], axis=0)
                found[number, column] = Mask(seed, first, mean)
    return found


def answer(table: RobustnessTable, found: Mapping[Key, Verdict]) -> str:
    """The verdict in one sentence, for the top of the report."""
    reference = table.reference
    if reference is None:
        return "No answer: the study has no row to compare with."
    name = reference.label
    if table.split != "test":
        return (
            "No answer yet: nothing has been confirmed on fresh seeds and the test split, and "
            "validation figures of the search were chosen by the very figures they would be "
            "judged by."
        )
    if len(table.rows) == 1:
        return (
            f"No answer: {name} is the study's only row, and there is nothing to compare it with."
        )
    if not reference.cells:
        return f"No answer: {name}, which the others are compared with, has no confirmed figures."
    if not found:
        return f"No answer: no row shares a benchmark and a seed with {name}."
    claimed = {key: one for key, one in found.items() if one.word in ("helps", "hurts")}
    counted = sum(one.p_holm is not None for one in found.values())
    if claimed:
        return _claim(table, found, claimed, counted)
    open_ = {key: one for key, one in found.items() if _excludes_zero(one)}
    if open_:
        key, least = min(open_.items(), key=lambda item: item[1].p or 0.0)
        more = len(open_) - 1
        others = f"; {more} {_plural('other', more)} {'is' if more == 1 else 'are'} like it"
        return (
            f"Not enough seeds: {_told(table, key, least)}{_over(counted)}; alone it would count "
            f"(p = {least.p or 0.0:.2g}), among so many it does not{others if more else ''}."
        )
    pairs = max(one.difference.n for one in found.values())
    if all(one.word == "not enough seeds" for one in found.values()):
        return (
            f"Not enough seeds: {pairs} paired {_plural('seed', pairs)} cannot tell a difference "
            f"to {name} from chance at the spread found{_over(counted)}."
        )
    key, least = min(
        ((key, one) for key, one in found.items() if one.word == "no difference seen"),
        key=lambda item: 1.0 if item[1].p is None else item[1].p,
    )
    return (
        f"No difference seen: no row differs from its reference by more than chance over {pairs} "
        f"paired {_plural('seed', pairs)}{_over(counted)}; nearest to one is "
        f"{_told(table, key, least)}{_missed(table, key, least)}."
    )


def _excludes_zero(found: Verdict) -> bool:
    """Whether it is the correction alone that stands between a comparison and a claim."""
    shown = found.wider or found.difference
    if found.p_holm is None or shown.low is None or shown.high is None:
        return False
    return shown.low > 0 or shown.high < 0


@dataclass(frozen=True)
class _Compared:
    """A comparison before the correction, which needs all of them."""

    seeds: Comparison
    both: Comparison | None
    wider: Interval | None
    effect: float | None
    lower: bool
    room: float

    @property
    def p(self) -> float | None:
        """A claim has to stand in both tests, so the larger p is its own (Berger 1982)."""
        known = [one.p for one in (self.seeds, self.both) if one is not None and one.p is not None]
        return None if self.seeds.p is None else max(known)

    @property
    def counts(self) -> bool:
        return self.seeds.interval.n >= FEWEST_PAIRS and self.p is not None

    def verdict(self, p_holm: float | None, level: float, family: int) -> Verdict:
        corrected = level / max(1, family)
        mean = self.seeds.interval.mean
        least = max(
            (
                detectable(one.error, one.df, level=corrected)
                for one in (self.seeds, self.both)
                if one is not None and one.error is not None and one.df is not None
            ),
            default=None,
        )
        word: Word = "no difference seen"
        if p_holm is None:
            word = "not enough seeds"
        elif p_holm < level and mean != 0:
            word = "helps" if (mean < 0) == self.lower else "hurts"
        elif (self.p or 0.0) < level or (least is not None and least > self.room):
            word = "not enough seeds"
        return Verdict(word, self.seeds.interval, self.wider, self.p, p_holm, self.effect, least)


def _compare(
    table: RobustnessTable, row: TableRow, benchmark: Benchmark, masks: Masks, level: float
) -> _Compared | None:
    reference = table.row(row.against)
    treated = row.cells.get(benchmark.name)
    beside = reference.cells.get(benchmark.name) if reference else None
    if reference is None or treated is None or beside is None:
        return None
    values = differences(treated.by_seed, beside.by_seed)
    if not values:
        return None
    metric = benchmark.metric
    counted = metric.name in ("accuracy", "error") and benchmark.n_examples > 0
    resolution = 1 / benchmark.n_examples if counted else 0.0
    seeds = paired_t(values, resolution=resolution, confidence=1 - level)
    matrix = _gained(row, reference, benchmark, masks) if counted else None
    both = None if matrix is None else mixed(matrix, confidence=1 - level)
    # Largest difference to the reference that the metric allows, in either direction.
    base = beside.interval.mean
    return _Compared(
        seeds=seeds,
        both=both,
        wider=_wider(seeds.interval, both),
        effect=effect_size(values, resolution=resolution),
        lower=metric.lower,
        room=max(metric.high - base, base - metric.low),
    )


def _wider(seeds: Interval, both: Comparison | None) -> Interval | None:
    """The wider of two intervals around one mean: what the larger p belongs to.

    With few seeds the one over seeds and examples can be the shorter: it has more degrees of
    freedom.
    """
    if both is None or both.interval.half_width is None or seeds.half_width is None:
        return None
    return max((seeds, both.interval), key=lambda one: one.half_width or 0.0)


def _gained(
    row: TableRow, reference: TableRow, benchmark: Benchmark, masks: Masks
) -> np.ndarray | None:
    """What each pair of models gained on each example [seeds, examples]; None unless all is known.

    Masks whose mean is not the figure of the table are of something else, and count as unknown.
    """
    import numpy as np

    sign = -1.0 if benchmark.metric.name == "error" else 1.0
    mine, other = (_by_seed(one, benchmark, masks) for one in (row, reference))
    cells = row.cells[benchmark.name].by_seed, reference.cells[benchmark.name].by_seed
    seeds = sorted(cells[0].keys() & cells[1].keys())
    if len(seeds) < 2 or not all(seed in mine and seed in other for seed in seeds):
        return None
    numbers = mine[seeds[0]].numbers
    for of, figures in ((mine, cells[0]), (other, cells[1])):
        for seed in seeds:
            mask = of[seed]
            share = float(mask.correct.mean())
            told = figures[seed] if sign > 0 else 1 - figures[seed]
            if not np.array_equal(mask.numbers, numbers) or abs(share - told) > 1e-6:
                return None
    if len(numbers) < 2:
        return None
    return sign * np.stack([mine[seed].correct - other[seed].correct for seed in seeds])


def _by_seed(row: TableRow, benchmark: Benchmark, masks: Masks) -> dict[int, Mask]:
    found = (masks.get((number, benchmark.name)) for number in row.members)
    return {one.seed: one for one in found if one is not None}


def _parts(evaluations: Any) -> dict[str, dict[str, list[str]]]:
    """Trial -> column -> names of the accuracies behind it, at the trial's last test.

    Rows of a corruption over all severities are means of rows that are there as well.
    """
    import pyarrow.compute as pc

    rows = evaluations.filter(
        pc.and_(pc.equal(evaluations["split"], "test"), pc.equal(evaluations["metric"], "accuracy"))
    ).select(["trial_id", "step", "family", "name", "severity", "source", "value"])
    last: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        kept = last.setdefault(row["trial_id"], [])
        if kept and kept[0]["step"] < row["step"]:
            kept.clear()
        if row["value"] is not None:
            kept.append(row)
    found: dict[str, dict[str, list[str]]] = {}
    for trial, kept in last.items():
        single = {column_of(row) for row in kept if row["severity"] is not None}
        for row in kept:
            column = column_of(row)
            if row["severity"] is not None or column not in single:
                found.setdefault(trial, {}).setdefault(column, []).append(row["name"])
    return found


def _claim(
    table: RobustnessTable,
    found: Mapping[Key, Verdict],
    claimed: Mapping[Key, Verdict],
    counted: int,
) -> str:
    """The surest claim first, in words, then how many others there are."""

    def surest(item: tuple[Key, Verdict]) -> tuple[bool, float, float]:
        # A control only explains an arm.
        row = table.row(item[0][0])
        return bool(row and row.control), item[1].p_holm or 0.0, -abs(item[1].effect or 0.0)

    helping = [item for item in claimed.items() if item[1].word == "helps"]
    key, first = min(helping or list(claimed.items()), key=surest)
    text = f"{_told(table, key, first)}{_over(counted)}"
    heads = {one.name: table.head(one) for one in table.benchmarks}
    same = {
        name: one.word for (row, name), one in found.items() if row == key[0] and name != key[1]
    }
    also = [
        f"it also {word} on {_listed([heads[name] for name, one in same.items() if one == word])}"
        for word in ("helps", "hurts")
        if word in same.values()
    ]
    others = {row for row, _ in claimed if row != key[0]}
    if others:
        one = len(others) == 1
        also.append(
            f"{len(others)} other {_plural('row', len(others))} {'differs' if one else 'differ'} "
            f"from {'its' if one else 'their'} reference as well"
        )
    return "; ".join([text, *also]) + "."


def _told(table: RobustnessTable, key: Key, found: Verdict) -> str:
    """`kl × Fixed helps on clean: accuracy +2.33 pp [1.21, 3.46] against baseline × Fixed …`."""
    row = table.row(key[0])
    benchmark = next(one for one in table.benchmarks if one.name == key[1])
    against = table.row(row.against) if row else None
    metric, difference = benchmark.metric, found.difference
    decimals = table.decimals(benchmark.name)
    shown = found.wider or difference
    ends = (
        ""
        if shown.low is None or shown.high is None
        else f" [{metric.text(shown.low, decimals, sign=True)}, "
        f"{metric.text(shown.high, decimals, sign=True)}]"
    )
    step = f" {metric.step}" if metric.step else ""
    threat = _threat(benchmark)
    verb = f" {found.word}" if found.word in ("helps", "hurts") else ""
    p = "" if found.p_holm is None else f", p = {found.p_holm:.2g}"
    return (
        f"{row.label if row else ' × '.join(key[0])}{verb} on {benchmark.name}"
        f"{f' ({threat})' if threat else ''}: {metric.title} "
        f"{metric.text(difference.mean, decimals, sign=True)}{step}{ends} against "
        f"{against.label if against else 'its reference'} over {difference.n} paired "
        f"{_plural('seed', difference.n)}{p}"
    )


def _missed(table: RobustnessTable, key: Key, found: Verdict) -> str:
    """What would have been found, so that nobody reads "none seen" as "none there"."""
    if found.detectable is None:
        return ""
    metric = next(one.metric for one in table.benchmarks if one.name == key[1])
    size = metric.text(found.detectable, table.decimals(key[1]))
    if metric.step:
        size += f" {metric.step}"
    return f", where differences of {size} or more would have been found four times in five"


def _threat(benchmark: Benchmark) -> str:
    parts = [
        f"{benchmark.norm} ≤ {benchmark.eps_text}" if benchmark.norm and benchmark.eps_text else "",
        f"{benchmark.steps} steps" if benchmark.steps else "",
        f"{benchmark.restarts} restarts" if (benchmark.restarts or 0) > 1 else "",
    ]
    return ", ".join(filter(None, parts))


def _over(counted: int) -> str:
    return f", corrected for {counted} comparisons" if counted > 1 else ""


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
