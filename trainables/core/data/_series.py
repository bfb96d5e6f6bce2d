"""Reads time-series files: .ts, .tsv, .arff, .txt and .npz, as the UCR and UEA archives use them.

Every reader gives the values as float64 and the labels as text, as spelled in the file. What is not
supported (time stamps; missing values and unequal lengths where the caller does not ask for them)
is an error that names the file and the line.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from ..errors import SettingError

Values = npt.NDArray[np.float64]
Row = tuple[list[str], str]
"""One line: the text of each channel, and the label."""


def read_series(path: Path) -> tuple[Values, list[str]]:
    """The values `[n, c, t]` and the labels (n of them) in one text file.

    The form is told by the name's ending: `.ts` (comma-separated, ":" between channels and before
    the label), `.arff` (comma-separated, label last), `.tsv` (tab-separated, label first), `.txt`
    (separated by blanks or commas, label first). Raises `SettingError` naming file and line.
    """
    series, labels = _read(path, _ROWS[path.suffix](path))
    return np.stack(series), labels


def read_uneven(
    path: Path, *, target: bool, gaps: bool, unequal: bool
) -> tuple[list[Values], list[str]]:
    """Every series `[c, t]` of a .ts file and its label, as text.

    With `target` the labels are the values of a regression set, else classes. With `gaps` a missing
    value is NaN, with `unequal` the series may differ in length (all channels of one may not);
    without, both are errors. Raises `SettingError` naming file and line.
    """
    return _read(path, _ts(path, target=target), gaps=gaps, unequal=unequal)


def _read(
    path: Path, rows: Iterator[tuple[int, Row]], *, gaps: bool = False, unequal: bool = False
) -> tuple[list[Values], list[str]]:
    series: list[Values] = []
    labels: list[str] = []
    first: tuple[list[Values], int] = [], 0
    for number, (channels, label) in rows:
        row = [_numbers(path, number, text, _SPLIT[path.suffix], gaps=gaps) for text in channels]
        if not label:
            _refuse(path, number, "the class label is missing")
        first = first if series else (row, number)
        _compare(path, number, row, *first, unequal=unequal)
        series.append(np.array(row, dtype=np.float64))
        labels.append(label)
    if not series:
        raise SettingError(f"{path} holds no series")
    return series, labels


def values_of(path: Path, labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """The targets of a regression set `[n]`; raises `SettingError` for what is no finite number."""
    found = [_number(label) for label in labels]
    if None in found:
        row = found.index(None)
        raise SettingError(
            f"{path}, series {row + 1}: the target must be a finite number, found {labels[row]!r}"
        )
    return np.array(found, dtype=np.float64)


def read_npz(path: Path) -> dict[str, tuple[Values, list[str]]]:
    """The values and labels of "TRAIN" and "TEST" in one NumPy file, which is not unpickled.

    It holds X_train, y_train, X_test, y_test; X is `[n, t]`, `[n, 1, t]` or `[n, t, 1]`. More
    than one channel is refused: the file does not tell which axis is the time.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {key: held[key] for key in held.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SettingError(f"{path} is not a NumPy file of plain arrays ({error})") from None
    absent = [key for key in ("X_train", "y_train", "X_test", "y_test") if key not in arrays]
    if absent:
        raise SettingError(f"{path} must hold {', '.join(absent)}, found {sorted(arrays)}")
    parts = {}
    for part in ("train", "test"):
        x, y = arrays[f"X_{part}"], arrays[f"y_{part}"]
        if x.ndim == 3 and 1 in x.shape[1:]:
            x = x.reshape(len(x), -1)
        if x.ndim != 2 or x.size == 0 or y.shape != x.shape[:1]:
            raise SettingError(
                f"{path}: X_{part} must be [n, t] or [n, t, 1] and y_{part} [n], found "
                f"{x.shape} and {y.shape}; several channels are read from .ts only"
            )
        if x.dtype.kind not in "fiub" or not np.isfinite(x).all():
            raise SettingError(f"{path}: X_{part} has missing values, which are not supported")
        parts[part.upper()] = x.astype(np.float64)[:, None, :], [str(label) for label in y]
    return parts


def class_names(labels: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """The class number of every spelling in `labels`, and the class names in that order.

    Sorted by value where all labels are numbers, else as text. Spellings of one number ("1",
    "1.0", "1.0000000e+00") are one class, and a whole number is shown as such.
    """
    spelled = sorted(set(labels))
    numbers = [_number(label) for label in spelled]
    if None in numbers:
        return {label: index for index, label in enumerate(spelled)}, tuple(spelled)
    values = sorted({number for number in numbers if number is not None})
    shown = {
        value: str(int(value)) if value.is_integer() else label
        for label, value in zip(spelled, numbers, strict=True)
        if value is not None
    }
    order = {value: index for index, value in enumerate(values)}
    mapping = {
        label: order[value]
        for label, value in zip(spelled, numbers, strict=True)
        if value is not None
    }
    return mapping, tuple(shown[value] for value in values)


def normalised(x: Values) -> Values:
    """Each series and channel with mean 0 and population standard deviation 1 over time.

    `x` is `[n, c, t]`. A constant channel becomes 0. No number is shared between series.
    """
    # max == min, not std == 0: rounding of the mean gives a constant channel a tiny deviation.
    constant = x.max(axis=2, keepdims=True) == x.min(axis=2, keepdims=True)
    std = np.where(constant, 1.0, x.std(axis=2, keepdims=True))
    return np.where(constant, 0.0, (x - x.mean(axis=2, keepdims=True)) / std)


def _lines(path: Path, margin: str | None = None) -> Iterator[tuple[int, str]]:
    """The lines that hold something, numbered from 1, without the `margin` (blanks) around them."""
    # Only prose headers hold other than ASCII; a byte that is not UTF-8 there must not stop us.
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line.strip(margin)


def _ts(path: Path, *, target: bool = False) -> Iterator[tuple[int, Row]]:
    in_data = False
    for number, line in _lines(path):
        if line.startswith("#"):
            continue
        if in_data:
            *channels, label = line.split(":")
            if not channels:
                _refuse(path, number, "a ':' must stand before the class label")
            yield number, (channels, label.strip())
            continue
        tag, *values = line.lower().split()
        on = values[:1] == ["true"]
        if tag == "@data":
            in_data = True
        elif tag == "@timestamps" and on:
            _refuse(path, number, "time stamps are not supported")
        elif tag == "@targetlabel" and on and not target:
            _refuse(path, number, "this is a regression set; a set with classes is needed")
        elif tag == "@classlabel" and not on and not target:
            _refuse(path, number, "the series have no class labels")
        elif target and (tag, on) in (("@classlabel", True), ("@targetlabel", False)):
            _refuse(path, number, "the series have no target values; a regression set is needed")
        elif not tag.startswith("@"):
            _refuse(path, number, "a series stands before the line '@data'")
    if not in_data:
        raise SettingError(f"{path} has no line '@data'")


def _arff(path: Path) -> Iterator[tuple[int, Row]]:
    in_data = False
    attributes = 0
    for number, line in _lines(path):
        if line.startswith("%"):
            continue
        tag = line.lower()
        if in_data:
            values, _, label = line.rpartition(",")
            found = line.count(",") + 1
            if found != attributes:
                _refuse(
                    path, number, f"the header has {attributes} attributes, found {found} columns"
                )
            yield number, ([values], label.strip().strip("'\""))
        elif tag.startswith("@attribute"):
            attributes += 1
            if tag.split()[-1] == "relational":
                _refuse(path, number, "several channels are read from .ts only")
        elif tag.startswith("@data"):
            in_data = True
    if not in_data:
        raise SettingError(f"{path} has no line '@data'")


def _label_first(
    separator: str, margin: str | None = None
) -> Callable[[Path], Iterator[tuple[int, Row]]]:
    def rows(path: Path) -> Iterator[tuple[int, Row]]:
        for number, line in _lines(path, margin):
            label, *values = re.split(separator, line, maxsplit=1)
            if not values:
                _refuse(path, number, "a class label and values are needed, found one column")
            yield number, (values, label.strip())

    return rows


_BLANKS_OR_COMMA = r"\s*,\s*|\s+"
_ROWS = {
    ".ts": _ts,
    ".tsv": _label_first("\t", margin=" \r\n"),  # a tab at either end is an empty field
    ".arff": _arff,
    ".txt": _label_first(_BLANKS_OR_COMMA),
}
FORMS = tuple(_ROWS)
"""The endings that are read, the preferred one first."""
_SPLIT: dict[str, Callable[[str], list[str]]] = {
    ".ts": lambda text: text.split(","),
    ".tsv": lambda text: text.split("\t"),
    ".arff": lambda text: text.split(","),
    ".txt": lambda text: re.split(_BLANKS_OR_COMMA, text),
}


def _numbers(
    path: Path, line: int, text: str, split: Callable[[str], list[str]], *, gaps: bool
) -> Values:
    fields = split(text)
    if gaps:
        fields = ["nan" if field.strip() in ("", "?") else field for field in fields]
    try:
        values = np.array(fields, dtype=np.float64)
    except ValueError:
        column = next(i for i, field in enumerate(fields) if _is_text(field))
        found = fields[column].strip()
        if found in ("", "?"):
            _refuse(path, line, f"missing values are not supported (value {column + 1})")
        _refuse(path, line, f"value {column + 1} must be a number, found {found!r}")
    finite = ~np.isinf(values) if gaps else np.isfinite(values)
    if not finite.all():
        column = int(finite.argmin())
        found = fields[column].strip()
        reason = f"missing values are not supported (value {column + 1} is {found!r})"
        _refuse(path, line, f"{reason}; the archives also fill up shorter series so")
    return values


def _compare(
    path: Path,
    line: int,
    row: list[Values],
    first: list[Values],
    first_line: int,
    *,
    unequal: bool,
) -> None:
    if len(row) != len(first):
        rule = f"as many channels as in line {first_line}"
        _refuse(path, line, f"{rule} are needed ({len(first)}), found {len(row)}")
    for channel in row:
        if unequal and len(channel) != len(row[0]):
            lengths = f"{len(row[0])} and {len(channel)} values"
            _refuse(path, line, f"the channels of a series must be equally long, found {lengths}")
        if not unequal and len(channel) != len(first[0]):
            _refuse(
                path,
                line,
                "series of unequal length are not supported: "
                f"{len(first[0])} values in line {first_line}, found {len(channel)}",
            )


def _number(label: str) -> float | None:
    """The finite number that a label spells; None if it is text (Python's "1_0" is text)."""
    try:
        value = float(label)
    except ValueError:
        return None
    return value if np.isfinite(value) and "_" not in label else None


def _is_text(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return True
    return False


def _refuse(path: Path, line: int, reason: str) -> NoReturn:
    raise SettingError(f"{path}, line {line}: {reason}")
