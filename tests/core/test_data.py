"""The data sets: hand-written files of every form, and the real sets where they lie."""

from __future__ import annotations

import csv
import gzip
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.core.catalog import build, names
from trainables.core.data._idx import read_idx
from trainables.core.data._series import class_names, normalised, read_series
from trainables.core.data._source import Examples, Source, data_root, missing
from trainables.core.data.digits import Digits
from trainables.core.data.fashion_mnist import FashionMNIST
from trainables.core.data.mnist import MNIST
from trainables.core.data.ucr import UCR
from trainables.core.errors import MissingDataError, SettingError


@pytest.fixture
def real() -> Path:
    """The data root; the test is skipped where there is none."""
    root = data_root()
    if not root.is_dir():
        pytest.skip(f"needs real data: no folder {root}; set STUDY_DATA to a data root")
    return root


def real_ucr(root: Path, dataset: str) -> Source:
    if not any((root / folder / dataset).is_dir() for folder in ("ucr", "UCR", "uea", "")):
        pytest.skip(f"needs the set {dataset} below the data root {root}")
    return UCR(dataset=dataset).load(root)


def write(root: Path, name: str, **files: str) -> Path:
    """Write `<root>/ucr/<name>/<name>_<part>.<form>` for each part_form=text."""
    folder = root / "ucr" / name
    folder.mkdir(parents=True, exist_ok=True)
    for key, text in files.items():
        part, form = key.split("_")
        (folder / f"{name}_{part}.{form}").write_text(text, encoding="utf-8")
    return folder


TS = "# prose, 1:2\n@problemName Toy\n@classLabel true a b\n@data\n"


# --- catalogue and root ---------------------------------------------------------------------


def test_catalogue_finds_the_sets_by_name() -> None:
    assert {"Digits", "FashionMNIST", "MNIST", "UCR"} <= set(names("data"))
    assert isinstance(build("data", {"name": "fashion_mnist"}), FashionMNIST)
    assert build("data", {"name": "UCR", "dataset": "Coffee"}).dataset == "Coffee"


def test_root_is_argument_then_environment_then_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_DATA", "from-environment")
    assert data_root("given") == Path("given")
    assert data_root() == Path("from-environment")
    monkeypatch.setenv("STUDY_DATA", "")
    assert data_root() == Path.home() / ".cache" / "study-data"
    monkeypatch.delenv("STUDY_DATA")
    assert data_root() == Path.home() / ".cache" / "study-data"
    assert data_root("~/x") == Path.home() / "x"


def test_missing_names_place_flag_and_origin() -> None:
    text = str(missing("Toy", [Path("a/b"), Path("c")], "the moon"))
    for part in ("Toy", str(Path("a/b")), "or c", "$STUDY_DATA", "--data-root", "the moon"):
        assert part in text


def test_examples_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 inputs and 3 targets"):
        Examples(torch.zeros(2, 1), torch.zeros(3, dtype=torch.int64))


def test_take_keeps_the_order_asked_for() -> None:
    examples = Examples(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 1, 2]))
    taken = examples.take(torch.tensor([2, 0]))
    assert taken.x.tolist() == [[3.0], [1.0]]
    assert taken.y.tolist() == [2, 0]


# --- Digits ---------------------------------------------------------------------------------


