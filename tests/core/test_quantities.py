"""Numbers as researchers write them, and what is said about those that are none."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from trainables.core.errors import SettingError, nearest
from trainables.core.quantities import flag, number, one_of, several, text, whole


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 0.5), ("8/255", 8 / 255), ("1e-3", 0.001), (3, 3.0), ("-1/4", -0.25), ("0", 0.0)],
)
def test_number(value: Any, expected: float) -> None:
    assert number("eps", value) == expected


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        ("eight", {}, "eps must be a number or a quotient, found 'eight'"),
        ("1/0", {}, "eps must be a number or a quotient, found '1/0'"),
        (None, {}, "eps must be a number or a quotient, found None"),
        ([1], {}, r"eps must be a number or a quotient, found \[1\]"),
        (True, {}, "eps must be a finite number, found True"),
        (math.nan, {}, "eps must be a finite number, found nan"),
        ("inf", {}, "eps must be a finite number, found 'inf'"),
        (-0.1, {"low": 0}, "eps must be at least 0, found -0.1"),
        (0, {"low": 0, "above": True}, "eps must be above 0, found 0"),
        ("3/2", {"high": 1}, "eps must be at most 1, found '3/2'"),
    ],
)
def test_number_out_of_range(value: Any, limits: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        number("eps", value, **limits)


def test_whole_several_flag_and_word() -> None:
    assert whole("steps", "20") == 20
    assert several("milestones", (1, 2)) == [1, 2]
    assert flag("nesterov", False) is False
    assert one_of("form", "weighted", ("weighted", "unweighted")) == "weighted"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: whole("steps", 2.5), "steps must be a whole number, found 2.5"),
        (lambda: whole("steps", 0, low=1), "steps must be at least 1, found 0"),
        (lambda: several("betas", "ab"), "betas must be a list, found 'ab'"),
        (lambda: several("betas", (1,), 2), r"betas must have 2 entries, found \[1\]"),
        (lambda: flag("nesterov", "false"), "nesterov must be true or false, found 'false'"),
        (lambda: one_of("form", "weigthed", ("weighted",)), "'weigthed'. Did you mean 'weighted'"),
        (lambda: one_of("form", [], ("weighted",)), r"form cannot be \[\]"),
    ],
)
def test_messages_name_setting_rule_and_value(call: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        call()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (8 / 255, "8/255"),
        (float(torch.tensor(8 / 255)), "8/255"),
        (1 / 255, "1/255"),
        (0.031, "0.031"),
        (0.1, "0.1"),
        (float(torch.tensor(0.1)), "0.1"),
        # 51/255 and 153/255, but nobody writes them so.
        (0.2, "0.2"),
        (0.6, "0.6"),
        (0.0, "0"),
        (0.5, "0.5"),
        (1.0, "1"),
        (20, "20"),
    ],
)
def test_text(value: float, expected: str) -> None:
    assert text(value) == expected


@pytest.mark.parametrize("pixels", range(1, 255))
def test_text_says_what_the_number_was(pixels: int) -> None:
    as_stored = float(torch.tensor(pixels / 255))
    assert number("eps", text(as_stored)) == pytest.approx(pixels / 255, rel=1e-5)


def test_nearest_names_one_and_lists_all() -> None:
    assert nearest("cov", ["Fixed", "CoV"]) == " Did you mean 'CoV'? Known: CoV, Fixed."
    assert nearest("zzz", ["Fixed"]) == " Known: Fixed."
    assert nearest("x", []) == " Known: none."
