"""A study's figures on Ray's endpoint, and the dashboard that asks for them."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from study import dashboards
from study.dashboards.grafana import dashboard
from study.monitor import FIGURES, Metrics, exported

from .in_process import Runner, begin, opened, tiny

if TYPE_CHECKING:
    from study.cluster import Cluster

Series = dict[str, list[tuple[dict[str, str], float]]]


class Recorder:
    """What is exported, by name and tags; takes the place of Ray's side only."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self.fails = False

    def make(self, metrics: Metrics, name: str) -> Any:
        recorder = self

        class Known:
            def set(self, value: float, tags: dict[str, str]) -> None:
                if recorder.fails:
                    raise RuntimeError("no endpoint")
                assert set(tags) == set(FIGURES[name].tags)
                assert all(one.isascii() for one in tags.values()), "Ray refuses others"
                recorder.values[name, tuple(sorted(tags.items()))] = value

            def inc(self, value: float, tags: dict[str, str]) -> None:
                assert value > 0
                key = name, tuple(sorted(tags.items()))
                recorder.values[key] = recorder.values.get(key, 0.0) + value

        metrics._known[name] = Known()
        return metrics._known[name]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    monkeypatch.setattr(Metrics, "_make", lambda metrics, name: found.make(metrics, name))
    return found


def test_the_series_do_not_grow_with_the_trials_and_counters_hold_the_whole(
    tmp_path: Path, runner: Runner, recorder: Recorder
) -> None:
    folder = begin(tmp_path / "tiny", tiny(confirm={"seeds": 1}))
    runner.run(folder)
    with opened(folder) as conductor:
        Metrics(conductor).tick(now=True)
        epochs = sum(one.epoch for one in conductor.trials)
        value = {name: v for (name, tags), v in recorder.values.items() if len(tags) == 1}
        assert value["study_reports"] == epochs
        assert value["study_expected_trials"] == len(conductor.trials)
        spent = sum(v for (name, _), v in recorder.values.items() if name == "study_device_seconds")
        assert spent == pytest.approx(sum(one.device_s for one in conductor.trials))
    arms = len(conductor.study.arms)
    per_arm = sum("arm" in dict(tags) for _, tags in recorder.values)
    assert per_arm == 3 * arms
    assert len(recorder.values) <= 3 * arms + 6 + 3 + 7
    for _, tags in recorder.values:
        assert dict(tags)["study"] == "tiny"
        assert set(dict(tags)) <= {"study", "arm", "state", "metric", "class"}


def test_a_state_that_was_left_is_zero_and_ticks_are_rare(
    tmp_path: Path, recorder: Recorder
) -> None:
    folder = begin(tmp_path / "tiny", tiny())
    waiting = ("study_trials", (("state", "WAITING"), ("study", "tiny")))
    with opened(folder) as conductor:
        metrics = Metrics(conductor, every_s=1000.0)
        assert recorder.values[waiting] == 0
        trial = conductor.next()
        assert trial is not None
        metrics.tick()
        assert recorder.values[waiting] == 0
        metrics.tick(now=True)
        assert recorder.values[waiting] == 1
        conductor.started(trial.number)
        metrics.tick(now=True)
        assert recorder.values[waiting] == 0
        halted = ("study_halted", (("study", "tiny"),))
        assert recorder.values[halted] == 0
        conductor.halted = "disk: full"
        metrics.tick(now=True)
        assert recorder.values[halted] == 1


def test_an_error_of_the_metrics_is_said_once_and_ends_nothing(
    tmp_path: Path, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = begin(tmp_path / "tiny", tiny())
    recorder.fails = True
    with opened(folder) as conductor:
        metrics = Metrics(conductor, every_s=0.0)
        metrics.tick()
        metrics.tick(now=True)
    told = capsys.readouterr()
    assert told.err == "No metrics any more: RuntimeError: no endpoint\n"
    assert told.out == ""


def test_the_shipped_dashboard_is_the_one_that_is_made() -> None:
    path = Path(dashboards.__file__).with_name("grafana.json")
    assert json.loads(path.read_text(encoding="utf-8")) == dashboard()


def test_panels_do_not_overlap_and_name_the_data_source() -> None:
    found = dashboard()
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in own) < 24
        assert not taken & own, panel["title"]
        taken |= own
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])


def scrape(port: int) -> Series:
    """Every series of Ray's endpoint on this machine by name: tags and value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: Series = {}
    for name, tags, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        pairs = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', tags))
        found.setdefault(name, []).append((pairs, float(value)))
    return found


def asked_for(query: str) -> list[tuple[str, set[str]]]:
    """Metrics that a query names, each with the labels that it is chosen or summed by."""
    by = set(re.findall(r"by \((.*?)\)", query))
    labels = {one.strip() for group in by for one in group.split(",")}
    found = []
    for name, chosen in re.findall(r"(ray_\w+)(?:\{(.*?)\})?", query):
        found.append((name, labels | set(re.findall(r'(\w+)=~?"', chosen))))
    return found


@pytest.mark.slow
def test_every_query_of_the_dashboard_finds_its_series_on_a_running_study(
    cluster: Cluster, tmp_path: Path
) -> None:
    import ray

    from study import engine

    folder = begin(
        tmp_path / "tiny", tiny(study="seen", arms={"größer": "gaussian_kl"}, confirm={"seeds": 1})
    )
    with opened(folder) as conductor:
        conductor.ledger.append("segment", segment=0, command="run", storage=None)
        metrics = Metrics(conductor, every_s=0.0)
        engine.run(conductor, folder, cluster=cluster, tick=metrics.tick)
        metrics.tick(now=True)
        (port,) = {one["MetricsExportPort"] for one in ray.nodes() if one["Alive"]}
        until = time.monotonic() + 90
        epochs = sum(one.epoch for one in conductor.trials)
        found: Series = {}
        while time.monotonic() < until:
            found = scrape(port)
            reports = found.get(exported("study_reports"), [])
            if [value for tags, value in reports if tags["study"] == "seen"] == [epochs]:
                break
            time.sleep(1)
    own = {
        name: [(tags, value) for tags, value in rows if tags.get("study") == "seen"]
        for name, rows in found.items()
    }
    for name in FIGURES:
        assert own.get(exported(name)), f"{exported(name)} is not on the endpoint"
    queries = [panel["targets"][0]["expr"] for panel in dashboard()["panels"]]
    for query in queries:
        named = asked_for(query)
        assert named, query
        for name, labels in named:
            assert own.get(name), f"{query}: no series {name}"
            assert labels <= set(own[name][0][0]), f"{query}: {name} has no such labels"
    for panel in dashboard()["panels"]:
        shown = set(re.findall(r"{{(\w+)}}", panel["targets"][0]["legendFormat"]))
        (by,) = set(re.findall(r"by \((.*?)\)", panel["targets"][0]["expr"]))
        assert shown <= {one.strip() for one in by.split(",")}
    variable = dashboard()["templating"]["list"][1]["definition"]
    (name, label) = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable).groups()  # type: ignore[union-attr]
    assert {tags[label] for tags, _ in found[name]} >= {"seen"}
    complete = [v for tags, v in own["ray_study_trials"] if tags["state"] == "COMPLETE"]
    assert complete == [sum(one.state == "COMPLETE" for one in conductor.trials)]
