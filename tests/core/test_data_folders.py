"""Image folders and ImageNet: small PNGs in their layouts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from trainables.core.data._pictures import Pictures
from trainables.core.data.image_folder import ImageFolder
from trainables.core.data.image_net import ImageNet
from trainables.core.errors import MissingDataError, SettingError


def write(part: Path, **counts: int) -> None:
    """For each class so many images of one colour, which tells class and number."""
    for number, (name, count) in enumerate(counts.items()):
        (part / name).mkdir(parents=True)
        for row in range(count):
            image = Image.new("RGB", (12, 10), (50 * number, 10 * row, 255))
            image.save(part / name / f"{row}.png")


@pytest.mark.parametrize("test", ["test", "val"])
def test_layout(tmp_path: Path, test: str) -> None:
    write(tmp_path / "images" / "train", cat=3, dog=2)
    write(tmp_path / "images" / test, cat=1, dog=1)
    (tmp_path / "images" / "train" / ".hidden").mkdir()
    (tmp_path / "images" / "train" / "cat" / "notes.txt").touch()
    (tmp_path / "images" / "train" / "cat" / "._0.png").touch()
    source = ImageFolder(size=8, resize=8, workers=0).load(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.train.y.tolist() == [0, 0, 0, 1, 1]
    assert source.test.y.tolist() == [0, 1]
    assert source.train.shape == (3, 8, 8)
    assert (source.box, source.task) == ((0.0, 1.0), "classification")
    assert (source.mean, source.deviation) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert source.title == "Images in images"
    assert str(tmp_path) not in source.provenance
    (batch,) = source.train.batches([torch.tensor([4, 1])], device="cpu", seed=0)
    assert batch.y.tolist() == [1, 0]
    # The second dog is (50, 10, 255), the second cat (0, 10, 255), in every crop of them.
    torch.testing.assert_close(batch.x[0, :, 3, 3], torch.tensor([50.0, 10.0, 255.0]) / 255)
    torch.testing.assert_close(batch.x[1, :, 3, 3], torch.tensor([0.0, 10.0, 255.0]) / 255)


def test_training_is_random_and_evaluation_is_not(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / "images" / part, cat=1)
        ramp = torch.arange(120, dtype=torch.uint8).reshape(10, 12).numpy()
        Image.fromarray(ramp).save(tmp_path / "images" / part / "cat" / "0.png")
    source = ImageFolder(size=8, resize=8, workers=0).load(tmp_path)
    order = [torch.tensor([0])]

    def read(part: str, seed: int | None) -> torch.Tensor:
        examples = getattr(source, part)
        (batch,) = examples.batches(order, device="cpu", seed=seed)
        found: torch.Tensor = batch.x
        return found

    assert not torch.equal(read("train", 0), read("train", 1))
    assert torch.equal(read("train", None), read("test", None))
    assert torch.equal(read("test", 0), read("test", 1))


def test_nested_folders_and_order(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write(tmp_path / "images" / part, b=1, a=2)
    inner = tmp_path / "images" / "train" / "a" / "more"
    inner.mkdir()
    Image.new("RGB", (4, 4)).save(inner / "x.JPEG")
    source = ImageFolder(size=8, resize=8).load(tmp_path)
    assert isinstance(source.train.x, Pictures)
    found = [source.train.x.path(row).name for row in range(len(source.train))]
    assert found == ["0.png", "1.png", "x.JPEG", "0.png"]
    assert source.classes == ("a", "b")


def test_test_goes_before_val(tmp_path: Path) -> None:
    write(tmp_path / "images" / "train", a=1)
    write(tmp_path / "images" / "val", a=2)
    write(tmp_path / "images" / "test", a=3)
    source = ImageFolder(size=8, resize=8).load(tmp_path)
    assert len(source.test) == 3
    assert "train and test" in source.provenance


def test_classes_that_differ_are_named(tmp_path: Path) -> None:
    write(tmp_path / "images" / "train", cat=1, dog=1)
    write(tmp_path / "images" / "val", cat=1, fox=1)
    with pytest.raises(SettingError, match="only in train: dog; only in val: fox"):
        ImageFolder().load(tmp_path)


def test_a_class_without_an_image_and_a_part_without_a_class_are_named(tmp_path: Path) -> None:
    write(tmp_path / "images" / "train", cat=1, dog=0)
    write(tmp_path / "images" / "val", cat=1, dog=1)
    with pytest.raises(SettingError, match=re.escape(str(Path("train", "dog"))) + " must hold"):
        ImageFolder().load(tmp_path)
    write(tmp_path / "other" / "val", cat=1)
    (tmp_path / "other" / "train").mkdir()
    with pytest.raises(SettingError, match="train must have a folder for each class"):
        ImageFolder(folder="other").load(tmp_path)


def test_an_absent_folder_is_missing_data(tmp_path: Path) -> None:
    write(tmp_path / "images" / "train", cat=1)
    with pytest.raises(MissingDataError, match=r"images.\{train,test or val\}"):
        ImageFolder().load(tmp_path)


def test_an_absolute_path(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write(tmp_path / "mine" / part, cat=1)
    source = ImageFolder(folder=str(tmp_path / "mine")).load(Path("elsewhere"))
    assert source.title == "Images in mine"


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"folder": ""}, "folder must be a path, found ''"),
        ({"size": 0}, "size must be at least 1, found 0"),
        ({"size": 300}, "resize must be at least 300, found 256"),
        ({"workers": -1}, "workers must be at least 0, found -1"),
        ({"mean": [0.5]}, r"mean must have 3 entries, found \[0.5\]"),
        ({"deviation": [1, 1, 0]}, "deviation must be above 0, found 0"),
    ],
)
def test_settings_out_of_range(chosen: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ImageFolder(**chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize("folder", ["imagenet", "ImageNet"])
def test_imagenet(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder / "train", n01440764=2, n01443537=1)
    write(tmp_path / folder / "val", n01440764=1, n01443537=1)
    # The published test images have no labels and lie in no class's folder.
    (tmp_path / folder / "test").mkdir()
    source = ImageNet().load(tmp_path)
    assert source.train.shape == (3, 224, 224)
    assert source.title == "ImageNet subset (3 + 2 images)"
    assert "2 classes" in source.provenance
    assert (source.mean, source.deviation) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert source.classes == ("n01440764", "n01443537")


def test_absent_imagenet_names_its_place(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"imagenet.\{train,val\}.*image-net\.org"):
        ImageNet().load(tmp_path)
