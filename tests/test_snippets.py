"""Every fenced snippet of the pages does what it says: Python runs, commands parse or run.

The tutorial is run as it stands, block after block, with Ray. Commands that need a cluster, another
machine or half an hour are parsed to their last option.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from analysis import __main__ as analysis_cli
from study import cli, life, spec
from study.commands.running import toy_size

from .study.in_process import STORAGE, Runner
from .test_docs import PAGES, ROOT, blocks

APPS = {"study": cli.app, "analysis": analysis_cli.app}
# What only reads a study, and can be run on a small one.
READING = {
    ("study", "report"),
    ("study", "simulate"),
    ("study", "status"),
    ("analysis", "export"),
    ("analysis", "plot"),
    ("analysis", "query"),
    ("analysis", "robustbench"),
    ("analysis", "tables"),
}


def commands() -> list[tuple[str, str]]:
    """Every line of a snippet that calls the program, and where it stands."""
    found = []
    for page in (*PAGES, ROOT / "benchmarks" / "README.md"):
        lines: list[str] = []
        language: str | None = None  # of the block that this line is in
        for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            if line.startswith("```"):
                language = line[3:].strip() if language is None else None
            elif language in ("", "bash") and re.search(r"-m (study|analysis) ", line):
                lines.append(line)
        found += [(page.name, one.strip()) for one in lines]
    return found


def words_of(line: str) -> tuple[str, list[str]]:
    """The program and its arguments: no comment, no redirection, nothing before it."""
    words = shlex.split(line, comments=True)
    start = max(
        place for place, one in enumerate(words) if one in APPS and words[place - 1] == "-m"
    )
    rest = words[start + 1 :]
    if ">" in rest:
        rest = rest[: rest.index(">")]
    # What is in brackets in a synopsis may be left out.
    return words[start], [one for one in rest if not one.startswith("[--")]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `studies/quickstart` in it: the preset at toy size, finished."""
    root = tmp_path_factory.mktemp("pages")
    path = spec.find("quickstart")
    text = path.read_text(encoding="utf-8")
    changes = [one for one in toy_size(text) if not one.startswith("study=")]
    study = spec.load(
        path, (*changes, "data.limit=60", "training.epochs=3", "schedule.max_epochs=3")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(STORAGE, str(tmp_path_factory.mktemp("trainables")))
        data = life.rehearse(study, "", address="local", cpus=1)
        folder = life.create(study, text, root / "studies", data)
        Runner().run(folder)
    life.tell(folder)
    yield root


@pytest.mark.parametrize(("where", "line"), commands())
def test_a_command_parses(where: str, line: str) -> None:
    program, words = words_of(line)
    command = typer.main.get_command(APPS[program])
    with command.make_context(program, words) as context:
        name, found, rest = command.resolve_command(  # type: ignore[attr-defined]
            context, [*context._protected_args, *context.args]
        )
        assert name is not None, line
        found.make_context(name, rest, parent=context).close()


@pytest.mark.parametrize(
    ("where", "line"),
    [
        pytest.param(*one, id=one[1][:60])
        for one in commands()
        if re.search(r" studies(/quickstart)?( |$)", one[1])
        and (words_of(one[1])[0], words_of(one[1])[1][0]) in READING
        and "--watch" not in one[1]
    ],
)
def test_a_command_that_reads_runs(
    where: str, line: str, quickstart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(quickstart)
    program, words = words_of(line)
    done = CliRunner().invoke(APPS[program], words)
    assert done.exit_code == 0, done.output
    assert done.output


@pytest.mark.parametrize(
    ("where", "text"),
    [pytest.param(*one, id=one[0]) for one in blocks("python") if "digits-noise" not in one[1]],
)
def test_python_runs(
    where: str, text: str, quickstart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(quickstart)
    exec(compile(text, where, "exec"), {"__name__": "snippet"})


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial_runs_from_the_question_to_the_table(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    found = re.findall(r"```(yaml|bash|python)\n(.*?)```", text, re.DOTALL)
    assert {kind for kind, _ in found} == {"yaml", "bash", "python"}
    own = tmp_path / "bin"
    own.mkdir()
    # A link to the interpreter would lose its environment.
    (own / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (own / "python").chmod(0o755)
    environment = {key: one for key, one in os.environ.items() if not key.startswith("RAY_")}
    environment |= {
        "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    for kind, block in found:
        if kind == "yaml":
            (tmp_path / "digits-noise.yaml").write_text(block, encoding="utf-8")
            continue
        words = ["bash", "-euc", block] if kind == "bash" else [sys.executable, "-c", block]
        done = subprocess.run(
            words,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert r"\toprule" in (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert (tmp_path / "studies" / "digits-noise" / "report" / "index.html").is_file()
