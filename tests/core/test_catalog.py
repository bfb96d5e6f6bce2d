"""Components by name, and the errors that a wrong name or short form gets."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.core import catalog
from trainables.core.errors import SettingError
from trainables.core.weighters.cov import CoV


def test_names_are_class_names_without_private_helpers() -> None:
    assert {"ConvNet", "MLP", "ResNet18"} <= set(catalog.names("architectures"))
    assert not {"Normalise", "Ascent"} & {*catalog.names("architectures"), *catalog.names("views")}
    assert set(catalog.names("views")) == {
        *catalog.names("augmentations"),
        *catalog.names("attacks"),
        *catalog.names("companions"),
    }


@pytest.mark.parametrize("name", ["CoV", "cov", "COV", "co_v", "co-v"])
def test_build_by_any_spelling(name: str) -> None:
    assert isinstance(catalog.build("weighters", {"name": name}, k=2, unused=1), CoV)


def test_a_setting_wins_over_what_the_caller_supplies() -> None:
    assert catalog.build("views", {"name": "FGSM", "box": [-1, 1]}, box=(0, 1)).box == (-1.0, 1.0)
    assert catalog.build("views", {"name": "FGSM"}, box=None).box is None


def test_settings_and_facts() -> None:
    assert catalog.settings("losses", "CrossEntropy") == {
        "view": "clean",
        "label_smoothing": 0.0,
        "tsa": "none",
    }
    assert catalog.facts("losses", "CrossEntropy") == []
    assert catalog.facts("weighters", "CoV") == ["k"]
    assert catalog.facts("architectures", "MLP") == ["shape", "outputs", "mean", "deviation"]


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ("gaussian_0.1", {"name": "GaussianNoise", "sigma": "0.1"}),
        ("gaussian", {"name": "GaussianNoise"}),
        ("Clean", {"name": "Clean"}),
        ("clean", {"name": "Clean"}),
        ("gaussian_noise", {"name": "GaussianNoise"}),
        ("pgd_linf_8/255_20", {"name": "PGD", "norm": "linf", "eps": "8/255", "steps": "20"}),
        ("pgd_2_0.5", {"name": "PGD", "norm": "2", "eps": "0.5"}),
        ("PGD_inf", {"name": "PGD", "norm": "inf"}),
        ("fgsm_inf_4/255", {"name": "FGSM", "norm": "inf", "eps": "4/255"}),
        ({"name": "gaussian_0.1", "sigma": 0.3}, {"name": "GaussianNoise", "sigma": 0.3}),
        ({"name": "pgd", "steps": 3}, {"name": "PGD", "steps": 3}),
    ],
)
def test_short_forms(short: Any, expected: dict[str, Any]) -> None:
    assert catalog.expand("views", short) == expected


def test_short_form_of_data() -> None:
    assert catalog.expand("data", "UCR_ECG200") == {"name": "UCR", "dataset": "ECG200"}


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: catalog.names("weigters"), ["Unknown kind 'weigters'", "'weighters'"]),
        (lambda: catalog.find("weighters", "Cov2"), ["Unknown weighter 'Cov2'", "mean 'CoV'"]),
        (lambda: catalog.find("data", "Digit"), ["Unknown data set 'Digit'", "mean 'Digits'"]),
        (
            lambda: catalog.build("losses", {"name": "CrossEntropy", "veiw": "x"}),
            ["CrossEntropy has no setting 'veiw'", "mean 'view'"],
        ),
        (lambda: catalog.build("losses", {}), ["config of losses needs a 'name'", "CrossEntropy"]),
        (lambda: catalog.expand("losses", {"view": "x"}), ["config of losses needs a 'name'"]),
        (lambda: catalog.expand("views", "gausian_0.1"), ["Unknown view 'gausian_0.1'"]),
        (
            lambda: catalog.expand("views", "gaussian_0.1_2"),
            ["'gaussian_0.1_2' has too many parts", "gaussian_<sigma>"],
        ),
        (
            lambda: catalog.expand("views", "fgsm_linf_8/255_20"),
            ["too many parts; the form is fgsm_<norm>_<eps>."],
        ),
        (
            lambda: catalog.build("views", {"name": "GaussianNoise", "sigma": -1}),
            ["GaussianNoise: sigma must be at least 0, found -1"],
        ),
        (lambda: catalog.find("losses", 3), ["Unknown loss 3"]),
    ],
)
def test_errors_name_what_is_wrong_and_what_is_near(call: Any, parts: list[str]) -> None:
    with pytest.raises(SettingError) as error:
        call()
    assert [part for part in parts if part not in str(error.value)] == []
