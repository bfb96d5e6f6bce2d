"""Arms over several data sets as a table: average ranks, the figures behind them, and who differs.

The other tables are of one study; this one is made of a `RankTable`.
"""

from __future__ import annotations

from ..grid import Column, Entry, Grid, numbers, words
from ..ranks import RankTable


def ranks(table: RankTable) -> Grid:
    """A row for each arm, best average rank first; each data set's figure with its rank."""
    order = sorted(range(len(table.rows)), key=lambda place: table.average[place])
    best = table.rows[order[0]]
    p_of = {frozenset((one.first, one.second)): one.p_holm for one in table.pairs}
    body = []
    for place in order:
        row = table.rows[place]
        decimals = [table.metric.decimals(one) for one in table.values]
        p = p_of.get(frozenset((best, row)))
        body.append(
            (
                Entry(row),
                Entry(f"{table.average[place]:.2f}", table.average[place]),
                *(
                    Entry(
                        f"{table.metric.text(values[place], digits)} ({found[place]:g})",
                        values[place],
                    )
                    for values, found, digits in zip(
                        table.values, table.ranks, decimals, strict=True
                    )
                ),
                Entry("–") if p is None else Entry(f"{p:.3g}", p),
            )
        )
    unit = table.metric.unit or table.metric.title
    studies = tuple(Column(f"{one} [{unit}] (rank)", one) for one in table.studies)
    groups = "; ".join(", ".join(one) for one in table.cliques if len(one) > 1)
    return Grid(
        name="ranks",
        title=f"Ranks on {table.benchmark}",
        caption=(
            f"{table.benchmark}: mean over seeds of the confirmed configuration on {len(studies)} "
            "data sets, with its rank there (1 is best). Friedman's test with Iman and "
            f"Davenport's correction: F = {table.f:.3g}, p = {table.p:.3g}. p in the last column: "
            f"Wilcoxon's signed-rank test against {best}, Holm-corrected over all "
            f"{len(table.pairs)} pairs. Nemenyi's critical difference of two average "
            f"ranks at {table.level:g}: {table.critical:.2f}."
        ),
        columns=(*words("arm"), *numbers("average rank"), *studies, *numbers("p")),
        body=tuple(body),
        notes=tuple(
            one for one in (f"Not told apart: {groups}." if groups else "", table.note) if one
        ),
    )
