"""Cuts training and validation parts from the training examples, for every task.

The test examples are only looked at to choose classes. Everything else is decided by the targets of
the training examples and a seed. The random numbers are the raw output of PCG64, which numpy keeps
the same in every version and on every machine (its higher-level methods, such as `permutation`,
carry no such promise).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .data._source import Examples, Source
from .errors import SettingError, nearest

# A stream of its own for every draw, so that changing one leaves the others as they are.
_LIMIT = 0x11417
_HOLD_OUT = 0x401D
_FOLDS = 0xF01D5
_FRACTION = 0xF4AC
_LABELS = 0x1ABE15


@dataclass(frozen=True)
class Split:
    """The parts of a data set, and which of `source.train` went where.

    The indices are int64 and point into `source.train`, ascending and disjoint; with a limit or a
    fraction some examples are in neither. `test` is `source.test`, or those of its examples that
    have one of the chosen classes. `classes[k]` is the name of class k in all parts. With `labels`,
    `train` holds the labelled examples alone and `unlabelled` all examples of the training part,
    the labelled ones too (as UDA does, arXiv 1904.12848); their y is kept, but not to be shown to a
    model. Without, `unlabelled` is None.
    """

    train: Examples
    validation: Examples
    test: Examples
    train_index: Tensor
    validation_index: Tensor
    unlabelled: Examples | None = None
    classes: tuple[str, ...] = ()


def split(
    source: Source,
    *,
    validation: float = 0.2,
    folds: int = 0,
    fold: int = 0,
    seed: int = 0,
    limit: int = 0,
    classes: Sequence[str | int] = (),
    fraction: float = 1.0,
    labels: int = 0,
) -> Split:
    """Cut `source.train` into a training and a validation part, stratified by class.

    The options act in this order:

    - `classes`, names (text) or class numbers, keeps only these in all parts, relabelled from 0 in
      the order given; none means all. A number that another class has as its name is refused.
    - `limit` > 0 keeps that many training examples (all of them where there are fewer).
    - `folds` = 0 takes a share `validation` (0 < validation < 1) for validation:
      round(validation * n) examples, each class in proportion by largest remainder, but at least
      one example of each class in both parts (that goes before the total). `folds` >= 2 deals the
      examples to that many folds instead, whose sizes differ by at most 1, in all and per class,
      and validation is number `fold`; `validation` is then not used.
    - `fraction` (0 < fraction <= 1) keeps that share of the training part, rounded, each class in
      proportion and at least one example of each.
    - `labels` > 0 leaves the labels of that many examples of the training part, the same number of
      each class to within one where there are enough of it, and at least one of each.

    For regression and detection all examples count as one class. The same settings give the same
    split on every machine.

    Raises `SettingError` naming the setting, the rule and the value found: values out of range, or
    a class with too few examples.
    """
    _whole("data/seed", seed)
    _whole("data/limit", limit)
    _whole("data/folds", folds)
    _whole("data/fold", fold)
    _whole("data/labels", labels)
    numbers = _numbers(source, classes)
    names = tuple(source.classes[number] for number in numbers)
    targets = _targets(source.train, source, numbers)
    # The class of each example, -1 where it is not chosen; one stratum where there are no classes.
    strata = targets if source.task == "classification" else torch.zeros(len(targets)).long()
    known = names if source.task == "classification" else ("",)
    kept = (strata >= 0).nonzero().flatten()
    if 0 < limit < len(kept):
        kept = kept[_limited(strata[kept], known, limit, max(2, folds), seed)]
    if folds:
        held_out = _fold(strata[kept], known, folds, fold, seed)
    else:
        if fold:
            raise SettingError(f"data/fold: has a meaning only with data/folds, found fold={fold}")
        held_out = _share(strata[kept], known, validation, seed)
    chosen = torch.zeros(len(kept), dtype=torch.bool)
    chosen[held_out] = True
    train_index, validation_index = kept[~chosen], kept[chosen]
    train_index = train_index[_fraction(strata[train_index], known, fraction, seed)]
    labelled = train_index
    if labels:
        labelled = train_index[_labelled(strata[train_index], known, labels, seed)]

    def part(index: Tensor) -> Examples:
        return Examples(source.train.take(index).x, targets[index])

    return Split(
        train=part(labelled),
        validation=part(validation_index),
        test=_test(source, numbers),
        train_index=labelled,
        validation_index=validation_index,
        unlabelled=part(train_index) if labels else None,
        classes=names,
    )


def stratified_sample(
    y: Tensor, total: int, *, low: int, high: Tensor, seed: Sequence[int]
) -> Tensor:
    """Choose `total` examples at random, of each class in proportion to its size.

    `y` holds class numbers `[n]`, `high` the most that may be taken of each class `[classes]`,
    `low` the least. The parts are found by largest remainder within these bounds (ties: the
    lower class number), and `total` gives way to them. Returns ascending int64 indices.
    """
    sizes = torch.bincount(y, minlength=len(high)).tolist()
    return _drawn(y, _quotas(sizes, total, low, high.tolist()), seed)


def _numbers(source: Source, classes: Sequence[str | int]) -> list[int]:
    """The numbers of the chosen classes in `source`, in the order given."""
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise SettingError(f"data/classes: must be a list of class names, found {classes!r}")
    if not classes:
        return list(range(len(source.classes)))
    if source.task != "classification":
        raise SettingError(
            f"data/classes: has a meaning only for classification, found {list(classes)!r} for a "
            f"set of {source.task}"
        )
    found = [_class_number(source.classes, one) for one in classes]
    if len(found) < 2 or len(set(found)) < len(found):
        raise SettingError(
            f"data/classes: must be empty or at least 2 different classes, found {list(classes)!r}"
        )
    return found


def _class_number(names: tuple[str, ...], one: str | int) -> int:
    if isinstance(one, str) and one in names:
        return names.index(one)
    if isinstance(one, bool) or not isinstance(one, int):
        raise SettingError(f"data/classes: no class is called {one!r}.{nearest(str(one), names)}")
    if not 0 <= one < len(names):
        raise SettingError(
            f"data/classes: a class number must be 0 to {len(names) - 1}, found {one}; names are "
            f"given as text.{nearest(str(one), names)}"
        )
    if str(one) in names and names[one] != str(one):
        raise SettingError(
            f"data/classes: {one} has two meanings, the class called {str(one)!r} and class number "
            f"{one}, which is called {names[one]!r}; give the name as text"
        )
    return one


def _targets(part: Examples, source: Source, numbers: list[int]) -> Tensor:
    """The targets after the choice of classes: renumbered, and -1 for classes left out."""
    if numbers == list(range(len(source.classes))):
        return part.y
    renumbered = torch.full((len(source.classes),), -1)
    renumbered[numbers] = torch.arange(len(numbers))
    return renumbered[part.y]


def _test(source: Source, numbers: list[int]) -> Examples:
    y = _targets(source.test, source, numbers)
    if y is source.test.y:
        return source.test
    index = (y >= 0).nonzero().flatten()
    if not len(index):
        names = ", ".join(source.classes[number] for number in numbers)
        raise SettingError(f"data/classes: the test part has no example of {names}")
    return Examples(source.test.take(index).x, y[index])


def _between(setting: str, value: float, *, with_1: bool) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (0 < value < 1 or (with_1 and value == 1))
    ):
        excluded = "0 excluded" if with_1 else "both excluded"
        raise SettingError(
            f"{setting}: must be a number between 0 and 1, {excluded}, found {value!r}"
        )


def _of_class(name: str) -> str:
    """ " of class 'a'", and nothing where there are no classes."""
    return f" of class {name!r}" if name else ""


def _share(y: Tensor, classes: tuple[str, ...], validation: float, seed: int) -> Tensor:
    _between("data/validation", validation, with_1=False)
    sizes = torch.bincount(y, minlength=len(classes))
    smallest = int(sizes.argmin())
    if sizes[smallest] < 2:
        raise SettingError(
            f"data/validation: each class needs 2 training examples, one for training and one for "
            f"validation, found {int(sizes[smallest])}{_of_class(classes[smallest])}; "
            "leave the class out of the data or take another set"
        )
    total = round(validation * len(y))
    return stratified_sample(y, total, low=1, high=sizes - 1, seed=(seed, _HOLD_OUT))


def _fold(y: Tensor, classes: tuple[str, ...], folds: int, fold: int, seed: int) -> Tensor:
    if folds < 2:
        raise SettingError(f"data/folds: must be 0 (none) or at least 2, found folds={folds}")
    sizes = torch.bincount(y, minlength=len(classes))
    smallest = int(sizes.argmin())
    if folds > sizes[smallest]:
        raise SettingError(
            f"data/folds: the training part has {int(sizes[smallest])} examples"
            f"{_of_class(classes[smallest])} and each fold needs one, found folds={folds}"
        )
    if fold >= folds:
        raise SettingError(f"data/fold: must be 0 to {folds - 1}, found fold={fold}")
    # Dealt like cards, class after class and without starting anew: so neither the folds nor
    # their parts of a class differ by more than one.
    dealt = torch.cat(_shuffled(y, len(classes), (seed, _FOLDS)))
    return dealt[fold::folds]


def _limited(y: Tensor, classes: tuple[str, ...], limit: int, least: int, seed: int) -> Tensor:
    _enough("data/limit", limit, least, classes)
    sizes = torch.bincount(y, minlength=len(classes))
    return stratified_sample(y, limit, low=least, high=sizes, seed=(seed, _LIMIT))


def _fraction(y: Tensor, classes: tuple[str, ...], fraction: float, seed: int) -> Tensor:
    _between("data/fraction", fraction, with_1=True)
    if fraction == 1:
        return torch.arange(len(y))
    sizes = torch.bincount(y, minlength=len(classes))
    total = round(fraction * len(y))
    return stratified_sample(y, total, low=1, high=sizes, seed=(seed, _FRACTION))


def _labelled(y: Tensor, classes: tuple[str, ...], labels: int, seed: int) -> Tensor:
    _enough("data/labels", labels, 1, classes)
    if labels > len(y):
        raise SettingError(
            f"data/labels: the training part has {len(y)} examples, found labels={labels}"
        )
    sizes = torch.bincount(y, minlength=len(classes)).tolist()
    quotas = _quotas([1] * len(sizes), labels, 1, sizes)
    return _drawn(y, quotas, (seed, _LABELS))


def _enough(setting: str, value: int, least: int, classes: tuple[str, ...]) -> None:
    """Refuses a number of examples that leaves a class fewer than `least`."""
    if value < least * len(classes):
        share = f", {least} for each of the {len(classes)} classes" if len(classes) > 1 else ""
        raise SettingError(
            f"{setting}: must be 0 (all) or at least {least * len(classes)}{share}, "
            f"found {setting.rpartition('/')[2]}={value}"
        )


def _quotas(sizes: list[int], total: int, low: int, high: list[int]) -> list[int]:
    """How many of each class: largest remainder, in whole numbers so that no rounding decides."""
    n = sum(sizes)
    ideal = [size * total for size in sizes]  # times n
    taken = [
        min(max(part // n, min(low, most)), most) for part, most in zip(ideal, high, strict=True)
    ]
    while sum(taken) < min(total, sum(high)):
        behind = [
            part - n * have if have < most else -math.inf
            for part, have, most in zip(ideal, taken, high, strict=True)
        ]
        taken[behind.index(max(behind))] += 1
    floor = [min(low, most) for most in high]
    while sum(taken) > max(total, sum(floor)):
        ahead = [
            n * have - part if have > least else -math.inf
            for part, have, least in zip(ideal, taken, floor, strict=True)
        ]
        taken[ahead.index(max(ahead))] -= 1
    return taken


def _drawn(y: Tensor, quotas: list[int], seed: Sequence[int]) -> Tensor:
    """So many examples of each class at random, as ascending indices."""
    shuffled = _shuffled(y, len(quotas), seed)
    return torch.cat([own[:n] for own, n in zip(shuffled, quotas, strict=True)]).sort()[0]


def _shuffled(y: Tensor, classes: int, seed: Sequence[int]) -> tuple[Tensor, ...]:
    """The indices of each class in random order.

    All strata come from here: for a target without classes it is one stratum of all indices.
    """
    keys = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(len(y))
    # Sorted by class, then by random key.
    order = torch.from_numpy(np.lexsort((keys, y.numpy())).astype(np.int64))
    ends = torch.bincount(y, minlength=classes).cumsum(0)[:-1]
    return torch.tensor_split(order, ends)


def _whole(setting: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SettingError(f"{setting}: must be a whole number from 0, found {value!r}")
