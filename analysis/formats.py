"""A robustness table as Markdown, CSV, LaTeX, JSON and for the terminal."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .statistics import Interval
from .tables import Benchmark, RobustnessTable, TableRow

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group
    from rich.table import Table

NOTHING = "–"
DOUBTED = " †"
PIPE_WIDTH = 160

_CSV_COLUMNS = (
    "study",
    "data",
    "arm",
    "weighter",
    "reference",
    "benchmark",
    "family",
    "norm",
    "eps_text",
    "steps",
    "restarts",
    "split",
    "metric",
    "mean",
    "ci_low",
    "ci_high",
    "min",
    "max",
    "n_seeds",
    "n_examples",
    "unreliable",
    "difference",
    "difference_low",
    "difference_high",
    "difference_n",
)


def cells(table: RobustnessTable) -> list[list[str]]:
    """The table's body as shown, one list of texts per row, under `table.columns`."""
    return [
        [
            f"{row.arm} (ref.)" if row.reference else row.arm,
            row.weighter,
            str(row.n_seeds),
            *(_cell(table, row, one) for one in table.benchmarks),
            str(row.trials),
            str(row.epochs),
            NOTHING if row.time_ratio is None else f"{row.time_ratio:.2f}×",
            *([_passes(row)] if table.has_extra_passes else []),
        ]
        for row in table.rows
    ]


def difference_columns(table: RobustnessTable) -> tuple[str, ...]:
    """The heads of the second table: differences to the reference row."""
    units = (one.metric.step or one.metric.title for one in table.benchmarks)
    heads = (f"{one.name} [{unit}]" for one, unit in zip(table.benchmarks, units, strict=True))
    return ("arm", "weighter", "n", *heads)


def difference_cells(table: RobustnessTable) -> list[list[str]]:
    """The body of the second table; empty where no row shares a seed with the reference row."""
    shown = []
    for row in table.rows:
        found = [
            cell.difference
            for one in table.benchmarks
            if (cell := row.cells.get(one.name)) is not None and cell.difference is not None
        ]
        if found and table.split == "test":
            texts = (_difference(table, row, one) for one in table.benchmarks)
            shown.append([row.arm, row.weighter, str(max(one.n for one in found)), *texts])
    return shown


def difference_caption(table: RobustnessTable) -> str:
    """What the second table shows."""
    reference = table.reference
    better = "below" if table.metric.lower else "above"
    unit = (
        " in percentage points"
        if table.metric.step
        else f" in {table.metric.title} ({better} 0 is better)"
    )
    return (
        f"Difference to {reference.label if reference else 'the reference row'}{unit}: "
        "mean over the n seeds that both have, paired by seed, ± half width of the 95 % "
        "Student-t interval of the differences."
    )


def to_markdown(table: RobustnessTable) -> str:
    """GitHub-flavoured Markdown: the table, the differences, the notes."""
    parts = [_markdown_text(table.caption), _markdown_grid(table.columns, cells(table))]
    if body := difference_cells(table):
        parts.append(_markdown_text(difference_caption(table)))
        parts.append(_markdown_grid(difference_columns(table), body))
    if table.notes:
        parts.append("\n".join(f"- {_markdown_text(one)}" for one in table.notes))
    return "\n\n".join(parts) + "\n"


def to_csv(table: RobustnessTable) -> str:
    """One line per arm, weighter and benchmark; accuracies as fractions, full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records(table))
    return text.getvalue()


def records(table: RobustnessTable) -> list[dict[str, Any]]:
    """The figures for programs: one flat record per arm, weighter and benchmark; None = absent."""
    found = []
    for row in table.rows:
        for one in table.benchmarks:
            if (cell := row.cells.get(one.name)) is None:
                continue
            difference = cell.difference if table.split == "test" else None
            found.append(
                {
                    "study": table.study,
                    "data": table.data,
                    "arm": row.arm,
                    "weighter": row.weighter,
                    "reference": row.reference,
                    "benchmark": one.name,
                    "family": one.family,
                    "norm": one.norm,
                    "eps_text": one.eps_text,
                    "steps": one.steps,
                    "restarts": one.restarts,
                    "split": table.split,
                    "metric": one.metric.name,
                    "mean": cell.interval.mean,
                    "ci_low": cell.interval.low,
                    "ci_high": cell.interval.high,
                    "min": cell.low,
                    "max": cell.high,
                    "n_seeds": cell.interval.n,
                    "n_examples": one.n_examples,
                    "unreliable": bool(cell.doubts),
                    "difference": difference.mean if difference else None,
                    "difference_low": difference.low if difference else None,
                    "difference_high": difference.high if difference else None,
                    "difference_n": difference.n if difference else None,
                }
            )
    return found


def to_latex(table: RobustnessTable) -> str:
    """Two LaTeX tables for the package booktabs, every text escaped; notes as comments."""
    parts = [_latex_table(table.columns, cells(table), table.caption, "robustness")]
    if body := difference_cells(table):
        caption = difference_caption(table)
        parts.append(_latex_table(difference_columns(table), body, caption, "differences"))
    # A comment ends with its line, so a note must not hold a line end.
    parts.append("\n".join(f"% {' '.join(one.split())}" for one in table.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def console() -> Console:
    """Where results are shown: stdout with the terminal's width, or 160 where there is no terminal.

    A pipe has no width; rich would take 80 for it.
    """
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def to_rich(table: RobustnessTable) -> Group:
    """The table, the differences and the notes for `rich.print` or a console."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(table.caption), _Grid(table.columns, cells(table))]
    if body := difference_cells(table):
        parts.append(Text("\n" + difference_caption(table)))
        parts.append(_Grid(difference_columns(table), body))
    parts.append(Text("\n" + "\n".join(f"- {one}" for one in table.notes)))
    return Group(*parts)


