"""Arms over several data sets: average ranks, and which arms the data sets tell apart.

Accuracies on different data sets are not commensurable, so each study only says in which order its
rows stand (Demšar, Journal of Machine Learning Research 7, 2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from .comparisons import holm, sign_flip
from .metrics import Metric
from .style import BLACK, GREY, PAGE, STYLE
from .tables import RobustnessTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Letters of a row's name beside the diagram, before it is broken.
WIDTH = 26


@dataclass(frozen=True)
class Pair:
    """Two rows over all data sets: Wilcoxon's signed-rank test, two-sided."""

    first: str
    second: str
    p: float
    p_holm: float


@dataclass(frozen=True)
class RankTable:
    """The rows of several studies ranked on one benchmark; rank 1 is best, ties share their mean.

    `ranks` and `values` are [study][row]; `average` belongs to `rows`. `chi_square` is Friedman's
    statistic corrected for ties, `f` that of Iman and Davenport, `p` belongs to `f`.
    `critical` is Nemenyi's critical difference of two average ranks. `pairs` are the tests between
    all pairs of rows, `cliques` the largest groups of rows next to each other by average rank in
    which no pair differs at `level`. `note` says so where no pair could.
    """

    benchmark: str
    metric: Metric
    level: float
    studies: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    ranks: tuple[tuple[float, ...], ...]
    average: tuple[float, ...]
    chi_square: float
    f: float
    p: float
    critical: float
    pairs: tuple[Pair, ...]
    cliques: tuple[tuple[str, ...], ...]
    note: str


def rank_table(
    tables: Sequence[RobustnessTable], benchmark: str, *, level: float = 0.05
) -> RankTable:
    """The rows of several confirmed studies, one for each data set, ranked on one benchmark.

    Rows are ranked by their mean over seeds in the direction of the benchmark's metric; one that is
    not finite comes last. Control rows are left out. Friedman's test with the correction of Iman &
    Davenport (Communications in Statistics A 9, 1980) asks whether any rows differ, Nemenyi's
    critical difference and Wilcoxon's signed-rank test with Holm's correction which; of these the
    second is the one to go by, since Nemenyi's verdict on two rows depends on the others (Benavoli
    et al., Journal of Machine Learning Research 17, 2016). Raises `ValueError` for fewer than two
    data sets or rows, for two studies of one data set, for studies whose rows differ, and for one
    without confirmed figures on the benchmark.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, found {level}; usual is 0.05")
    if len(tables) < 2:
        raise ValueError(f"ranks need two data sets or more, found {len(tables)}")
    _check_data(tables)
    rows, metric = _common(tables, benchmark)
    values = [
        [one.cells[benchmark].interval.mean for one in map(table.row, rows) if one is not None]
        for table in tables
    ]
    ranks = np.stack([_ranked(one, metric) for one in values])
    n, k = ranks.shape
    average = ranks.mean(axis=0)
    chi_square = _friedman(ranks)
    f, p = _iman_davenport(chi_square, n, k)
    labels = [" × ".join(one) for one in rows]
    pairs = _pairs(np.asarray(values), labels)
    return RankTable(
        benchmark=benchmark,
        metric=metric,
        level=level,
        studies=tuple(one.study for one in tables),
        rows=tuple(labels),
        values=tuple(tuple(one) for one in values),
        ranks=tuple(tuple(float(rank) for rank in one) for one in ranks),
        average=tuple(float(one) for one in average),
        chi_square=chi_square,
        f=f,
        p=p,
        critical=nemenyi(k, n, level=level),
        pairs=pairs,
        cliques=_cliques(labels, average, pairs, level),
        note=_note(n, len(pairs), level),
    )


def nemenyi(k: int, n: int, *, level: float = 0.05) -> float:
    """Critical difference of the average ranks of k rows over n data sets.

    q √(k (k + 1) / (6 n)), q the studentized range of k means with infinite degrees of freedom over
    √2 (Nemenyi 1963, in Demšar 2006).
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - level, k, np.inf)) / math.sqrt(2)
    return q * math.sqrt(k * (k + 1) / (6 * n))


