from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.ranges import (
    Choice,
    Float,
    Integer,
    Range,
    RangeError,
    Scalar,
    as_range,
    default,
    defaults,
    distributions,
    sample,
    tune_space,
    uniform,
)

TREE = {
    "seed": 3,
    "training": {"optimizer": {"name": "SGD", "lr": {"low": 0.005, "high": 0.5, "log": True}}},
    "views": {"low": {"name": "GaussianNoise", "sigma": {"low": 0.0, "high": 0.5, "default": 0.1}}},
    "steps": {"low": 1, "high": 4},
    "weighter": {
        "values": [
            "Fixed",
            {"name": "GradientSimilarity", "form": {"values": ["weighted", "unweighted"]}},
        ]
    },
}


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        ({"low": 1, "high": 4}, Integer(1, 4)),
        ({"low": 1, "high": 100, "log": True, "default": 10}, Integer(1, 100, True, 10)),
        ({"low": 1, "high": 4.0}, Float(1.0, 4.0)),
        ({"low": 0, "high": 10, "default": 0.5}, Float(0.0, 10.0, False, 0.5)),
        ({"low": 0.1, "high": 10, "log": True, "default": 1}, Float(0.1, 10.0, True, 1.0)),
        (
            {"low": 0.0, "high": 1.0, "unless": {"weighter": ["FAMO", {"name": "GradNorm"}]}},
            Float(0.0, 1.0, unless=("weighter", ("FAMO", "GradNorm"))),
        ),
        ({"low": 1, "high": 4, "unless": {"a/b": [0]}}, Integer(1, 4, unless=("a/b", (0,)))),
        # YAML reads 1e-4 and 8/255 as texts.
        ({"low": "1e-4", "high": "8/255", "log": True}, Float(1e-4, 8 / 255, True)),
        ({"values": [1, "a", None]}, Choice((1, "a", None))),
        ({"values": [[64], [64, 64]], "default": [64, 64]}, Choice(([64], [64, 64]), "[64, 64]")),
        (Float(0, 1), Float(0, 1)),
    ],
)
def test_spelled_ranges_are_read(leaf: object, expected: object) -> None:
    found = as_range(leaf, "a/b")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "leaf",
    [
        0.1,
        "low",
        None,
        [1, 2],
        {},
        {"name": "UniformNoise", "low": 0.0, "high": 1.0},
        {"low": {"name": "GaussianNoise"}, "high": {"name": "PGD"}},
        {"default": {"name": "GaussianNoise"}},
    ],
)
def test_ordinary_values_are_no_ranges(leaf: object) -> None:
    assert as_range(leaf, "a/b") is None


@pytest.mark.parametrize(
    ("leaf", "rule", "value"),
    [
        ({"low": 2, "high": 1}, "low must be below high", "2"),
        ({"low": 1.0, "high": 1.0}, "low must be below high", "1.0"),
        ({"low": 0, "high": 1, "log": True}, "log range needs low > 0", "0"),
        ({"low": -0.5, "high": 1, "log": True}, "log range needs low > 0", "-0.5"),
        ({"low": 0.0, "high": 1, "default": 2}, "default must lie in", "2"),
        ({"low": 1, "high": 5, "default": 6}, "default must lie in", "6"),
        ({"low": "a", "high": 5}, "low must be a finite number", "'a'"),
        ({"low": 0.0, "high": math.inf}, "high must be a finite number", "inf"),
        ({"low": 0.0, "high": "1/0"}, "high must be a finite number", "1/0"),
        ({"low": True, "high": 2}, "low must be a finite number", "True"),
        ({"low": 1}, "both low and high", "no high"),
        ({"high": 1, "log": True}, "both low and high", "no low"),
        ({"low": 0.1, "high": 1, "log": "yes"}, "log must be true or false", "'yes'"),
        ({"low": 0.1, "high": 1, "logs": True}, "no setting 'logs'", "Did you mean 'log'?"),
        ({"values": [1], "low": 0}, "no setting 'low'", "Known: values, default"),
        ({"low": 0.0, "high": 1, "unless": "FAMO"}, "unless must be one choice's path", "'FAMO'"),
        ({"low": 0.0, "high": 1, "unless": {}}, "unless must be one choice's path", "{}"),
        ({"low": 0.0, "high": 1, "unless": {"a": "b"}}, "unless must list labels", "'b'"),
        ({"low": 0.0, "high": 1, "unless": {"a": []}}, "unless must list labels", "[]"),
        ({"values": []}, "at least one value", "none"),
        ({"values": "abc"}, "values must be a list", "'abc'"),
        ({"values": [1, 2, 1]}, "values must differ", "1"),
        ({"values": ["SGD", {"name": "SGD"}]}, "values must differ", "'SGD'"),
        ({"values": [{"lr": 1}]}, "needs a name", "{'lr': 1}"),
        ({"values": [math.nan]}, "a value of a choice must be", "nan"),
        ({"values": ["adam", "sgd"], "default": "adams"}, "one of the values", "mean 'adam'"),
    ],
)
def test_impossible_ranges_name_path_rule_and_value(
    leaf: dict[str, object], rule: str, value: str
) -> None:
    with pytest.raises(RangeError) as caught:
        as_range(leaf, "training/lr")
    assert str(caught.value).startswith("training/lr: ")
    assert rule in str(caught.value)
    assert value in str(caught.value)