def test_digits_facts() -> None:
    source = Digits().load(Path())
    assert (len(source.train), len(source.test)) == (1348, 449)
    assert source.train.x.shape == (1348, 1, 8, 8)
    assert source.train.x.dtype == torch.float32
    assert source.train.y.dtype == torch.int64
    both = torch.cat([source.train.x, source.test.x])
    assert (both.min().item(), both.max().item()) == (0.0, 1.0)
    assert torch.equal(both * 16, (both * 16).round())
    assert source.box == (0.0, 1.0)
    assert source.classes == tuple("0123456789")
    # The counts of scikit-learn's own description, 174 to 183 a class.
    counts = torch.bincount(torch.cat([source.train.y, source.test.y]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # A quarter of each class, to within the rounding.
    assert ((torch.bincount(source.test.y) - counts / 4).abs() < 1).all()


def test_digits_parts_make_up_the_whole() -> None:
    from sklearn.datasets import load_digits

    published = load_digits().images.reshape(-1, 64)
    source = Digits(test=0.5).load(Path())
    parts = torch.cat([source.train.x, source.test.x]).mul(16).reshape(-1, 64).numpy()
    assert sorted(map(tuple, parts.tolist())) == sorted(map(tuple, published.tolist()))


def test_digits_test_part_never_changes() -> None:
    first, again = Digits().load(Path()), Digits().load(Path("elsewhere"))
    assert torch.equal(first.test.x, again.test.x)
    # Pinned: another value means that results before and after are not on the same test images.
    assert first.test.y[:12].tolist() == [9, 1, 5, 9, 8, 7, 0, 2, 0, 3, 4, 6]
    assert first.test.x.double().mul(16).sum().item() == 140304.0


@pytest.mark.parametrize("test", [0, 1, -0.5, 1.5, True, "x", 0.001, 0.999])
def test_digits_refuses_a_test_share_out_of_range(test: float) -> None:
    with pytest.raises(SettingError, match=f"test must .*found {test!r}"):
        Digits(test=test).load(Path())


# --- idx ------------------------------------------------------------------------------------


def idx(values: bytes, *shape: int, kind: int = 8) -> bytes:
    return bytes((0, 0, kind, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + values


def test_idx_plain_and_compressed(tmp_path: Path) -> None:
    raw = idx(bytes(range(6)), 2, 3)
    (tmp_path / "plain").write_bytes(raw)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(raw))
    for name in ("plain", "packed.gz"):
        assert read_idx(tmp_path / name, (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (idx(bytes(6), 2, 3, kind=13), "the magic number must be 00000802, found '00000d02'"),
        (idx(bytes(6), 6), "the magic number must be 00000802, found '00000801'"),
        (b"", "the magic number must be 00000802, found ''"),
        (idx(b"", 2, 3)[:10], "it ends within its header of 12 bytes"),
        (idx(bytes(6), 3, 2), r"the shape must be \(2, 3\), found \(3, 2\)"),
        (idx(bytes(5), 2, 3), "it must hold 6 values, found 5"),
        (idx(bytes(7), 2, 3), "it must hold 6 values, found 7"),
    ],
)
def test_damaged_idx_is_named(tmp_path: Path, raw: bytes, rule: str) -> None:
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(SettingError, match=f"file is damaged or another file: {rule}"):
        read_idx(tmp_path / "file", (2, 3))


@pytest.mark.parametrize("raw", [b"not gzip", gzip.compress(idx(bytes(6), 2, 3))[:-9]])
def test_damaged_gzip_is_named(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "file.gz").write_bytes(raw)
    with pytest.raises(SettingError, match="cannot be unpacked"):
        read_idx(tmp_path / "file.gz", (2, 3))


@pytest.mark.parametrize("data", [MNIST(), FashionMNIST()])
def test_absent_images_name_the_path(tmp_path: Path, data: MNIST | FashionMNIST) -> None:
    path = tmp_path / type(data).__name__ / "raw" / "train-images-idx3-ubyte.gz"
    with pytest.raises(MissingDataError, match=re.escape(str(path))):
        data.load(tmp_path)


# --- series, by hand ------------------------------------------------------------------------

# The same two series of three steps in each form; the labels are -1 and 1.
FORMS = {
    "ts": "#Prose: 1,2\n@problemName Toy\n@timeStamps false\n@classLabel true -1 1\n@data\n"
    "1,2,3:-1\n\n4.5,-5e-1,6:1\n",
    "tsv": "-1\t1\t2\t3\n1\t4.5\t-5e-1\t6\n",
    "arff": "%“prose”\n@Relation Toy\n@attribute a numeric\n@attribute b numeric\n"
    "@ATTRIBUTE c real\n@attribute target {-1,1}\n\n@DATA\n1,2,3,-1\n4.5,-5e-1,6,1\n",
    "txt": "  -1.0000000e+00   1.0  2.0   3.0\n   1.0000000e+00 4.5 -0.5 6.0\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_series(tmp_path: Path, form: str) -> None:
    text = FORMS[form]
    write(tmp_path, "Toy", **{f"TRAIN_{form}": text, f"TEST_{form}": text})
    source = UCR(dataset="Toy", normalise=False).load(tmp_path)
    assert source.train.x.tolist() == [[[1.0, 2.0, 3.0]], [[4.5, -0.5, 6.0]]]
    assert source.train.x.dtype == torch.float32
    assert source.train.y.tolist() == [0, 1]
    assert source.train.y.dtype == torch.int64
    assert source.classes == ("-1", "1")
    assert source.box is None
    assert source.units == "as in the file"
    assert str(tmp_path) not in source.provenance


def test_txt_may_be_separated_by_commas(tmp_path: Path) -> None:
    write(tmp_path, "Toy", TRAIN_txt="b, 1,2\na ,3, 4\n", TEST_txt="a,5,6\n")
    source = UCR(dataset="Toy", normalise=False).load(tmp_path)
    assert source.train.x.tolist() == [[[1.0, 2.0]], [[3.0, 4.0]]]
    assert source.train.y.tolist() == [1, 0]
    assert source.classes == ("a", "b")


def test_several_channels(tmp_path: Path) -> None:
    write(
        tmp_path,
        "Toy",
        TRAIN_ts=f"{TS}1,2,3:4,5,6:b\n7,8,9:10,11,12:a\n",
        TEST_ts=f"{TS}0,0,0:1,2,3:a\n",
    )
    source = UCR(dataset="Toy", normalise=False).load(tmp_path)
    assert source.train.x.tolist() == [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]
    assert source.train.y.tolist() == [1, 0]


@pytest.mark.parametrize("shape", [(2, 3), (2, 1, 3), (2, 3, 1)])
def test_npz(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder = write(tmp_path, "Toy")
    x = np.arange(6.0).reshape(shape)
    np.savez(folder / "Toy.npz", X_train=x, y_train=[2, 1], X_test=x + 6, y_test=[1, 2])
    source = UCR(dataset="Toy", normalise=False).load(tmp_path)
    assert source.train.x.tolist() == [[[0, 1, 2]], [[3, 4, 5]]]
    assert source.test.x.tolist() == [[[6, 7, 8]], [[9, 10, 11]]]
    assert (source.train.y.tolist(), source.test.y.tolist()) == ([1, 0], [0, 1])
    assert source.classes == ("1", "2")


@pytest.mark.parametrize(
    ("arrays", "rule"),
    [
        ({"X_train": np.array([None, 1])}, "is not a NumPy file of plain arrays"),
        ({"X_train": np.zeros((2, 3, 2))}, r"X_train must be .*found \(2, 3, 2\) and \(2,\)"),
        ({"X_train": np.zeros((3, 3))}, r"X_train must be .*found \(3, 3\) and \(2,\)"),
        ({"X_test": np.array([[1, np.nan]] * 2)}, "X_test has missing values"),
    ],
)
def test_bad_npz_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], rule: str) -> None:
    folder = write(tmp_path, "Toy")
    good = {"X_train": np.zeros((2, 3)), "y_train": np.array([1, 2])}
    good |= {"X_test": np.zeros((2, 3)), "y_test": np.array([1, 2])}
    np.savez(folder / "Toy.npz", **(good | arrays))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=rule):
        UCR(dataset="Toy").load(tmp_path)


def test_an_npz_without_its_arrays_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, "Toy")
    np.savez(folder / "Toy.npz", X_train=np.zeros((2, 3)), z=np.zeros(1))
    with pytest.raises(SettingError, match=r"must hold y_train, X_test, y_test, found \['X_train'"):
        UCR(dataset="Toy").load(tmp_path)


def test_a_text_file_called_npz_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, "Toy")
    (folder / "Toy.npz").write_text("words", encoding="utf-8")
    with pytest.raises(SettingError, match="is not a NumPy file"):
        UCR(dataset="Toy").load(tmp_path)


