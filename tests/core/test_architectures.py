"""Architectures against published parameter counts, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from trainables.core import catalog
from trainables.core.errors import SettingError


def architecture(
    name: str, shape: tuple[int, ...], outputs: int = 10, **settings: Any
) -> nn.Module:
    channels = shape[0]
    model: nn.Module = catalog.build(
        "architectures",
        {"name": name} | settings,
        shape=shape,
        outputs=outputs,
        mean=[0.0] * channels,
        deviation=[1.0] * channels,
    )
    return model


COUNTS = [
    ("ConvNet", (1, 28, 28), 10, {}, 1_199_882),
    ("ResNet18", (3, 32, 32), 10, {}, 11_173_962),
    ("ResNet18", (3, 224, 224), 1000, {}, 11_689_512),
    ("ResNet18", (3, 32, 32), 1000, {"stem": "imagenet"}, 11_689_512),
    # (96 + 1) 128 + (128 + 1) 256 + (256 + 1) 2
    ("MLP", (1, 96), 2, {}, 45_954),
    ("MLP", (1, 2, 3), 4, {"hidden": [5]}, 7 * 5 + 6 * 4),
]


@pytest.mark.parametrize(("name", "shape", "outputs", "settings", "expected"), COUNTS)
def test_parameter_counts(
    name: str, shape: tuple[int, ...], outputs: int, settings: dict[str, Any], expected: int
) -> None:
    model = architecture(name, shape, outputs, **settings)
    assert sum(one.numel() for one in model.parameters()) == expected


@pytest.mark.parametrize(
    ("name", "shape", "settings", "message"),
    [
        (
            "ConvNet",
            (3, 40),
            {},
            r"ConvNet needs images \(c, h, w\), found inputs of shape \(3, 40",
        ),
        ("ConvNet", (1, 5, 9), {}, "ConvNet needs images of at least 6x6, found 5x9"),
        ("ConvNet", (1, 8, 8), {"channels": [3]}, "channels must have 2 entries"),
        ("ConvNet", (1, 8, 8), {"channels": [3, 0]}, "channels must be at least 1, found 0"),
        ("ConvNet", (1, 8, 8), {"dropout": 0.5}, "dropout must be a list, found 0.5"),
        ("ConvNet", (1, 8, 8), {"dropout": [0, 1]}, "dropout must be at most 0.99, found 1"),
        ("ConvNet", (1, 8, 8), {"hidden": 0}, "hidden must be at least 1, found 0"),
        ("ResNet18", (3, 40), {}, r"ResNet18 needs images \(c, h, w\)"),
        ("ResNet18", (3, 32, 32), {"stem": "cifra"}, "Did you mean 'cifar'"),
        ("MLP", (1, 8, 8), {"hidden": []}, "hidden must name at least one width"),
        ("MLP", (1, 8, 8), {"hidden": 64}, "hidden must be a list, found 64"),
        ("MLP", (1, 8, 8), {"dropout": 1}, "dropout must be at most 0.99"),
    ],
)
def test_refusals(
    name: str, shape: tuple[int, ...], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        architecture(name, shape, **settings)
