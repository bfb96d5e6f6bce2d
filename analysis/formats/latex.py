"""A table as LaTeX for the package booktabs, fitted to the page.

A table of many benchmarks is wider than any page. Shrinking all of it would make it unreadable, so
its columns are cut into parts that need little shrinking, each with the labels again; and what is
longer than a page goes on in another table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..grid import Entry, Grid

# Letters of the size \small beside each other in a line of 345 pt, the text width of the class
# article at 10 pt, and by how much a part may exceed them: \resizebox takes that back.
_LINE = 72
_EXCESS = 1.3
_GAP = 2
# Lines of a page; heads and rules of a part take four.
_PAGE = 44
_HEAD = 4

_LETTERS = {
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
    "|": r"\textbar{}",
    '"': "''",  # the straight one needs an encoding that not every document has
    "±": r"$\pm$",
    "×": r"$\times$",
    "²": r"$^2$",
    "–": "--",
    "−": "$-$",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "†": r"\dag{}",
    "▲": r"$\bigtriangleup$",
    "▼": r"$\bigtriangledown$",
    "τ": r"$\tau$",
    "σ": r"$\sigma$",
    "ε": r"$\varepsilon$",
    "→": r"$\rightarrow$",
}


def to_latex(grids: Sequence[Grid], notes: Sequence[str] = (), warnings: Sequence[str] = ()) -> str:
    """LaTeX tables for the packages booktabs and graphicx, every text escaped; notes as comments.

    Letters outside ASCII are written as commands where they are known; others are left, and need a
    document in UTF-8 whose fonts have them.
    """
    parts = ["% Needs \\usepackage{booktabs,graphicx}."]
    for grid in grids:
        if not grid.body:
            parts.append(_comment(grid.caption))
            continue
        parts += [_float(grid, at, blocks) for at, blocks in enumerate(_pages(grid))]
        parts += [_comment(one) for one in grid.notes]
    # A comment ends with its line, so a note must not hold a line end.
    lines = [*(f"Warning: {one}" for one in warnings), *notes]
    parts.append("\n".join(map(_comment, lines)))
    return "\n\n".join(part for part in parts if part) + "\n"


def latex_text(text: str) -> str:
    """The text with everything escaped that LaTeX would read as a command."""
    return "".join(_LETTERS.get(letter, letter) for letter in " ".join(text.split()))


def _comment(text: str) -> str:
    return f"% {' '.join(text.split())}"


def _pages(grid: Grid) -> Iterator[list[str]]:
    """The tabulars of each float: as many as fit on a page."""
    page: list[str] = []
    room = _PAGE
    for places in _parts(grid):
        for start in range(0, len(grid.body), _PAGE - _HEAD):
            rows = grid.body[start : start + _PAGE - _HEAD]
            if page and room < len(rows) + _HEAD:
                yield page
                page, room = [], _PAGE
            page.append(_tabular(grid, places, rows))
            room -= len(rows) + _HEAD
    yield page


def _parts(grid: Grid) -> Iterator[list[int]]:
    """The places of the columns of each part, the labels first in every one."""
    widths = [max(map(len, _lines(grid, place))) + _GAP for place in range(len(grid.columns))]
    labels = list(range(grid.labels))
    room = _LINE * _EXCESS - sum(widths[place] for place in labels)
    part: list[int] = []
    used = 0
    for place in range(grid.labels, len(widths)):
        if part and used + widths[place] > room:
            yield [*labels, *part]
            part, used = [], 0
        part.append(place)
        used += widths[place]
    yield [*labels, *part]


def _lines(grid: Grid, place: int) -> Iterator[str]:
    yield from _head_lines(grid, place)
    for row in grid.body:
        yield row[place].text


def _head_lines(grid: Grid, place: int) -> list[str]:
    """The head in lines: what is in front of a bracket above what is in it."""
    head = grid.columns[place].head
    name, bracket, rest = head.partition(" [")
    lines = [*name.split(" "), f"[{rest}"] if bracket else head.split(" ")
    return lines if grid.columns[place].number else [head]


def _tabular(grid: Grid, places: Sequence[int], rows: Sequence[tuple[Entry, ...]]) -> str:
    letters = "".join("r" if grid.columns[place].number else "l" for place in places)
    # Only what is wider than the line is made smaller.
    return "\n".join(
        [
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"  \begin{{tabular}}{{{letters}}}",
            r"    \toprule",
            f"    {' & '.join(_head(grid, place) for place in places)} \\\\",
            r"    \midrule",
            *(f"    {' & '.join(_cell(row[place]) for place in places)} \\\\" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}}",
        ]
    )


def _head(grid: Grid, place: int) -> str:
    lines = [latex_text(one) for one in _head_lines(grid, place)]
    if len(lines) == 1:
        return lines[0]
    stacked = r"\\".join(lines)
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{stacked}\end{{tabular}}"


def _cell(entry: Entry) -> str:
    text = latex_text(entry.text)
    return rf"\textbf{{{text}}}" if entry.strong else text


def _float(grid: Grid, at: int, blocks: Sequence[str]) -> str:
    caption = grid.caption if at == 0 else f"{grid.title}, continued."
    label = grid.name if at == 0 else f"{grid.name}-{at + 1}"
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering\small\setlength{\tabcolsep}{4pt}",
            rf"  \caption{{{latex_text(caption)}}}",
            rf"  \label{{tab:{label}}}",
            "\n  \\par\\medskip\n".join(blocks),
            r"\end{table}",
        ]
    ).replace("\n\n", "\n")
