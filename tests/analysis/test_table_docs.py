"""docs/tables.md lists every column as the schema has it, and what it shows works.

After a change of the schema: `python -m tests.analysis.test_table_docs` writes the lists anew.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.export import export
from analysis.schema import RECORDED, TABLES, schema

from .fake_study import realistic, tiny

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


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_lists_every_column_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == written(text), "run: python -m tests.analysis.test_table_docs"


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's snippets find a study called quickstart, and another one."""
    root = tmp_path / "studies"
    tiny(root / "quickstart")
    realistic(root / "other")
    for one in root.iterdir():
        export(one)
    monkeypatch.chdir(tmp_path)
    return root


@pytest.mark.parametrize("place", range(len(blocks("python"))))
def test_readers_work_as_shown(studies: Path, place: int) -> None:
    names: dict[str, Any] = {}
    exec(blocks("python")[place], names)
    assert studies.is_dir()
    for name, found in names.items():
        if hasattr(found, "shape"):
            assert found.shape[0] > 0, name


def test_commands_work_as_shown(studies: Path) -> None:
    commands = [
        line.removeprefix("python -m analysis ")
        for block in blocks("bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("python -m analysis ")
    ]
    assert len(commands) >= 3
    assert studies.is_dir()
    for command in commands:
        done = CliRunner().invoke(app, shlex.split(command))
        assert done.exit_code == 0, (command, done.output)
        assert done.stdout.strip(), command


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
