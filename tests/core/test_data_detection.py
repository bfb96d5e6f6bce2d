"""COCO and VOC: small sets in their layouts, counted by hand, and the real sample."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from trainables.core.boxes import unpack
from trainables.core.data._pictures import Pictures
from trainables.core.data._source import data_root
from trainables.core.data.coco import COCO
from trainables.core.data.voc import VOC
from trainables.core.errors import MissingDataError, SettingError


def image(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (255, 0, 0)).save(path)


def instances() -> dict[str, Any]:
    """Two images (20 x 10 and 8 x 6) and categories whose ids are neither sorted nor dense."""
    return {
        "images": [
            {"id": 7, "file_name": "b.jpg", "width": 8, "height": 6},
            {"id": 5, "file_name": "a.jpg", "width": 20, "height": 10},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 90, "bbox": [2, 4, 10, 6], "iscrowd": 0},
            {"id": 2, "image_id": 5, "category_id": 1, "bbox": [0, 0, 20, 10], "iscrowd": 1},
            {"id": 3, "image_id": 5, "category_id": 1, "bbox": [15, 5, 10, 10]},
            {"id": 4, "image_id": 5, "category_id": 1, "bbox": [3, 3, 0, 4]},
        ],
    }


def coco(root: Path, *, flat: bool = False, **changed: Any) -> Path:
    """A set in the published layout, or in the flat one; returns its folder."""
    folder = root / "coco"
    for part in ("train2017", "val2017"):
        images = folder / "images" / part if flat else folder / part
        image(images / "a.jpg", 20, 10)
        image(images / "b.jpg", 8, 6)
        path = folder / ("" if flat else "annotations") / f"instances_{part}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        held = instances() | (changed if part == "train2017" else {})
        path.write_text(json.dumps(held), encoding="utf-8")
    return folder


# --- COCO -----------------------------------------------------------------------------------


@pytest.mark.parametrize("flat", [False, True])
def test_coco_by_hand(tmp_path: Path, flat: bool) -> None:
    coco(tmp_path, flat=flat)
    source = COCO(size=10, workers=0).load(tmp_path)
    assert (source.task, source.classes, source.box) == (
        "detection",
        ("person", "toothbrush"),
        (0.0, 1.0),
    )
    assert source.title == "COCO 2017 subset (2 + 2 images)"
    assert "objects left out: crowd: 1 + 1; no area: 1 + 1" in source.provenance
    assert source.mean == (0.485, 0.456, 0.406)
    # By ascending id; room for two boxes; a.jpg is halved, b.jpg is never enlarged.
    assert source.train.y.shape == (2, 3, 5)
    sizes, found = unpack(source.train.y)
    assert sizes == [(5, 10), (6, 8)]
    # The second box ends at (25, 15) and is cut at (20, 10).
    assert found[0]["boxes"].tolist() == [[1, 2, 6, 5], [7.5, 2.5, 10, 5]]
    assert found[0]["labels"].tolist() == [1, 0]
    assert found[1]["boxes"].shape == (0, 4)
    assert isinstance(source.train.x, Pictures)
    (batch,) = source.train.batches([torch.tensor([0, 1])], device="cpu", seed=4)
    assert (batch.x[0, 0, :5] > 0.9).all()
    assert (batch.x[0, :, 5:] == 0).all()
    assert (batch.x[1, 0, :6, :8] > 0.9).all()
    assert (batch.x[1, :, :, 8:] == 0).all()


def test_in_memory_is_the_same(tmp_path: Path) -> None:
    coco(tmp_path)
    streamed = COCO(size=10, workers=0).load(tmp_path)
    held = COCO(size=10, in_memory=True).load(tmp_path)
    assert isinstance(held.train.x, Tensor)
    (batch,) = streamed.train.batches([torch.arange(2)], device="cpu")
    assert torch.equal(held.train.x, batch.x)
    assert torch.equal(held.train.y, batch.y)


def test_factors_are_those_of_the_rounded_sides(tmp_path: Path) -> None:
    # 20 x 10 to fit into 7: 7 x 3.5, which is 4 pixels high (rounded to even).
    coco(tmp_path)
    source = COCO(size=7, workers=0).load(tmp_path)
    sizes, found = unpack(source.train.y)
    assert sizes[0] == (4, 7)
    expected = torch.tensor([2 * 0.35, 4 * 0.4, 12 * 0.35, 10 * 0.4])
    torch.testing.assert_close(found[0]["boxes"][0], expected)


ONE = instances()["annotations"][0]


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"annotations": [ONE | {"image_id": 8}]}, "annotation 1: there is no image 8"),
        ({"annotations": [ONE | {"category_id": 2}]}, "annotation 1: there is no category 2"),
        ({"annotations": [ONE | {"bbox": [1, 2, 3]}]}, "annotation 1: bbox must be"),
        (
            {"annotations": [ONE | {"bbox": [1, 2, 3, float("nan")]}]},
            "image 5: a box must have finite corners",
        ),
        ({"annotations": [{"id": 1}]}, "is not in COCO's form: KeyError 'image_id'"),
        ({"annotations": 3}, "is not in COCO's form: TypeError"),
        ({"annotations": [ONE | {"bbox": ["a", 2, 3, 4]}]}, "not in COCO's form: ValueError"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, "two categories have the same id"),
        ({"images": [instances()["images"][0]] * 2}, "two images have the same id"),
        (
            {"images": [{"id": 5, "file_name": "a.jpg", "width": 0, "height": 3}]},
            "image 5: width must be at least 1, found 0",
        ),
        ({"images": [], "annotations": []}, "is annotated with no image"),
    ],
)
def test_contradictory_annotations_are_named(
    tmp_path: Path, changed: dict[str, Any], rule: str
) -> None:
    coco(tmp_path, **changed)
    with pytest.raises(SettingError, match=rule):
        COCO().load(tmp_path)


def test_truncated_annotations_name_the_place(tmp_path: Path) -> None:
    path = coco(tmp_path) / "annotations" / "instances_val2017.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SettingError, match=r"instances_val2017\.json, line 1, column \d+: damaged"):
        COCO().load(tmp_path)
    path.write_bytes(b"{\xff\xff")
    with pytest.raises(SettingError, match=r"instances_val2017\.json, byte \d+: it is no text"):
        COCO().load(tmp_path)


def test_parts_must_have_the_same_categories(tmp_path: Path) -> None:
    coco(tmp_path, categories=[{"id": 90, "name": "x"}, {"id": 1, "name": "person"}])
    with pytest.raises(SettingError, match="must have the same categories, found 2"):
        COCO().load(tmp_path)


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=re.escape("annotations")) as caught:
        COCO().load(tmp_path)
    assert str(tmp_path / "coco" / "annotations" / "instances_train2017.json") in str(caught.value)
    folder = coco(tmp_path)
    (folder / "val2017" / "b.jpg").unlink()
    with pytest.raises(MissingDataError, match=r"1 of 2 images .*b\.jpg"):
        COCO().load(tmp_path)


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path: Path) -> None:
    folder = coco(tmp_path)
    image(folder / "train2017" / "b.jpg", 6, 8)
    source = COCO(size=10, workers=0).load(tmp_path)
    with pytest.raises(SettingError, match=r"b\.jpg must be 8 x 6 pixels .*, found 6 x 8"):
        list(source.train.batches([torch.tensor([1])], device="cpu"))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"folder": ""}, "folder must be a path, found ''"),
        ({"size": 0}, "size must be at least 1, found 0"),
        ({"workers": 1.5}, "workers must be a whole number, found 1.5"),
        ({"in_memory": "yes"}, "in_memory must be true or false, found 'yes'"),
    ],
)
def test_coco_settings_out_of_range(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        COCO(**chosen)


# --- VOC ------------------------------------------------------------------------------------


def thing(name: str, *corners: float, difficult: int = 0) -> str:
    sides = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{s}>{v}</{s}>" for s, v in zip(sides, corners, strict=True))
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{box}</bndbox></object>"
    )


def voc(root: Path, *objects: str, year: int = 2007, place: str = "VOCdevkit") -> Path:
    """One image (20 x 10) in each part; the objects are those of the first; returns the folder."""
    folder = root / place / f"VOC{year}"
    lists = folder / "ImageSets" / "Main"
    annotations = folder / "Annotations"
    for made in (lists, annotations):
        made.mkdir(parents=True)
    parts = ("trainval", "test") if year == 2007 else ("train", "val")
    for name, part in zip(("000005", "000007"), parts, strict=True):
        image(folder / "JPEGImages" / f"{name}.jpg", 20, 10)
        (lists / f"{part}.txt").write_text(f"{name}\n", encoding="utf-8")
        inner = "".join(objects) if part == parts[0] else thing("dog", 1, 1, 20, 10)
        text = f"<annotation><size><width>9</width></size>{inner}</annotation>"
        (annotations / f"{name}.xml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("place", ["VOCdevkit", "voc/VOCdevkit", "."])
@pytest.mark.parametrize("year", [2007, 2012])
def test_voc_by_hand(tmp_path: Path, year: int, place: str) -> None:
    objects = [
        thing("person", 3, 5, 12, 10),
        thing("cat", 1, 1, 4, 4, difficult=1),
        thing("car", 5, 5, 4, 4),
    ]
    voc(tmp_path, *objects, year=year, place=place)
    source = VOC(year=year, size=10, workers=0).load(tmp_path)
    assert source.task == "detection"
    assert (len(source.classes), source.classes[0]) == (20, "aeroplane")
    assert source.title == f"PASCAL VOC {year} subset (1 + 1 images)"
    assert "difficult: 1 + 0; no area: 1 + 0" in source.provenance
    sizes, found = unpack(source.train.y)
    assert sizes == [(5, 10)]
    # Edges (2, 4, 12, 10), halved.
    assert found[0]["boxes"].tolist() == [[1, 2, 6, 5]]
    assert found[0]["labels"].tolist() == [source.classes.index("person")]
    # From pixel 1 to the last one is the whole image.
    assert unpack(source.test.y)[1][0]["boxes"].tolist() == [[0, 0, 10, 5]]


def test_difficult_objects_can_be_kept(tmp_path: Path) -> None:
    voc(tmp_path, thing("cat", 1, 1, 4, 4, difficult=1))
    source = VOC(size=20, difficult=True, in_memory=True).load(tmp_path)
    (found,) = unpack(source.train.y)[1]
    assert found["boxes"].tolist() == [[0, 0, 4, 4]]
    assert isinstance(source.train.x, Tensor)


@pytest.mark.parametrize(
    ("inner", "rule"),
    [
        (thing("dgo", 1, 1, 4, 4), "000005.xml, object 1: no class 'dgo'. Did you mean 'dog'?"),
        ("<object><name>dog</name></object>", "object 1: bndbox/xmin must be a number"),
        (thing("dog", 1, 1, 4, float("nan")), "bndbox/ymax must be a finite number, found 'nan'"),
        ("<object>", "000005.xml is damaged or truncated: mismatched tag: line 1, column"),
    ],
)
def test_damaged_annotations_are_named(tmp_path: Path, inner: str, rule: str) -> None:
    voc(tmp_path, inner)
    with pytest.raises(SettingError, match=re.escape(rule)):
        VOC().load(tmp_path)


def test_what_is_absent_or_damaged_in_voc_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="PASCAL VOC 2007 is not there") as caught:
        VOC().load(tmp_path)
    assert str(tmp_path / "VOCdevkit" / "VOC2007") in str(caught.value)
    folder = voc(tmp_path)
    (folder / "JPEGImages" / "000007.jpg").write_bytes(b"words")
    with pytest.raises(SettingError, match=r"000007\.jpg cannot be read as an image"):
        VOC().load(tmp_path)
    (folder / "JPEGImages" / "000007.jpg").unlink()
    with pytest.raises(MissingDataError, match=r"000007\.jpg"):
        VOC().load(tmp_path)
    (folder / "ImageSets" / "Main" / "test.txt").unlink()
    with pytest.raises(MissingDataError, match=r"The list test .*test\.txt"):
        VOC().load(tmp_path)


def test_only_two_years_are_known() -> None:
    assert VOC(year="2012").year == 2012  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"year must be one of \[2007, 2012\], found 2010"):
        VOC(year=2010)


# --- real data ------------------------------------------------------------------------------


def test_coco_sample() -> None:
    root = data_root()
    if not (root / "coco128-subset").is_dir():
        pytest.skip(f"needs coco128-subset below the data root {root}; set STUDY_DATA")
    source = COCO(folder="coco128-subset", size=160, workers=2).load(root)
    assert source.title == "COCO 2017 subset (54 + 32 images)"
    assert "351 + 187 boxes" in source.provenance
    assert source.classes[0] == "person"
    assert len(source.classes) == 80
    for part, boxes, classes, persons in (
        (source.train, 351, 62, 110),
        (source.test, 187, 40, 85),
    ):
        sizes, found = unpack(part.y)
        labels = torch.cat([one["labels"] for one in found])
        assert len(labels) == boxes
        assert len(set(labels.tolist())) == classes
        assert int((labels == 0).sum()) == persons
        for (height, width), one in zip(sizes, found, strict=True):
            assert max(height, width) <= 160
            corners = one["boxes"]
            assert (corners[:, :2] >= 0).all()
            assert (corners[:, 2:] <= torch.tensor([width, height]) + 1e-4).all()
            assert (corners[:, 2:] > corners[:, :2]).all()
    first = next(source.train.batches([torch.arange(4)], device="cpu")).x
    assert first.shape == (4, 3, 160, 160)
    assert 0.2 < first.mean() < 0.6
