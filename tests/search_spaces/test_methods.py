from __future__ import annotations

from typing import Any

import pytest

from search_spaces.methods import METHODS, MethodError, attack, method, names
from search_spaces.ranges import defaults, distributions
from study.spec import parse
from trainables.core.recipe import resolve


@pytest.mark.parametrize("name", names())
def test_every_method_is_a_valid_arm_with_all_ends_of_its_ranges(name: str) -> None:
    arms = parse({"study": "a", "arms": {"arm": name}}).arms
    resolved = resolve(defaults(arms[0].tree) | {"seed": 0})
    assert set(METHODS[name].get("losses", {})) <= set(resolved["losses"])
    assert set(METHODS[name].get("views", {})) == set(resolved["views"])


@pytest.mark.parametrize("name", names())
def test_coefficients_and_sizes_of_auxiliary_losses_are_searched_around_their_defaults(
    name: str,
) -> None:
    found = distributions(method(name))
    auxiliary = [one for one in METHODS[name].get("losses", {}) if one != "main"]
    assert {f"losses/{one}/coefficient" for one in auxiliary} <= set(found)
    for path, plain in found.items():
        middle = defaults(method(name))
        for key in path.split("/"):
            middle = middle[key]
        assert plain["low"] <= middle <= plain["high"]


def test_a_method_is_a_copy() -> None:
    method("gaussian_kl")["losses"]["kl"]["coefficient"]["low"] = 99
    method("gaussian-kl_0.3")["views"].clear()
    assert method("gaussian_kl")["losses"]["kl"]["coefficient"]["low"] == 0.01
    assert method("gaussian")["losses"]["noisy"]["coefficient"]["low"] == 0.01
    assert "noisy" in method("gaussian_kl")["views"]


def test_dashes_and_underscores_are_one() -> None:
    assert method("gaussian-kl") == method("gaussian_kl")
    assert method("adversarial-training") == method("adversarial_training")


def test_the_spelling_of_the_auxiliary_loss_experiments() -> None:
    tree = method("gaussian-kl_0.1")
    assert tree["views"]["noisy"]["sigma"] == "0.1"
    assert tree["losses"] == method("gaussian_kl")["losses"]
    assert method("adversarial-attack") == method("adversarial")
    assert method("adversarial-attack_4/255")["views"]["adv"]["eps"] == "4/255"
    arm = parse({"study": "a", "arms": {"arm": "gaussian-kl_0.1"}}).arms[0]
    recipe = resolve(defaults(arm.tree) | {"seed": 0})
    assert float(recipe["views"]["noisy"]["sigma"]) == 0.1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gausian_kl", ["'gausian_kl'", "'gaussian_kl'"]),
        ("Uda", ["'Uda'", "'uda'"]),
        ("uda_0.1", ["'uda_0.1'", "'uda'"]),
        ("", ["''", "Known: adversarial"]),
        ("%%%", ["'%%%'", "Known: adversarial"]),
    ],
)
def test_unknown_methods_name_the_nearest(name: str, words: list[str]) -> None:
    with pytest.raises(MethodError) as caught:
        method(name)
    for word in words:
        assert word in str(caught.value)


def old(**changes: Any) -> dict[str, Any]:
    return {"attack_name": "PGD", "constraint": "2", "epsilon": 0.5} | changes


def test_attack_files_get_the_defaults_of_the_library_they_were_written_for() -> None:
    assert attack(old()) == {
        "name": "PGD",
        "norm": "2",
        "eps": 0.5,
        "steps": 50,
        "step_size": 0.0125,  # 0.025 eps
        "random_start": True,
    }
    found = attack(old(constraint="inf", epsilon="3/255"))
    assert (found["norm"], found["eps"], found["steps"]) == ("inf", "3/255", 40)
    assert found["step_size"] == pytest.approx(0.01 / 255 * 10)  # eps / 30
    assert attack(old(attack_name="fgsm", constraint="inf")) == {
        "name": "FGSM",
        "norm": "inf",
        "eps": 0.5,
    }


def test_attack_files_with_arguments() -> None:
    arguments = {"steps": 7, "abs_stepsize": 0.1, "random_start": False}
    found = attack(old(attack_args=arguments))
    assert (found["steps"], found["step_size"], found["random_start"]) == (7, 0.1, False)
    assert attack(old(attack_args={"rel_stepsize": 0.5}))["step_size"] == 0.25
    assert arguments == {"steps": 7, "abs_stepsize": 0.1, "random_start": False}


def test_an_attack_file_is_a_view_of_a_valid_recipe() -> None:
    adv = {"name": "CrossEntropy", "view": "adv"}
    for norm in ("2", "inf"):
        for name in ("FGSM", "PGD"):
            view = attack(old(attack_name=name, constraint=norm, epsilon="4/255"))
            recipe = resolve({"seed": 0, "views": {"adv": view}, "losses": {"adv": adv}})
            assert recipe["views"]["adv"]["name"] == name


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"attack_name": "PGD", "constraint": "2"}, ["'epsilon'", "attack_name, constraint"]),
        (old(epsilom=1), ["'epsilom'"]),
        (old(attack_name="MIM"), ["'MIM'", "FGSM, PGD"]),
        (old(attack_args={"step": 3}), ["attack_args of PGD", "step"]),
        (old(attack_name="FGSM", attack_args={"steps": 3}), ["attack_args of FGSM", "steps"]),
        (old(epsilon="a lot"), ["epsilon", "'a lot'"]),
        (old(epsilon="4/0"), ["epsilon", "'4/0'"]),
        (old(attack_args={"rel_stepsize": "x"}), ["rel_stepsize", "'x'"]),
        (old(attack_args=[3]), ["attack_args", "[3]"]),
    ],
)
def test_attack_files_that_are_wrong(file: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(MethodError) as caught:
        attack(file)
    for word in words:
        assert word in str(caught.value)
