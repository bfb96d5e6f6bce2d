"""Cuts a validation part from the training examples; the test examples are never looked at.

Everything here is decided by the targets of the training examples and a seed. The random numbers
are the raw output of PCG64, which numpy keeps the same in every version and on every machine (its
higher-level methods, such as `permutation`, carry no such promise).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .data._source import Examples, Source
from .errors import SettingError

# A stream of its own for every draw, so that changing one leaves the others as they are.
_LIMIT = 0x11417
_HOLD_OUT = 0x401D
_FOLDS = 0xF01D5


@dataclass(frozen=True)
class Split:
    """The three parts of a data set, and which of `source.train` went where.

    The indices are int64, ascending and disjoint; with a limit some examples are in neither.
    `test` is `source.test` itself.
    """

    train: Examples
    validation: Examples
    test: Examples
    train_index: Tensor
    validation_index: Tensor


def split(
    source: Source,
    *,
    validation: float = 0.2,
    folds: int = 0,
    fold: int = 0,
    seed: int = 0,
    limit: int = 0,
) -> Split:
    """Cut `source.train` into a training and a validation part, stratified by class.

    `limit` > 0 first keeps that many training examples (all of them where there are fewer).
    `folds` = 0 then takes a share `validation` (0 < validation < 1) of them for validation:
    round(validation * n) examples, each class in proportion by largest remainder, but at least one
    example of each class in both parts (that goes before the total). `folds` >= 2 deals them to
    that many folds instead, whose sizes differ by at most 1, in all and per class, and validation
    is number `fold`; `validation` is then not used. The same settings give the same split on every
    machine.

    Raises `SettingError` naming the setting, the rule and the value found: values out of range, or
    a class with too few examples.
    """
    _whole("data/seed", seed)
    _whole("data/limit", limit)
    _whole("data/folds", folds)
    _whole("data/fold", fold)
    y = source.train.y
    classes = len(source.classes)
    kept = torch.arange(len(y))
    if 0 < limit < len(y):
        kept = _limited(y, classes, limit, max(2, folds), seed)
    if folds:
        held_out = _fold(y[kept], source.classes, folds, fold, seed)
    else:
        if fold:
            raise SettingError(f"data/fold: has a meaning only with data/folds, found fold={fold}")
        held_out = _share(y[kept], source.classes, validation, seed)
    chosen = torch.zeros(len(kept), dtype=torch.bool)
    chosen[held_out] = True
    train_index, validation_index = kept[~chosen], kept[chosen]
    return Split(
        train=source.train.take(train_index),
        validation=source.train.take(validation_index),
        test=source.test,
        train_index=train_index,
        validation_index=validation_index,
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
    quotas = _quotas(sizes, total, low, high.tolist())
    return torch.cat(
        [
            members[:quota]
            for members, quota in zip(_shuffled(y, len(high), seed), quotas, strict=True)
        ]
    ).sort()[0]


def _share(y: Tensor, classes: tuple[str, ...], validation: float, seed: int) -> Tensor:
    if (
        isinstance(validation, bool)
        or not isinstance(validation, int | float)
        or not 0 < validation < 1
    ):
        raise SettingError(
            "data/validation: must be a number between 0 and 1, both excluded, "
            f"found {validation!r}"
        )
    sizes = torch.bincount(y, minlength=len(classes))
    smallest = int(sizes.argmin())
    if sizes[smallest] < 2:
        raise SettingError(
            f"data/validation: each class needs 2 training examples, one for training and one for "
            f"validation, found {int(sizes[smallest])} of class {classes[smallest]!r}; "
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
            f"data/folds: the training part has {int(sizes[smallest])} examples of class "
            f"{classes[smallest]!r} and each fold needs one, found folds={folds}"
        )
    if fold >= folds:
        raise SettingError(f"data/fold: must be 0 to {folds - 1}, found fold={fold}")
    # Dealt like cards, class after class and without starting anew: so neither the folds nor
    # their parts of a class differ by more than one.
    dealt = torch.cat(_shuffled(y, len(classes), (seed, _FOLDS)))
    return dealt[fold::folds]


def _limited(y: Tensor, classes: int, limit: int, least: int, seed: int) -> Tensor:
    if limit < least * classes:
        raise SettingError(
            f"data/limit: must be 0 (all) or at least {least * classes}, {least} for each of the "
            f"{classes} classes, found limit={limit}"
        )
    sizes = torch.bincount(y, minlength=classes)
    return stratified_sample(y, limit, low=least, high=sizes, seed=(seed, _LIMIT))


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
