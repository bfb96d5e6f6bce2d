"""What the documents say is true: study files parse, commands exist, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from search_spaces.ranges import as_range, defaults
from study import spec
from study.cli import app
from study.yaml_text import read_yaml
from trainables.core import catalog
from trainables.core.randomness import Stream
from trainables.core.training import Training

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """Every fenced block of a language in every page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [
            (f"{page.name}:{i}", block)
            for i, block in enumerate(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL))
        ]
    return found


@pytest.mark.parametrize(("where", "text"), blocks("yaml"), ids=lambda one: one[:20])
def test_yaml_is_a_study_or_a_part_of_one(where: str, text: str) -> None:
    plain = read_yaml(text)
    if "study" in plain:
        assert spec.parse(plain).arms
    elif "arms" in plain:
        assert spec.parse({"study": "part", **plain}).arms
    else:
        assert all(as_range(leaf, where) is not None for leaf in plain.values())


COMBINED = [
    pytest.param(arm, id=f"{where}-{arm.arm}-{arm.weighter}")
    for where, text in blocks("yaml")
    if where.startswith("components") and "data: {name" not in text.replace("name: Digits", "")
    for arm in spec.parse({"study": "part", **read_yaml(text)}).arms
]


@pytest.mark.parametrize("arm", COMBINED)
def test_a_combination_of_components_takes_a_step(arm: spec.Arm) -> None:
    recipe = defaults(arm.tree)
    recipe["data"] = {"limit": 120, **recipe["data"]}
    if "labels" in recipe["data"]:
        recipe["data"]["labels"] = 20
    one = Training(recipe)
    (batch,) = one.parts.train.batches([one._order()[0][:8]], device="cpu", seed=0)
    step = one._step(batch, Stream(0))
    assert step.losses.isfinite().all()
    assert step.weights.isfinite().all()


@pytest.mark.parametrize("kind", ["architectures", "data", "losses", "views", "weighters"])
def test_the_page_of_components_names_all(kind: str) -> None:
    text = (ROOT / "docs" / "components.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", text))
    missing = set(catalog.names(kind)) - words
    assert not missing, f"docs/components.md does not name {missing}"


def test_every_command_in_the_pages_exists() -> None:
    known = set(re.findall(r"^  (\w+) ", CliRunner().invoke(app, ["--help"]).output, re.MULTILINE))
    assert {"run", "resume", "train"} <= known
    for page in PAGES:
        for command in re.findall(r"python -m study (\w+)", page.read_text(encoding="utf-8")):
            assert command in known, f"{page.name} names an unknown command {command!r}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_changelog_and_licence_are_there() -> None:
    assert "MIT License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", spec.presets())
def test_presets_parse_and_say_their_question(name: str) -> None:
    found = spec.load(spec.find(name))
    assert found.study == name
    assert found.question.endswith("?")
