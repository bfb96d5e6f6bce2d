"""docs/tables.md lists every column as the schema has it (tests/test_snippets.py runs the rest).

After a change of the schema: `python -m tests.analysis.test_table_docs` writes the lists anew.
"""

from __future__ import annotations

from pathlib import Path

from analysis.schema import RECORDED, TABLES, schema

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
_TYPES = {"timestamp[us, tz=UTC]": "time", "double": "double", "float": "float"}


def listed(table: str) -> str:
    """The columns of a table as the page has them."""
    lines = ["| column | type | what it is |", "| --- | --- | --- |"]
    for field in schema(table):
        told = {key.decode(): value.decode() for key, value in field.metadata.items()}
        unit = f" ({told['unit']})" if "unit" in told else ""
        kind = str(field.type)
        kind = "list of " + str(field.type.value_type) if kind.startswith("list") else kind
        what = told["description"].replace("|", "\\|").replace("<", "\\<")
        lines.append(f"| `{field.name}` | {_TYPES.get(kind, kind)} | {what}{unit} |")
    return "\n".join(lines) + "\n"


def written(text: str) -> str:
    """The page with the lists of today in their places."""
    for table in (*TABLES, *RECORDED):
        mark = f"<!-- columns of {table} -->\n"
        begin, _, rest = text.partition(mark)
        assert rest, f"docs/tables.md has no place for the columns of {table}"
        # A list goes to the next empty line.
        old, _, after = rest.partition("\n\n")
        assert old.startswith("|") or not old.strip(), f"no list below {mark}"
        text = begin + mark + listed(table) + "\n" + after
    return text.rstrip("\n") + "\n"


def test_the_page_lists_every_column_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == written(text), "run: python -m tests.analysis.test_table_docs"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
