"""Every data set keeps the contract of a source; tests/core has what they hold."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contracts.toys import components
from trainables.core import catalog
from trainables.core.data._source import Source
from trainables.core.errors import MissingDataError
from trainables.core.recipe import SPLITTING

EMBEDDED = ("Digits",)
"""Sets that need no files."""


def build(name: str) -> Any:
    return catalog.build("data", {"name": name})


@pytest.mark.parametrize(("kind", "name"), components("data"))
def test_the_task_is_known_without_loading(kind: str, name: str) -> None:
    found = catalog.find(kind, name)
    assert found.task in ("classification", "regression", "detection")


@pytest.mark.parametrize(("kind", "name"), components("data"))
def test_no_setting_has_the_name_of_a_split_option(kind: str, name: str) -> None:
    assert not set(catalog.settings(kind, name)) & set(SPLITTING)


@pytest.mark.parametrize(("kind", "name"), components("data"))
def test_load_takes_a_root_and_gives_a_source(kind: str, name: str) -> None:
    signature = inspect.signature(catalog.find(kind, name).load, eval_str=True)
    assert list(signature.parameters) == ["self", "root"]
    assert signature.return_annotation is Source


@pytest.mark.parametrize(("kind", "name"), components("data"))
def test_an_absent_set_names_the_root_and_how_to_get_it(
    kind: str, name: str, tmp_path: Path
) -> None:
    if name in EMBEDDED:
        assert len(build(name).load(tmp_path).train) > 0
        return
    with pytest.raises(MissingDataError) as caught:
        build(name).load(tmp_path)
    for part in (str(tmp_path), "Nothing is downloaded: get it from", "$STUDY_DATA"):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_digits_load_without_a_root() -> None:
    found = build("Digits").load(Path("no-such-folder"))
    assert (len(found.train), len(found.test)) == (1348, 449)
    assert (found.task, found.title) == ("classification", "Digits")
    for part in (found.train, found.test):
        assert part.x.dtype == torch.float32
        assert part.shape == (1, 8, 8)
        assert part.y.dtype == torch.int64
        assert set(part.y.tolist()) == set(range(len(found.classes)))
        assert found.box == (float(part.x.min()), float(part.x.max())) == (0.0, 1.0)
