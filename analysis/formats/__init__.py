"""The robustness table in every format, and the formats for grids of any kind.

`to_markdown`, `to_latex`, `to_html`, `to_rich` take a robustness table or any number of grids, and
the verdicts of its comparisons, where they are known.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..grid import NOTHING, Grid
from ..robustness import robustness
from ..tables import RobustnessTable
from . import html, latex, markdown, separated, terminal
from .latex import latex_text
from .terminal import console

if TYPE_CHECKING:
    from rich.console import Group

    from ..verdicts import Verdict

__all__ = [
    "NOTHING", "console", "latex_text", "records", "to_csv", "to_html", "to_latex", "to_markdown",
    "to_rich",
]  # fmt: skip

Shown = RobustnessTable | Grid
Verdicts = Mapping[tuple[tuple[str, str], str], "Verdict"]

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
    "control",
    "compared_with",
    "verdict",
    "p",
    "p_holm",
    "effect",
    "detectable",
    "wider_low",
    "wider_high",
    "time_ratio",
    "train_s",
    "peak_mem_bytes",
)


def to_markdown(shown: Shown, found: Verdicts | None = None) -> str:
    """GitHub-flavoured Markdown: the tables, the warnings, the notes."""
    return markdown.to_markdown(*_parts(shown, found))


def to_latex(shown: Shown, found: Verdicts | None = None) -> str:
    """LaTeX tables for the packages booktabs and graphicx; warnings and notes as comments."""
    return latex.to_latex(*_parts(shown, found))


def to_html(shown: Shown, found: Verdicts | None = None) -> str:
    """A fragment of HTML: the tables, the warnings, the notes."""
    return html.to_html(*_parts(shown, found))


def to_rich(shown: Shown, found: Verdicts | None = None) -> Group:
    """The tables, the warnings and the notes for a console."""
    return terminal.to_rich(*_parts(shown, found))


def to_csv(shown: Shown, found: Verdicts | None = None) -> str:
    """Comma-separated values in full precision, accuracies as fractions.

    Of a robustness table one line per row and benchmark, of a grid one per row.
    """
    if isinstance(shown, Grid):
        return separated.to_csv(shown)
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records(shown, found))
    return text.getvalue()


def records(table: RobustnessTable, found: Verdicts | None = None) -> list[dict[str, Any]]:
    """The figures for programs: one flat record per row and benchmark; None = absent."""
    made = []
    for row in table.rows:
        beside = table.row(row.against)
        for one in table.benchmarks:
            if (cell := row.cells.get(one.name)) is None:
                continue
            difference = cell.difference if table.split == "test" else None
            verdict = (found or {}).get((row.key, one.name))
            wider = verdict.wider if verdict else None
            made.append(
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
                    "control": row.control or None,
                    "compared_with": beside.label if beside else None,
                    "verdict": verdict.word if verdict else None,
                    "p": verdict.p if verdict else None,
                    "p_holm": verdict.p_holm if verdict else None,
                    "effect": verdict.effect if verdict else None,
                    "detectable": verdict.detectable if verdict else None,
                    "wider_low": wider.low if wider else None,
                    "wider_high": wider.high if wider else None,
                    "time_ratio": row.time_ratio,
                    "train_s": row.train_s,
                    "peak_mem_bytes": row.peak_bytes,
                }
            )
    return made


def _parts(
    shown: Shown, found: Verdicts | None
) -> tuple[Sequence[Grid], Sequence[str], Sequence[str]]:
    """Grids, notes and warnings."""
    if isinstance(shown, Grid):
        return [shown], (), ()
    return robustness(shown, found), shown.notes, shown.warnings
