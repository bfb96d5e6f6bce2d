from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from study.spec import Study, find, group, load, parse, presets
from study.yaml_text import apply, read_yaml
from trainables.core.errors import SettingError

FILE: dict[str, Any] = {
    "study": "tiny",
    "seed": 3,
    "training": {"epochs": 4},
    "arms": {"baseline": {}, "gaussian-kl": "gaussian_kl"},
}


def changed(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(FILE) | changes


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def with_lr(**lr: Any) -> dict[str, Any]:
    return changed(training={"epochs": 4, "optimizer": {"name": "SGD", "lr": lr}})


def with_kl(**settings: Any) -> dict[str, Any]:
    arm = {"preset": "gaussian_kl", "losses": {"kl": settings}}
    return changed(arms={"baseline": {}, "kl": arm})


@pytest.mark.parametrize("name", presets())
def test_every_preset_that_ships_is_valid_and_named_as_its_file(name: str) -> None:
    study = load(find(name))
    assert study.study == name
    assert study.question
    assert study.baseline in {one.arm for one in study.arms}
    assert study.epochs >= 1


def test_a_file_of_the_least_keys_gets_the_documented_defaults() -> None:
    study = parse({"study": "a", "arms": {"plain": {}}})
    assert [(one.arm, one.weighter, one.name) for one in study.arms] == [
        ("plain", "Fixed", "plain × Fixed")
    ]
    assert (study.seed, study.baseline, study.epochs) == (0, "plain", 10)
    assert study.arms[0].tree == {
        "data": {"name": "Digits", "seed": 0},
        "architecture": "MLP",
        "training": {"epochs": 10},
        "weighter": "Fixed",
    }
    assert re.fullmatch("[0-9a-f]{12}", study.study_id)
    assert parse({"study": "a", "arms": {"plain": {}}}).study_id != study.study_id


def test_the_data_are_split_by_the_studys_seed_unless_they_have_one() -> None:
    assert parse(changed()).arms[0].tree["data"] == {"name": "Digits", "seed": 3}
    data = {"name": "Digits", "seed": 5}
    assert parse(changed(data=data)).arms[0].tree["data"] == data
    assert data == {"name": "Digits", "seed": 5}  # what was given stays as it was


def test_arms_with_an_auxiliary_loss_are_crossed_with_the_weighters_and_others_are_not() -> None:
    arms = {
        "baseline": {},
        "kl": "gaussian_kl",
        "attacked": "adversarial_training",
        "own": {"preset": "gaussian", "weighters": {"slow": {"name": "CoV"}}},
    }
    study = parse(changed(arms=arms, weighters=["Fixed", {"name": "CoV"}]))
    assert [(one.arm, one.weighter) for one in study.arms] == [
        ("baseline", "Fixed"),
        ("kl", "Fixed"),
        ("kl", "CoV"),
        ("attacked", "Fixed"),
        ("own", "slow"),
    ]
    assert [one.tree["weighter"] for one in study.arms] == [
        "Fixed",
        "Fixed",
        {"name": "CoV"},
        "Fixed",
        {"name": "CoV"},
    ]


def test_own_settings_win_over_a_preset_and_leave_the_rest_of_it() -> None:
    arm = {
        "preset": "gaussian_kl",
        "views": {"noisy": {"sigma": 0.2}},
        "losses": {"kl": {"coefficient": {"low": 1, "high": 2}}},
        "training": {"batch_size": 16},
    }
    tree = parse(changed(arms={"kl": arm})).arms[0].tree
    assert tree["views"] == {"noisy": {"name": "GaussianNoise", "sigma": 0.2}}
    # A range replaces a range: no "log" and no "default" of the preset are left in it.
    assert tree["losses"]["kl"]["coefficient"] == {"low": 1, "high": 2}
    assert tree["losses"]["kl"]["stop_gradient"] is False
    assert tree["training"] == {"epochs": 4, "batch_size": 16}


def test_another_component_replaces_that_of_a_preset_with_all_its_settings() -> None:
    arm = {"preset": "gaussian_kl", "views": {"noisy": {"name": "FGSM", "eps": "4/255"}}}
    tree = parse(changed(arms={"kl": arm})).arms[0].tree
    assert tree["views"]["noisy"] == {"name": "FGSM", "eps": "4/255"}


def test_arms_of_one_preset_share_no_setting_that_one_could_change() -> None:
    first, second = parse(changed(arms={"a": "gaussian_kl", "b": "gaussian_kl"})).arms
    first.tree["losses"]["kl"]["coefficient"] = 0
    first.tree["training"]["epochs"] = 0
    assert second.tree["losses"]["kl"]["coefficient"] != 0
    assert second.tree["training"]["epochs"] == 4


def test_every_range_of_every_option_is_tried_with_the_option_that_holds_it() -> None:
    options = [
        {"name": "SGD", "lr": {"low": 0.1, "high": 1.0}},
        {"name": "Adam", "lr": {"low": 0.001, "high": 0.01}},
    ]
    training = {"epochs": 4, "optimizer": {"values": options}}
    # The two ranges of one path do not overlap, so neither may be tried with the other's option.
    assert parse(changed(training=training)).arms[0].tree["training"] == training
    options[1]["lr"] = {"low": -0.001, "high": 0.01, "default": 0.005}
    with pytest.raises(
        SettingError, match=r"training/optimizer: Adam: lr must be above 0.*-0\.001"
    ):
        parse(changed(training=training))


# Each: what is changed, and every word that the message has to hold.
BAD: list[tuple[dict[str, Any], list[str]]] = [
    # Unknown keys, at each level.
    (changed(arm={}), ["Unknown key arm", "'arms'"]),
    (changed(search={"samplr": "TPE"}), ["search.samplr", "'sampler'"]),
    (changed(schedule={"grace": 1}), ["schedule.grace", "'grace_epochs'"]),
    (changed(confirm={"seed": 1}), ["confirm.seed", "'seeds'"]),
    (changed(probe={"limits": 1}), ["probe.limits", "'limit'"]),
    (changed(resources={"gpus": 1}), ["resources.gpus", "'gpu'"]),
    (changed(arms={"a": {"losss": {}}}), ["arms.a.losss", "'losses'"]),
    (changed(training={"lrr": 1}), ["training/lrr", "Known: augment, batch_size"]),
    (changed(data={"name": "Digits", "limits": 9}), ["data/limits", "'limit'"]),
    (with_kl(coeficient=1), ["arms.kl", "losses/kl/coeficient", "'coefficient'"]),
    # A key that is missing or of another kind.
    ({"arms": {"a": {}}}, ["study is missing"]),
    ({"study": "a"}, ["arms is missing"]),
    (changed(search=3), ["search", "mapping", "3"]),
    (changed(seed=1.5), ["seed", "integer", "1.5"]),
    (changed(seed=True), ["seed", "integer", "True"]),
    (changed(arms=[]), ["arms", "mapping", "[]"]),
    (changed(arms={"a": 3}), ["arms.a", "string or a valid mapping", "3"]),
    (changed(arms={1: {}}), ["arms.1", "string"]),
    (changed(arms={"a": {"losses": [1]}}), ["arms.a.losses", "mapping", "[1]"]),
    (changed(weighters=[3]), ["weighters.0", "string or a valid mapping", "3"]),
    (changed(benchmarks=[{"sigma": 1}]), ["benchmarks.0", "name", "GaussianNoise"]),
    (changed(study="../up"), ["study", "letters", "'../up'"]),
    (changed(study=""), ["study", "letters", "''"]),
    # Values out of their domain.
    (changed(seed=-1), ["seed", "0", "-1"]),
    (changed(search={"trials_per_arm": 0}), ["search.trials_per_arm", "1", "0"]),
    (changed(search={"mode": "maximum"}), ["search.mode", "'max', 'min'", "'maximum'"]),
    (
        changed(schedule={"name": "Hyperband"}),
        ["schedule.name", "'median' or 'none'", "'Hyperband'"],
    ),
    (changed(schedule={"reduction_factor": 1}), ["schedule.reduction_factor", "1"]),
    (changed(schedule={"reduction_factor": float("inf")}), ["reduction_factor", "finite", "inf"]),
    (changed(schedule={"grace_epochs": 5}), ["schedule.grace_epochs", "at most", "4", "5"]),
    (changed(schedule={"max_epochs": 5}), ["schedule.max_epochs", "training.epochs", "5 and 4"]),
    (changed(training={"epochs": 0}), ["training.epochs", "at least 1", "0"]),
    (changed(training={"epochs": "4"}), ["training.epochs", "whole number", "'4'"]),
    (changed(training={"epochs": {"low": 1, "high": 4}}), ["training.epochs", "whole number"]),
    (
        changed(arms={"a": {"training": {"epochs": 2}}}),
        ["arms.a.training.epochs", "must be 4", "2"],
    ),
    (changed(resources={"cpu": 0}), ["resources.cpu", "greater than 0"]),
    (changed(confirm={"top": 0}), ["confirm.top", "1", "0"]),
    (
        changed(arms={"a": {"views": {"adv": {"name": "PGD", "eps": -0.1}}}}),
        ["arms.a", "views/adv", "eps must be at least 0", "-0.1"],
    ),
    (changed(benchmarks=["Clean", {"name": "PGD", "eps": -1}]), ["benchmarks.1", "eps", "-1"]),
    (with_kl(coefficient=-1), ["arms.kl", "losses/kl/coefficient", "at least 0", "-1"]),
    # Ranges that are impossible, or whose ends are.
    (with_lr(low=1, high=0.1), ["training/optimizer/lr", "low must be below high", "0.1"]),
    (with_lr(low=0, high=1, log=True), ["training/optimizer/lr", "log", "0"]),
    (with_lr(low=0.1), ["training/optimizer/lr", "both low and high", "no high"]),
    (with_lr(low=0.1, high=1, defualt=0.5), ["training/optimizer/lr", "'defualt'", "'default'"]),
    (with_lr(low=0.1, high=1, default=2), ["training/optimizer/lr", "default", "2"]),
    (with_lr(values=[]), ["training/optimizer/lr", "at least one"]),
    (with_lr(low=-1.0, high=1.0, default=0.1), ["training/optimizer", "lr", "above 0", "-1.0"]),
    (with_lr(values=[0.1, -0.1]), ["training/optimizer", "lr", "above 0", "-0.1"]),
    (
        with_kl(coefficient={"low": 3, "high": 1}),
        ["arms.kl", "losses/kl/coefficient", "below high"],
    ),
    (
        changed(
            arms={
                "a": {
                    "views": {"adv": {"name": "FGSM", "eps": {"low": -0.1, "high": 0.1}}},
                    "losses": {"adv": {"name": "CrossEntropy", "view": "adv"}},
                }
            }
        ),
        ["arms.a", "views/adv", "eps must be at least 0", "-0.1"],
    ),
    # Names that nothing has.
    (changed(data="Digts"), ["data", "'Digts'", "'Digits'"]),
    (changed(architecture="ConvNt"), ["architecture", "'ConvNt'", "'ConvNet'"]),
    (changed(training={"optimizer": "SDG"}), ["training/optimizer", "'SDG'", "'SGD'"]),
    (changed(arms={"a": "gausian_kl"}), ["arms.a", "'gausian_kl'", "'gaussian_kl'"]),
    (changed(weighters=["CoVV"]), ["gaussian-kl", "weighter", "'CoVV'", "'CoV'"]),
    (changed(search={"sampler": "TPEE"}), ["search.sampler", "'TPEE'", "'TPE'"]),
    (changed(search={"metric": "validation/acuracy"}), ["search.metric", "'validation/accuracy'"]),
    (changed(search={"metric": "train/loss"}), ["search.metric", "'train/loss'"]),
    (changed(search={"metric": "test/accuracy"}), ["search.metric", "'test/accuracy'"]),
    (changed(search={"metric": "validation/clean/accuracy"}), ["search.metric"]),
    (changed(benchmarks=["pgdd"]), ["benchmarks.0", "'pgdd'", "'PGD'"]),
    (changed(baseline="base"), ["baseline", "'base'", "'baseline'"]),
    (with_kl(view="noisi"), ["arms.kl", "losses/kl", "'noisi'", "'noisy'"]),
    # Too little, or twice.
    (changed(arms={}), ["arms", "at least one"]),
    (changed(weighters=[]), ["weighters", "at least one", "[]"]),
    (changed(arms={"a": {"weighters": "CoV"}}), ["arms.a.weighters", "list", "'CoV'"]),
    (changed(arms={"a": {"weighters": [3]}}), ["arms.a.weighters", "names or mappings", "3"]),
    (changed(weighters=["CoV", {"name": "CoV"}]), ["weighters", "'CoV'", "twice", "labels"]),
    (changed(benchmarks=["Clean", "clean"]), ["benchmarks", "'clean'", "twice"]),
    (
        changed(benchmarks=["gaussian_0.1", {"name": "GaussianNoise", "sigma": 0.1}]),
        ["benchmarks", "'gaussian_0.1'", "twice"],
    ),
]


@pytest.mark.parametrize(("file", "words"), BAD, ids=[" ".join(one[1][:2]) for one in BAD])
def test_bad_files_name_the_file_the_key_the_rule_and_what_was_found(
    file: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    # JSON is YAML, but for what JSON cannot say.
    text = json.dumps(file).replace("Infinity", ".inf").replace('"1": {}', "1: {}")
    with pytest.raises(SettingError) as caught:
        load(written(tmp_path / "mine.yaml", text))
    for word in ["mine.yaml", *words]:
        assert word in str(caught.value)
    with pytest.raises(SettingError):
        parse(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["mapping", "None"]),
        ("- study", ["mapping", "['study']"]),
        ("tiny", ["mapping", "'tiny'"]),
        ("study: [", ["not valid YAML", "line 1"]),
        ("study: a\nstudy: b\narms: {a: {}}", ["'study'", "twice", "line 2"]),
        ("study: a\narms: {a: {}, a: {}}", ["'a'", "twice"]),
        ("study: a\narms: {a: {}}\nseed: !!python/name:os.system", ["not valid YAML"]),
    ],
)
def test_files_that_are_no_study(text: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        load(written(tmp_path / "mine.yaml", text))
    for word in ["mine.yaml", *words]:
        assert word in str(caught.value)


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(SettingError, match="no study file"):
        find(str(path))
    path.write_bytes(b"study: \xff\xfe")
    with pytest.raises(SettingError, match=r"mine\.yaml.*UTF-8"):
        load(find(str(path)))


def test_presets_are_found_by_name_and_a_folder_of_that_name_hides_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert find("quickstart").name == "quickstart.yaml"
    with pytest.raises(SettingError, match=r"'quikstart'.*'quickstart'"):
        find("quikstart")


def test_numbers_with_an_exponent_are_numbers() -> None:
    found = read_yaml("[1e-3, 1E5, -2e2, 1.5e-4, .5e1, 1e, e3, 8/255, '1e-3', 1]")
    assert found == [0.001, 1e5, -200.0, 0.00015, 5.0, "1e", "e3", "8/255", "1e-3", 1]
    assert isinstance(found[-1], int)


CHANGES: list[tuple[str, Any]] = [
    ("seed=7", {"seed": 7}),
    ("search.trials_per_arm=4", {"search": {"trials_per_arm": 4}}),
    ("training.optimizer.lr=1e-3", {"training": {"optimizer": {"name": "SGD", "lr": 0.001}}}),
    ("architecture.hidden=[8, 8]", {"architecture": {"name": "MLP", "hidden": [8, 8]}}),
    ("arms.kl.views.noisy.sigma=0.3", {"arms": {"kl": {"preset": "gaussian_kl"}}}),
    ("benchmarks.1=pgd", {"benchmarks": ["Clean", "pgd"]}),
    ("benchmarks.1.sigma=0.2", {"benchmarks": ["Clean", {"name": "gaussian", "sigma": 0.2}]}),
    ("weighters.0.form=weighted", {"weighters": [{"name": "CoV", "form": "weighted"}]}),
    ("question=a=b", {"question": "a=b"}),
    ("arms.kl={preset: uda}", {"arms": {"kl": {"preset": "uda"}}}),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=[one for one, _ in CHANGES])
def test_changes_reach_into_mappings_lists_and_names(change: str, expected: Any) -> None:
    tree = {
        "training": {"optimizer": "SGD"},
        "architecture": "MLP",
        "arms": {"kl": "gaussian_kl"},
        "benchmarks": ["Clean", "gaussian"],
        "weighters": ["CoV"],
    }
    before = copy.deepcopy(tree)
    apply(tree, change)
    if "views" in change:
        expected["arms"]["kl"]["views"] = {"noisy": {"sigma": 0.3}}
    assert tree == before | expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("seed", ["key.path=value", "'seed'"]),
        ("=3", ["key.path=value", "'=3'"]),
        ("seed.low=3", ["seed.low=3", "'seed'", "3"]),
        ("benchmarks.2=pgd", ["benchmarks.2=pgd", "'2'", "list of 1"]),
        ("benchmarks.x=pgd", ["'x'", "list of 1"]),
        ("benchmarks.-1=pgd", ["'-1'", "list of 1"]),
        ("seed=[", ["not valid YAML"]),
        ("search.trial_per_arm=3", ["search.trial_per_arm", "'trials_per_arm'"]),
        ("search.trials_per_arm=x", ["search.trials_per_arm", "integer", "'x'"]),
    ],
)
def test_changes_that_cannot_be_made(change: str, words: list[str], tmp_path: Path) -> None:
    text = json.dumps(changed(benchmarks=["Clean"]))
    with pytest.raises(SettingError) as caught:
        load(written(tmp_path / "mine.yaml", text), (change,))
    for word in ["mine.yaml", *words]:
        assert word in str(caught.value)


