"""Every preset study from its file to its report, at toy size and without Ray."""

from __future__ import annotations

from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from analysis.tables import robustness_table
from study import life, spec
from study.commands.running import toy_size
from trainables.core.errors import MissingDataError

if TYPE_CHECKING:
    from .in_process import Runner

# Changes on top of --smoke-test. Sets that the small data root has are run everywhere, the others
# where the real data are.
SMALL = {
    "regression": ("data.dataset=Slopes",),
    "detection": ("data.folder=coco", "data.size=64"),
}
REAL = {
    "robustness-mnist": ("data.limit=60", "confirm.seeds=1", "benchmarks.4.budget=0.02"),
    "robustness-images": ("data.limit=60", "confirm.seeds=1", "benchmarks.4.budget=0.02"),
    "robustness-series": ("confirm.seeds=1", "benchmarks.4.budget=0.02"),
    "noise-or-attack": ("data.limit=60", "benchmarks.4.budget=0.02"),
    "policy-collapse": ("data.limit=60", "confirm.seeds=1"),
    "weighters": ("data.limit=60",),
    "quickstart": ("data.limit=60",),
    "auxiliary-task": ("data.limit=16", "data.fraction=1.0", "confirm.seeds=1"),
    "searched-weighter": ("data.limit=40", "confirm.top=1"),
}


@pytest.mark.parametrize("name", spec.presets())
def test_a_preset_runs_at_toy_size(
    name: str,
    tmp_path: Path,
    runner: Runner,
    small_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = spec.find(name)
    text = path.read_text(encoding="utf-8")
    if name in SMALL:
        monkeypatch.setenv("STUDY_DATA", str(small_root))
    tiny = ("training.epochs=1", "schedule.max_epochs=1", "probe.limit=4", "test.limit=4")
    study = spec.load(path, (*toy_size(text), *SMALL.get(name, ()), *REAL.get(name, ()), *tiny))
    try:
        data = life.rehearse(study, "", address="local", cpus=1)
    except MissingDataError as error:
        pytest.skip(f"needs its data: {error}")
    folder = life.create(study, text, tmp_path, data)
    runner.run(folder)
    table = robustness_table(folder)
    assert (table.status, table.split, table.data) == ("finished", "test", data["title"])
    names = {one.name for one in table.benchmarks}
    # Some have several columns; an attack's worst case is of two.
    shown = [config for one in table.benchmarks for config in one.configs]
    assert all(dict(one) in shown for one in study.benchmarks)
    # Toy networks may diverge; a confirmed one has a figure on every benchmark.
    assert all(set(row.cells) in (set(), names) for row in table.rows)
    assert table.rows[0].cells
    page = unescape(life.tell(folder).read_text(encoding="utf-8"))
    assert data["provenance"] in page