def test_middles() -> None:
    assert Float(0.01, 1.0, log=True).middle() == pytest.approx(0.1)
    assert Float(0.0, 1.0).middle() == 0.5
    assert Float(0.0, 1.0, default=0.2).middle() == 0.2
    assert Integer(1, 4).middle() == 2
    assert Integer(1, 100, log=True).middle() == 10
    assert Integer(-3, -1).middle() == -2
    assert Choice(("a", "b")).middle() == "a"
    assert Choice(("a", {"name": "B"}), default={"name": "B"}).middle() == "B"
    # Neither the sum nor the product of the ends may overflow.
    assert Float(1e308, 1.5e308).middle() == pytest.approx(1.25e308)
    assert Float(1e200, 1e300, log=True).middle() == pytest.approx(1e250)


def test_defaults_fill_the_tree_and_share_nothing_with_it() -> None:
    config = defaults(TREE)
    assert config == {
        "seed": 3,
        "training": {"optimizer": {"name": "SGD", "lr": pytest.approx(0.05)}},
        "views": {"low": {"name": "GaussianNoise", "sigma": 0.1}},
        "steps": 2,
        "weighter": "Fixed",
    }
    config["training"]["optimizer"]["name"] = "Adam"
    assert TREE["training"]["optimizer"]["name"] == "SGD"


def test_a_chosen_mapping_is_walked_under_the_path_of_the_choice() -> None:
    answers = {
        "training/optimizer/lr": 0.1,
        "views/low/sigma": 0,
        "steps": 4,
        "weighter": "GradientSimilarity",
        "weighter/form": "unweighted",
    }
    config, params = sample(TREE, lambda path, _range: answers[path])
    assert params == answers
    assert config["weighter"] == {"name": "GradientSimilarity", "form": "unweighted"}
    assert isinstance(config["views"]["low"]["sigma"], float)


def test_an_option_that_was_not_chosen_draws_nothing() -> None:
    _, params = sample(TREE, default)
    assert params["weighter"] == "Fixed"
    assert "weighter/form" not in params


DEPENDENT = {
    "losses": {
        "kl": {"coefficient": {"low": 0.1, "high": 10.0, "unless": {"weighter": ["FAMO"]}}},
        "steps": {"low": 1, "high": 9, "default": 3, "unless": {"weighter": ["FAMO"]}},
    },
    "weighter": {"values": ["Fixed", {"name": "FAMO", "lr": {"low": 0.1, "high": 1.0}}]},
}