def test_a_change_of_an_empty_file_is_an_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="mapping"):
        load(written(tmp_path / "mine.yaml", ""), ("seed=3",))


def test_changes_are_applied_in_order_and_before_validation(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", json.dumps(changed(seed=-1)))
    study = load(path, ("seed=1", "seed=2", "arms.gaussian-kl.views.noisy.sigma=0.3"))
    assert study.seed == 2
    assert study.arms[1].tree["views"]["noisy"]["sigma"] == 0.3


def test_a_study_is_the_same_after_json() -> None:
    study = parse(
        changed(
            question="Is “×” kept?",
            weighters=["Fixed", {"name": "CoV"}],
            benchmarks=["Clean", {"name": "PGD", "eps": "8/255"}],
            search={"sampler": "random", "mode": "min", "metric": "validation/loss"},
            schedule={"reduction_factor": 2.5},
            resources={"cpu": 0.5, "max_concurrent": 2},
        )
    )
    text = json.dumps(study.resolved(), allow_nan=False)
    assert Study.from_resolved(json.loads(text)) == study
    assert json.loads(text)["schedule"]["max_epochs"] == 4
    assert json.loads(text)["arms"][1]["recipe"] == study.arms[1].tree


def test_a_study_of_a_newer_version_is_refused() -> None:
    plain = parse(changed()).resolved()
    with pytest.raises(SettingError, match=r"schema_version 3.*update"):
        Study.from_resolved(plain | {"schema_version": 3})


def test_a_group_is_a_configuration_without_its_seed() -> None:
    recipe = {"seed": 1, "data": {"seed": 0}, "losses": {"kl": {"coefficient": 0.5}}}
    assert re.fullmatch("[0-9a-f]{12}", group(recipe))
    assert group(recipe) == group(recipe | {"seed": 2})
    assert group(recipe) == group(dict(reversed(recipe.items())))
    assert group(recipe) != group(recipe | {"data": {"seed": 1}})
    assert group(recipe) != group(recipe | {"losses": {"kl": {"coefficient": 0.6}}})


def test_a_corruption_beside_a_suite_that_has_it_is_refused() -> None:
    suite = {"name": "CommonCorruptions", "types": ["fog", "contrast"]}
    with pytest.raises(SettingError, match="benchmarks: 'fog_3' stands there twice"):
        parse(changed(benchmarks=[suite, "fog_3"]))
    parse(changed(benchmarks=[suite, "brightness_3"]))


def test_thorough_benchmarks_are_for_finalists() -> None:
    suite = ["Clean", "pgd_linf_0.1_5", "autoattack_linf_0.1", "corruptions"]
    found = parse(changed(benchmarks=suite)).probe.benchmarks
    assert found is not None
    assert [one["name"] for one in found] == ["Clean", "PGD"]
    chosen = parse(changed(benchmarks=suite, probe={"benchmarks": ["autoattack_linf_0.1"]}))
    assert chosen.probe.benchmarks is not None
    assert chosen.probe.benchmarks[0]["name"] == "AutoAttack"
    assert type(chosen).from_resolved(chosen.resolved()).probe == chosen.probe
    official = {"name": "CommonCorruptions", "types": ["fog"], "source": "official"}
    with pytest.raises(SettingError, match="official files hold the test part"):
        parse(changed(benchmarks=suite, probe={"benchmarks": [official]}))
