"""UEA and TSER: .ts files with several channels, gaps, unequal lengths and numbers as targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainables.core.data._source import Source, data_root
from trainables.core.data.tser import TSER
from trainables.core.data.ucr import UCR
from trainables.core.data.uea import UEA
from trainables.core.errors import MissingDataError, SettingError

CLASSES = "@problemName Toy\n@classLabel true a b\n@data\n"
TARGETS = "@problemName Toy\n@targetlabel true\n@data\n"


def write(root: Path, train: str, test: str, *, head: str, place: str = "") -> None:
    folder = root / (place or ("uea" if head == CLASSES else "tser")) / "Toy"
    folder.mkdir(parents=True)
    for part, text in (("TRAIN", train), ("TEST", test)):
        (folder / f"Toy_{part}.ts").write_text(head + text, encoding="utf-8")


def inputs(source: Source) -> tuple[Tensor, Tensor]:
    assert isinstance(source.train.x, Tensor)
    assert isinstance(source.test.x, Tensor)
    return source.train.x, source.test.x


# --- as written -----------------------------------------------------------------------------


def test_channels_and_classes(tmp_path: Path) -> None:
    write(tmp_path, "1,2,3:4,5,6:b\n7,8,9:1,0,1:a\n", "0,0,1:1,2,3:b\n", head=CLASSES)
    source = UEA(dataset="Toy", normalise=False).load(tmp_path)
    train, test = inputs(source)
    assert train.tolist() == [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [1, 0, 1]]]
    assert test.dtype == torch.float32
    assert (source.train.y.tolist(), source.test.y.tolist()) == ([1, 0], [1])
    assert source.train.y.dtype == torch.int64
    assert (source.classes, source.task, source.box) == (("a", "b"), "classification", None)
    assert source.title == "UEA Toy"
    assert "2 + 1 series of 2 x 3" in source.provenance


def test_numbers_as_targets(tmp_path: Path) -> None:
    write(tmp_path, "1,2:2.5\n3,4:-1e2\n", "5,6:0\n", head=TARGETS)
    source = TSER(dataset="Toy").load(tmp_path)
    train, _ = inputs(source)
    assert train.tolist() == [[[1, 2]], [[3, 4]]]
    assert source.train.y.tolist() == [2.5, -100.0]
    assert source.train.y.dtype == torch.float32
    assert (source.classes, source.task, source.box) == ((), "regression", None)
    assert (source.units, source.title) == ("as in the file", "TSER Toy")


def test_normalise_is_a_choice(tmp_path: Path) -> None:
    write(tmp_path, "1,2,3:5\n", "2,2,2:6\n", head=TARGETS)
    source = TSER(dataset="Toy", normalise=True).load(tmp_path)
    train, test = inputs(source)
    torch.testing.assert_close(train[0, 0], torch.tensor([-(1.5**0.5), 0.0, 1.5**0.5]))
    assert test[0, 0].tolist() == [0.0, 0.0, 0.0]
    assert source.units == "standard deviations"


# --- unequal lengths ------------------------------------------------------------------------


def test_unequal_lengths_are_refused_unless_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "1,2,3:a\n4,6:b\n", "1,2,3,4:a\n", head=CLASSES)
    with pytest.raises(SettingError, match=r"Toy_TRAIN\.ts, line 5: .*unequal length"):
        UEA(dataset="Toy").load(tmp_path)
    zero, zero_test = inputs(UEA(dataset="Toy", normalise=False, pad="zero").load(tmp_path))
    assert zero.tolist() == [[[1, 2, 3, 0]], [[4, 6, 0, 0]]]
    assert zero_test.tolist() == [[[1, 2, 3, 4]]]
    source = UEA(dataset="Toy", normalise=False, pad="edge").load(tmp_path)
    assert inputs(source)[0].tolist() == [[[1, 2, 3, 3]], [[4, 6, 6, 6]]]
    assert "filled up (edge)" in source.provenance


def test_filled_up_after_normalisation(tmp_path: Path) -> None:
    write(tmp_path, "4,6:a\n", "1,2,3:b\n", head=CLASSES)
    zero, _ = inputs(UEA(dataset="Toy", pad="zero").load(tmp_path))
    assert zero.tolist() == [[[-1, 1, 0]]]
    edge, _ = inputs(UEA(dataset="Toy", pad="edge").load(tmp_path))
    assert edge.tolist() == [[[-1, 1, 1]]]


def test_parts_of_unequal_length_are_refused_unless_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "1,2,3:1\n", "1,2:1\n", head=TARGETS)
    with pytest.raises(SettingError, match="same in both parts, found 1 x 3 and 1 x 2"):
        TSER(dataset="Toy").load(tmp_path)
    assert inputs(TSER(dataset="Toy", pad="edge").load(tmp_path))[1].tolist() == [[[1, 2, 2]]]


@pytest.mark.parametrize("pad", ["none", "zero"])
def test_other_channels_cannot_be_filled_up(tmp_path: Path, pad: str) -> None:
    write(tmp_path, "1,2:3,4:a\n", "1,2:b\n", head=CLASSES)
    with pytest.raises(SettingError, match="found 2 x 2 and 1 x 2"):
        UEA(dataset="Toy", pad=pad).load(tmp_path)
    write(tmp_path / "two", "1,2:3:a\n", "1,2:3,4:a\n", head=CLASSES)
    with pytest.raises(SettingError, match=r"line 4: .*(equally long|unequal length)"):
        UEA(dataset="Toy", pad=pad).load(tmp_path / "two")


# --- gaps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", ["?", "NaN", ""])
def test_missing_values_are_refused_unless_asked_for(tmp_path: Path, gap: str) -> None:
    write(tmp_path, f"{gap},1,{gap},{gap},4,{gap}:5\n", "1,2,3,4,5,6:7\n", head=TARGETS)
    with pytest.raises(SettingError, match=r"Toy_TRAIN\.ts, line 4: missing values"):
        TSER(dataset="Toy").load(tmp_path)
    source = TSER(dataset="Toy", missing="interpolate").load(tmp_path)
    train, test = inputs(source)
    assert train.tolist() == [[[1, 1, 2, 3, 4, 4]]]
    assert test.tolist() == [[[1, 2, 3, 4, 5, 6]]]
    assert "missing values interpolated" in source.provenance


def test_a_channel_without_a_value_and_an_infinite_one_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "1,2:?,?:5\n", "1,2:3,4:7\n", head=TARGETS)
    with pytest.raises(SettingError, match="series 1: channel 2 has no value at all"):
        TSER(dataset="Toy", missing="interpolate").load(tmp_path)
    write(tmp_path / "two", "1,inf:5\n", "1,2:7\n", head=TARGETS)
    with pytest.raises(SettingError, match=r"line 4: .*value 2 is 'inf'"):
        TSER(dataset="Toy", missing="interpolate").load(tmp_path / "two")


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["nan", "inf", "high", "?"])
def test_a_target_must_be_a_number(tmp_path: Path, target: str) -> None:
    write(tmp_path, f"1,2:3\n1,2:{target}\n", "1,2:3\n", head=TARGETS)
    rule = re.escape(f"series 2: the target must be a finite number, found {target!r}")
    with pytest.raises(SettingError, match=rf"Toy_TRAIN\.ts, {rule}"):
        TSER(dataset="Toy").load(tmp_path)


def test_a_set_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "1,2:3\n", "1,2:3\n", head=TARGETS, place="uea")
    with pytest.raises(SettingError, match="line 2: this is a regression set"):
        UEA(dataset="Toy").load(tmp_path)
    write(tmp_path, "1,2:a\n", "1,2:a\n", head=CLASSES, place="tser")
    with pytest.raises(SettingError, match=r"line 2: .*a regression set is needed"):
        TSER(dataset="Toy").load(tmp_path)


@pytest.mark.parametrize("data", [UEA, TSER])
def test_settings_out_of_range(data: type[UEA] | type[TSER]) -> None:
    with pytest.raises(SettingError, match="pad cannot be 'mean'"):
        data(pad="mean")
    with pytest.raises(SettingError, match="missing cannot be 'zero'"):
        data(missing="zero")
    with pytest.raises(SettingError, match="normalise must be true or false, found 'no'"):
        data(normalise="no")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="dataset must be the name of a set"):
        data(dataset="a/b")


@pytest.mark.parametrize(("data", "folder"), [(UEA, "uea"), (TSER, "tser")])
def test_an_absent_set_names_place_and_nearest(
    tmp_path: Path, data: type[UEA] | type[TSER], folder: str
) -> None:
    (tmp_path / folder / "Toys").mkdir(parents=True)
    with pytest.raises(MissingDataError) as caught:
        data(dataset="Toy").load(tmp_path)
    for part in (str(tmp_path / folder / "Toy"), "Did you mean 'Toys'?", "Nothing is downloaded"):
        assert part in str(caught.value)
    with pytest.raises(MissingDataError, match=re.escape("Toys_TRAIN.ts")):
        data(dataset="Toys").load(tmp_path)


# --- real data ------------------------------------------------------------------------------


def real(folder: str, dataset: str) -> Path:
    root = data_root()
    if not (root / folder / dataset).is_dir():
        pytest.skip(f"needs {folder}/{dataset} below the data root {root}; set STUDY_DATA")
    return root


def test_basic_motions() -> None:
    root = real("uea", "BasicMotions")
    source = UEA().load(root)
    train, test = inputs(source)
    assert train.shape == test.shape == (40, 6, 100)
    assert source.classes == ("Badminton", "Running", "Standing", "Walking")
    assert torch.bincount(source.train.y).tolist() == [10] * 4
    # The other reader of the same file.
    assert torch.equal(inputs(UCR(dataset="BasicMotions").load(root))[0], train)


@pytest.mark.parametrize(
    ("dataset", "train", "test", "rmse"),
    [
        ("Tecator", (172, 1, 100), (43, 1, 100), 12.89),
        ("Covid3Month", (140, 1, 84), (61, 1, 84), None),
        ("CardanoSentiment", (74, 2, 24), (33, 2, 24), None),
    ],
)
def test_regression_sets(
    dataset: str, train: tuple[int, ...], test: tuple[int, ...], rmse: float | None
) -> None:
    source = TSER(dataset=dataset).load(real("tser", dataset))
    x, held_out = inputs(source)
    assert (x.shape, held_out.shape) == (train, test)
    assert source.train.y.shape == train[:1]
    assert source.train.y.isfinite().all()
    if rmse is not None:
        # Of a model that knows the mean of the training targets alone.
        found = (source.test.y - source.train.y.mean()).square().mean().sqrt().item()
        assert found == pytest.approx(rmse, abs=0.005)