def test_standardised_by_hand(tmp_path: Path) -> None:
    # 1, 2, 3: mean 2, population variance 2/3. 0.1 three times: constant, so 0.
    write(tmp_path, "Toy", TRAIN_ts=f"{TS}1,2,3:0.1,0.1,0.1:a\n", TEST_ts=f"{TS}0,0,4:-1,0,1:b\n")
    source = UCR(dataset="Toy").load(tmp_path)
    step = 1.5**0.5
    expected = torch.tensor([[[-step, 0.0, step], [0.0, 0.0, 0.0]]])
    torch.testing.assert_close(source.train.x, expected)
    assert source.train.x[0, 1].tolist() == [0.0, 0.0, 0.0]
    # 0, 0, 4: mean 4/3, variance 32/9.
    root = 2**0.5
    torch.testing.assert_close(source.test.x[0, 0], torch.tensor([-1 / root, -1 / root, root]))
    assert source.units == "standard deviations"


def test_a_constant_far_from_0_is_not_blown_up() -> None:
    # The mean of these is rounded, so their computed deviation is not exactly 0.
    x = np.full((1, 1, 7), 123456.7)
    assert x.std() > 0
    assert (normalised(x) == 0).all()


def test_test_part_cannot_change_the_training_part(tmp_path: Path) -> None:
    rows = "1,2,4:a\n3,1,0:b\n"
    write(tmp_path, "One", TRAIN_ts=TS + rows, TEST_ts=f"{TS}1,2,3:a\n")
    write(tmp_path, "Two", TRAIN_ts=TS + rows, TEST_ts=f"{TS}1e6,-1e6,5:a\n9,9,0:b\n")
    one, two = (UCR(dataset=name).load(tmp_path) for name in ("One", "Two"))
    assert torch.equal(one.train.x, two.train.x)


