"""The split: what must hold for any targets and settings, and small ones counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.core.data._source import Examples, Source
from trainables.core.data.mnist import MNIST
from trainables.core.errors import SettingError
from trainables.core.splits import Split, split, stratified_sample


def source_of(labels: list[int], classes: int | None = None) -> Source:
    """A set whose inputs are their own index, so that a mix-up of rows shows."""
    x = torch.arange(len(labels), dtype=torch.float32)[:, None, None]
    train = Examples(x, torch.tensor(labels, dtype=torch.int64))
    # The test part has nothing that could be read as targets of these classes.
    test = Examples(torch.full((3, 1, 1), -1.0), torch.tensor([-1, -1, -1]))
    names = tuple(f"class-{number}" for number in range(classes or max(labels) + 1))
    return Source(train, test, names, None, "", "made for a test")


def labels_of(counts: list[int], seed: int) -> list[int]:
    """`counts[k]` labels of class k, mixed."""
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    found: list[int] = y[order].tolist()
    return found


def counts(y: torch.Tensor, classes: int) -> list[int]:
    found: list[int] = torch.bincount(y, minlength=classes).tolist()
    return found


def check_parts(source: Source, found: Split) -> None:
    """The parts are the rows that the indices say, ascending and disjoint; test is the same."""
    for part, index in (
        (found.train, found.train_index),
        (found.validation, found.validation_index),
    ):
        assert torch.equal(part.x.flatten(), index.float())
        assert torch.equal(part.y, source.train.y[index])
        assert torch.equal(index, index.sort()[0])
    both = torch.cat([found.train_index, found.validation_index])
    assert len(set(both.tolist())) == len(both)
    assert found.test is source.test


class_counts = st.lists(st.integers(2, 40), min_size=1, max_size=6)
seeds = st.integers(0, 2**40)


@settings(deadline=None)
@given(class_counts, st.floats(0.001, 0.999), seeds)
def test_share_is_a_stratified_partition(many: list[int], share: float, seed: int) -> None:
    n, classes = sum(many), len(many)
    source = source_of(labels_of(many, seed % 1000))
    found = split(source, validation=share, seed=seed)
    check_parts(source, found)
    assert len(found.train) + len(found.validation) == n
    total = min(max(round(share * n), classes), n - classes)
    assert len(found.validation) == total
    for size, held in zip(many, counts(found.validation.y, classes), strict=True):
        assert 1 <= held <= size - 1
        # By largest remainder a class is off by less than one, but where the bounds of one
        # example decided (here or in another class, which moves at most one for each class).
        assert abs(held - size * total / n) < classes


@settings(deadline=None)
@given(class_counts, seeds, st.data())
def test_folds_cover_and_are_disjoint(many: list[int], seed: int, data: st.DataObject) -> None:
    n, classes = sum(many), len(many)
    folds = data.draw(st.integers(2, min(many)))
    source = source_of(labels_of(many, seed % 1000))
    parts = [split(source, folds=folds, fold=fold, seed=seed) for fold in range(folds)]
    for part in parts:
        check_parts(source, part)
        assert len(part.train) + len(part.validation) == n
    held = torch.cat([part.validation_index for part in parts])
    assert torch.equal(held.sort()[0], torch.arange(n))
    sizes = [len(part.validation) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for of_class in zip(*(counts(part.validation.y, classes) for part in parts), strict=True):
        assert max(of_class) - min(of_class) <= 1
        assert min(of_class) >= 1


@settings(deadline=None)
@given(class_counts, seeds, st.data())
def test_limit_keeps_that_many(many: list[int], seed: int, data: st.DataObject) -> None:
    n, classes = sum(many), len(many)
    limit = data.draw(st.integers(2 * classes, n + 5))
    source = source_of(labels_of(many, seed % 1000))
    found = split(source, validation=0.5, seed=seed, limit=limit)
    check_parts(source, found)
    assert len(found.train) + len(found.validation) == min(limit, n)
    kept = counts(torch.cat([found.train.y, found.validation.y]), classes)
    for size, left in zip(many, kept, strict=True):
        assert 2 <= left <= size


@settings(deadline=None)
@given(class_counts, seeds, st.integers(0, 1))
def test_same_seed_same_split(many: list[int], seed: int, limited: int) -> None:
    source = source_of(labels_of(many, 0))
    chosen: dict[str, Any] = {"seed": seed, "limit": limited * 2 * len(many)}
    torch.manual_seed(1)
    first = split(source, **chosen)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = split(source, **chosen)
    assert torch.equal(first.train_index, again.train_index)
    assert torch.equal(first.validation_index, again.validation_index)
    assert torch.equal(torch.get_rng_state(), state)


def test_split_is_pinned() -> None:
    # Random numbers that change with a version of numpy or torch would change these.
    source = source_of([0] * 10 + [1] * 10)
    assert split(source).validation_index.tolist() == [5, 7, 13, 14]
    assert split(source, folds=5, fold=1, seed=3).validation_index.tolist() == [3, 9, 14, 19]
    assert split(source, limit=6, seed=3).train_index.tolist() == [0, 4, 10, 17]


def test_seeds_differ() -> None:
    source = source_of([0] * 50 + [1] * 50)
    found = {tuple(split(source, seed=seed).validation_index.tolist()) for seed in range(20)}
    assert len(found) == 20
    # 2**32 is the first number that takes two words.
    found = {
        tuple(split(source, seed=seed).validation_index.tolist()) for seed in (1, 2**32, 2**32 + 1)
    }
    assert len(found) == 3


def test_every_example_is_as_likely() -> None:
    source = source_of([0] * 10 + [1] * 10)
    held = torch.zeros(20)
    for seed in range(500):
        held[split(source, validation=0.5, seed=seed).validation_index] += 1
    # Binomial with 500 draws and p = 1/2: standard deviation 11.2, so five of them are 56.
    assert (held - 250).abs().max() < 56


@pytest.mark.parametrize(
    ("sizes", "total", "low", "taken"),
    [
        ([50, 30, 20], 10, 1, [5, 3, 2]),
        # 7 of 5:3:3 is 3.18, 1.91, 1.91: the remainders .91 get the two that are left.
        ([5, 3, 3], 7, 0, [3, 2, 2]),
        # 2.5 and 2.5: the tie goes to the lower class.
        ([5, 5], 5, 0, [3, 2]),
        # 1.96 and 0.04: the small class has its one, the large one gives it.
        ([98, 2], 2, 1, [1, 1]),
        # Less than one each: the least goes before the total.
        ([5, 5, 5], 1, 1, [1, 1, 1]),
        # More than all but one each.
        ([3, 2], 5, 1, [2, 1]),
    ],
)
def test_quotas_by_hand(sizes: list[int], total: int, low: int, taken: list[int]) -> None:
    y = torch.tensor(labels_of(sizes, 3))
    high = torch.tensor(sizes) - 1
    chosen = stratified_sample(y, total, low=low, high=high, seed=(1,))
    assert counts(y[chosen], len(sizes)) == taken
    assert chosen.tolist() == sorted(set(chosen.tolist()))


def test_ecg200_like_share_by_hand() -> None:
    # 31 + 69 of 100 at 0.2: 6.2 and 13.8, so 6 and 14.
    found = split(source_of(labels_of([31, 69], 5)))
    assert counts(found.validation.y, 2) == [6, 14]
    assert counts(found.train.y, 2) == [25, 55]


def test_limit_comes_before_the_split() -> None:
    # 60 of 300 + 100 + 200: 30, 10, 20; a fifth of that: 6, 2, 4.
    found = split(source_of(labels_of([300, 100, 200], 5)), limit=60)
    assert counts(found.validation.y, 3) == [6, 2, 4]
    assert counts(found.train.y, 3) == [24, 8, 16]


def test_limit_leaves_enough_for_the_folds() -> None:
    # 40 of 190 + 10 in proportion: 38 and 2; five folds need five of each class.
    found = split(source_of(labels_of([190, 10], 5)), limit=40, folds=5)
    assert counts(torch.cat([found.train.y, found.validation.y]), 2) == [35, 5]
    assert counts(found.validation.y, 2) == [7, 1]


def test_validation_is_not_used_with_folds() -> None:
    source = source_of([0] * 6 + [1] * 6)
    one = split(source, folds=3, validation=0.2)
    other = split(source, folds=3, validation=7)
    assert torch.equal(one.validation_index, other.validation_index)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"validation": 0}, "data/validation: must be a number between 0 and 1.*found 0"),
        ({"validation": 1.0}, "data/validation: .*found 1.0"),
        ({"validation": -0.1}, "data/validation: .*found -0.1"),
        ({"validation": float("nan")}, "data/validation: .*found nan"),
        ({"validation": "0.2"}, "data/validation: .*found '0.2'"),
        ({"validation": True}, "data/validation: .*found True"),
        ({"folds": 1}, "data/folds: must be 0 .none. or at least 2, found folds=1"),
        ({"folds": -2}, "data/folds: must be a whole number from 0, found -2"),
        ({"folds": 2.0}, "data/folds: must be a whole number from 0, found 2.0"),
        ({"folds": 5}, "data/folds: .*has 4 examples of class 'class-1'.*found folds=5"),
        ({"folds": 3, "fold": 3}, "data/fold: must be 0 to 2, found fold=3"),
        ({"folds": 3, "fold": -1}, "data/fold: must be a whole number from 0, found -1"),
        ({"fold": 1}, "data/fold: has a meaning only with data/folds, found fold=1"),
        ({"seed": -1}, "data/seed: must be a whole number from 0, found -1"),
        ({"seed": True}, "data/seed: must be a whole number from 0, found True"),
        ({"limit": -1}, "data/limit: must be a whole number from 0, found -1"),
        ({"limit": 3}, "data/limit: .*at least 4, 2 for each of the 2 classes, found limit=3"),
        ({"limit": 7, "folds": 4}, "data/limit: .*at least 8, 4 for each of the 2 classes"),
    ],
)
def test_settings_out_of_range(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        split(source_of([0] * 6 + [1] * 4), **chosen)


@pytest.mark.parametrize(("labels", "found"), [([0, 0, 1], 1), ([0, 0, 0], 0)])
def test_a_class_that_cannot_be_in_both_parts(labels: list[int], found: int) -> None:
    with pytest.raises(SettingError, match=f"data/validation: .*found {found} of class 'class-1'"):
        split(source_of(labels, classes=2))
    with pytest.raises(SettingError, match=f"data/folds: .*has {found} examples .*'class-1'"):
        split(source_of(labels, classes=2), folds=2)


# --- classes --------------------------------------------------------------------------------


def lettered() -> Source:
    """Three classes a, b, c of 6, 8, 10 training and 1, 2, 3 test examples, mixed."""
    y = torch.tensor(labels_of([6, 8, 10], 1))
    test = torch.tensor([2, 1, 0, 2, 1, 2])
    return Source(
        Examples(torch.arange(24.0)[:, None], y),
        Examples(torch.arange(6.0)[:, None], test),
        ("a", "b", "c"),
        None,
        "",
        "made for a test",
    )


@pytest.mark.parametrize("chosen", [["c", "a"], [2, 0], ["c", 0]])
def test_classes_are_chosen_and_renumbered_in_the_order_given(chosen: list[str | int]) -> None:
    source = lettered()
    found = split(source, classes=chosen, validation=0.25)
    assert found.classes == ("c", "a")
    for part, index in (
        (found.train, found.train_index),
        (found.validation, found.validation_index),
    ):
        assert torch.equal(part.x.flatten(), index.float())  # type: ignore[union-attr]
        before = source.train.y[index]
        assert torch.equal(part.y, torch.where(before == 2, 0, 1))
        assert set(before.tolist()) == {0, 2}
    # A quarter of 10 and 6 is 2.5 and 1.5: the tie goes to the lower new number.
    assert counts(found.train.y, 2) == [7, 5]
    assert counts(found.validation.y, 2) == [3, 1]
    assert found.test.x.flatten().tolist() == [0, 2, 3, 5]  # type: ignore[union-attr]
    assert found.test.y.tolist() == [0, 1, 0, 0]
    assert source.train.y.max() == 2


def test_all_classes_in_their_order_are_the_whole_set() -> None:
    source = lettered()
    whole, same = split(source), split(source, classes=["a", "b", "c"])
    assert same.test is source.test
    assert torch.equal(whole.train_index, same.train_index)
    assert whole.classes == same.classes == ("a", "b", "c")
    turned = split(source, classes=["c", "b", "a"])
    assert torch.equal(turned.test.y, 2 - source.test.y)


def test_limit_and_folds_count_chosen_classes_only() -> None:
    found = split(lettered(), classes=["a", "b"], limit=7, folds=2)
    assert len(found.train) + len(found.validation) == 7
    assert counts(torch.cat([found.train.y, found.validation.y]), 2) == [3, 4]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("ab", "must be a list of class names, found 'ab'"),
        (["a"], r"at least 2 different classes, found \['a'\]"),
        (["a", 0], r"at least 2 different classes, found \['a', 0\]"),
        (["a", "B"], "no class is called 'B'.* mean 'b'"),
        (["a", True], "no class is called True"),
        (["a", 1.0], "no class is called 1.0"),
        (["a", 3], "a class number must be 0 to 2, found 3"),
        (["a", -1], "a class number must be 0 to 2, found -1"),
    ],
)
def test_classes_that_cannot_be_chosen(chosen: Any, message: str) -> None:
    with pytest.raises(SettingError, match=f"data/classes: .*{message}"):
        split(lettered(), classes=chosen)


def test_a_number_that_names_another_class_is_refused() -> None:
    train = Examples(torch.zeros(8, 1), torch.arange(8) % 2)
    source = Source(train, train, ("1", "2"), None, "", "made for a test")
    with pytest.raises(SettingError, match=r"1 has two meanings, .*number 1, which is called '2'"):
        split(source, classes=[1, 0])
    assert split(source, classes=["2", "1"]).classes == ("2", "1")


def test_classes_without_a_test_example_are_refused() -> None:
    test = Examples(torch.zeros(2, 1), torch.tensor([2, 2]))
    source = Source(lettered().train, test, ("a", "b", "c"), None, "", "made for a test")
    with pytest.raises(SettingError, match="the test part has no example of a, b"):
        split(source, classes=["a", "b"])


def test_class_pairs_of_mnist(mnist_root: Path) -> None:
    source = MNIST().load(mnist_root)
    # Published counts of the training digits 1 to 4, and of the test digits 3 and 4.
    for pair, sizes in ((["1", "2"], [6742, 5958]), ([3, 4], [6131, 5842])):
        found = split(source, classes=pair)
        both = torch.cat([found.train.y, found.validation.y])
        assert counts(both, 2) == sizes
        assert found.classes == tuple(map(str, pair))
    assert counts(found.test.y, 2) == [1010, 982]
    before = source.train.y[found.train_index]
    assert torch.equal(found.train.y, before - 3)


# --- fraction -------------------------------------------------------------------------------


def test_fraction_keeps_a_share_of_the_training_part_alone() -> None:
    source = source_of(labels_of([300, 100, 200], 5))
    whole, part = split(source), split(source, fraction=0.1)
    assert torch.equal(whole.validation_index, part.validation_index)
    # A fifth of 300, 100, 200 is held out; a tenth of 240, 80, 160.
    assert counts(part.train.y, 3) == [24, 8, 16]
    assert set(part.train_index.tolist()) < set(whole.train_index.tolist())
    check_parts(source, part)
    assert counts(split(source, fraction=0.1, folds=2).train.y, 3) == [15, 5, 10]


def test_a_small_fraction_leaves_one_of_each_class() -> None:
    assert counts(split(source_of(labels_of([90, 5], 1)), fraction=0.001).train.y, 2) == [1, 1]


@pytest.mark.parametrize("fraction", [0, -0.5, 1.1, True, "0.5", float("nan")])
def test_fraction_out_of_range(fraction: Any) -> None:
    with pytest.raises(SettingError, match=f"data/fraction: .*0 excluded, found {fraction!r}"):
        split(source_of([0, 1] * 6), fraction=fraction)


# --- few labels -----------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(3, 40), min_size=2, max_size=6), seeds, st.data())
def test_labels_are_balanced(many: list[int], seed: int, data: st.DataObject) -> None:
    classes = len(many)
    source = source_of(labels_of(many, seed % 1000))
    whole = split(source, seed=seed)
    labels = data.draw(st.integers(classes, len(whole.train)))
    found = split(source, seed=seed, labels=labels)
    check_parts(source, found)
    assert len(found.train) == labels
    assert torch.equal(found.validation_index, whole.validation_index)
    # As UDA does: the unlabelled examples are all of the part, the labelled ones too.
    assert found.unlabelled is not None
    assert torch.equal(found.unlabelled.x, whole.train.x)  # type: ignore[arg-type]
    assert set(found.train_index.tolist()) <= set(whole.train_index.tolist())
    # Equal to within one, but for classes that have no more.
    taken, had = counts(found.train.y, classes), counts(whole.train.y, classes)
    assert min(taken) >= 1
    open_ = [n for n, most in zip(taken, had, strict=True) if n < most]
    assert all(max(taken) - n <= 1 for n in open_)


def test_labels_by_hand() -> None:
    source = source_of(labels_of([300, 100, 200], 5))
    assert counts(split(source, labels=12).train.y, 3) == [4, 4, 4]
    assert counts(split(source, labels=11).train.y, 3) == [4, 4, 3]
    # Of the second class 80 are in the training part.
    assert counts(split(source, labels=300).train.y, 3) == [110, 80, 110]
    assert split(source).unlabelled is None
    found = split(source, labels=6, fraction=0.1)
    assert found.unlabelled is not None
    assert len(found.unlabelled) == 48


def test_labels_differ_by_seed() -> None:
    source = source_of([0] * 50 + [1] * 50)
    found = {tuple(split(source, seed=seed, labels=10).train_index.tolist()) for seed in range(20)}
    assert len(found) == 20


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (1, "must be 0 .all. or at least 2, 1 for each of the 2 classes, found labels=1"),
        (9, "the training part has 8 examples, found labels=9"),
        (-1, "must be a whole number from 0, found -1"),
        (2.0, "must be a whole number from 0, found 2.0"),
    ],
)
def test_labels_out_of_range(labels: Any, message: str) -> None:
    with pytest.raises(SettingError, match=f"data/labels: {message}"):
        split(source_of([0] * 6 + [1] * 4), labels=labels)


# --- tasks without classes ------------------------------------------------------------------


def without_classes(task: str, n: int = 20) -> Source:
    y = torch.randn(n) if task == "regression" else torch.zeros(n, 3, 5)
    classes = () if task == "regression" else ("person", "dog")
    train = Examples(torch.arange(float(n))[:, None], y)
    return Source(train, train, classes, None, "", "made for a test", task)


@pytest.mark.parametrize("task", ["regression", "detection"])
def test_without_classes_all_are_one_stratum(task: str) -> None:
    source = without_classes(task)
    found = split(source, limit=15, fraction=0.5, labels=2)
    assert len(found.validation) == 3
    assert len(found.train) == 2
    assert found.unlabelled is not None
    assert len(found.unlabelled) == 6
    assert found.test is source.test
    assert found.classes == source.classes
    assert torch.equal(found.train.y, source.train.y[found.train_index])
    parts = [split(source, folds=3, fold=fold).validation_index for fold in range(3)]
    assert torch.equal(torch.cat(parts).sort()[0], torch.arange(20))
    assert sorted(map(len, parts)) == [6, 7, 7]


@pytest.mark.parametrize(
    ("n", "chosen", "message"),
    [
        (20, {"classes": [0, 1]}, "data/classes: has a meaning only for classification, found"),
        (20, {"limit": 1}, "data/limit: must be 0 .all. or at least 2, found limit=1"),
        (20, {"folds": 21}, "data/folds: the training part has 20 examples and each fold needs"),
        (1, {}, "data/validation: each class needs 2 training examples, .*, found 1;"),
    ],
)
def test_without_classes_no_error_speaks_of_one(n: int, chosen: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        split(without_classes("regression", n), **chosen)
