"""Detectors: torchvision's networks with their losses told apart and their padding never seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainables.core import boxes, catalog
from trainables.core.batch import Outputs
from trainables.core.errors import SettingError
from trainables.core.network import Detector
from trainables.core.recipe import resolve

from ..contracts.small import SMALL
from ..contracts.toys import seeded

DETECTORS = [
    name
    for name in catalog.names("architectures")
    if "detection" in catalog.find("architectures", name).tasks
]
each = pytest.mark.parametrize("name", DETECTORS)


def detector(name: str, shape: tuple[int, ...] = (3, 64, 64), **settings: Any) -> Detector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found: Detector = catalog.build(
            "architectures",
            {"name": name} | SMALL.get(name, {}) | settings,
            shape=shape,
            outputs=3,
            mean=[0.5] * 3,
            deviation=[0.25] * 3,
        )
    return found


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of unequal size on one canvas, the second one without a box."""
    x = torch.rand(2, 3, 64, 64, generator=seeded())
    first = torch.tensor([[4.0, 6.0, 40.0, 44.0], [20.0, 2.0, 46.0, 20.0]])
    y = [
        boxes.pack((50, 48), first, torch.tensor([0, 2]), 3),
        boxes.pack((64, 40), torch.zeros(0, 4), torch.zeros(0), 3),
    ]
    return x, torch.stack(y)


@each
def test_inner_losses_are_the_terms_it_names(name: str) -> None:
    model, (x, y) = detector(name).train(), images()
    found = model.losses(x, y)
    assert tuple(found) == model.terms
    assert all(one.shape == () and torch.isfinite(one) for one in found.values())
    sum(found.values()).backward()  # type: ignore[union-attr]
    assert all(one.grad is not None for one in model.head.parameters())
    loss = catalog.build("losses", {"name": "DetectionLoss"}, terms=model.terms)
    nothing = x.new_zeros(0)
    outputs = {"clean": Outputs(nothing, nothing, x, y, found)}
    torch.testing.assert_close(loss(outputs), sum(found.values()))
    for term in model.terms:
        one = {"name": "DetectionLoss", "term": term}
        assert torch.equal(catalog.build("losses", one, terms=model.terms)(outputs), found[term])


@each
def test_trunk_and_head_hold_every_parameter_once(name: str) -> None:
    model = detector(name)
    parts = [*model.stages(), model.head]
    owned = [id(one) for part in parts for one in part.parameters()]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(one) for one in model.parameters()}


@each
def test_padding_and_boxes_are_not_looked_at(name: str) -> None:
    model, (x, y) = detector(name).eval(), images()
    found = model.detect(x, y)
    assert found.shape == (2, 100, 6)
    other = x.clone()
    other[0, :, 50:] = 0.7
    other[0, :, :, 48:] = 0.1
    hidden = y.clone()
    hidden[:, 1:, 4] = -1
    assert torch.equal(model.detect(other, hidden), found)
    kept = found[found[..., 4] >= 0]
    assert ((kept[:, 4] <= 2) & (kept[:, 5] > 0) & (kept[:, 5] <= 1)).all()
    first = found[0, found[0, :, 4] >= 0]
    assert (first[:, 2] <= 48).all()
    assert (first[:, 3] <= 50).all()


@each
def test_normalisation_is_inside(name: str) -> None:
    model = detector(name)
    assert model.model.transform.image_mean == [0.5] * 3
    assert model.model.transform.image_std == [0.25] * 3


@each
def test_other_images_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match=r"colour images \(3, h, w\), found .*\(1, 64, 64\)"):
        detector(name, (1, 64, 64))


def test_parameters_of_ssdlite_are_torchvisions() -> None:
    with torch.device("meta"):
        model = catalog.build(
            "architectures",
            {"name": "SSDLite320MobileNetV3"},
            shape=(3, 320, 320),
            outputs=90,
            mean=[0.5] * 3,
            deviation=[0.5] * 3,
        )
    assert sum(one.numel() for one in model.parameters()) == 3_440_060


DATA = {"data": {"name": "COCO"}, "architecture": "SSDLite320MobileNetV3"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DATA | {"architecture": "ResNet18"}, "ResNet18 is for classification and regression"),
        (DATA | {"losses": {"main": {"term": "objectness"}}}, "term cannot be 'objectness'"),
        (DATA | {"data": "Digits"}, "SSDLite320MobileNetV3 is for detection, .* is classific"),
        (DATA | {"views": {"a": "DeepFool"}}, "views/a: DeepFool is for classification,"),
        (DATA | {"views": {"a": "RandomFlip"}}, "views/a: RandomFlip moves .* not the boxes"),
        (DATA | {"training": {"augment": ["Compose"]}}, "training/augment: Compose moves"),
        (DATA | {"views": {"a": "OtherData"}}, "views/a: OtherData: .* other data"),
    ],
)
def test_what_does_not_fit_is_named(config: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        resolve(config)