@pytest.mark.parametrize(
    ("labels", "numbers", "classes"),
    [
        (["1", "-1", "1"], [1, 0, 1], ("-1", "1")),
        (["10", "9", "2"], [2, 1, 0], ("2", "9", "10")),
        (["b", "a", "10", "9"], [3, 2, 0, 1], ("10", "9", "a", "b")),
        (["1", "1.0000000e+00", "2"], [0, 0, 1], ("1", "2")),
        (["0.5", "nan"], [0, 1], ("0.5", "nan")),
        (["1_0", "10"], [1, 0], ("10", "1_0")),
        (["1.5", "0.5"], [1, 0], ("0.5", "1.5")),
    ],
)
def test_classes_in_order(labels: list[str], numbers: list[int], classes: tuple[str, ...]) -> None:
    mapping, found = class_names(labels)
    assert [mapping[label] for label in labels] == numbers
    assert found == classes


def test_a_class_only_in_the_test_part_has_its_place(tmp_path: Path) -> None:
    write(tmp_path, "Toy", TRAIN_ts=f"{TS}1,2:a\n3,4:c\n", TEST_ts=f"{TS}5,6:b\n")
    source = UCR(dataset="Toy").load(tmp_path)
    assert source.classes == ("a", "b", "c")
    assert (source.train.y.tolist(), source.test.y.tolist()) == ([0, 2], [1])