def test_a_range_that_a_later_choice_rules_out_has_its_default_and_no_param() -> None:
    asked: list[str] = []

    def choose(path: str, found: Range) -> Scalar:
        asked.append(path)
        return {"weighter": "FAMO", "weighter/lr": 0.5}[path]

    config, params = sample(DEPENDENT, choose)
    assert config == {
        "losses": {"kl": {"coefficient": pytest.approx(5.05)}, "steps": 3},
        "weighter": {"name": "FAMO", "lr": 0.5},
    }
    assert params == {"weighter": "FAMO", "weighter/lr": 0.5}
    assert asked == ["weighter", "weighter/lr"]


def test_a_range_that_no_choice_rules_out_is_drawn_after_the_choice() -> None:
    asked: list[str] = []

    def choose(path: str, found: Range) -> Scalar:
        asked.append(path)
        return {"weighter": "Fixed", "losses/kl/coefficient": 2.0, "losses/steps": 9}[path]

    config, params = sample(DEPENDENT, choose)
    assert asked == ["weighter", "losses/kl/coefficient", "losses/steps"]
    assert params["losses/kl/coefficient"] == 2.0
    assert config["weighter"] == "Fixed"
    # The order in which a mapping's keys stand does not matter.
    turned = {key: DEPENDENT[key] for key in reversed(DEPENDENT)}
    assert sample(turned, choose)[0] == config


@pytest.mark.parametrize(
    ("place", "label", "words"),
    [
        ("weigher", "FAMO", ["'weigher'", "no choice at that path"]),
        ("weighter/lr", "FAMO", ["'weighter/lr'", "no choice at that path"]),
        ("weighter", "FAMOUS", ["'FAMOUS'", "Did you mean 'FAMO'?"]),
    ],
)
def test_a_dependence_on_nothing_is_refused(place: str, label: str, words: list[str]) -> None:
    tree = DEPENDENT | {"steps": {"low": 1, "high": 4, "unless": {place: [label]}}}
    with pytest.raises(RangeError, match=r"steps: ") as caught:
        sample(tree, default)
    for word in words:
        assert word in str(caught.value)


def test_lists_are_walked_and_list_values_are_labelled_by_their_text() -> None:
    tree = [{"low": 1, "high": 2}, {"hidden": {"values": [[64], [64, 64]]}}]
    config, params = sample(tree, lambda _path, found: found.at(0.99), "blocks")
    assert config == [2, {"hidden": [64, 64]}]
    assert params == {"blocks/0": 2, "blocks/1/hidden": "[64, 64]"}


@pytest.mark.parametrize("wrong", [5, 0, "2", None, True, 2.5])
def test_a_drawn_value_outside_its_range_is_refused(wrong: object) -> None:
    with pytest.raises(RangeError, match=r"steps: .* lies outside"):
        sample({"steps": {"low": 1, "high": 4}}, lambda _path, _range: wrong)


def test_values_of_a_choice_are_told_apart_by_type() -> None:
    found = Choice((False, 0, 0.0))
    assert [type(found.pick(label)) for label in found.labels] == [bool, int, float]
    assert not Choice((0, 1)).contains(True)
    with pytest.raises(RangeError, match="none of the values"):
        found.pick("0")


def test_distributions_list_every_range_also_of_options() -> None:
    assert distributions(TREE) == {
        "training/optimizer/lr": {"low": 0.005, "high": 0.5, "log": True},
        "views/low/sigma": {"low": 0.0, "high": 0.5, "log": False},
        "steps": {"low": 1, "high": 4, "log": False},
        "weighter": {"values": ["Fixed", "GradientSimilarity"]},
        "weighter/form": {"values": ["weighted", "unweighted"]},
    }
    json.dumps(distributions(TREE))


def test_options_with_other_ranges_at_one_path_are_both_listed() -> None:
    sgd = {"name": "SGD", "lr": {"low": 0.01, "high": 1.0}}
    adam = {"name": "Adam", "lr": {"low": 1e-4, "high": 1e-2}}
    adamw = {"name": "AdamW", "lr": {"low": 1e-4, "high": 1e-2}}
    assert distributions({"optimizer": {"values": [sgd, adam, adamw]}})["optimizer/lr"] == {
        "any_of": [
            {"low": 0.01, "high": 1.0, "log": False},
            {"low": 1e-4, "high": 1e-2, "log": False},
        ]
    }


