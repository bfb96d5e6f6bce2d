"""Whatever dies or breaks, a study ends with what it would have reported undisturbed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from study.spec import parse

from .chaos import KINDS, NODE, Chaos
from .drivers import Driver
from .in_process import TINY, Runner, assert_equal_as_far_as_both_went, begin, curves
from .two_nodes import TwoNodes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FILE = TINY | {
    "weighters": ["CoV"],
    "search": {"sampler": "random", "trials_per_arm": 3},
    "schedule": {"name": "none"},
    "confirm": {"top": 1, "seeds": 1},
}


@pytest.mark.parametrize("asha", [False, True])
def test_a_disturbed_study_reports_what_an_undisturbed_one_does(
    runner: Runner, driver: Driver, tmp_path: Path, asha: bool
) -> None:
    file = FILE | ({"schedule": {"grace_epochs": 1, "reduction_factor": 2}} if asha else {})
    reference = begin(tmp_path / "reference", parse(file))
    runner.run(reference)
    lines = (reference / "ledger.jsonl").read_bytes().count(b"\n")
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(file), encoding="utf-8")
    chaos = Chaos(driver, path, tmp_path / "studies", 2, random.Random(7))
    chaos.run(len(KINDS), lines)
    assert sum(chaos.done.values()) >= 3, chaos.done
    if asha:
        assert_equal_as_far_as_both_went(chaos.folder, reference)
    else:
        assert curves(chaos.folder) == curves(reference)


def test_a_study_on_a_cluster_survives_the_loss_of_a_node_too(
    runner: Runner, driver: Driver, tmp_path: Path
) -> None:
    reference = begin(tmp_path / "reference", parse(FILE))
    runner.run(reference)
    lines = (reference / "ledger.jsonl").read_bytes().count(b"\n")
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(FILE), encoding="utf-8")
    with TwoNodes(tmp_path) as cluster:
        chaos = Chaos(driver, path, tmp_path / "studies", 2, random.Random(3), cluster)
        chaos.run(2, lines)
    assert chaos.done[NODE] == 1
    assert curves(chaos.folder) == curves(reference)
