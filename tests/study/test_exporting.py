"""An exported model is the one that the study evaluated, and its card says so."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from analysis import events
from analysis.export import tables
from study import single
from study.exporting import SNIPPET, export_model
from study.spec import parse
from trainables.core.errors import MissingDataError, SettingError

from ..contracts.worlds import ARCHITECTURES, DATA
from .in_process import TINY, begin, tiny

if TYPE_CHECKING:
    from .in_process import Runner

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def folder(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two arms, confirmed on three seeds."""
    home = tmp_path_factory.mktemp("studies") / "tiny"
    study = tiny(weighters=["Fixed"], search={"trials_per_arm": 1}, confirm={"seeds": 3})
    runner.run(begin(home, study))
    return home


def loaded(target: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """The model by the lines that the card shows."""
    text = (target / "card.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(target)
    names: Tree = {}
    exec(snippet, names)
    model: torch.nn.Module = names["model"]
    return model


def test_the_exported_model_has_the_ledgers_figures(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = export_model(folder, out=tmp_path / "model")
    same_figures(folder, target, loaded(target, monkeypatch))


def same_figures(folder: Path, target: Path, model: torch.nn.Module) -> None:
    """The ledger, the card and the model itself say the same of the test part."""
    card = json.loads((target / "card.json").read_text(encoding="utf-8"))
    number = card["trial"]["number"]
    training = single.restore(
        folder / "trials" / f"{number:04d}", best=False, data_root="", device="cpu"
    )
    # Other weights, so that only the exported ones can have these figures.
    for one in training.model.parameters():
        torch.nn.init.zeros_(one)
    training.model.load_state_dict(model.state_dict())
    resolved = json.loads((folder / "resolved.json").read_text(encoding="utf-8"))
    again = training.evaluate(
        resolved["benchmarks"], part="test", seed=resolved["seed"], checks=True
    ).rows
    last = [one for one in events.read(folder) if one["event"] == "report"]
    then = [one for one in last if one["trial"] == number][-1]["evaluations"]
    then = [one for one in then if one["split"] == "test"]
    key = ("name", "metric", "value", "n_correct", "n_examples")
    assert [[one[k] for k in key] for one in again] == [[one[k] for k in key] for one in then]
    assert [one["value"] for one in card["figures"]] == [one["value"] for one in then]


@pytest.mark.parametrize(
    ("task", "benchmark", "says"),
    [
        ("regression", {"name": "PGD", "eps": 0.1, "steps": 2}, "lower bounds of the error"),
        pytest.param(
            *("detection", "gaussian_0.1", "boxes with their scores and labels"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_models_of_other_tasks_have_the_ledgers_figures(
    task: str,
    benchmark: Any,
    says: str,
    runner: Runner,
    small_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STUDY_DATA", str(small_root))
    changes: Tree = {
        "data": DATA[task] | {"validation": 0.25},
        "architecture": ARCHITECTURES[task],
        "training": {"epochs": 2, "batch_size": 8, "optimizer": {"name": "SGD", "lr": 0.01}},
        "arms": {"baseline": {}},
        "weighters": ["Fixed"],
        "schedule": {"name": "none"},
        "benchmarks": ["Clean", benchmark],
    }
    folder = begin(tmp_path / "study", parse(TINY | changes))
    runner.run(folder)
    target = export_model(folder, out=tmp_path / "model")
    assert says in (target / "card.md").read_text(encoding="utf-8")
    same_figures(folder, target, loaded(target, monkeypatch))


def test_the_card_says_what_the_figures_rest_on(folder: Path, tmp_path: Path) -> None:
    target = export_model(folder, out=tmp_path / "model")
    card = json.loads((target / "card.json").read_text(encoding="utf-8"))
    clean, attacked = (
        next(one for one in card["figures"] if (one["family"], one["metric"]) == (kind, "accuracy"))
        for kind in ("clean", "adversarial")
    )
    assert clean["ci_low"] < clean["value"] < clean["ci_high"]
    assert clean["over_seeds"]["n"] == 3
    assert attacked["eps_text"] == "0.1"
    assert card["threat_models"] == ["linf, eps 0.1"]
    assert card["data"]["title"] and card["data"]["provenance"]
    assert len(card["data"]["class_names"]) == 10
    assert card["trial"]["phase"] == "confirm"
    weights = (target / "weights.pt").read_bytes()
    assert card["weights"]["sha256"] == hashlib.sha256(weights).hexdigest()
    text = (target / "card.md").read_text(encoding="utf-8")
    for part in (SNIPPET, "Wilson", "linf, eps 0.1", "upper bounds", card["study"]["answer"]):
        assert part in text


def test_weights_are_tensors_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    target = export_model(folder, out=tmp_path / "model")
    state = torch.load(target / "weights.pt", weights_only=True)
    assert all(isinstance(one, torch.Tensor) for one in state.values())


def test_the_best_confirmed_is_chosen_by_validation(folder: Path, tmp_path: Path) -> None:
    trials = tables(folder)["trials"].to_pylist()
    confirmed = [one for one in trials if one["phase"] == "confirm"]
    best = max(confirmed, key=lambda one: one["score"])
    for arm in ("", best["arm"], f"{best['arm']} × {best['weighter']}"):
        target = export_model(folder, arm=arm, out=tmp_path / f"m{len(arm)}")
        card = json.loads((target / "card.json").read_text(encoding="utf-8"))
        assert card["trial"]["number"] == best["number"]
    other = next(one["arm"] for one in confirmed if one["arm"] != best["arm"])
    target = export_model(folder, arm=other, out=tmp_path / "other")
    card = json.loads((target / "card.json").read_text(encoding="utf-8"))
    assert card["trial"]["arm"] == other


def test_a_search_trial_says_that_it_has_no_test_figures(folder: Path, tmp_path: Path) -> None:
    target = export_model(folder, trial=0, out=tmp_path / "model")
    card = json.loads((target / "card.json").read_text(encoding="utf-8"))
    assert card["figures"] == []
    assert "not evaluated on the test part" in card["limits"][0]
    assert "None; see the limits" in (target / "card.md").read_text(encoding="utf-8")


def test_nothing_is_overwritten(folder: Path) -> None:
    target = export_model(folder, trial=1)
    assert target == folder / "export" / "0001"
    before = (target / "card.json").read_bytes()
    with pytest.raises(SettingError, match="exists; nothing was changed"):
        export_model(folder, trial=1)
    assert (target / "card.json").read_bytes() == before


def test_errors_name_what_there_is(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"--arm: unknown arm 'gausian'.*'gaussian-kl'"):
        export_model(folder, arm="gausian", out=tmp_path / "m")
    with pytest.raises(SettingError, match=r"no trial 99; there are 8, from 0"):
        export_model(folder, trial=99, out=tmp_path / "m")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "trials" / "0001")
    with pytest.raises(MissingDataError, match="There is no checkpoint"):
        export_model(copy, trial=1, out=tmp_path / "m")
    assert not (tmp_path / "m").exists()