@pytest.mark.parametrize(
    ("name", "text", "line", "reason"),
    [
        ("a.ts", f"{TS}1,2:a\n1,?:b\n", 6, r"missing values .*\(value 2\)"),
        ("a.ts", f"{TS}1,NaN:a\n", 5, r"missing values .*\(value 2 is 'NaN'\)"),
        ("a.ts", f"{TS}1,,2:a\n", 5, "missing values"),
        ("a.ts", f"{TS}1,inf:a\n", 5, "missing values"),
        ("a.ts", f"{TS}1,x2:a\n", 5, "value 2 must be a number, found 'x2'"),
        ("a.ts", f"{TS}1,2:a\n\n1,2,3:b\n", 7, "unequal length .*2 values in line 5, found 3"),
        ("a.ts", f"{TS}1,2:1:a\n", 5, "unequal length"),
        ("a.ts", f"{TS}1,2:a\n1,2:3,4:a\n", 6, "as many channels as in line 5"),
        ("a.ts", f"{TS}1,2\n", 5, "a ':' must stand before the class label"),
        ("a.ts", f"{TS}1,2:\n", 5, "the class label is missing"),
        ("a.ts", "@timeStamps true\n@data\n", 1, "time stamps"),
        ("a.ts", "#\n@targetlabel true\n@data\n1:2.5\n", 2, "a regression set"),
        ("a.ts", "@classLabel false\n@data\n1,2\n", 1, "no class labels"),
        ("a.ts", "1,2:a\n@data\n", 1, "before the line '@data'"),
        ("a.tsv", "1\t1\t2\n2\t1\t2\t3\n", 2, "unequal length .*2 values in line 1, found 3"),
        ("a.tsv", "1\t1\tNaN\n", 1, "missing values .*shorter series"),
        ("a.tsv", "1\t1\t\n", 1, "missing values"),
        ("a.tsv", "\t1\t2\n", 1, "the class label is missing"),
        ("a.tsv", "1 1 2\n", 1, "found one column"),
        ("a.txt", "1 2 3\n1 2\n", 2, "unequal length"),
        ("a.txt", "This is prose\n", 1, "value 1 must be a number, found 'is'"),
        (
            "a.arff",
            "@attribute a real\n@attribute t {1}\n@data\n1,2,1\n",
            4,
            "2 attributes, found 3",
        ),
        ("a.arff", "@attribute a relational\n@data\n", 1, "from .ts only"),
        ("a.arff", "@attribute a real\n@attribute t {1}\n@data\n?,1\n", 4, "missing values"),
    ],
)
def test_what_is_not_supported_names_file_and_line(
    tmp_path: Path, name: str, text: str, line: int, reason: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(SettingError, match=f"{re.escape(name)}, line {line}: .*{reason}"):
        read_series(tmp_path / name)


@pytest.mark.parametrize("name", ["a.ts", "a.arff", "a.tsv", "a.txt"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n", encoding="utf-8")
    with pytest.raises(SettingError, match=r"has no line '@data'|holds no series"):
        read_series(tmp_path / name)


def test_a_header_that_is_not_utf8_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_bytes(b"\xef\xbb\xbf# caf\xe9\r\n@data\r\n1,2:a\r\n")
    values, labels = read_series(tmp_path / "a.ts")
    assert values.tolist() == [[[1.0, 2.0]]]
    assert labels == ["a"]


def test_parts_of_unequal_length_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "Toy", TRAIN_ts=f"{TS}1,2:a\n", TEST_ts=f"{TS}1,2,3:a\n")
    with pytest.raises(SettingError, match="1 x 2 in the training part, 1 x 3 in the test part"):
        UCR(dataset="Toy").load(tmp_path)


# --- series, which files --------------------------------------------------------------------


def test_prose_is_not_read_as_data(tmp_path: Path) -> None:
    folder = write(tmp_path, "Toy", TRAIN_tsv="1\t1\t2\n", TEST_tsv="1\t1\t2\n")
    (folder / "Toy.txt").write_text("1 2 3\n", encoding="utf-8")
    assert len(UCR(dataset="Toy").load(tmp_path).train) == 1


def test_preferred_form_is_one_that_both_parts_have(tmp_path: Path) -> None:
    write(tmp_path, "Toy", TRAIN_ts=f"{TS}1,2:-1\n", TRAIN_tsv="2\t3\t4\n", TEST_tsv="2\t5\t6\n")
    source = UCR(dataset="Toy", normalise=False).load(tmp_path)
    assert source.train.x.tolist() == [[[3.0, 4.0]]]
    assert source.classes == ("2",)
    write(tmp_path, "Toy", TEST_ts=f"{TS}7,8:-1\n")
    source = UCR(dataset="Toy", normalise=False).load(tmp_path)
    assert source.train.x.tolist() == [[[1.0, 2.0]]]
    assert source.classes == ("-1",)


def test_forms_are_mixed_only_if_they_label_alike(tmp_path: Path) -> None:
    write(tmp_path, "Toy", TRAIN_ts=f"{TS}1,2:1\n1,3:2\n", TEST_tsv="2.0\t3\t4\n1.0\t2\t3\n")
    source = UCR(dataset="Toy").load(tmp_path)
    assert (source.train.y.tolist(), source.test.y.tolist()) == ([0, 1], [1, 0])
    write(tmp_path, "Toy", TRAIN_ts=f"{TS}1,2:1\n1,3:-1\n")
    with pytest.raises(SettingError, match=r"label differently: -1, 1 in .*, 1, 2 in"):
        UCR(dataset="Toy").load(tmp_path)


@pytest.mark.parametrize("folder", ["ucr", "UCR", "uea", "."])
def test_places_below_the_root(tmp_path: Path, folder: str) -> None:
    made = write(tmp_path / "made", "Toy", TRAIN_ts=f"{TS}1,2:a\n", TEST_ts=f"{TS}1,2:a\n")
    shutil.copytree(made, tmp_path / "root" / folder / "Toy")
    assert len(UCR(dataset="Toy").load(tmp_path / "root").train) == 1


def test_a_wrong_name_offers_the_nearest(tmp_path: Path) -> None:
    for name in ("ECG200", "Coffee"):
        write(tmp_path, name)
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "GunPoint").mkdir()
    (tmp_path / "GunPoint" / "GunPoint_TRAIN.ts").touch()
    with pytest.raises(MissingDataError) as caught:
        UCR(dataset="ecg-200").load(tmp_path)
    text = str(caught.value)
    assert "Did you mean 'ECG200'? Known: Coffee, ECG200, GunPoint." in text
    assert str(tmp_path / "ucr" / "ecg-200") in text
    assert "timeseriesclassification.com" in text


def test_a_root_that_is_not_there_is_missing_data(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="Nothing is downloaded") as caught:
        UCR().load(tmp_path / "nowhere")
    assert "Did you mean" not in str(caught.value)


def test_an_absent_part_is_missing_data(tmp_path: Path) -> None:
    write(tmp_path, "Toy", TRAIN_ts=f"{TS}1,2:a\n")
    with pytest.raises(MissingDataError, match=re.escape("Toy_TEST.{ts,tsv,arff,txt}")):
        UCR(dataset="Toy").load(tmp_path)


@pytest.mark.parametrize("dataset", ["", ".", "..", "a/b", "/a", 7])
def test_a_dataset_must_be_a_name(dataset: str) -> None:
    with pytest.raises(SettingError, match="dataset must be the name of a set"):
        UCR(dataset=dataset)


def test_normalise_must_be_a_truth_value() -> None:
    with pytest.raises(SettingError, match="normalise must be true or false, found 'no'"):
        UCR(normalise="no")  # type: ignore[arg-type]


# --- real data ------------------------------------------------------------------------------


def test_ecg200(real: Path) -> None:
    source = real_ucr(real, "ECG200")
    assert source.train.x.shape == source.test.x.shape == (100, 1, 96)
    assert len(source.classes) == 2
    for part in (source.train, source.test):
        assert part.x.mean(dim=2).abs().max() < 1e-6
        torch.testing.assert_close(part.x.std(dim=2, correction=0), torch.ones(100, 1))


def test_ecg200_in_every_form(real: Path, tmp_path: Path) -> None:
    source = real_ucr(real, "ECG200")
    for form in ("ts", "arff", "tsv"):
        folder = tmp_path / form / "ucr" / "ECG200"
        folder.mkdir(parents=True)
        for part in ("TRAIN", "TEST"):
            path = real / "ucr" / "ECG200" / f"ECG200_{part}.{form}"
            if not path.is_file():
                pytest.skip(f"needs ECG200 as .{form} below the data root")
            shutil.copy(path, folder)
        found = UCR(dataset="ECG200").load(tmp_path / form)
        # The .tsv of the test root renumbers -1 to 2, so its class 0 is the others' class 1.
        swapped = found.classes == ("1", "2")
        for ours, expected in ((found.train, source.train), (found.test, source.test)):
            assert torch.equal(ours.x, expected.x)
            assert torch.equal(1 - ours.y if swapped else ours.y, expected.y)


def nearest_neighbour_accuracy(source: Source) -> float:
    train, test = source.train.x.flatten(1).double(), source.test.x.flatten(1).double()
    nearest = torch.cdist(test, train).argmin(dim=1)
    return (source.train.y[nearest] == source.test.y).double().mean().item()


def test_every_set_of_the_archive_has_its_published_size_and_accuracy(real: Path) -> None:
    table = real / "ucr" / "reference_accuracies.tsv"
    if not table.is_file():
        pytest.skip(f"needs the table of published accuracies, {table}")
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert rows
    for row in rows:
        source = UCR(dataset=row["dataset"]).load(real)
        assert str(tuple(source.train.x.shape)) == row["train"], row["dataset"]
        assert str(tuple(source.test.x.shape)) == row["test"], row["dataset"]
        assert str(len(source.classes)) == row["classes"], row["dataset"]
        # Published with four digits, some of them cut, not rounded.
        expected = float(row["bakeoff_1nn_ed"])
        assert nearest_neighbour_accuracy(source) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("dataset", "accuracy"), [("ECG200", 0.88), ("GunPoint", 0.9133)])
