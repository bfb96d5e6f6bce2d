"""The robustness table as grids: the figures, the differences with their verdicts, the controls.

What is bold is decided here: the best of a column, if it is better than every other row and its
difference to the reference row holds. Without verdicts nothing is bold and nothing is marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .grid import NOTHING, Column, Entry, Grid, counted, figure, numbers, ratio, words
from .tables import Benchmark, Label, RobustnessTable, TableRow

if TYPE_CHECKING:
    from .verdicts import Verdict

    Verdicts = Mapping[tuple[Label, str], Verdict]

DOUBTED = " †"
MARKS = {"helps": "▲", "hurts": "▼", "not enough seeds": "?"}


def robustness(table: RobustnessTable, found: Verdicts | None = None) -> list[Grid]:
    """The figures, then the differences to the reference row and those of the controls, if any."""
    return [figures(table, found), *differences(table, found)]


def figures(table: RobustnessTable, found: Verdicts | None = None) -> Grid:
    """Every row on every benchmark, and what it cost."""
    best = _best(table, found or {})
    memory = any(row.peak_bytes is not None for row in table.rows)
    extra = (
        *(["extra passes"] if table.has_extra_passes else []),
        "device [s]",
        *(["memory [MiB]"] if memory else []),
    )
    mark = "" if table.split == "test" else f" ({table.split})"
    heads = [
        Column(f"{table.head(one)}{mark} [{_unit(one)}]", one.name) for one in table.benchmarks
    ]
    body = [
        (
            Entry(f"{row.arm} (ref.)" if row.reference else row.arm),
            Entry(row.weighter),
            counted(row.n_seeds),
            *(_figure(table, row, one, (row.key, one.name) in best) for one in table.benchmarks),
            # A control is not searched.
            *([Entry(NOTHING)] * 2 if row.control else [counted(row.trials), counted(row.epochs)]),
            ratio(row.time_ratio),
            *([passes(row)] if table.has_extra_passes else []),
            _seconds(row.train_s),
            *([_mebibytes(row.peak_bytes)] if memory else []),
        )
        for row in table.rows
    ]
    legend = " Bold: the best of its column, and its difference to the reference row holds."
    return Grid(
        name="robustness",
        title="Robustness",
        caption=table.caption + (legend if best else ""),
        columns=(
            *words("arm", "weighter"),
            *numbers("n"),
            *heads,
            *numbers("trials", "epochs", "time/epoch", *extra),
        ),
        body=tuple(body),
    )


def differences(table: RobustnessTable, found: Verdicts | None = None) -> list[Grid]:
    """The paired differences to the reference row, and those of controls to their own rows.

    Nothing before the confirmation, and nothing where no row shares a seed with its reference.
    """
    reference = table.reference
    if table.split != "test" or reference is None:
        return []
    heads = tuple(
        Column(f"{table.head(one)} [{one.metric.step or one.metric.title}]", one.name)
        for one in table.benchmarks
    )
    grids = []
    shown = [row for row in table.rows if row.against == reference.key and _compared(table, row)]
    if shown:
        grids.append(
            Grid(
                name="differences",
                title="Differences",
                caption=_caption(table, f"Difference to {reference.label}", shown, found),
                columns=(*words("arm", "weighter"), *numbers("n"), *heads),
                body=tuple(
                    (Entry(row.arm), Entry(row.weighter), *_differences(table, row, found))
                    for row in shown
                ),
            )
        )
    own = [
        (row, beside)
        for row in table.rows
        if row.against not in (None, reference.key) and _compared(table, row)
        if (beside := table.row(row.against)) is not None
    ]
    if own:
        what = "Difference of each control to the row that it controls"
        grids.append(
            Grid(
                name="controls",
                title="Controls",
                caption=_caption(table, what, [row for row, _ in own], found)
                + " Where replayed constant weights do as well, adapting them did not help.",
                columns=(*words("control", "compared with"), *numbers("n"), *heads),
                body=tuple(
                    (Entry(row.label), Entry(beside.label), *_differences(table, row, found))
                    for row, beside in own
                ),
            )
        )
    return grids


def _unit(one: Benchmark) -> str:
    return one.metric.unit or one.metric.title


def _compared(table: RobustnessTable, row: TableRow) -> bool:
    return any(
        (cell := row.cells.get(one.name)) is not None and cell.difference is not None
        for one in table.benchmarks
    )


def _caption(
    table: RobustnessTable, what: str, rows: list[TableRow], found: Verdicts | None
) -> str:
    better = "below" if table.metric.lower else "above"
    unit = " in percentage points" if table.metric.step else f" in {table.metric.title}"
    # A step in percent does not say which way is good where less is better.
    if table.metric.lower or not table.metric.step:
        unit += f" ({better} 0 is better)"
    text = (
        f"{what}{unit}: mean over the n seeds that both have, paired by seed, ± half width of the "
        "95 % Student-t interval of the differences."
    )
    judged = [
        one for row in rows for bench in table.benchmarks if (one := _verdict(found, row, bench))
    ]
    if not judged:
        return text
    tested = sum(one.p_holm is not None for one in (found or {}).values())
    if not tested:
        return f"{text} No verdicts: not enough seeds."
    few = any(one.word == "not enough seeds" for one in judged)
    return (
        f"{text} ▲ helps, ▼ hurts, {'? not enough seeds, ' if few else ''}no mark: no difference "
        f"seen. p: two-sided, corrected after Holm for {tested} comparisons."
    )


def _verdict(found: Verdicts | None, row: TableRow, one: Benchmark) -> Verdict | None:
    return (found or {}).get((row.key, one.name))


def _figure(table: RobustnessTable, row: TableRow, one: Benchmark, strong: bool) -> Entry:
    cell = row.cells.get(one.name)
    if cell is None:
        return Entry(NOTHING)
    entry = figure(cell.interval, one.metric, table.decimals(one.name))
    # A seed that lacks this one benchmark must not hide behind the row's n.
    count = f" (n={cell.interval.n})" if cell.interval.n != row.n_seeds else ""
    text = entry.text + (DOUBTED if cell.doubts else "") + count
    return Entry(text, entry.value, entry.half, strong)


def _differences(
    table: RobustnessTable, row: TableRow, found: Verdicts | None
) -> tuple[Entry, ...]:
    cells = [
        cell
        for one in table.benchmarks
        if (cell := row.cells.get(one.name)) is not None and cell.difference is not None
    ]
    most = max(one.difference.n for one in cells if one.difference is not None)
    return (
        counted(most),
        *(_difference(table, row, one, most, found) for one in table.benchmarks),
    )


def _difference(
    table: RobustnessTable, row: TableRow, one: Benchmark, most: int, found: Verdicts | None
) -> Entry:
    cell = row.cells.get(one.name)
    if cell is None or cell.difference is None:
        return Entry(NOTHING)
    entry = figure(cell.difference, one.metric, table.decimals(one.name), sign=True)
    text, word = entry.text, ""
    verdict = _verdict(found, row, one)
    if verdict is not None:
        word = verdict.word
        # Where nothing at all could be tested the caption says so once.
        if verdict.word in MARKS and any(of.p_holm is not None for of in (found or {}).values()):
            text += f" {MARKS[verdict.word]}"
        if verdict.p_holm is not None:
            text += f" {_p(verdict.p_holm)}"
    if cell.difference.n != most:
        text += f" (n={cell.difference.n})"
    return Entry(text, entry.value, entry.half, word=word)


def _p(value: float) -> str:
    """`p=0.012`, `p<0.001`, `p=1`."""
    if value < 0.001:
        return "p<0.001"
    return "p=1" if value >= 0.9995 else f"p={value:.3f}"


def _best(table: RobustnessTable, found: Verdicts) -> set[tuple[Label, str]]:
    """Row and benchmark of what is bold; a figure that something speaks against never is."""
    best = set()
    for one in table.benchmarks:
        cells = {row.key: row.cells[one.name] for row in table.rows if one.name in row.cells}
        sign = -1.0 if one.metric.lower else 1.0
        means = {key: sign * cell.interval.mean for key, cell in cells.items()}
        if len(means) < 2:
            continue
        key = max(means, key=lambda at: means[at])
        alone = all(value < means[key] for at, value in means.items() if at != key)
        row = table.row(key)
        if row is None or not alone or cells[key].doubts:
            continue
        if row.reference:
            others = [found.get((at, one.name)) for at in means if at != key]
            holds = all(verdict is not None and verdict.word == "hurts" for verdict in others)
        else:
            verdict = found.get((key, one.name))
            # A replay's verdict is against the row that it replays.
            plain = table.reference is not None and row.against == table.reference.key
            holds = plain and verdict is not None and verdict.word == "helps"
        if holds:
            best.add((key, one.name))
    return best


def passes(row: TableRow) -> Entry:
    """`2 bwd`, `1 fwd + 0.2 bwd`; 0 where there are none."""
    if row.extra_forwards is None or row.extra_backwards is None:
        return Entry(NOTHING)
    pairs = ((row.extra_forwards, "fwd"), (row.extra_backwards, "bwd"))
    text = " + ".join(f"{count:.3g} {kind}" for count, kind in pairs if count) or "0"
    return Entry(text, row.extra_forwards + row.extra_backwards)


def _seconds(value: float | None) -> Entry:
    if value is None:
        return Entry(NOTHING)
    return Entry(f"{value:.1f}" if value < 100 else f"{value:,.0f}", value)


def _mebibytes(value: int | None) -> Entry:
    return Entry(NOTHING) if value is None else Entry(f"{value / 2**20:,.0f}", value)