def _cell(table: RobustnessTable, row: TableRow, benchmark: Benchmark) -> str:
    cell = row.cells.get(benchmark.name)
    if cell is None:
        return NOTHING
    # A seed that lacks this one benchmark must not hide behind the row's n.
    count = f" (n={cell.interval.n})" if cell.interval.n != row.n_seeds else ""
    mark = DOUBTED if cell.doubts else ""
    return _with_spread(cell.interval, table, benchmark) + mark + count


def _difference(table: RobustnessTable, row: TableRow, benchmark: Benchmark) -> str:
    cell = row.cells.get(benchmark.name)
    if cell is None or cell.difference is None:
        return NOTHING
    return _with_spread(cell.difference, table, benchmark, sign=True)


def _with_spread(
    interval: Interval, table: RobustnessTable, benchmark: Benchmark, *, sign: bool = False
) -> str:
    decimals = table.decimals(benchmark.name)
    mean = benchmark.metric.text(interval.mean, decimals, sign=sign)
    half = interval.half_width
    return mean if half is None else f"{mean} ± {benchmark.metric.text(half, decimals)}"


def _passes(row: TableRow) -> str:
    """`2 bwd`, `1 fwd + 0.2 bwd`; 0 where there are none."""
    if row.extra_forwards is None or row.extra_backwards is None:
        return NOTHING
    counts = ((row.extra_forwards, "fwd"), (row.extra_backwards, "bwd"))
    return " + ".join(f"{count:.3g} {kind}" for count, kind in counts if count) or "0"


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\|*<])", r"\\\1", " ".join(text.split()))


def _markdown_grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = ["---", "---", *["---:"] * (len(head) - 2)]
    lines = [[_markdown_text(one) for one in head], rule]
    lines += [[_markdown_text(one) for one in row] for row in body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",  # after a line break a bare bracket would be its length
    "]": "{]}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "²": r"$^2$",
    "–": "--",
}


def latex_text(text: str) -> str:
    """The text with everything escaped that LaTeX would read as a command."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _latex_table(
    head: Sequence[str], body: Sequence[Sequence[str]], caption: str, label: str
) -> str:
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{latex_text(caption)}}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
            r"    \toprule",
            f"    {_latex_line(head)}",
            r"    \midrule",
            *(f"    {_latex_line(row)}" for row in body),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _latex_line(texts: Sequence[str]) -> str:
    return " & ".join(map(latex_text, texts)) + r" \\"


# Labels are folded to no less than this many letters before columns of numbers go below.
_LEAST = 12
# Between two columns, and outside the first and the last.
_GAP, _EDGES = 2, 2


class _Grid:
    """A table that a console of any width shows whole.

    The first two columns are labels and fold where room lacks; numbers do not: columns for which
    there is no room go below, each part with the labels again. Where not even one column fits
    beside the labels its numbers are folded, too, but never cut.
    """

    def __init__(self, head: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        from rich.cells import cell_len

        labels, numbers = head[:2], [one.replace(" ", "\n") for one in head[2:]]
        self._head = [*labels, *numbers]
        self._body = body
        self._widths = [
            max(cell_len(line) for row in [self._head, *body] for line in row[place].split("\n"))
            for place in range(len(self._head))
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        part: list[int] = []
        for place in range(2, len(self._head)):
            if part and not self._labels([*part, place], options.max_width):
                yield self._part(part, self._labels(part, options.max_width))
                part = []
            part.append(place)
        yield self._part(part, self._labels(part, options.max_width))

    def _labels(self, places: list[int], width: int) -> list[int]:
        """The widths of the labels beside these columns; none where they do not fit."""
        labels = self._widths[:2]
        numbers = sum(self._widths[place] + _GAP for place in places)
        excess = sum(labels) + _GAP + numbers + _EDGES - width
        for at in sorted((0, 1), key=lambda at: -labels[at]):
            saved = min(max(excess, 0), max(labels[at] - _LEAST, 0))
            labels[at] -= saved
            excess -= saved
        return labels if excess <= 0 else []

    def _part(self, places: list[int], labels: list[int]) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
        widths = [*labels, *(self._widths[place] for place in places)] if labels else []
        for at, place in enumerate((0, 1, *places)):
            # Text, not str: a label such as [red] must be shown, not obeyed.
            grid.add_column(
                Text(self._head[place]),
                justify="left" if place < 2 else "right",
                overflow="fold",
                width=widths[at] if widths else None,
            )
        for row in self._body:
            grid.add_row(*(Text(row[place]) for place in (0, 1, *places)))
        return grid