def critical_difference(table: RankTable) -> Figure:
    """The diagram of average ranks, best on the left; a bar joins rows not told apart.

    Bars are the cliques of Wilcoxon's test with Holm's correction; Nemenyi's critical difference is
    drawn above the axis for comparison.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    order = sorted(range(len(table.rows)), key=lambda place: table.average[place])
    k = len(order)
    half = (k + 1) // 2
    bars = [one for one in table.cliques if len(one) > 1]
    average = dict(zip(table.rows, table.average, strict=True))
    below = 0.5 + 0.32 * len(bars)
    with rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 0.9 + 0.3 * (below + half)), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axis_off()
        # Room for the names on both sides of the ranks.
        axes.set_xlim(1 - 0.6 * (k - 1), k + 0.6 * (k - 1))
        axes.set_ylim(-(below + half) - 0.2, 2.6)
        axes.plot([1, k], [0, 0], color=BLACK, linewidth=0.8)
        for rank in range(1, k + 1):
            axes.plot([rank, rank], [0, 0.2], color=BLACK, linewidth=0.8)
            if k < 10 or rank % 2:
                axes.text(rank, 0.35, str(rank), ha="center", va="bottom")
        width = min(table.critical, k - 1)
        axes.plot([1, 1 + width], [1.6, 1.6], color=GREY, linewidth=1.2, marker="|")
        cut = "" if width == table.critical else ", beyond the axis"
        axes.text(1, 1.8, f"Nemenyi's critical difference {table.critical:.2f}{cut}", color=GREY)
        for place, index in enumerate(order):
            mean, name = table.average[index], fill(table.rows[index], WIDTH)
            left = place < half
            y = -below - (place if left else k - 1 - place) - 0.3
            end = 1 - 0.12 * (k - 1) if left else k + 0.12 * (k - 1)
            axes.plot([mean, mean, end], [0, y, y], color=BLACK, linewidth=0.7)
            axes.annotate(
                f"{mean:.2f}",
                (end, y),
                xytext=(0, 1.5),
                textcoords="offset points",
                ha="left" if left else "right",
                va="bottom",
                color=GREY,
            )
            axes.annotate(
                name,
                (end, y),
                xytext=(-3 if left else 3, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
            )
        for place, clique in enumerate(bars):
            ends = [average[name] for name in clique]
            y = -0.35 - 0.32 * place
            axes.plot(
                [min(ends) - 0.03, max(ends) + 0.03],
                [y, y],
                color=BLACK,
                linewidth=3,
                solid_capstyle="butt",
            )
    return figure


def _check_data(tables: Sequence[RobustnessTable]) -> None:
    seen: dict[str, str] = {}
    for table in tables:
        if table.data and table.data in seen:
            raise ValueError(
                f"ranks need independent data sets: {seen[table.data]} and {table.study} are both "
                f"of {table.data}"
            )
        seen[table.data] = table.study


def _common(
    tables: Sequence[RobustnessTable], benchmark: str
) -> tuple[list[tuple[str, str]], Metric]:
    """The rows that all studies must have, and the metric of the benchmark."""
    first = tables[0]
    rows = [row.key for row in first.rows if not row.control]
    if len(rows) < 2:
        raise ValueError(f"ranks need two rows or more, {first.study} has {len(rows)}")
    metrics = []
    for table in tables:
        own = {row.key for row in table.rows if not row.control}
        if odd := sorted(" × ".join(one) for one in own ^ set(rows)):
            raise ValueError(
                f"ranks need the same rows in every study: {', '.join(odd)} "
                f"{'is' if len(odd) == 1 else 'are'} not in both {first.study} and {table.study}"
            )
        if table.split != "test":
            raise ValueError(f"{table.study} has no confirmed figures yet, only validation ones")
        found = next((one for one in table.benchmarks if one.name == benchmark), None)
        if found is None:
            known = ", ".join(one.name for one in table.benchmarks) or "none"
            raise ValueError(f"{table.study} has no benchmark {benchmark!r}. Known: {known}.")
        metrics.append(found.metric)
        for row in table.rows:
            if not row.control and benchmark not in row.cells:
                raise ValueError(f"{table.study}: {row.label} has no figure on {benchmark}")
        if found.metric != metrics[0]:
            raise ValueError(
                f"{benchmark} is {metrics[0].title} in {first.study}, but {found.metric.title} in "
                f"{table.study}"
            )
    return rows, metrics[0]


def _ranked(values: Sequence[float], metric: Metric) -> np.ndarray:
    """Ranks from 1 for the best, ties averaged, what is not finite last."""
    from scipy.stats import rankdata

    losses = [one if metric.lower else -one for one in values]
    return np.asarray(rankdata([one if math.isfinite(one) else math.inf for one in losses]))


def _friedman(ranks: np.ndarray) -> float:
    """Friedman's chi-square with its correction for ties (JASA 32, 1937); 0 if all are tied."""
    n, k = ranks.shape
    counts = [np.unique(one, return_counts=True)[1] for one in ranks]
    ties = sum(float((one**3 - one).sum()) for one in counts)
    scale = 1 - ties / (n * k * (k * k - 1))
    if scale <= 0:
        return 0.0
    spread = float((ranks.mean(axis=0) ** 2).sum()) - k * (k + 1) ** 2 / 4
    # The least sum of squares is reached within rounding where all average ranks agree.
    return float(max(0.0, 12 * n / (k * (k + 1)) * spread / scale))