def test_nearest_neighbour_accuracy(real: Path, dataset: str, accuracy: float) -> None:
    assert nearest_neighbour_accuracy(real_ucr(real, dataset)) == pytest.approx(accuracy, abs=5e-5)


def test_basic_motions_has_six_channels(real: Path) -> None:
    source = real_ucr(real, "BasicMotions")
    assert source.train.x.shape == source.test.x.shape == (40, 6, 100)
    assert source.classes == ("Badminton", "Running", "Standing", "Walking")
    assert torch.bincount(source.train.y).tolist() == [10, 10, 10, 10]


def test_mnist(real: Path) -> None:
    if not (real / "MNIST" / "raw").is_dir():
        pytest.skip(f"needs MNIST/raw below the data root {real}")
    source = MNIST().load(real)
    assert source.train.x.shape == (60_000, 1, 28, 28)
    assert source.test.x.shape == (10_000, 1, 28, 28)
    assert round(source.train.x.mean().item(), 4) == 0.1307
    assert round(source.train.x.std().item(), 4) == 0.3081
    assert (source.train.x.min().item(), source.train.x.max().item()) == (0.0, 1.0)
    # The published counts of the training digits.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(source.train.y).tolist() == counts
    assert source.train.y[:5].tolist() == [5, 0, 4, 1, 9]


def test_fashion_mnist(real: Path) -> None:
    if not (real / "FashionMNIST" / "raw").is_dir():
        pytest.skip(f"needs FashionMNIST/raw below the data root {real}")
    source = FashionMNIST().load(real)
    assert torch.bincount(source.train.y).tolist() == [6000] * 10
    assert torch.bincount(source.test.y).tolist() == [1000] * 10
    assert source.classes[source.train.y[0]] == "Ankle boot"


def test_nothing_is_written_below_the_root(tmp_path: Path) -> None:
    folder = write(tmp_path, "Toy", TRAIN_ts=f"{TS}1,2:a\n", TEST_ts=f"{TS}1,2:a\n")
    before = sorted(folder.iterdir())
    UCR(dataset="Toy").load(tmp_path)
    assert sorted(folder.iterdir()) == before
