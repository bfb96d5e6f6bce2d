"""Imports point one way: the core knows nothing above it, and help is quick without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("study", "trainables", "search_spaces", "analysis")
ABOVE_CORE = ("ray", "optuna", "pandas", "pydantic", "pyarrow", "typer", "rich", "matplotlib")

# Where a module is, by the beginning of its name, and what it must not import. The longest
# beginning counts; a rule forbids the names and all below them.
RULES: dict[str, tuple[str, ...]] = {
    "trainables.core": (*ABOVE_CORE, "study", "search_spaces", "analysis", "trainables.trial"),
    # Recordings are Parquet files; the library is asked for where one is read, and nowhere else.
    "trainables.core.augmentations.replayed_policies": tuple(
        one for one in (*ABOVE_CORE, "study", "analysis", "trainables.trial") if one != "pyarrow"
    ),
    "trainables.trial": ("study", "search_spaces", "analysis", "optuna", "pandas"),
    "trainables.checkpoints": ("study", "search_spaces", "analysis", "optuna", "pandas", "ray"),
    "trainables.ranks": ("study", "search_spaces", "analysis", "optuna", "pandas", "ray"),
    "trainables.storage": ("study", "search_spaces", "analysis", "optuna", "pandas", "ray"),
    "trainables": (*ABOVE_CORE, "torch", "study", "search_spaces", "analysis", "trainables"),
    "search_spaces": ("torch", "torchvision", "study", "trainables", "analysis"),
    "analysis": ("torch", "torchvision", "ray", "optuna", "study", "trainables", "search_spaces"),
    "study.engine": (),
    "study.cluster": (),
    "study.monitor": (),
    "study.nodes": (),
    "study.submit": (),
    "study": ("ray", "trainables.trial"),
}


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted names and files of all modules of the packages."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


MODULES = list(modules())


def imported(name: str, path: Path) -> set[str]:
    """Absolute names of everything that a module imports, anywhere in it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                kept = parents[: len(parents) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            # `from a import b` may import the module a.b.
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def below(name: str, forbidden: str) -> bool:
    return name == forbidden or name.startswith(forbidden + ".")


def rule_of(name: str) -> tuple[str, ...]:
    return RULES[max((one for one in RULES if below(name, one)), key=len)]


def offences(name: str, path: Path) -> list[str]:
    return sorted(
        one for one in imported(name, path) if any(below(one, rule) for rule in rule_of(name))
    )


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_imports_point_one_way(name: str, path: Path) -> None:
    assert offences(name, path) == []


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("trainables.core.views", "import ray.tune", ["ray.tune"]),
        ("trainables.core.data.x", "from ...trial import Trial", ["trainables.trial"]),
        ("trainables.core.data.x", "from ... import trial", ["trainables.trial"]),
        ("trainables.core.data.x", "from .. import splits", []),
        ("search_spaces.ranges", "def f():\n    import torch.nn", ["torch.nn"]),
        ("study.asha", "from ray import tune", ["ray", "ray.tune"]),
        ("study.engine", "from ray import tune", []),
        ("study.spec", "import rayon, torch", []),
    ],
)
def test_the_reader_of_imports_finds_them(
    name: str, source: str, expected: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    found = offences(name, path)
    assert [one for one in found if not one.endswith(".Trial")] == expected


LIGHT = [
    ("trainables.core.training", ("ray", "optuna", "pandas", "pydantic")),
    ("trainables", ("ray", "torch")),
    ("search_spaces", ("ray", "torch")),
    ("analysis.schema", ("ray", "torch", "study", "trainables")),
    ("study.cli", ("ray", "torch")),
]


@pytest.mark.parametrize(("module", "absent"), LIGHT, ids=[name for name, _ in LIGHT])
def test_importing_stays_light(module: str, absent: tuple[str, ...]) -> None:
    path = ROOT / module.replace(".", "/")
    if not path.is_dir() and not path.with_suffix(".py").exists():
        pytest.skip(f"{module} is not there")
    code = f"import {module}, sys; print(*[m for m in {absent!r} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout.strip(), found.stderr) == (0, "", "")