@settings(derandomize=True, database=None)
@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
    st.integers(-1000, 1000),
    st.integers(1, 1000),
    st.floats(0, 1, exclude_max=True),
)
def test_every_fraction_lies_inside(
    low: float, width: float, first: int, count: int, fraction: float
) -> None:
    assert (ranged := Float(low, low + width)).contains(ranged.at(fraction))
    assert (logged := Float(width, width * 10, log=True)).contains(logged.at(fraction))
    assert (whole := Integer(first, first + count)).contains(whole.at(fraction))
    assert (log_whole := Integer(count, count * 7, log=True)).contains(log_whole.at(fraction))
    assert (choice := Choice(tuple(range(count)))).contains(choice.at(fraction))


def test_fractions_are_shares_of_the_range() -> None:
    assert Float(-1.0, 3.0).at(0.25) == 0.0
    assert Float(0.01, 1.0, log=True).at(0.5) == pytest.approx(0.1)
    assert [Integer(1, 4).at(share / 4) for share in range(4)] == [1, 2, 3, 4]
    assert [Choice(("a", "b")).at(share) for share in (0.0, 0.49, 0.5, 0.99)] == list("aabb")
    # Both ends of a log range are drawn: [0.5, 1.5) is log(3)/log(5) of [0.5, 2.5).
    share = math.log(3) / math.log(5)
    assert Integer(1, 2, log=True).at(share - 1e-9) == 1
    assert Integer(1, 2, log=True).at(share + 1e-9) == 2


def test_uniform_depends_on_seed_and_path_alone() -> None:
    _, first = sample(TREE, uniform("0/arm/1"))
    larger = {"added": {"low": 0.0, "high": 1.0}, **TREE}
    _, second = sample(larger, uniform("0/arm/1"))
    assert {path: second[path] for path in first} == first
    assert (
        sample(TREE, uniform("0/arm/2"))[1]["training/optimizer/lr"]
        != (first["training/optimizer/lr"])
    )


def test_uniform_is_uniform_and_fixed_for_ever() -> None:
    drawn = [uniform(str(seed))("x", Float(0.0, 1.0)) for seed in range(4000)]
    # Kolmogorov-Smirnov at the 0.1 % level: 1.95 / sqrt(n).
    distance = max(abs(value - rank / 4000) for rank, value in enumerate(sorted(drawn)))
    assert distance < 1.95 / math.sqrt(4000)
    # SHA-256 of '["0", "x"]': the leading 53 bits, found with hashlib alone.
    import hashlib

    bits = int(hashlib.sha256(b'["0", "x"]').hexdigest()[:16], 16) >> 11
    assert drawn[0] == bits / 2**53


def test_neither_torch_nor_optuna_nor_ray_is_imported() -> None:
    text = "import sys, search_spaces.ranges; print({'torch', 'optuna', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_the_same_space_in_ray_tune() -> None:
    from ray.tune.search.sample import Categorical
    from ray.tune.search.sample import Float as TuneFloat
    from ray.tune.search.sample import Integer as TuneInteger

    space = tune_space(
        {
            "lr": {"low": 0.01, "high": 1.0, "log": True},
            "steps": [{"low": 1, "high": 4}],
            "form": {"values": ["a", [1, 2], {"name": "B"}]},
            "name": "SGD",
        }
    )
    assert space["name"] == "SGD"
    assert isinstance(space["lr"], TuneFloat)
    assert isinstance(space["lr"].sampler, TuneFloat._LogUniform)
    assert (space["lr"].lower, space["lr"].upper) == (0.01, 1.0)
    assert isinstance(space["steps"][0], TuneInteger)
    assert {space["steps"][0].sample() for _ in range(200)} == {1, 2, 3, 4}
    assert isinstance(space["form"], Categorical)
    assert space["form"].categories == ["a", [1, 2], {"name": "B"}]
    with pytest.raises(RangeError, match=r"weighter: .* cannot express .*weighter/form"):
        tune_space(TREE)
    with pytest.raises(RangeError, match=r"coefficient: .* depends on 'weighter'"):
        tune_space(DEPENDENT)