def _iman_davenport(chi_square: float, n: int, k: int) -> tuple[float, float]:
    from scipy.special import fdtrc

    room = n * (k - 1) - chi_square
    # One order out of k! in every study: F is infinite, and the chance of that bounds p.
    least = math.exp(-(n - 1) * math.lgamma(k + 1))
    if room <= 1e-9 * n:
        return math.inf, least
    f = (n - 1) * chi_square / room
    return f, max(least, float(fdtrc(k - 1, (k - 1) * (n - 1), f)))


def _pairs(values: np.ndarray, labels: Sequence[str]) -> tuple[Pair, ...]:
    places = list(combinations(range(len(labels)), 2))
    p = [_signed_rank(values[:, one], values[:, two]) for one, two in places]
    return tuple(
        Pair(labels[one], labels[two], raw, corrected)
        for (one, two), raw, corrected in zip(places, p, holm(p), strict=True)
    )


def _signed_rank(first: np.ndarray, second: np.ndarray) -> float:
    """Wilcoxon's test (Biometrics Bulletin 1, 1945): the sign-flip test of the signed ranks.

    Differences of 0 are left out, tied ones share their rank, and p stays exact. A data set on
    which either row diverged has the largest difference, or none where both did.
    """
    from scipy.stats import rankdata

    d = [
        one - two
        if math.isfinite(one) and math.isfinite(two)
        else math.inf * (int(math.isfinite(one)) - int(math.isfinite(two)))
        if math.isfinite(one) != math.isfinite(two)
        else 0.0
        for one, two in zip(first.tolist(), second.tolist(), strict=True)
    ]
    # Equal differences of decimal fractions differ in the last bits.
    kept = np.asarray([float(f"{one:.12g}") for one in d if abs(one) > 1e-12])
    if not len(kept):
        return 1.0
    signed = rankdata(np.abs(kept)) * np.sign(kept)
    return sign_flip(signed.tolist())


def _cliques(
    labels: Sequence[str], average: np.ndarray, pairs: Sequence[Pair], level: float
) -> tuple[tuple[str, ...], ...]:
    apart = {frozenset((one.first, one.second)) for one in pairs if one.p_holm < level}
    order = [labels[place] for place in np.argsort(average, kind="stable")]
    found: list[tuple[str, ...]] = []
    last = 0
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and not any(
            frozenset((one, order[end])) in apart for one in order[start:end]
        ):
            end += 1
        # A run that ends where the one before it ended lies within that one.
        if end > last:
            found.append(tuple(order[start:end]))
            last = end
    return tuple(found)


def _note(n: int, pairs: int, level: float) -> str:
    least = 2.0 ** (1 - n)
    if least * pairs < level:
        return ""
    return (
        f"Over {n} data sets Wilcoxon's p cannot fall below {least:.2g}, so that no pair out of "
        f"{pairs} can differ at {level:g}."
    )
